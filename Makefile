# The commands this project always has. Each sets up what it needs first; none needs an account.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
NODE_STAMP := node_modules/.ready

.PHONY: demo test bench bench-download bench-resolve bench-start lint run learned format clean help

help:
	@echo "make demo   resolve the example workflow against the embedded hub (no account, no internet)"
	@echo "make test   run every test          make lint   check style and types"
	@echo "make bench  print the figures       make run    standalone server and page"
	@echo "make bench-download   the figures of downloading, beside aria2c, curl and hf_hub_download"
	@echo "make bench-start      installing and starting, beside FastAPI, Uvicorn, httpx and Gradio"
	@echo "make bench-resolve    how many models are found online, and how many of them rightly"

$(STAMP): pyproject.toml requirements.txt tools/setup.sh
	tools/setup.sh "$(PYTHON)" "$(VENV)"
	@touch $@

$(NODE_STAMP): package.json
	npm install --no-audit --no-fund --no-package-lock --loglevel=error
	@mkdir -p node_modules && touch $@

demo: $(STAMP)
	$(BIN)/python -m demo.run

# Two files at a time: most of a test is waiting, but a browser takes a core.
JOBS ?= 2

test: $(STAMP)
	tools/programs.sh browser redis-server aria2c curl
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

bench: $(STAMP)
	$(BIN)/python -m bench

# SIZE=4G ROUNDS=5 ONLY=tls,cap choose what; see docs/performance.md. Needs nginx-light, aria2 and curl.
bench-download: $(STAMP)
	$(BIN)/python -m bench download

# ROUNDS=5 chooses how often. Fetches some 150 MB from the package registry into a temporary folder.
bench-start: $(STAMP)
	$(BIN)/python -m bench starting
	$(BIN)/python -m bench.against_first_design

# SHOW=1 shows each model that was not right first.
bench-resolve: $(STAMP)
	$(BIN)/python -m bench resolving

lint: $(STAMP) $(NODE_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck deploy.sh .ci/run tools/*.sh
	$(BIN)/hadolint Dockerfile
	node_modules/.bin/tsc --noEmit -p web/jsconfig.json
	$(BIN)/comfy --skip-prompt --no-enable-telemetry node validate

# Without CMR_COMFYUI_ROOT, an empty ComfyUI folder to try it with (the one that make demo fills).
ROOT ?= $(or $(CMR_COMFYUI_ROOT),demo/.run/ComfyUI)

run: $(STAMP)
	$(if $(CMR_COMFYUI_ROOT),,mkdir -p "$(ROOT)/models")
	$(BIN)/python -m resolver serve --comfyui-root "$(ROOT)"

learned: $(STAMP)
	$(BIN)/python -m resolver.folders.learned

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) node_modules demo/.run .pytest_cache .mypy_cache .ruff_cache

"""Installing: ``install.py`` as ComfyUI Manager runs it, and bounds that leave ComfyUI's packages alone."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
REQUIREMENTS = CHECKOUT / "requirements.txt"

# What ComfyUI 0.28 asks for, by name. Left out are torch, torchvision, torchaudio and what needs them
# (torchsde, kornia, spandrel, comfy-kitchen …): they weigh gigabytes and share no requirement with ours.
COMFYUI = """
numpy>=1.25.0
einops
transformers>=4.50.3
tokenizers>=0.13.3
sentencepiece
safetensors>=0.4.2
aiohttp>=3.11.8
yarl>=1.18.0
pyyaml
Pillow
scipy
tqdm
psutil
alembic
SQLAlchemy
filelock
av>=14.2.0
requests
simpleeval
blake3
pydantic~=2.0
pydantic-settings~=2.0
"""


def names(text: str) -> set[str]:
    return {
        re.split(r"[<>=~!\[; ]", line, maxsplit=1)[0].lower()
        for line in text.split("\n")
        if line[:1].isalpha()
    }


def resolved(folder: Path, *requirements: Path) -> dict[str, str]:
    """The versions pip would install into an empty environment."""
    report = folder / "report.json"
    files = [argument for path in requirements for argument in ("-r", str(path))]
    outcome = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--ignore-installed",
            "--quiet",
            "--report",
            report,
            *files,
        ],
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    return {
        item["metadata"]["name"].lower(): item["metadata"]["version"]
        for item in json.loads(report.read_text())["install"]
    }


@pytest.mark.timeout(600)
def test_pip_changes_nothing_that_comfyui_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH")  # pip may ask the package registry
    comfyui = tmp_path / "comfyui.txt"
    comfyui.write_text(COMFYUI)
    alone = resolved(tmp_path, comfyui)
    together = resolved(tmp_path, comfyui, REQUIREMENTS)
    assert len(alone) > 20
    assert {name: together[name] for name in alone} == alone
    added = set(together) - set(alone)
    print(f"added to ComfyUI's {len(alone)} packages: {sorted(added) or 'nothing'}")


def test_requirements_are_what_is_imported() -> None:
    """No more and no less; modules of the standard library, ComfyUI and this project aside."""
    distribution = {
        "yaml": "pyyaml",
        "pydantic_settings": "pydantic-settings",
        "huggingface_hub": "huggingface-hub",
        "aiohttp_socks": "aiohttp-socks",
        "python_socks": "python-socks",
        # Parts that another brings, in the version that fits it.
        "multidict": "aiohttp",
        "pydantic_core": "pydantic",
    }
    own = {"resolver", "folder_paths", "server", "nodes", "comfy"}
    imported: set[str] = set()
    files = [*CHECKOUT.glob("*.py"), *(CHECKOUT / "resolver").rglob("*.py")]
    for path in files:
        for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(statement, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in statement.names}
            elif isinstance(statement, ast.ImportFrom) and not statement.level and statement.module:
                imported.add(statement.module.split(".")[0])
    third_party = imported - set(sys.stdlib_module_names) - own - {"packaging", "pip"}
    wanted = {distribution.get(name, name) for name in third_party}
    project = (CHECKOUT / "pyproject.toml").read_text()
    groups = project.split("[project.optional-dependencies]\n", 1)[1].split("\n[", 1)[0]
    optional = names("\n".join(re.findall(r'"([^"]+)"', groups)))
    assert wanted == names(REQUIREMENTS.read_text()) | optional
    listed = project.split("dependencies = [", 1)[1].split("]", 1)[0]
    assert sorted(re.findall(r'"([^"]+)"', listed)) == sorted(
        line for line in REQUIREMENTS.read_text().splitlines() if line[:1].isalpha()
    )


def test_inside_resolver_imports_are_relative() -> None:
    """ComfyUI loads the pack under a name of its own, and other packs have a ``resolver`` too."""
    absolute = [
        f"{path.relative_to(CHECKOUT)}:{statement.lineno}"
        for path in (CHECKOUT / "resolver").rglob("*.py")
        for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(statement, ast.ImportFrom)
        and not statement.level
        and (statement.module or "").startswith("resolver")
    ]
    assert absolute == []


def test_importing_the_pack_loads_nothing_heavy() -> None:
    code = (
        "import sys, importlib.util as u;"
        f"s=u.spec_from_file_location('/custom_nodes/x', {str(CHECKOUT / '__init__.py')!r},"
        f" submodule_search_locations=[{str(CHECKOUT)!r}]);"
        "m=u.module_from_spec(s); sys.modules['/custom_nodes/x']=m; s.loader.exec_module(m);"
        "heavy=('aiohttp','pydantic','yaml','huggingface_hub','psutil','sqlite3','tqdm');"
        "print([n for n in heavy if n in sys.modules])"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert (outcome.stdout.strip(), outcome.stderr) == ("[]", "")


@pytest.mark.timeout(300)
def test_install_installs_what_is_missing_and_may_run_again(tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    shutil.copy(CHECKOUT / "install.py", pack)
    (pack / "requirements.txt").write_text("# a small one\ntqdm>=4.60\n")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"

    def install(**extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "install.py"], cwd=pack, env={**os.environ, **extra}, capture_output=True, text=True
        )

    # A port nothing listens on, and no cache, stand for a machine that is offline.
    offline = install(
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_EXTRA_INDEX_URL="",
        PIP_FIND_LINKS="",
        PIP_CONFIG_FILE=os.devnull,
        PIP_RETRIES="0",
        PIP_NO_CACHE_DIR="1",
    )
    assert offline.returncode == 1
    assert "connect it and run this again" in offline.stderr
    first = install()
    assert first.returncode == 0, first.stderr
    assert "Installed tqdm>=4.60" in first.stdout
    second = install()
    assert (second.returncode, "Everything needed is installed already" in second.stdout) == (0, True)


@pytest.mark.timeout(300)
def test_the_wheel_holds_all_that_serving_needs(tmp_path: Path) -> None:
    """Installed by pip, without the checkout, the page and its texts are there too."""
    source = tmp_path / "source"
    shutil.copytree(
        CHECKOUT, source, ignore=shutil.ignore_patterns(".*", "node_modules", "__pycache__", "build")
    )
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, source]
    outcome = subprocess.run(build, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    package = CHECKOUT / "resolver"
    for path in [*package.rglob("*.py"), *package.rglob("*.json")]:
        assert (installed / path.relative_to(CHECKOUT)).is_file(), path
    (tmp_path / "ComfyUI" / "models").mkdir(parents=True)
    server = subprocess.Popen(
        [sys.executable, "-m", "resolver", "serve", "--port", "0", "--comfyui-root", tmp_path / "ComfyUI"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        for path in ("/", "/i18n", "/model-resolver/web/js/panel.js", "/model-resolver/web/standalone.css"):
            with urllib.request.urlopen(url + path, timeout=10) as answer:
                assert len(answer.read()) > 100, path
    finally:
        server.terminate()
        assert server.wait(20) == 0

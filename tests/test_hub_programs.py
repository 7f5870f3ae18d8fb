"""The hub and the demonstration as programs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from demo import run as demo_run
from demo.links import model_links
from tests.hub_requests import (
    EXAMPLE,
    ROOT,
    ask,
)


def test_the_command_serves_until_it_is_terminated() -> None:
    options = ["--gated", "demo-models/lumen-image-loras", "--corrupt", "lumen_image_vae.safetensors"]
    process = subprocess.Popen(
        [sys.executable, "-m", "demo", *options], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        environment = dict(process.stdout.readline().rstrip("\n").split("=", 1) for _ in range(3))
        assert list(environment) == ["CMR_HF_ENDPOINT", "CMR_CIVITAI_ENDPOINT", "CMR_ALLOWED_HOSTS"]
        links = {link.directory: link for link in model_links(json.loads(EXAMPLE.read_text("utf-8")))}
        endpoint = environment["CMR_HF_ENDPOINT"]
        answers = {
            folder: asyncio.run(ask(link.url.replace("https://huggingface.co", endpoint)))
            for folder, link in links.items()
        }
        content = asyncio.run(ask(answers["vae"].headers["Location"])).body
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()
    assert answers["loras"].headers["X-Error-Code"] == "GatedRepo"
    assert answers["diffusion_models"].status == 302
    assert hashlib.sha256(content).hexdigest() != answers["vae"].headers["X-Linked-Etag"].strip('"')


def test_the_command_serves_look_alikes_of_the_templates_models() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "demo", "--lookalikes"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        environment = dict(process.stdout.readline().rstrip("\n").split("=", 1) for _ in range(3))
        found = asyncio.run(ask(f"{environment['CMR_HF_ENDPOINT']}/api/models?search=flux&limit=1000")).json
        named = asyncio.run(ask(f"{environment['CMR_CIVITAI_ENDPOINT']}/api/v1/models?query=flux")).json
    finally:
        process.terminate()
        process.communicate()
    assert len({model["id"].partition("/")[0] for model in found}) > 5
    assert named["items"]


@pytest.mark.parametrize(
    "arguments",
    [["--gated", "no/such"], ["--corrupt", "no.safetensors"], ["--workflow", "no-such.json"]],
)
def test_the_command_refuses_what_it_cannot_do(arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "demo", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 2
    assert arguments[1] in result.stderr


# A stand-in for the command line: downloads what `fetch` names, honestly or not, and states what is missing.
STAND_IN = """
import json, os, pathlib, sys, urllib.request
workflow, root = sys.argv[2], pathlib.Path(sys.argv[sys.argv.index("--comfyui-root") + 1])
assert os.environ["CMR_HF_TOKEN"] == ""
assert not {"HF_TOKEN", "CMR_LOG_LEVEL", "https_proxy"} & set(os.environ)
sys.path.insert(0, os.getcwd())
from demo.links import load_workflow, model_links
missing = False
for link in model_links(load_workflow(workflow)):
    place = root / "models" / link.directory / link.name
    if "--download" in sys.argv and link.active and os.environ.get("SKIP") not in (link.directory, "all"):
        url = link.url.replace("https://huggingface.co", os.environ["CMR_HF_ENDPOINT"])
        content = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url).read()
        place.write_bytes(content[::-1] if link.directory == os.environ.get("SPOIL") else content)
    missing |= link.active and not place.exists()
if "STRAY" in os.environ:
    (root / "models" / "vae" / "half.safetensors").touch()
sys.exit(int(missing))
"""


@pytest.mark.parametrize(
    ("variable", "value", "status", "said"),
    [
        (None, "", 0, ["verified, SHA-256", "not needed: bypassed", "The demonstration went as it should."]),
        ("SKIP", "vae", 1, ["demo failed: vae/lumen_image_vae.safetensors: missing", "ended with status 1"]),
        ("SPOIL", "loras", 1, ["demo failed: loras/lumen_watercolor_v1.safetensors: wrong content"]),
        ("STRAY", "1", 1, ["half.safetensors: nobody asked for this file"]),
    ],
)
def test_the_demonstration_checks_what_the_command_line_did(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str | None,
    value: str,
    status: int,
    said: list[str],
) -> None:
    stand_in = tmp_path / "stand_in.py"
    stand_in.write_text(STAND_IN, encoding="utf-8")
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
    monkeypatch.setenv("CMR_LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    if variable:
        monkeypatch.setenv(variable, value)
    command = [sys.executable, str(stand_in)]
    result = demo_run.demonstrate(tmp_path / "ComfyUI", command=command, megabytes_per_second=1000)
    output = capsys.readouterr().out
    assert result == status
    for text in said:
        assert text in output
    if status:
        assert "The demonstration went as it should." not in output


def test_a_second_demonstration_finds_what_the_first_one_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in = tmp_path / "stand_in.py"
    stand_in.write_text(STAND_IN, encoding="utf-8")
    command = [sys.executable, str(stand_in)]
    assert demo_run.demonstrate(tmp_path / "ComfyUI", command=command, megabytes_per_second=1000) == 0
    assert "kept from an earlier run" not in capsys.readouterr().out
    monkeypatch.setenv("SKIP", "all")
    assert demo_run.demonstrate(tmp_path / "ComfyUI", command=command, megabytes_per_second=1000) == 0
    assert "kept from an earlier run" in capsys.readouterr().out

"""Every command, run as a process against the embedded hub."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from demo.hub import Hub, running_hub
from demo.world import World
from tests.graphs import metadata, node, widget, workflow
from tests.secret_search import has_secret

CHECKOUT = Path(__file__).resolve().parent.parent
EXAMPLE = CHECKOUT / "demo" / "workflows" / "text-to-image.json"
URL = "https://huggingface.co/o/r/resolve/main/x.safetensors"


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub(World.for_workflow(EXAMPLE)) as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "ComfyUI" / "models").mkdir(parents=True)
    return tmp_path / "ComfyUI"


def environment(hub: Hub | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CMR_", "HF_"))}
    return {**kept, "CMR_DISK_RESERVE": "1MB", **(hub.environment() if hub else {})}


def run(
    *arguments: str, hub: Hub | None = None, stdin: str = "", **extra: str
) -> subprocess.CompletedProcess[str]:
    outcome = subprocess.run(
        [sys.executable, "-m", "resolver", *arguments],
        cwd=CHECKOUT,
        env={**environment(hub), **extra},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not has_secret(outcome.stdout + outcome.stderr), "no token is ever shown"
    return outcome


def lines(outcome: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in outcome.stdout.splitlines()]


def test_analyze_lists_models_and_says_what_cannot_be_read(root: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("nope")
    outcome = run("analyze", str(EXAMPLE), str(tmp_path / "bad.json"), "--json", "--comfyui-root", str(root))
    good, bad = lines(outcome)
    assert outcome.returncode == 2
    assert (good["file"], good["summary"]["missing"]) == (str(EXAMPLE), 5)
    assert (bad["file"], bad["error"]["code"]) == (str(tmp_path / "bad.json"), "WORKFLOW_NOT_JSON")


def test_analyze_reads_standard_input_and_exits_with_what_it_found(root: Path) -> None:
    present = workflow(node(1, "VAELoader", ["x.safetensors"], inputs=[widget("vae_name")]))
    outcome = run("analyze", "-", "--comfyui-root", str(root), stdin=json.dumps(present))
    assert (outcome.returncode, "missing    vae/x.safetensors" in outcome.stdout) == (1, True)
    (root / "models" / "vae").mkdir()
    (root / "models" / "vae" / "x.safetensors").write_bytes(b"x")
    assert run("analyze", "-", "--comfyui-root", str(root), stdin=json.dumps(present)).returncode == 0


def test_analyze_reads_pipes(root: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(EXAMPLE.read_bytes(),), daemon=True)
    writer.start()
    outcome = run("analyze", str(pipe), "--comfyui-root", str(root), "--json")
    assert (outcome.returncode, lines(outcome)[0]["summary"]["total"] > 3) == (1, True)


def test_analyze_reads_pictures(root: Path, tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", json.dumps(workflow(node(1, "VAELoader", ["x.safetensors"]))))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a cat <lora:style:0.8>\nSteps: 20, Model hash: abcdef1234, Model: dream_v8")
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png", pnginfo=info)
    Image.new("RGB", (4, 4)).save(tmp_path / "c.png")
    files = [str(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    outcome = run("analyze", *files, "--json", "--comfyui-root", str(root))
    with_workflow, with_parameters, without = lines(outcome)
    assert [model["id"] for model in with_workflow["models"]] == ["vae/x.safetensors"]
    assert {model["id"] for model in with_parameters["models"]} == {
        "checkpoints/dream_v8.safetensors",
        "loras/style.safetensors",
    }
    assert without["error"]["code"] == "WORKFLOW_NOT_IN_FILE"
    assert outcome.returncode == 2


def test_resolve_without_download_changes_nothing(root: Path, hub: Hub) -> None:
    outcome = run("resolve", str(EXAMPLE), "--comfyui-root", str(root), "--json", hub=hub)
    assert outcome.returncode == 1
    found = lines(outcome)
    assert {resolution["state"] for resolution in found} == {"resolved"}
    assert all(resolution["candidates"][0]["size"] for resolution in found)
    assert list((root / "models").rglob("*.*")) == []
    unasked = run("resolve", str(EXAMPLE), "--comfyui-root", str(root), "--download", hub=hub)
    assert (unasked.returncode, list((root / "models").rglob("*.*"))) == (1, [])
    files = (str(EXAMPLE), str(root / "none.json"))
    unread = run("resolve", *files, "--comfyui-root", str(root), "--download", hub=hub)
    assert unread.returncode == 2, "what cannot be read weighs more than what nobody agreed to"


def test_resolve_downloads_and_a_second_run_finds_nothing_missing(root: Path, hub: Hub) -> None:
    arguments = ("resolve", str(EXAMPLE), "--comfyui-root", str(root), "--download", "--yes")
    first = run(*arguments, hub=hub)
    assert first.returncode == 0, first.stderr + first.stdout
    landed = sorted(
        path.relative_to(root / "models").as_posix() for path in (root / "models").rglob("*.safetensors")
    )
    assert len(landed) == 4
    assert not any("upscale" in path for path in landed), "the bypassed one is not fetched"
    second = run(*arguments, hub=hub)
    assert (second.returncode, second.stdout.splitlines()[-1]) == (0, "Nothing is missing.")


def test_offline_the_workflows_own_word_is_shown(root: Path) -> None:
    outcome = run("resolve", str(EXAMPLE), "--comfyui-root", str(root), "--offline", "--json")
    assert {resolution["candidates"][0]["confidence"] for resolution in lines(outcome)} == {"exact"}


def test_an_unreachable_server_is_said_once_a_model_and_nothing_hangs(root: Path) -> None:
    # A port that nothing listens on stands for a machine that is offline.
    outcome = run(
        "resolve",
        str(EXAMPLE),
        "--comfyui-root",
        str(root),
        "--json",
        CMR_HF_ENDPOINT="http://127.0.0.1:9",
        CMR_CIVITAI_ENDPOINT="http://127.0.0.1:9",
        CMR_ALLOWED_HOSTS="127.0.0.1:9",
    )
    for resolution in lines(outcome):
        assert [(error["source"], error["code"]) for error in resolution["errors"]] == [
            ("resolver", "OFFLINE")
        ]
        assert resolution["candidates"], "what the workflow says is still shown"


def test_download_takes_its_name_from_the_url_and_checks_the_hash(root: Path, hub: Hub) -> None:
    url, held = next(
        (f"https://huggingface.co/{repo.id}/resolve/main/{file.path}", file)
        for repo in World.for_workflow(EXAMPLE).repos.values()
        for file in repo.files
        if "vae" in file.path
    )
    wrong = run(
        "download", url, "--folder", "vae", "--sha256", "0" * 64, "--comfyui-root", str(root), hub=hub
    )
    assert (wrong.returncode, "HASH_MISMATCH" in wrong.stdout) == (1, True)
    right = run(
        "download", url, "--folder", "vae", "--sha256", held.sha256, "--comfyui-root", str(root), hub=hub
    )
    assert right.returncode == 0, right.stdout + right.stderr
    assert (root / "models" / "vae" / held.name).read_bytes() == held.content
    found = run("library", "find", "vae", "--folder", "vae", "--json", "--comfyui-root", str(root))
    assert [file["name"] for file in lines(found)] == [held.name]


def test_download_takes_former_folder_names_and_other_separators(root: Path) -> None:
    world = World.for_urls([URL], sizes=100_000)
    with running_hub(world) as hub:
        arguments = ("download", URL, "--folder", "unet", "--filename", "sub\\x.safetensors")
        outcome = run(*arguments, "--comfyui-root", str(root), hub=hub)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert (root / "models" / "diffusion_models" / "sub" / "x.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["analyze", "x.json"], "ROOT_MISSING"),
        (["analyze", "x.json", "--comfyui-root", "/nowhere"], "ROOT_INVALID"),
        (
            ["download", "https://huggingface.co/", "--folder", "vae", "--comfyui-root", "."],
            "FILENAME_MISSING",
        ),
        (["download", URL, "--folder", "vae", "--sha256", "x", "--comfyui-root", "."], "ARGUMENT_INVALID"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(arguments: list[str], code: str, tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "resolver", *arguments],
        cwd=tmp_path,
        env={**environment(), "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (outcome.returncode, code in outcome.stderr) == (2, True), outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_gated_model_says_what_to_do(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "w.json"
    file.write_text(
        json.dumps(
            workflow(node(1, "VAELoader", ["x.safetensors"], properties=metadata("x.safetensors", "vae")))
        )
    )
    world = World.for_urls([URL], gated={"o/r": "auto"})
    with running_hub(world) as gated:
        outcome = run("resolve", str(file), "--download", "--yes", "--comfyui-root", str(root), hub=gated)
    assert outcome.returncode == 1
    assert "its licence must be accepted at https://huggingface.co/o/r" in outcome.stdout


def test_interrupted_it_goes_on_from_there(root: Path) -> None:
    world = World.for_workflow(EXAMPLE)
    arguments = [sys.executable, "-m", "resolver", "resolve", str(EXAMPLE), "--download", "--yes"]
    with running_hub(world, bytes_per_second=2_000_000) as slow:
        process = subprocess.Popen(
            [*arguments, "--comfyui-root", str(root)],
            cwd=CHECKOUT,
            env=environment(slow),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell that runs the tests in the background has its children ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            parts = [path for path in root.rglob("*.part") if path.stat().st_blocks * 512 > 1_000_000]
            if parts:
                break
            time.sleep(0.05)
        else:
            pytest.fail("no part file grew")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    with running_hub(world) as fast:
        again = run(*arguments[3:], "--comfyui-root", str(root), hub=fast)
        assert again.returncode == 0, again.stdout + again.stderr
        resumed = [entry for entry in fast.log.entries("storage") if "Range" in entry.headers]
    assert resumed, "it asked for the rest only"


def test_serve_answers_and_stops_cleanly(root: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "resolver", "serve", "--port", "0", "--comfyui-root", str(root)],
        cwd=CHECKOUT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        for path, kind in (
            ("/", "html"),
            ("/i18n", "json"),
            ("/model-resolver/health", "json"),
            ("/model-resolver/web/js/model_resolver.js", "javascript"),
        ):
            with urllib.request.urlopen(url + path, timeout=10) as answer:
                assert answer.headers.get_content_subtype() == kind, path
                assert answer.headers["X-Content-Type-Options"] == "nosniff", path
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in errors) == (0, False), errors


def test_serve_refuses_other_machines_without_a_token(root: Path) -> None:
    outcome = run("serve", "--host", "0.0.0.0", "--port", "0", "--comfyui-root", str(root))
    assert (outcome.returncode, "TOKEN_MISSING" in outcome.stderr) == (2, True)

"""The Ensure Models node, run by a prompt in the test host."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.hub import Hub, running_hub
from demo.world import World
from tests.comfy_host.driver import ComfyHostProcess

CHECKOUT = Path(__file__).resolve().parent.parent
URL = "https://huggingface.co/o/r/resolve/main/x.safetensors"
WORLD = World.for_urls([URL], sizes=500_000)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub(WORLD) as running:
        yield running


@pytest.fixture
def comfyui(tmp_path: Path, hub: Hub) -> Iterator[ComfyHostProcess]:
    environment = {**hub.environment(), "CMR_DISK_RESERVE": "1MB"}
    with ComfyHostProcess(tmp_path, packs={"resolver": CHECKOUT}, env=environment) as host:
        yield host


def run(host: ComfyHostProcess, models: str) -> dict[str, Any]:
    """Queue a prompt of just this node, and return its history once it has ended."""
    prompt = {"1": {"class_type": "ModelResolverEnsureModels", "inputs": {"models": models}}}
    status, answer = host.post("/api/prompt", {"prompt": prompt})
    assert (status, answer["node_errors"]) == (200, {})
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        history = host.get(f"/api/history/{answer['prompt_id']}")[1]
        if history:
            return dict(history[answer["prompt_id"]])
        time.sleep(0.1)
    pytest.fail("the prompt never ended")


def test_it_fetches_what_is_missing_and_nothing_else(comfyui: ComfyHostProcess, hub: Hub) -> None:
    held = WORLD.file_at(URL)
    assert held is not None
    lines = f"# what this workflow needs\n\nunet/style/x.safetensors {URL} {held.sha256}\n"
    assert run(comfyui, lines)["status"]["status_str"] == "success"
    landed = comfyui.model_path("diffusion_models/style/x.safetensors")
    assert landed.read_bytes() == held.content
    asked = len(hub.log.entries())
    assert run(comfyui, lines)["status"]["status_str"] == "success"
    assert len(hub.log.entries()) == asked, "it is here already, so nobody is asked"
    landed.unlink()
    assert run(comfyui, lines)["status"]["status_str"] == "success"
    assert landed.read_bytes() == held.content, "a file that went away is fetched again"


def test_a_file_of_another_content_than_its_line_states_is_told_and_stays(comfyui: ComfyHostProcess) -> None:
    held = WORLD.file_at(URL)
    assert held is not None
    there = comfyui.model_path("loras/other.safetensors")
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_bytes(b"x" * 500_000)
    history = run(comfyui, f"loras/other.safetensors {URL} {held.sha256}")
    assert history["status"]["status_str"] == "error"
    assert "loras/other.safetensors: " in str(history["status"]["messages"])
    assert there.read_bytes() == b"x" * 500_000
    unstated = run(comfyui, f"loras/other.safetensors {URL}")
    assert unstated["status"]["status_str"] == "success", "no hash, no doubt"
    there.unlink()


def lock(sha256: str) -> str:
    place = {"folder": "vae", "name": "x.safetensors", "size": 500_000}
    model = {**place, "sha256": sha256, "urls": [URL], "licence": None}
    return json.dumps({"version": 1, "workflows": [], "models": [model]})


def test_it_takes_a_lock_file_and_does_not_take_another_file_for_the_locked_one(
    comfyui: ComfyHostProcess,
) -> None:
    held = WORLD.file_at(URL)
    assert held is not None
    assert run(comfyui, lock(held.sha256))["status"]["status_str"] == "success"
    landed = comfyui.model_path("vae/x.safetensors")
    assert landed.read_bytes() == held.content
    landed.write_bytes(b"x" * 500_000)
    history = run(comfyui, lock(held.sha256))
    assert history["status"]["status_str"] == "error"
    assert "vae/x.safetensors: " in str(history["status"]["messages"])
    assert landed.read_bytes() == b"x" * 500_000, "nothing is overwritten"


@pytest.mark.parametrize(
    ("models", "text"),
    [
        ("x.safetensors", "Line 1"),
        (f"vae/x.safetensors {URL}\nvae/y.safetensors {URL} nohash", "Line 2"),
        (f"vae/../../x.safetensors {URL}", "refused"),
        (f"vae/x.safetensors {URL} {'0' * 64}", "vae/x.safetensors: "),
        (
            f"vae/y.safetensors {URL}\nvae/x.safetensors https://evil.example/x.safetensors",
            "vae/x.safetensors: evil.example is not among",
        ),
        ('{"version": 1, "workflows": [], "models": [{}]}', "models.0"),
    ],
)
def test_it_says_what_is_wrong(comfyui: ComfyHostProcess, models: str, text: str) -> None:
    history = run(comfyui, models)
    assert history["status"]["status_str"] == "error"
    told = dict(history["status"]["messages"])["execution_error"]
    assert text in told["exception_message"]
    assert told["exception_type"] == "RuntimeError", "ComfyUI shows it: no class of ours, with the path to us"
    assert not comfyui.model_path("vae/x.safetensors").exists()

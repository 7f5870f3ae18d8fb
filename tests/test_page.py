"""The page of the program's own server, in a browser: a workflow file is dropped or chosen, and resolved."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from playwright.sync_api import Page, expect

from demo.hub import running_hub
from demo.options import DEMO_TOKEN
from demo.world import World
from tests.comfy_host.driver import free_port, read_template
from tests.editor_graphs import MISSING, TEMPLATE
from tests.editor_page import CHECKOUT, RESERVE, part, row, screenshot, wait_until


@contextmanager
def serving(root: Path, world: World) -> Iterator[str]:
    """The server as a child process on an empty tree of models, and the demo hub."""
    for folder in ("checkpoints", "loras", "diffusion_models", "text_encoders", "vae"):
        (root / "models" / folder).mkdir(parents=True)
    port = free_port()
    with running_hub(world) as hub:
        process = subprocess.Popen(
            [sys.executable, "-m", "resolver", "serve", "--comfyui-root", str(root), "--port", str(port)],
            cwd=CHECKOUT,
            env={**os.environ, **hub.environment(), **RESERVE, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/model-resolver/health", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with serving(tmp_path / "comfyui", World.for_workflow(read_template(TEMPLATE))) as address:
        yield address


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "it has ended"
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail("it does not answer")


def png(workflow: object | None) -> bytes:
    info = PngImagePlugin.PngInfo()
    if workflow is not None:
        info.add_text("workflow", json.dumps(workflow))
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


@pytest.mark.parametrize("name", ["art.png", "w.json"])
def test_a_chosen_file_is_resolved_with_what_its_workflow_says(
    page: Page, url: str, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    template = read_template(TEMPLATE)
    file.write_bytes(png(template) if name.endswith(".png") else json.dumps(template).encode())
    page.goto(url)
    part(page, "file").set_input_files(file)
    for model in MISSING:
        confidence = row(page, model).locator("[data-testid='model-resolver-confidence']")
        expect(confidence).to_have_text("Exact")
    expect(part(page, "drop")).to_contain_text(name)
    screenshot(page, f"page-{file.suffix[1:]}")

    file.unlink()  # what was chosen is kept, whatever becomes of the file
    with page.expect_response("**/model-resolver/analyze?afresh=true") as answer:
        part(page, "rescan").click()
    assert answer.value.ok
    expect(row(page, "vae/ae.safetensors")).to_be_visible()


def test_a_picture_without_a_workflow_says_so_and_the_next_file_is_taken(page: Page, url: str) -> None:
    page.goto(url)
    chooser = part(page, "file")
    chooser.set_input_files({"name": "photo.png", "mimeType": "image/png", "buffer": png(None)})
    expect(part(page, "unreadable")).to_contain_text("WORKFLOW_NOT_IN_FILE")
    screenshot(page, "page-unreadable")
    content = json.dumps(read_template(TEMPLATE)).encode()
    chooser.set_input_files({"name": "w.json", "mimeType": "application/json", "buffer": content})
    expect(row(page, "vae/ae.safetensors")).to_be_visible()
    expect(part(page, "unreadable")).to_have_count(0)


def test_a_gated_model_is_opened_with_a_token_on_the_page_too(page: Page, tmp_path: Path) -> None:
    world = World.for_workflow(read_template(TEMPLATE)).with_gated(["Comfy-Org/z_image_turbo"])
    root = tmp_path / "comfyui"
    with serving(root, world) as address:
        page.goto(address)
        content = json.dumps(read_template(TEMPLATE)).encode()
        part(page, "file").set_input_files(
            {"name": "w.json", "mimeType": "application/json", "buffer": content}
        )
        vae = row(page, "vae/ae.safetensors")
        expect(vae.locator("[data-testid='model-resolver-licence']")).to_be_visible()
        screenshot(page, "page-gated")
        vae.locator("[data-testid='model-resolver-token-input']").fill(DEMO_TOKEN)
        vae.locator("[data-testid='model-resolver-token-give']").click()
        download = vae.locator("[data-testid='model-resolver-download-one']")
        expect(download).to_be_visible()
        part(page, "tokens-toggle").click()
        screenshot(page, "page-gated-opened")
        download.click()
        wait_until(page, (root / "models" / "vae" / "ae.safetensors").is_file)

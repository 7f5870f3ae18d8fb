"""The page of our own server where a token is set: it asks for it, and everything works with it."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from demo.hub import running_hub
from demo.world import World
from resolver.http.table import PREFIX
from tests.editor_page import part, row, screenshot
from tests.graphs import metadata, node, workflow
from tests.standalone_server import Server, serving

TOKEN = "secret-for-callers"
NAME = "wanted.safetensors"
URL = f"https://huggingface.co/o/r/resolve/main/{NAME}"
DRAWN = json.dumps(workflow(node(1, "VAELoader", [NAME], properties=metadata(NAME, "vae", url=URL)))).encode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with (
        running_hub(World.for_urls([URL], sizes=500_000)) as hub,
        serving(tmp_path / "ComfyUI", hub, token=TOKEN) as running,
    ):
        yield running


def sign_in(page: Page, token: str) -> None:
    page.locator("input[name=token]").fill(token)
    page.locator("form.token button").click()


def test_it_asks_for_the_token_and_then_follows_what_happens(page: Page, server: Server) -> None:
    page.goto(server.url)
    field = page.locator("input[name=token]")
    expect(field).to_have_attribute("aria-invalid", "false")
    expect(part(page, "drop")).to_have_count(0)
    sign_in(page, "wrong")
    expect(field).to_have_attribute("aria-invalid", "true")
    screenshot(page, "page-token-wrong")

    with page.expect_request(f"**{PREFIX}/events") as events:
        sign_in(page, TOKEN)
    assert events.value.headers["authorization"] == f"Bearer {TOKEN}"
    expect(field).to_have_count(0)
    part(page, "file").set_input_files({"name": "w.json", "mimeType": "application/json", "buffer": DRAWN})
    expect(row(page, f"vae/{NAME}")).to_be_visible()
    # Somebody else begins the download: only the stream of events tells the page.
    item = {"folder": "vae", "filename": NAME, "url": URL}
    assert server.ask("POST", f"{PREFIX}/downloads", {"items": [item]})[0] == 202
    expect(page.get_by_text("All models are here")).to_be_visible()

    assert TOKEN not in page.url
    assert TOKEN not in page.evaluate("JSON.stringify({...localStorage}) + document.cookie"), (
        "it is gone with the tab"
    )
    page.reload()
    expect(part(page, "drop")).to_be_visible()
    expect(field).to_have_count(0)


def test_hashing_makes_the_page_look_again_only_at_its_end(
    page: Page, server: Server, tmp_path: Path
) -> None:
    endless = tmp_path / "ComfyUI/models/vae/endless.safetensors"
    endless.parent.mkdir()
    endless.write_bytes(b"")
    os.truncate(endless, 1 << 40)  # more than can be read during the test
    page.goto(server.url)
    sign_in(page, TOKEN)
    part(page, "file").set_input_files({"name": "w.json", "mimeType": "application/json", "buffer": DRAWN})
    expect(row(page, f"vae/{NAME}")).to_be_visible()
    page.wait_for_load_state("load")
    looked: list[str] = []
    page.on("request", lambda request: looked.append(request.url) if "/analyze" in request.url else None)
    told = urllib.request.Request(
        f"{server.url}{PREFIX}/events", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(told, timeout=30) as events:
        server.ask("POST", f"{PREFIX}/library/hash", {})
        progress = (line for line in events if b'"hashing"' in line)
        assert all(b'"idle"' not in next(progress) for _ in range(3))
    # It waits for quiet before it looks, and there is none while hashing goes on.
    server.ask("POST", f"{PREFIX}/library/hash", {"action": "pause"})
    page.wait_for_timeout(1500)
    assert looked == []
    with page.expect_request("**/analyze*"):
        server.ask("POST", f"{PREFIX}/library/hash", {"action": "cancel"})


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [380, 1280])
def test_the_form_fits_and_can_be_read(
    page: Page, server: Server, theme: str, language: str, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    page.add_init_script(
        f"localStorage['model-resolver.theme'] = {theme!r};"
        f"localStorage['model-resolver.language'] = {language!r}"
    )
    page.goto(server.url)
    expect(page.locator("input[name=token]")).to_be_visible()
    expect(page.locator("form.token button")).to_have_text("Sign in" if language == "en" else "登录")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    screenshot(page, f"page-token-{theme}-{language}-{width}")

"""The panel's view of the library: reading all models once, what that finds, and the copies it shows."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from demo.hub import running_hub
from demo.world import World
from tests.comfy_host.driver import read_template
from tests.editor_graphs import TEMPLATE, wanting
from tests.editor_page import choose, part, row, screenshot, wait_until
from tests.standalone_server import Server, serving
from tests.test_page_look import AA, FAINT

HASH = "/model-resolver/library/hash"
WANTED = b"the very same bytes"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Two copies of one file, a second name of one of them, the wanted file under another name."""
    models = tmp_path / "ComfyUI" / "models"
    twin = b"twin" * 1_000_000
    for name, content in {
        "loras/style.safetensors": twin,
        "loras/old/style (1).safetensors": twin,
        "loras/mine.safetensors": WANTED,
        "vae/ae.safetensors": b"v" * 1000,
    }.items():
        path = models / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1_600_000_000, 1_600_000_000))
    os.link(models / "loras/style.safetensors", models / "loras/linked.safetensors")
    return models


@pytest.fixture
def server(tmp_path: Path, models: Path) -> Iterator[Server]:
    with (
        running_hub(World.for_workflow(read_template(TEMPLATE))) as hub,
        serving(models.parent, hub) as server,
    ):
        yield server


def endless(models: Path) -> Path:
    """A file that takes no space, and longer to read than any test."""
    path = models / "vae/endless.safetensors"
    path.write_bytes(b"")
    os.truncate(path, 1 << 40)
    return path


def test_reading_finds_the_wanted_file_under_another_name_and_the_copies(page: Page, server: Server) -> None:
    page.goto(server.url)
    choose(page, wanting(WANTED))
    wanted = row(page, "loras/theirs.safetensors")
    expect(wanted).to_have_attribute("data-state", "not_found")

    part(page, "library-toggle").click()
    # The linked one is there already under its other name.
    expect(part(page, "library-cost")).to_have_text("Not read yet4 files · 7.63\u00a0MB")
    part(page, "library-start").click()
    expect(part(page, "library-known")).to_be_visible()

    expect(wanted).to_contain_text("The same file is here under another name:")
    expect(wanted).to_contain_text("loras/mine.safetensors")
    copies = part(page, "duplicates")
    expect(copies).to_contain_text("1 file is here more than once: 3.81\u00a0MB")
    expect(part(page, "duplicate")).to_have_count(1)
    expect(part(page, "duplicate")).to_contain_text("2 copies of 3.81\u00a0MB")
    expect(part(page, "duplicate")).to_contain_text("3 names, links among them")
    paths = part(page, "duplicate").locator(".path")
    assert [Path(text).name for text in paths.all_inner_texts()] == [
        "linked.safetensors",
        "style (1).safetensors",
        "style.safetensors",
    ]
    assert all(Path(text).is_file() for text in paths.all_inner_texts()), "each can be copied and used"
    screenshot(page, "page-library-duplicates")


def test_a_long_run_is_followed_paused_and_ended_and_finds_on_its_way(
    page: Page, server: Server, models: Path
) -> None:
    endless(models)
    page.goto(server.url)
    choose(page, wanting(WANTED))
    wanted = row(page, "loras/theirs.safetensors")
    expect(wanted).to_have_attribute("data-state", "not_found")
    part(page, "library-toggle").click()
    part(page, "library-start").click()
    progress = part(page, "library-progress")
    expect(progress).to_contain_text("of 5 files")
    expect(progress).to_contain_text("/ 1\u00a0TB")
    # Long before the end: what was read is looked at.
    expect(wanted).to_have_attribute("data-state", "elsewhere")
    expect(progress).to_have_attribute("data-state", "running")

    part(page, "library-pause").press("Enter")
    expect(progress).to_have_attribute("data-state", "paused")
    assert server.ask("GET", HASH)[1]["state"] == "paused"
    page.reload()
    part(page, "library-toggle").click()
    expect(progress).to_have_attribute("data-state", "paused")
    part(page, "library-resume").press("Enter")
    expect(progress).to_have_attribute("data-state", "running")
    bar = part(page, "library-bar")
    expect(bar).to_have_attribute("aria-valuetext", bar_text())
    part(page, "library-cancel").press("Enter")
    expect(part(page, "library-cost")).to_contain_text("1 file · 1\u00a0TB")
    assert server.ask("GET", HASH)[1]["state"] == "idle"
    expect(page.locator("[aria-live=polite]").last).to_have_text("Reading the models has ended.")


def bar_text() -> re.Pattern[str]:
    """The same figures as are seen."""
    return re.compile(r"^\d+% · 4 of 5 files · .+ / 1\u00a0TB$")


def test_a_run_that_began_elsewhere_is_seen_in_the_folded_line(
    page: Page, server: Server, models: Path
) -> None:
    endless(models)
    page.goto(server.url)
    toggle = part(page, "library-toggle")
    expect(toggle).to_be_visible()
    server.ask("POST", HASH, {})
    expect(toggle).to_contain_text("0%")
    server.ask("POST", HASH, {"action": "cancel"})
    expect(toggle).not_to_contain_text("%")


def test_why_it_cannot_begin_is_said(page: Page, server: Server, models: Path) -> None:
    endless(models)
    page.add_init_script("localStorage['model-resolver.language'] = 'zh'")
    page.goto(server.url)
    part(page, "library-toggle").click()
    expect(part(page, "library-start")).to_be_visible()
    page.route("**/events", lambda route: route.abort())  # what another began is not heard of
    server.ask("POST", HASH, {"folder": "vae"})
    page.evaluate("document.querySelector('model-resolver-panel').store.library.state.hashing = null")
    page.evaluate("document.querySelector('model-resolver-panel').store.library.control('start')")
    expect(part(page, "library-problem")).to_have_attribute("data-code", "HASHING_RUNS")
    expect(part(page, "library-problem")).to_contain_text("其他程序正在读取模型")


def test_all_files_are_counted_though_the_server_lists_fewer(
    page: Page, server: Server, models: Path
) -> None:
    for number in range(1000):
        (models / f"vae/{number}.safetensors").write_bytes(b"v")
    page.goto(server.url)
    part(page, "library-toggle").click()
    expect(part(page, "library-cost")).to_contain_text("1004 files")


def test_a_run_of_one_folder_names_it_and_what_it_leaves_is_told(
    page: Page, server: Server, models: Path
) -> None:
    long = endless(models)
    page.goto(server.url)
    part(page, "library-toggle").click()
    expect(part(page, "library-cost")).to_contain_text("5 files · 1\u00a0TB")
    server.ask("POST", HASH, {"folder": "vae"})
    expect(part(page, "library-folder")).to_have_text("Only the folder vae")
    expect(part(page, "library-progress")).to_contain_text("1 of 2 files")
    page.reload()
    part(page, "library-toggle").click()
    expect(part(page, "library-folder")).to_have_text("Only the folder vae")
    long.unlink()
    server.ask("POST", HASH, {"action": "cancel"})
    expect(part(page, "library-cost")).to_contain_text("3 files · 7.63\u00a0MB")
    endless(models)
    part(page, "library-start").click()
    expect(part(page, "library-progress")).to_contain_text("3 of 4 files")
    expect(part(page, "library-folder")).to_have_count(0)


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_it_fits_and_can_be_read(
    browser: Browser, server: Server, models: Path, theme: Any, language: str
) -> None:
    long = endless(models)
    page = browser.new_page(color_scheme=theme)
    page.add_init_script(f"localStorage['model-resolver.language'] = {language!r}")
    page.goto(server.url)
    part(page, "library-toggle").click()

    def look(state: str) -> None:
        for width in (320, 390, 1100):
            page.set_viewport_size({"width": width, "height": 900})
            screenshot(page, f"page-library-{theme}-{language}-{width}-{state}")
            assert page.evaluate(FAINT, AA) == []
            assert page.evaluate("document.documentElement.scrollWidth") == width, "nothing sticks out"

    expect(part(page, "library-start")).to_be_visible()
    look("begin")
    server.ask("POST", HASH, {"folder": "vae"})
    wait_until(page, lambda: server.ask("GET", HASH)[1]["done"] == 1)
    expect(part(page, "library-folder")).to_contain_text("vae")
    look("folder")
    server.ask("POST", HASH, {"action": "cancel"})
    part(page, "library-start").click()
    wait_until(page, lambda: server.ask("GET", HASH)[1]["done"] == 3)
    expect(part(page, "library-progress")).to_contain_text("3")
    look("running")
    part(page, "library-pause").click()
    expect(part(page, "library-progress")).to_have_attribute("data-state", "paused")
    look("paused")
    long.unlink()
    part(page, "library-cancel").click()
    expect(part(page, "duplicate")).to_be_visible()
    look("copies")
    page.close()

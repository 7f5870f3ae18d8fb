"""What the page says and offers when nothing is missing, when a source fails, and of whose file it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from demo.faults import Fault
from demo.hub import running_hub
from tests.editor_graphs import chain, one_loader
from tests.editor_page import choose, part, row, screenshot
from tests.standalone_server import Server, serving
from tests.test_editor_sources import GULL, WORLD


@pytest.fixture
def models(tmp_path: Path) -> Path:
    models = tmp_path / "ComfyUI" / "models"
    for name in ("checkpoints/base.safetensors", "loras/here.safetensors"):
        (models / name).parent.mkdir(parents=True)
        (models / name).write_bytes(b"weights")
    return models


@pytest.fixture
def server(models: Path) -> Iterator[Server]:
    with running_hub(WORLD) as hub, serving(models.parent, hub) as server:
        yield server


def test_the_page_looks_again_when_all_is_here_too(page: Page, server: Server, models: Path) -> None:
    page.goto(server.url)
    choose(page, chain("here.safetensors"))
    expect(part(page, "all-here")).to_be_visible()
    screenshot(page, "page-all-here")
    (models / "loras/here.safetensors").unlink()
    part(page, "rescan").click()
    expect(row(page, "loras/here.safetensors")).to_have_attribute("data-state", "not_found")
    expect(part(page, "rescan")).to_have_count(1)


def test_the_page_looks_again_when_no_model_is_needed_too(page: Page, server: Server) -> None:
    page.goto(server.url)
    choose(page, {**chain(), "nodes": [], "links": []})
    expect(part(page, "no-models")).to_be_visible()
    with page.expect_response("**/model-resolver/analyze?afresh=true"):
        part(page, "rescan").click()


def test_no_button_is_left_with_nothing_to_do_when_all_that_a_run_needs_is_here(
    page: Page, server: Server
) -> None:
    workflow: Any = chain("here.safetensors", GULL)
    workflow["nodes"][2]["mode"] = 4  # bypassed
    page.goto(server.url)
    choose(page, workflow)
    expect(part(page, "all-here")).to_be_visible()
    part(page, "inactive").get_by_role("button").first.click()
    unused = row(page, f"loras/{GULL}")
    unused.locator("[data-testid='model-resolver-search-one']").click()
    box = unused.locator("[data-testid='model-resolver-select']")
    expect(box).not_to_be_checked()
    screenshot(page, "page-all-here-unused")
    expect(part(page, "download-all")).to_have_count(0)
    box.check()
    expect(part(page, "download-all")).to_contain_text("Download 1 model")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("作者/模型", "作者/模型"),
        ("a%20b/c", "a b/c"),
        ("a%E2%80%AEb/c", "a%E2%80%AEb/c"),  # would turn round what follows
        ("a%2Fb/c", "a%2Fb/c"),  # another repository
        ("a%E4%B8/c", "a%E4%B8/c"),  # no text
        ("datasets/lark/weights", "lark/weights"),
        ("spaces/lark/demo", "lark/demo"),
    ],
)
def test_an_owner_is_shown_as_people_write_it(page: Page, server: Server, path: str, shown: str) -> None:
    page.goto(server.url)
    choose(page, one_loader("nobody-has-it.safetensors"))
    mine = row(page, "loras/nobody-has-it.safetensors")
    expect(mine).to_have_attribute("data-state", "not_found")
    url = f"https://huggingface.co/{path}/resolve/main/x.safetensors"
    mine.locator("[data-testid='model-resolver-url']").fill(url)
    page.keyboard.press("Enter")
    expect(mine.locator("[data-testid='model-resolver-source']")).to_have_text(shown)


@pytest.mark.parametrize("repository", ["lark/weights", "datasets/lark/weights", "spaces/lark/demo"])
def test_the_page_of_a_file_is_taken_for_the_file(page: Page, server: Server, repository: str) -> None:
    page.goto(server.url)
    choose(page, one_loader("nobody-has-it.safetensors"))
    mine = row(page, "loras/nobody-has-it.safetensors")
    expect(mine).to_have_attribute("data-state", "not_found")
    site = f"https://huggingface.co/{repository}"
    mine.locator("[data-testid='model-resolver-url']").fill(f"{site}/blob/main/x.safetensors")
    page.keyboard.press("Enter")
    source = mine.locator("[data-testid='model-resolver-source']")
    expect(source).to_have_attribute("href", f"{site}/resolve/main/x.safetensors")


def test_a_source_that_fails_is_told_of_in_the_language_of_the_panel(page: Page, models: Path) -> None:
    faults = {"huggingface.*": Fault("status", status=503)}
    with running_hub(WORLD, faults=faults) as hub, serving(models.parent, hub) as server:
        page.add_init_script("localStorage['model-resolver.language'] = 'zh'")
        page.goto(server.url)
        choose(page, chain(GULL))
        mine = row(page, f"loras/{GULL}")
        expect(mine).to_have_attribute("data-state", "not_found")
        mine.locator("[data-testid='model-resolver-toggle']").click()
        error = mine.locator("[data-testid='model-resolver-source-error'][data-code=SERVER_ERROR]").first
        expect(error).to_contain_text("Hugging Face：对方服务器出错，请稍后重试。")
        screenshot(page, "page-source-error-zh")

"""The library's view in the editor's sidebar, and what the editor itself tells while no panel is open."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from demo.hub import running_hub
from tests.comfy_host.driver import load_workflow, open_editor, set_locale, set_theme
from tests.editor_graphs import one_loader, wanting
from tests.editor_page import expect_values, open_panel, part, row, screenshot, tab
from tests.test_editor_sources import WORLD, host_for
from tests.test_page_look import download


def test_reading_the_models_leads_to_the_node_naming_what_is_here(page: Page, tmp_path: Path) -> None:
    content = b"the very same bytes"
    with running_hub(WORLD) as hub, host_for(tmp_path, hub.environment()) as host:
        host.add_model("loras/renamed/mine.safetensors", content)
        open_panel(page, host, wanting(content))
        wanted = row(page, "loras/theirs.safetensors")
        expect(wanted).to_have_attribute("data-state", "not_found")
        expect(tab(page)).to_have_text("1")

        toggle = part(page, "library-toggle")
        toggle.focus()
        page.keyboard.press("Enter")
        expect(part(page, "library-what")).to_contain_text("Reads all models once")
        page.keyboard.press("Tab")
        expect(part(page, "library-start")).to_be_focused()
        page.keyboard.press("Enter")
        expect(part(page, "library-known")).to_be_visible()
        expect(wanted).to_contain_text("The same file is here under another name:")
        screenshot(page, "editor-library")
        wanted.locator("[data-testid='model-resolver-relink']").click()
        expect_values(page, 2, ["renamed/mine.safetensors", 1])
        expect(tab(page)).to_have_text("")


def test_a_failure_that_no_panel_shows_is_told_in_the_language_of_the_editor(
    page: Page, tmp_path: Path
) -> None:
    with running_hub(WORLD) as hub, host_for(tmp_path, hub.environment()) as host:
        open_editor(page, host.url)
        load_workflow(page, one_loader("theirs.safetensors"))
        set_theme(page, "light")
        set_locale(page, "zh")
        error = {"code": "HASH_MISMATCH", "message": "SHA-256 is 12, wanted 34"}
        for told in (
            download("active", "loras/theirs.safetensors"),
            download("failed", "loras/theirs.safetensors", error=error),
        ):
            page.evaluate("told => window.app.api.dispatchCustomEvent('model-resolver.download', told)", told)
        expect(page.get_by_text("无法下载 theirs.safetensors", exact=True)).to_be_visible()
        expect(page.get_by_text("内容与期望的不一致，请选择其他来源。", exact=True)).to_be_visible()
        screenshot(page, "editor-toast-zh")

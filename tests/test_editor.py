"""The whole way in the real frontend: red nodes, one button, the files arrive, the red goes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from demo.hub import running_hub
from demo.world import World
from tests.comfy_host.driver import (
    ComfyHostProcess,
    open_editor,
    open_template,
    read_template,
    set_locale,
    set_setting,
    set_theme,
    watch,
)
from tests.editor_graphs import MISSING, TEMPLATE
from tests.editor_page import CHECKOUT, OUTLINED, RESERVE, part, row, screenshot, tab, wait_until

STORES = "document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia._s"
"""In the page: what the editor keeps, by name."""

DEFINED = f"() => Object.keys({STORES}.get('nodeDef').nodeDefsByName)"
"""A function of the page: the node types that the editor knows. 1.45 warns at Run of all others."""


@pytest.fixture(scope="module")
def world() -> World:
    return World.for_workflow(read_template(TEMPLATE))


def press_resolve(page: Page) -> None:
    """The button in the action bar, as a user finds it."""
    page.get_by_role("button", name="Resolve missing models").filter(has_text="Models").click()
    expect(part(page, "row").first).to_be_visible()


def test_a_template_goes_from_red_to_runnable(page: Page, world: World, tmp_path: Path) -> None:
    with (
        running_hub(world, bytes_per_second=4_000_000) as hub,
        ComfyHostProcess(
            tmp_path, packs={"model-resolver": CHECKOUT}, env={**hub.environment(), **RESERVE}
        ) as host,
    ):
        seen = watch(page)
        open_editor(page, host.url)
        set_theme(page, "dark")
        open_template(page, TEMPLATE)
        page.wait_for_function(f"({OUTLINED})().length >= 3")
        defined = set(page.evaluate(DEFINED))
        badge = tab(page)
        expect(badge).to_have_text("4")

        press_resolve(page)
        for model in MISSING:
            expect(row(page, model)).to_be_visible()
            expect(row(page, model).locator("[data-testid='model-resolver-confidence']")).to_be_visible()
        button = part(page, "download-all")
        expect(button).to_contain_text("4")
        expect(button).to_be_enabled()
        screenshot(page, "editor-found-dark")
        set_theme(page, "light")
        screenshot(page, "editor-found-light")
        set_theme(page, "dark")

        button.click()
        expect(part(page, "progress").first).to_be_visible()
        screenshot(page, "editor-downloading-dark")
        for model in MISSING:
            held = next(file for repo in world.repos.values() for file in repo.files if file.name in model)
            path = host.model_path(model)
            wait_until(page, path.is_file)
            assert path.read_bytes() == held.content

        page.wait_for_function(f"({OUTLINED})().length === 0")
        expect(badge).to_have_text("")
        expect(page.get_by_text("All models are here")).to_be_visible()
        native = page.evaluate(f"() => {STORES}.get('missingModel').missingModelCandidates")
        assert not native, "ComfyUI's own panel has nothing left to complain of"
        assert defined - set(page.evaluate(DEFINED)) == set(), "nor has its Run button, of subgraphs"
        expect(page.get_by_test_id("queue-button").locator("i")).to_have_class(re.compile("play"))
        screenshot(page, "editor-done-dark")
        status, answer = host.post("/api/prompt", {"prompt": current(page)})
        assert (status, answer["node_errors"]) == (200, {})
        assert [error for error in seen.errors if "model-resolver" in error.lower()] == []


def current(page: Page) -> object:
    return page.evaluate("async () => (await window.app.graphToPrompt()).output")


GATED = "tarn59/pixel_art_style_lora_z_image_turbo"
LORA = "loras/pixel_art_style_z_image_turbo.safetensors"
VAE = "vae/ae.safetensors"


def test_one_gated_and_one_corrupt_file_say_what_to_do(page: Page, tmp_path: Path) -> None:
    world = World.for_workflow(read_template(TEMPLATE), gated={GATED: "auto"})
    corrupt = {"ae.safetensors"}
    with (
        running_hub(world, corrupt=corrupt) as hub,
        ComfyHostProcess(
            tmp_path, packs={"model-resolver": CHECKOUT}, env={**hub.environment(), **RESERVE}
        ) as host,
    ):
        open_editor(page, host.url)
        open_template(page, TEMPLATE)
        press_resolve(page)

        gated = row(page, LORA)
        licence = gated.locator("[data-testid='model-resolver-licence']")
        expect(licence).to_have_attribute("href", f"https://huggingface.co/{GATED}")
        expect(gated.locator("[data-testid='model-resolver-token-input']")).to_be_visible()

        button = part(page, "download-all")
        expect(button).to_contain_text("3")
        button.click()
        problem = row(page, VAE).locator("[data-testid='model-resolver-problem']")
        expect(problem).to_contain_text("SHA-256")
        assert not host.model_path(VAE).exists(), "a wrong file never gets the name"
        wait_until(page, host.model_path("text_encoders/qwen_3_4b.safetensors").is_file)
        screenshot(page, "editor-gated-corrupt")

        corrupt.clear()  # the server has mended it
        row(page, VAE).locator("[data-testid='model-resolver-retry']").click()
        wait_until(page, host.model_path(VAE).is_file)
        expect(tab(page)).to_have_text("1")
        # Only the node of the gated one is still outlined.
        page.wait_for_function(f"JSON.stringify(({OUTLINED})()) === '[\"62\"]'")


def test_it_speaks_chinese_and_is_narrow(page: Page, world: World, tmp_path: Path) -> None:
    with (
        running_hub(world) as hub,
        ComfyHostProcess(
            tmp_path, packs={"model-resolver": CHECKOUT}, env={**hub.environment(), **RESERVE}
        ) as host,
    ):
        open_editor(page, host.url)
        set_locale(page, "zh")
        set_setting(page, "Comfy.ColorPalette", "light")
        open_template(page, TEMPLATE)
        page.evaluate("window.app.extensionManager.sidebarTab.toggleSidebarTab('model-resolver')")
        expect(part(page, "row").first).to_be_visible()
        expect(part(page, "download-all")).to_contain_text("下载")
        screenshot(page, "editor-found-zh-light")

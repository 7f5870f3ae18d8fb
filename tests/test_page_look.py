"""How the panel looks and behaves on the page, measured: contrast, order, and that nothing jumps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from demo.world import World
from tests.comfy_host.driver import read_template
from tests.editor_graphs import MISSING, TEMPLATE, one_loader
from tests.editor_page import choose, part, row, screenshot
from tests.test_page import serving

AA = 4.5
"""WCAG 2.2, 1.4.3: the least contrast of small text."""
GATED = "Comfy-Org/z_image_turbo"
UNET = "diffusion_models/z_image_turbo_bf16.safetensors"

FAINT = """least => {
    const pen = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
    const rgba = color => {
        pen.clearRect(0, 0, 1, 1)
        pen.fillStyle = color
        pen.fillRect(0, 0, 1, 1)
        const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data
        return [red, green, blue, alpha / 255]
    }
    const over = ([r, g, b, a], below) => [r, g, b].map((value, index) => value * a + below[index] * (1 - a))
    const parentOf = element => element.parentElement ?? element.getRootNode().host
    const ground = element => {
        const below = parentOf(element) ? ground(parentOf(element)) : [255, 255, 255]
        return over(rgba(getComputedStyle(element).backgroundColor), below)
    }
    const light = color => {
        const [r, g, b] = color.map(value => value / 255)
            .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b
    }
    const contrast = element => {
        const below = ground(element)
        const [high, low] = [light(over(rgba(getComputedStyle(element).color), below)), light(below)]
            .sort((left, right) => right - left)
        return (high + 0.05) / (low + 0.05)
    }
    const isRead = element =>
        element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) &&
        !element.closest('.visually-hidden, :disabled, [aria-hidden=true], option') &&
        [...element.childNodes].some(node => node.nodeType === 3 && node.nodeValue.trim())
    const all = root => [...root.querySelectorAll('*')]
        .flatMap(element => [element, ...(element.shadowRoot ? all(element.shadowRoot) : [])])
    return all(document.body).filter(isRead)
        .map(element => [contrast(element), `${element.className}: ${element.textContent.slice(0, 40)}`])
        .filter(([ratio]) => ratio < least)
}"""
"""A function of the page: texts whose contrast is below the least, as ``[ratio, text]``."""

TELL = """downloads => {
    const { store } = document.querySelector('model-resolver-panel')
    for (const download of downloads) store.downloads.accept(download)
}"""
"""A function of the page: what the server's events would tell of downloads."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose hub gives some of the template's models only to accounts that may have them."""
    world = World.for_workflow(read_template(TEMPLATE)).with_gated([GATED])
    with serving(tmp_path_factory.mktemp("look") / "comfyui", world) as url:
        yield url


def find(page: Page, workflow: dict[str, Any]) -> None:
    choose(page, workflow)
    expect(part(page, "row").first).to_be_visible()


def download(status: str, model: str, **about: object) -> dict[str, object]:
    """A download as the server tells of it."""
    folder, filename = model.split("/", 1)
    defaults = {"size": 10 << 30, "received": 1 << 30, "speed": 0, "eta": None, "connections": 0}
    told = {"id": model, "folder": folder, "filename": filename, "status": status, "error": None}
    return {"url": f"https://huggingface.co/{filename}", "created_at": 1, **told, **defaults, **about}


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_text_can_be_read(browser: Browser, address: str, theme: Any) -> None:
    context = browser.new_context(color_scheme=theme, viewport={"width": 390, "height": 900})
    page = context.new_page()
    page.goto(address)
    expect(part(page, "drop")).to_be_visible()
    assert page.evaluate(FAINT, AA) == []
    find(page, read_template(TEMPLATE))
    for model in MISSING:
        row(page, model).locator("[data-testid='model-resolver-confidence']").first.wait_for()
        row(page, model).locator("[data-testid='model-resolver-toggle']").click()
    part(page, "tokens-toggle").click()
    failed = download("failed", UNET, error={"code": "HASH_MISMATCH", "message": "SHA-256 is 12, wanted 34"})
    page.evaluate(TELL, [failed, download("active", "loras/other.safetensors", speed=1 << 20, eta=60)])
    expect(part(page, "problem")).to_be_visible()
    screenshot(page, f"page-look-{theme}")
    assert page.evaluate(FAINT, AA) == []
    context.close()


def test_headings_go_down_one_level_at_a_time(page: Page, address: str) -> None:
    page.goto(address)
    find(page, read_template(TEMPLATE))
    levels = page.evaluate(
        """() => [document, document.querySelector('model-resolver-panel').shadowRoot]
            .flatMap(root => [...root.querySelectorAll('h1, h2, h3, h4')])
            .map(({ localName }) => localName)"""
    )
    assert levels == ["h1", "h2", *["h3"] * 4]


@pytest.mark.parametrize("width", [320, 390, 1000])
def test_figures_that_grow_move_nothing(page: Page, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address)
    find(page, read_template(TEMPLATE))
    heights = set()
    for received, speed, eta in (
        (1 << 20, 900 << 10, 9),
        (9_999 << 20, 1_200 << 20, 5000),
        (5 << 30, 5, 86_000),
    ):
        told = download("active", UNET, received=received, speed=speed, eta=eta)
        page.evaluate(TELL, [told])
        expect(row(page, UNET)).to_have_attribute("data-state", "active")
        page.wait_for_timeout(100)
        box = row(page, UNET).bounding_box()
        assert box
        heights.add(box["height"])
    assert len(heights) == 1
    assert page.evaluate("document.documentElement.scrollWidth") == width, "nothing sticks out"


def test_a_folder_that_nothing_tells_is_asked_for(page: Page, address: str) -> None:
    page.goto(address)
    workflow = one_loader("mystery.gguf")
    workflow["nodes"][1]["type"] = "LoaderOfNoKnownPack"
    find(page, workflow)
    chooser = part(page, "folder")
    expect(chooser.locator("option:checked")).to_have_text("Choose a folder…")
    chooser.select_option("vae")
    expect(row(page, "?/mystery.gguf")).to_have_attribute("data-state", "not_found")
    expect(chooser.locator("option:checked")).to_have_text("vae")


def test_a_file_that_its_source_spoiled_leads_to_another(page: Page, address: str) -> None:
    page.goto(address)
    find(page, read_template(TEMPLATE))
    mine = row(page, UNET)
    error = {"code": "HASH_MISMATCH", "message": "SHA-256 is 12, wanted 34"}
    page.evaluate(TELL, [download("failed", UNET, error=error)])
    expect(mine.locator("[data-testid='model-resolver-problem']")).to_contain_text("Choose another source")
    expect(mine.locator("[data-testid='model-resolver-url']")).to_have_count(0)
    mine.locator("[data-testid='model-resolver-other-source']").click()
    expect(mine.locator("[data-testid='model-resolver-url']")).to_be_visible()
    mine.locator("[data-testid='model-resolver-dismiss']").click()
    expect(mine.locator("[data-testid='model-resolver-problem']")).to_have_count(0)


def test_what_is_copied_is_acknowledged(page: Page, address: str) -> None:
    page.goto(address)
    find(page, read_template(TEMPLATE))
    mine = row(page, "vae/ae.safetensors")
    mine.locator("[data-testid='model-resolver-toggle']").click()
    name = mine.locator(".copyable").filter(has_text="ae.safetensors").first
    button = name.locator("[data-testid='model-resolver-copy']")
    button.click()
    expect(button).to_have_attribute("aria-label", "Copied")
    expect(button).to_be_focused()
    field = mine.locator("[data-testid='model-resolver-url']")
    field.focus()
    page.keyboard.press("Control+v")
    expect(field).to_have_value("ae.safetensors")
    expect(button).to_have_attribute("aria-label", "Copy")


def test_the_keyboard_stays_in_its_place_when_its_button_goes(page: Page, address: str) -> None:
    page.goto(address)
    find(page, read_template(TEMPLATE))
    mine = row(page, UNET)
    error = {"code": "SERVER_ERROR", "message": "503"}
    page.evaluate(TELL, [download("failed", UNET, error=error)])
    mine.locator("[data-testid='model-resolver-other-source']").focus()
    page.keyboard.press("Enter")
    expect(mine.locator("[data-testid='model-resolver-other-source']")).to_have_count(0)
    page.keyboard.press("Tab")
    expect(mine.locator("[data-testid='model-resolver-retry']")).to_be_focused()

"""In the real frontend: files that are nearly the missing one are offered, never taken; the very same file is
known by its content, whatever its name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.comfy_host.driver import ComfyHostProcess, set_locale, set_theme
from tests.editor_graphs import chain, wanting
from tests.editor_page import (
    CHECKOUT,
    RESERVE,
    expect_values,
    open_panel,
    part,
    row,
    screenshot,
    tab,
    values,
    wait_until,
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ComfyHostProcess]:
    process = ComfyHostProcess(tmp_path / "comfy", packs={"model-resolver": CHECKOUT}, env=RESERVE)
    process.add_model("checkpoints/base.safetensors")
    process.add_model("loras/sub/x.safetensors")
    process.add_model("loras/sub/y.safetensors")
    with process:
        yield process


def test_another_precision_is_offered_and_used_only_at_a_click(page: Page, host: ComfyHostProcess) -> None:
    host.add_model("loras/sub/style_sdxl_fp8_e4m3fn.safetensors")
    host.add_model("loras/sub/grain_sdxl.safetensors")
    near = ("style_sdxl_fp16.safetensors", "grain_sdxl_fp16.safetensors")
    open_panel(page, host, chain(*near, "old/x.safetensors", "old/y.safetensors"))
    set_theme(page, "dark")
    style = row(page, "loras/style_sdxl_fp16.safetensors")
    expect(style).to_have_attribute("data-state", "not_found")
    expect(part(page, "relink-all")).to_have_text("Relink 2")
    part(page, "relink-all").click()
    expect_values(page, 5, ["sub/y.safetensors", 1])
    assert values(page)["2"] == ["style_sdxl_fp16.safetensors", 1], "not what is only like it"

    style.locator("[data-testid='model-resolver-substitutes-hint']").click()
    offer = style.locator("[data-testid='model-resolver-substitute']")
    expect(offer).to_have_count(1)
    expect(offer).to_contain_text("sub/style_sdxl_fp8_e4m3fn.safetensors")
    expect(offer).to_contain_text("fp8_e4m3fn instead of fp16")
    grain = row(page, "loras/grain_sdxl_fp16.safetensors")
    grain.locator("[data-testid='model-resolver-substitutes-hint']").click()
    expect(grain.locator("[data-testid='model-resolver-substitute']")).to_contain_text("fp16 is wanted")
    screenshot(page, "substitute-dark")
    set_theme(page, "light")
    screenshot(page, "substitute-light")
    set_locale(page, "zh")
    expect(offer).to_contain_text("fp8_e4m3fn，而非 fp16")
    screenshot(page, "substitute-zh")
    set_locale(page, "en")

    offer.get_by_role("button", name="Use this file").click()
    expect_values(page, 2, ["sub/style_sdxl_fp8_e4m3fn.safetensors", 1])
    expect(style).to_have_count(0)
    expect(tab(page)).to_have_text("1")
    page.keyboard.press("Control+z")
    expect_values(page, 2, ["style_sdxl_fp16.safetensors", 1])
    expect(style).to_be_visible()


def test_the_same_file_under_another_name_is_known_by_its_content(page: Page, host: ComfyHostProcess) -> None:
    content = b"the very same bytes"
    host.add_model("loras/renamed/mine.safetensors", content)
    assert host.post("/model-resolver/library/hash", {})[0] == 200
    wait_until(page, lambda: host.get("/model-resolver/library/hash")[1]["state"] == "idle")
    open_panel(page, host, wanting(content))
    wanted = row(page, "loras/theirs.safetensors")
    expect(wanted).to_contain_text("The same file is here under another name:")
    expect(wanted).to_contain_text("loras/renamed/mine.safetensors")
    set_theme(page, "dark")
    screenshot(page, "renamed-dark")
    wanted.locator("[data-testid='model-resolver-relink']").click()
    expect_values(page, 2, ["renamed/mine.safetensors", 1])
    expect(tab(page)).to_have_text("")

"""Files that only some accounts may have: the panel says what is missing, takes a token, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from demo.accounts import CivitaiAccount, HuggingFaceAccount
from demo.hub import Hub, running_hub
from demo.world import World
from tests.comfy_host.driver import ComfyHostProcess, set_locale, set_theme, watch
from tests.editor_graphs import checkpoint, graph, lora, one_loader, preview
from tests.editor_page import CHECKOUT, RESERVE, open_panel, part, row, screenshot, wait_until

REPOSITORY = "https://huggingface.co/lab/gated"
GATED = f"{REPOSITORY}/resolve/main/licensed.safetensors"
SECOND = f"{REPOSITORY}/resolve/main/second.safetensors"
MODEL, OTHER = "loras/licensed.safetensors", "loras/second.safetensors"
ACCOUNTS = {
    "hf_granted": HuggingFaceAccount("ada", gated="granted"),
    "hf_stranger": HuggingFaceAccount("bob"),
    "hf_narrow": HuggingFaceAccount("cy", role="fineGrained", gated="granted", reads_gated=False),
}
PROVIDERS = ("huggingface", "civitai")


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    world = World.for_urls([GATED, SECOND], sizes=4096, gated={"lab/gated": "auto"})
    keys = {"civitai_key": CivitaiAccount("dora")}
    with running_hub(world, accounts=ACCOUNTS, civitai_accounts=keys) as running:
        yield running


@pytest.fixture
def host(tmp_path: Path, hub: Hub) -> Iterator[ComfyHostProcess]:
    env = {**hub.environment(), **RESERVE, "CMR_LOG_LEVEL": "DEBUG"}
    with ComfyHostProcess(tmp_path, packs={"model-resolver": CHECKOUT}, env=env) as running:
        running.add_model("checkpoints/base.safetensors")
        yield running


def stated(*urls: str) -> dict[str, Any]:
    """What a template says of a node's models."""
    named = [{"name": url.rsplit("/", 1)[-1], "url": url, "directory": "loras"} for url in urls]
    return {"properties": {"models": named}}


def two_licensed() -> dict[str, Any]:
    nodes = [
        checkpoint(1, [1]),
        lora(2, "licensed.safetensors", 1, [2], **stated(GATED)),
        lora(3, "second.safetensors", 2, [3], **stated(SECOND)),
        preview(4, 3),
    ]
    links = [[1, 1, 0, 2, 0, "MODEL"], [2, 2, 0, 3, 0, "MODEL"], [3, 3, 0, 4, 0, "*"]]
    return graph(nodes, links)


def inside(scope: Locator, name: str) -> Locator:
    return scope.locator(f"[data-testid='model-resolver-{name}']")


def give(scope: Locator, token: str) -> None:
    field = inside(scope, "token-input")
    field.fill(token)
    inside(scope, "token-give").click()


def tokens(page: Page, provider: str) -> Locator:
    return page.locator(f"[data-testid='model-resolver-token'][data-provider='{provider}']")


def unfold_tokens(page: Page) -> None:
    part(page, "tokens-toggle").click()


def test_a_gated_model_is_opened_with_a_token_step_by_step(
    page: Page, host: ComfyHostProcess, hub: Hub
) -> None:
    seen = watch(page)
    open_panel(page, host, two_licensed())
    licensed, verdict = row(page, MODEL), inside(row(page, MODEL), "verdict")

    licence = inside(licensed, "licence")
    expect(licence).to_have_attribute("href", REPOSITORY)
    expect(licence).to_have_attribute("target", "_blank")
    expect(licence).to_have_attribute("rel", "noopener noreferrer")
    field = inside(licensed, "token-input")
    expect(field).to_have_attribute("type", "password")
    expect(field).to_have_attribute("autocomplete", "off")
    expect(inside(licensed, "select")).to_have_count(0)
    expect(part(page, "download-all")).to_have_count(0)
    screenshot(page, "gated-asks")

    give(licensed, "hf_stranger")
    expect(verdict).to_have_attribute("data-code", "GATED")
    expect(verdict).to_contain_text("bob")
    screenshot(page, "gated-not-accepted")

    inside(licensed, "access-other").click()
    give(licensed, "hf_narrow")
    expect(verdict).to_have_attribute("data-code", "TOKEN_LACKS_SCOPE")
    expect(verdict).to_contain_text("cy")
    expect(inside(licensed, "token-page")).to_have_attribute("href", "https://huggingface.co/settings/tokens")

    give(licensed, "nobodys_token")
    expect(verdict).to_have_attribute("data-code", "TOKEN_REJECTED")
    screenshot(page, "gated-rejected")

    give(licensed, "hf_granted")
    needs = inside(licensed, "needs")
    expect(needs).to_contain_text("The token of ada opens it")
    expect(inside(licensed, "token-input")).to_have_count(0)
    expect(inside(licensed, "select")).to_be_checked()
    assert not host.model_path(MODEL).exists(), "nothing is downloaded without a word"
    # What waits for the same token is asked for as well.
    expect(inside(row(page, OTHER), "select")).to_be_checked()
    screenshot(page, "gated-opened")
    inside(licensed, "download-one").click()
    wait_until(page, host.model_path(MODEL).is_file)

    # Nowhere but in the bodies of two kinds of requests.
    kept = page.evaluate("() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    for token in (*ACCOUNTS, "nobodys_token"):
        assert token not in kept
        assert token not in page.content()
        assert token not in host.log()
        assert not [request for request in seen.requests if token in request]
        assert not [line for line in seen.console if token in line]
    asked = [entry for entry in hub.log.entries() if "Authorization" in entry.headers]
    assert {entry.host for entry in asked} == {"api"}, "storage never sees it"


def test_what_was_accepted_meanwhile_is_found_by_checking_again(page: Page, tmp_path: Path) -> None:
    world = World.for_urls([GATED], sizes=4096, gated={"lab/gated": "auto"})
    accounts = dict(ACCOUNTS)
    with running_hub(world, accounts=accounts) as hub:
        env = {**hub.environment(), **RESERVE}
        with ComfyHostProcess(tmp_path, packs={"model-resolver": CHECKOUT}, env=env) as host:
            host.request("PUT", "/model-resolver/credentials/huggingface", {"token": "hf_stranger"})
            open_panel(page, host, one_loader("licensed.safetensors", **stated(GATED)))
            licensed = row(page, MODEL)
            expect(licensed).to_contain_text("A token for Hugging Face is set")
            inside(licensed, "access-check").click()
            expect(inside(licensed, "verdict")).to_contain_text("bob")
            accounts["hf_stranger"] = HuggingFaceAccount("bob", gated="granted")
            inside(licensed, "access-check").click()
            expect(inside(licensed, "needs")).to_contain_text("The token of bob opens it")


def test_a_download_that_was_denied_goes_on_once_there_is_a_token(page: Page, host: ComfyHostProcess) -> None:
    open_panel(page, host, one_loader("elsewhere.safetensors"))
    mine = row(page, "loras/elsewhere.safetensors")
    expect(inside(mine, "url")).to_be_visible()
    inside(mine, "url").fill(GATED)
    inside(mine, "url-use").click()
    part(page, "download-all").click()
    problem = inside(mine, "problem")
    expect(problem).to_have_attribute("data-code", "GATED")
    expect(inside(problem, "licence")).to_have_attribute("href", REPOSITORY)
    screenshot(page, "gated-failed")
    give(problem, "hf_granted")
    wait_until(page, host.model_path("loras/elsewhere.safetensors").is_file)
    expect(page.get_by_text("All models are here")).to_be_visible()


def test_tokens_are_listed_checked_replaced_and_forgotten(page: Page, host: ComfyHostProcess) -> None:
    open_panel(page, host, two_licensed())
    unfold_tokens(page)
    for provider in PROVIDERS:
        expect(inside(tokens(page, provider), "token-input")).to_be_visible()
        expect(inside(tokens(page, provider), "token-forget")).to_have_count(0)
    screenshot(page, "tokens-none")

    civitai = tokens(page, "civitai")
    give(civitai, "civitai_key")
    expect(inside(civitai, "verdict")).to_contain_text("dora")
    expect(inside(civitai, "token-input")).to_have_count(0)
    inside(civitai, "token-other").click()
    give(civitai, "two words")
    expect(inside(civitai, "verdict")).to_have_attribute("data-code", "TOKEN_INVALID")
    give(civitai, "civitai_key")
    expect(inside(civitai, "verdict")).to_contain_text("dora")
    expect(inside(civitai, "token-input")).to_have_count(0)
    screenshot(page, "tokens-one")
    inside(civitai, "token-forget").click()
    expect(civitai).not_to_have_attribute("data-origin", "stored")
    expect(inside(civitai, "token-input")).to_be_visible()
    states = host.get("/model-resolver/credentials")[1]["credentials"]
    assert [state["set"] for state in states] == [False, False]


def test_a_token_of_the_servers_settings_is_said_to_be_one(page: Page, tmp_path: Path, hub: Hub) -> None:
    env = {**hub.environment(), **RESERVE, "CMR_HF_TOKEN": "hf_granted"}
    with ComfyHostProcess(tmp_path, packs={"model-resolver": CHECKOUT}, env=env) as host:
        open_panel(page, host, two_licensed())
        expect(inside(row(page, MODEL), "select")).to_be_checked()
        unfold_tokens(page)
        mine = tokens(page, "huggingface")
        expect(mine).to_contain_text("set in the server's settings")
        inside(mine, "token-check").click()
        expect(inside(mine, "verdict")).to_contain_text("ada")
        expect(inside(mine, "token-forget")).to_have_count(0)


def test_it_asks_in_chinese_on_a_light_narrow_sidebar(page: Page, host: ComfyHostProcess) -> None:
    page.set_viewport_size({"width": 1000, "height": 900})
    open_panel(page, host, one_loader("licensed.safetensors", **stated(GATED)))
    set_locale(page, "zh")
    set_theme(page, "light")
    licensed = row(page, MODEL)
    expect(inside(licensed, "needs")).to_contain_text("许可协议")
    give(licensed, "hf_stranger")
    expect(inside(licensed, "verdict")).to_contain_text("bob")
    unfold_tokens(page)
    expect(tokens(page, "huggingface")).to_contain_text("已设置令牌")
    screenshot(page, "gated-zh-light")

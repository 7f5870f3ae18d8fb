"""How sites are treated, over real hubs: conditional questions, patience, budgets; and broken catalogs."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from demo.civitai.catalog import CivitaiFile, CivitaiModel, CivitaiVersion
from demo.faults import Fault
from demo.files import HubFile
from demo.world import HubRepo, World
from resolver.sources import Context
from resolver.sources.asking import HOUR
from resolver.sources.catalog import CatalogSource, manager_entries
from resolver.sources.examples import WorkflowIndex
from resolver.sources.publishers import PUBLISHERS
from resolver.store import Store
from tests.fakes import FakeHost
from tests.searching import searching, wanted
from tests.test_asking import Notebook

NAME = "dipper.safetensors"
DIPPER = HubFile(NAME, 4096, "dipper")
REPO = HubRepo("amy/dipper", (DIPPER,))
MODEL = CivitaiModel(1, "dipper", "LORA", (CivitaiVersion(10, "v1", (CivitaiFile(100, DIPPER),)),))
WORLD = World({REPO.id: REPO}, civitai=(MODEL,))


def stale(notebook: Notebook) -> None:
    """A day passes."""
    for question, answer in notebook.answers.items():
        notebook.answers[question] = replace(answer, fresh_until=0.0)


async def test_what_is_no_longer_fresh_is_asked_for_conditionally_and_the_hub_sends_nothing_anew() -> None:
    notebook = Notebook()
    async with searching(WORLD, cache=notebook) as search:
        first = await search.find(wanted(NAME))
        stale(notebook)
        before = len(search.hub.log.entries())
        second = await search.find(wanted(NAME))
        asked = search.hub.log.entries()[before:]
        answers = [entry.status for entry in asked if entry.route in ("huggingface.search", "civitai.models")]
    assert second == first
    assert len(answers) > len(PUBLISHERS)
    assert set(answers) == {304}


async def test_that_there_is_nothing_is_remembered_too() -> None:
    notebook = Notebook()
    async with searching(WORLD, cache=notebook) as search:
        for _ in range(2):
            found = await search.find(wanted("no_such_bird.safetensors"))
            assert found.state == "not_found"
            counted = len(search.hub.log.entries())
        assert len(search.hub.log.entries()) == counted
        assert search.routes("huggingface.search") <= len(PUBLISHERS) + 4
    left = [answer.fresh_until - time.time() for answer in notebook.answers.values() if not answer.value]
    assert len(left) > len(PUBLISHERS)
    assert max(left) < HOUR + 1, "what is not there today may be there tomorrow"


async def test_models_that_want_the_same_at_the_same_time_ask_once() -> None:
    async with searching(WORLD) as search:
        await asyncio.gather(*(search.find(wanted(NAME)) for _ in range(5)))
        listings = [entry.query for entry in search.hub.log.entries() if entry.route == "huggingface.search"]
    assert len(listings) == len(set(listings))


@pytest.mark.parametrize("routes", ["huggingface.*", "civitai.*"])
async def test_a_site_that_limits_us_is_named_and_left_alone_and_the_other_still_answers(routes: str) -> None:
    fault = Fault("status", 429, headers={"Retry-After": "120"})
    async with searching(WORLD, faults={routes: fault}) as search:
        found = await search.find(wanted(NAME))
        again = await search.find(wanted(NAME))
        refused = [entry for entry in search.hub.log.entries() if entry.status == 429]
    site = routes.partition(".")[0]
    for answer in (found, again):
        assert {(error.source, error.code) for error in answer.errors} >= {(site, "RATE_LIMITED")}
    assert [c.sha256 for c in found.candidates] == [DIPPER.sha256]
    assert len(refused) <= 8, "those already on their way, and a probe"


async def test_a_slow_site_does_not_hold_the_other_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resolver.resolution._SOURCE_SECONDS", 1.0)
    async with searching(WORLD, faults={"civitai.models": Fault("hang")}) as search:
        found = await search.find(wanted(NAME))
    assert [c.sha256 for c in found.candidates] == [DIPPER.sha256]
    assert [(error.source, error.code) for error in found.errors] == [("civitai", "SOURCE_TIMEOUT")]


# --- catalogs on this machine -------------------------------------------------------------------

GOOD = {
    "filename": "good.pth",
    "url": "https://huggingface.co/o/r/resolve/main/good.pth",
    "type": "upscale",
    "save_path": "default",
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("{", []),
        ("[]", []),
        ('{"models": 5}', []),
        ('{"models": [null, 5, {"filename": 3}, {"filename": "x"}]}', []),
        (
            json.dumps({"models": [{**GOOD, "url": u} for u in ("javascript:alert(1)", "https://[::1")]}),
            [],
        ),
        (json.dumps({"models": ["broken", {**GOOD, "save_path": 7, "type": None}, GOOD]}), ["good.pth"] * 2),
    ],
)
async def test_a_broken_model_list_costs_what_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, found: list[str]
) -> None:
    monkeypatch.setattr("resolver.sources.catalog.util.find_spec", lambda name: None)
    listing = tmp_path / "custom_nodes" / "ComfyUI-Manager" / "model-list.json"
    listing.parent.mkdir(parents=True)
    listing.write_text(text)
    assert [entry.name for entry in manager_entries(FakeHost(tmp_path))] == found


async def test_a_broken_workflow_costs_only_itself(tmp_path: Path) -> None:
    directory = tmp_path / "user" / "default" / "workflows"
    directory.mkdir(parents=True)
    broken = [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b'{"nodes": 5}',
        b'{"nodes": [5, {"properties": {"models": 7}}]}',
    ]
    for number, content in enumerate(broken):
        (directory / f"{number}.json").write_bytes(content)
    (directory / "gone.json").symlink_to(tmp_path / "nowhere")
    url = GOOD["url"]
    note = {"id": 1, "type": "MarkdownNote", "widgets_values": [f"get {url}"]}
    (directory / "whole.json").write_text(json.dumps({"nodes": [note], "links": []}))
    store = Store(tmp_path / "store.sqlite3")
    try:
        source = CatalogSource("examples", WorkflowIndex(FakeHost(tmp_path), store).entries)
        offers = await source.find(wanted("good.pth", "upscale_models"), Context(), None)  # type: ignore[arg-type]
    finally:
        store.close()
    assert [offer.url for offer in offers] == [url]

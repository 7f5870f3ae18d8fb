"""Every source of the program, and the mirror, with every kind of answer: one cell of one table each."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from demo.faults import Fault
from demo.world import HubRepo
from resolver.digest import load_digest
from resolver.resolution import ResolutionService
from resolver.sources import Context, Offer, Wanted
from resolver.sources.asking import Budget
from resolver.sources.examples import WorkflowIndex
from resolver.sources.plugins import PluginSource
from tests.fault_server import Exchange
from tests.source_lab import FALSE, HERE, HERON, IMPOSTOR, MIRROR, NAME, Lab, Lying, places, stuck
from tests.test_local_catalogs import row

KINDS = ("good", "empty", "slow", "lying", "rate-limited", "broken")

LIMITED = Fault("status", 429, headers={"Retry-After": "300"})
SEARCHES = {
    "huggingface": "huggingface.search",
    "civitai": "civitai.models",
    "modelscope": "modelscope.files",
}


@pytest.fixture
async def lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Lab]:
    async with Lab(tmp_path, monkeypatch, caplog).running() as running:
        yield running


# --- what every kind of answer means ------------------------------------------------------------


async def good(lab: Lab, source: str) -> None:
    """What it knows is offered by its name, with the size and hash of the server that has the file."""
    lab.teach(source)
    found = await lab.find(source)
    assert found.errors == []
    [candidate] = found.candidates
    assert (candidate.source, candidate.size, candidate.sha256) == (source, HERON.size, HERON.sha256)
    ended = await lab.download(candidate.url, candidate.sha256)
    assert (ended.status, lab.files()) == ("completed", [NAME])


async def empty(lab: Lab, source: str) -> None:
    """Nothing is known: no candidate, and no error either."""
    found = await lab.find(source, name="no_such_bird.safetensors")
    assert (found.state, found.candidates, found.errors) == ("not_found", [], [])


async def slow_server(lab: Lab, source: str) -> None:
    """The site of a source does not answer: it is given up, and named."""
    lab.patch.setattr("resolver.resolution._SOURCE_SECONDS", 0.5)
    lab.faults[SEARCHES[source]] = Fault("hang")
    candidates, errors = await lab.find_beside_a_note(source)
    assert errors == [(source, "SOURCE_TIMEOUT")]
    assert [candidate.source for candidate in candidates] == ["workflow"]


async def slow_disk(lab: Lab, source: str) -> None:
    """The catalog cannot be read to its end: it is given up, and named."""
    lab.patch.setattr("resolver.resolution._SOURCE_SECONDS", 0.5)
    catalog = {
        "templates": lab.templates / "hangs.json",
        "manager": lab.model_list,
        "examples": lab.saved / "hangs.json",
    }[source]
    with stuck(catalog):
        candidates, errors = await lab.find_beside_a_note(source)
    assert errors == [(source, "SOURCE_TIMEOUT")]
    assert [candidate.source for candidate in candidates] == ["workflow"]


async def slow_workflow(lab: Lab, source: str) -> None:
    """It asks nothing that could hang. The server that it points to may: that is said, the rest kept."""
    lab.patch.setattr("resolver.resolution._PROBE_SECONDS", 2.0)
    lab.faults["huggingface.resolve"] = Fault("hang", about="amy/heron")
    lab.teach(source)
    candidates, errors = await lab.find_beside_a_note(source)
    assert errors == [(source, "NETWORK")]
    assert HERE in [candidate.url for candidate in candidates]


async def slow_history(lab: Lab, source: str) -> None:
    lab.patch.setattr("resolver.resolution._SOURCE_SECONDS", 0.5)
    released, query = threading.Event(), lab.resolver.store.query

    def hang(statement: str, *values: Any) -> Any:
        if "FROM downloads" in statement:
            released.wait()
        return query(statement, *values)

    lab.patch.setattr(lab.resolver.store, "query", hang)
    try:
        _, errors = await lab.find_beside_a_note(source)
    finally:
        released.set()
    assert errors == [(source, "SOURCE_TIMEOUT")]


async def slow_studio(lab: Lab, source: str) -> None:
    lab.patch.setattr("resolver.resolution._SOURCE_SECONDS", 0.5)

    async def hang(exchange: Exchange) -> None:
        await asyncio.sleep(3600)

    lab.studio.routes["/models.json"] = hang
    _, errors = await lab.find_beside_a_note(source)
    assert errors == [(source, "SOURCE_TIMEOUT")]


async def lying_catalog(lab: Lab, source: str) -> None:
    """The wanted hash is stated, or taken for granted, for a place that has something else."""
    lab.teach(source, FALSE, HERON.sha256)
    [candidate] = (await lab.find(source, sha256=HERON.sha256)).candidates
    assert candidate.url == FALSE
    assert (candidate.sha256, candidate.confidence) == (IMPOSTOR.sha256, "possible"), "the server's word"
    await lab.assert_is_refused(FALSE)


async def lying_server(lab: Lab, source: str) -> None:
    """The API states a hash that the bytes do not have."""
    lab.corrupt.add(NAME)
    [candidate] = (await lab.find(source)).candidates
    assert (candidate.source, candidate.sha256) == (source, HERON.sha256)
    await lab.assert_is_refused(candidate.url)


async def limited_place(lab: Lab, source: str) -> None:
    """The server that its URL points to asks for patience: that is said, and the candidate kept."""
    lab.faults["huggingface.resolve"] = Fault("status", 429, about="amy/heron", headers=LIMITED.headers)
    lab.teach(source)
    candidates, errors = await lab.find_beside_a_note(source)
    assert errors == [(source, "RATE_LIMITED")]
    assert HERE in [url for candidate in candidates for url in (candidate.url, *candidate.mirrors)]


async def limited_site(lab: Lab, source: str) -> None:
    """The site of a source asks for patience: that is said by its name."""
    lab.faults[SEARCHES[source]] = LIMITED
    _, errors = await lab.find_beside_a_note(source)
    assert errors == [(source, "RATE_LIMITED")]


async def limited_studio(lab: Lab, source: str) -> None:
    async def limited(exchange: Exchange) -> None:
        await exchange.answer(429, {"Retry-After": "300"})

    lab.studio.routes["/models.json"] = limited
    _, errors = await lab.find_beside_a_note(source)
    assert errors == [(source, "RATE_LIMITED")]


async def broken_site(lab: Lab, source: str) -> None:
    """Half an answer is none."""
    lab.faults[SEARCHES[source]] = Fault("malformed")
    _, errors = await lab.find_beside_a_note(source)
    assert errors == [(source, "API_ANSWER")]


async def broken_studio(lab: Lab, source: str) -> None:
    lab.listing = b'[{"name": "heron.safet'
    _, errors = await lab.find_beside_a_note(source)
    assert errors == [(source, "API_ANSWER")]


async def broken_workflow(lab: Lab, source: str) -> None:
    """Entries and notes that hold no URL cost nothing else."""
    lab.teach(source, "https://[::1")
    lab.teach(source, "javascript:alert(1)//" + NAME)
    lab.teach(source)
    lab.notes = ("https://[::1/heron.safetensors 还有 http://：",)
    found = await lab.find(source)
    assert (found.errors, places(found)) == ([], [HERE])


async def broken_templates(lab: Lab, source: str) -> None:
    """A broken template costs itself, and what was kept of all of them is made anew."""
    lab.teach(source)
    (lab.templates / "broken.json").write_text("{")
    load_digest(lab.resolver.store)
    with lab.resolver.store.transaction() as connection:
        connection.execute("UPDATE template_digest SET content = ?", ('{"learned": ',))
    found = await lab.find(source)
    assert (found.errors, places(found)) == ([], [HERE])
    assert "is made anew" in lab.log.text


async def broken_manager(lab: Lab, source: str) -> None:
    """Its list is one file: all of it is lost, and nothing else."""
    lab.teach(source)
    lab.model_list.write_text(lab.model_list.read_text()[:-1])
    candidates, errors = await lab.find_beside_a_note(source)
    assert ([candidate.source for candidate in candidates], errors) == (["workflow"], [])
    assert "model-list.json cannot be read" in lab.log.text


async def broken_examples(lab: Lab, source: str) -> None:
    """A broken workflow costs itself; of which the record is damaged is read again."""
    lab.teach(source)
    (lab.saved / "broken.json").write_bytes(b"\xff{")
    store = lab.resolver.store
    WorkflowIndex(lab.resolver.host, store).entries()
    with store.transaction() as connection:
        connection.execute("UPDATE workflow_index SET entries = '[{\"name\": 5' WHERE path LIKE '%taught%'")
    found = await lab.find(source)
    assert (found.errors, places(found)) == ([], [HERE])
    assert "it is read again" in lab.log.text
    assert '[{"name": 5' not in [kept["entries"] for kept in store.query("SELECT * FROM workflow_index")]


async def broken_history(lab: Lab, source: str) -> None:
    """A damaged row costs itself."""
    lab.teach(source)
    store = lab.resolver.store
    for number, damage in enumerate(("url = x'00ff'", "url = 'https://[::1'", "sha256 = 'abc'")):
        name = f"damaged{number}"
        store.add_downloads([row(name, "completed", verified=True, sha256=HERON.sha256)])
        with store.transaction() as connection:
            connection.execute(f"UPDATE downloads SET filename = '{NAME}', {damage} WHERE id = '{name}'")
    found = await lab.find(source)
    assert (found.errors, places(found)) == ([], [HERE])
    assert lab.log.text.count("it is damaged") == 3


# --- the mirror: it adds a place to what others found, and is not worth an error -----------------


async def mirrored(lab: Lab, source: str, *mirrors: str) -> None:
    lab.teach("workflow")
    found = await lab.find("workflow")
    assert found.errors == []
    assert [(candidate.url, candidate.mirrors) for candidate in found.candidates] == [(HERE, list(mirrors))]


async def mirror_good(lab: Lab, source: str) -> None:
    lab.teach(source)
    await mirrored(lab, source, MIRROR)
    ended = await lab.download(MIRROR, HERON.sha256)
    assert (ended.status, lab.files()) == ("completed", [NAME])


async def mirror_slow(lab: Lab, source: str) -> None:
    lab.patch.setattr("resolver.resolution._MIRROR_SECONDS", 0.5)
    lab.patch.setattr("resolver.net.api._SECONDS", 3600.0)
    lab.teach(source)
    lab.faults[SEARCHES[source]] = Fault("hang")
    await mirrored(lab, source)


async def mirror_lying(lab: Lab, source: str) -> None:
    """What it lists as equal is not."""
    lab.modelscope["amy/heron"] = HubRepo("amy/heron", (Lying(NAME, HERON.size, "impostor"),))
    await mirrored(lab, source, MIRROR)
    await lab.assert_is_refused(MIRROR)


async def mirror_limited(lab: Lab, source: str) -> None:
    lab.teach(source)
    lab.faults[SEARCHES[source]] = LIMITED
    await mirrored(lab, source)


async def mirror_broken(lab: Lab, source: str) -> None:
    lab.teach(source)
    lab.faults[SEARCHES[source]] = Fault("malformed")
    await mirrored(lab, source)


# --- the table ----------------------------------------------------------------------------------

Cell = Callable[[Lab, str], Awaitable[None]]


def answers(*cells: Cell) -> dict[str, Cell]:
    return dict(zip(KINDS, cells, strict=True))


TABLE: Mapping[str, Mapping[str, Cell]] = {
    "workflow": answers(good, empty, slow_workflow, lying_catalog, limited_place, broken_workflow),
    "templates": answers(good, empty, slow_disk, lying_catalog, limited_place, broken_templates),
    "manager": answers(good, empty, slow_disk, lying_catalog, limited_place, broken_manager),
    "examples": answers(good, empty, slow_disk, lying_catalog, limited_place, broken_examples),
    "history": answers(good, empty, slow_history, lying_catalog, limited_place, broken_history),
    "huggingface": answers(good, empty, slow_server, lying_server, limited_site, broken_site),
    "civitai": answers(good, empty, slow_server, lying_server, limited_site, broken_site),
    "studio": answers(good, empty, slow_studio, lying_catalog, limited_studio, broken_studio),
    "modelscope": answers(mirror_good, mirrored, mirror_slow, mirror_lying, mirror_limited, mirror_broken),
}


def gaps(table: Mapping[str, Mapping[str, Cell]], sources: set[str]) -> list[str]:
    """The cells that are not there, and those of what is no source."""
    cells = {f"{source} × {kind}" for source in sources for kind in KINDS}
    there = {f"{source} × {kind}" for source, kinds in table.items() for kind in kinds}
    return sorted(cells ^ there)


@pytest.mark.parametrize(
    ("source", "kind"), [(source, kind) for source, cells in TABLE.items() for kind in cells]
)
async def test_an_answer_costs_nothing_but_itself(lab: Lab, source: str, kind: str) -> None:
    await TABLE[source][kind](lab, source)


async def test_every_source_of_the_program_has_a_cell_for_every_kind_of_answer(lab: Lab) -> None:
    program = lab.resolver.resolutions
    sources = {source.name for source in program.sources}
    assert program._mirror is not None
    sources.add("modelscope")
    assert gaps(TABLE, sources) == []
    assert gaps(TABLE, {*sources, "new"}) == [f"new × {kind}" for kind in sorted(KINDS)]
    lacking = {**TABLE, "civitai": {kind: cell for kind, cell in TABLE["civitai"].items() if kind != "slow"}}
    assert gaps(lacking, sources) == ["civitai × slow"]


# --- what a hanging catalog, a failing mirror and a careless package must not do ------------------


async def test_a_catalog_that_hangs_leaves_the_others_their_threads(lab: Lab) -> None:
    lab.patch.setattr("resolver.resolution._SOURCE_SECONDS", 2.0)
    lab.teach("manager")
    many = [Wanted(f"{n}", "loras", f"sub{n}/{NAME}") for n in range(40)]
    with stuck(lab.templates / "hangs.json"):
        lab.patch.setattr("resolver.resolution._AT_ONCE", 40)
        found = await lab.find_all(many, Context(), "templates", "manager")
    assert [places(resolution) for resolution in found] == [[HERE]] * 40
    assert {error.source for resolution in found for error in resolution.errors} == {"templates"}


async def test_a_catalog_that_hangs_is_waited_for_once_and_asked_again_when_it_has_come_round(
    lab: Lab,
) -> None:
    lab.patch.setattr("resolver.resolution._SOURCE_SECONDS", 2.0)
    lab.patch.setattr("resolver.resolution._HUNG_SECONDS", 0.05)
    lab.patch.setattr("resolver.resolution._AT_ONCE", 4)
    lab.teach("templates")
    lab.teach("manager")
    many = [Wanted(f"{n}", "loras", f"sub{n}/{NAME}") for n in range(40)]
    began = time.monotonic()
    with stuck(lab.templates / "hangs.json"):
        found = await lab.find_all(many, Context(), "templates", "manager")
    took = time.monotonic() - began
    assert took < 2 * 2.0, "not for each of the ten batches anew"
    assert [places(resolution) for resolution in found] == [[HERE]] * 40
    assert [[error.code for error in one.errors] for one in found] == [["SOURCE_TIMEOUT"]] * 40
    again = await lab.find("templates")
    assert (again.errors, places(again)) == ([], [HERE])
    assert lab.resolver.resolutions._hung_until == {}, "it may take its time again"


async def test_a_source_that_hung_gets_its_whole_time_again_after_a_while(lab: Lab) -> None:
    lab.patch.setattr("resolver.resolution._SOURCE_SECONDS", 0.5)
    lab.patch.setattr("resolver.resolution._HUNG_SECONDS", 0.05)
    lab.patch.setattr("resolver.resolution._HUNG_MEMORY", 0.5)
    seconds = []
    with stuck(lab.templates / "hangs.json"):
        for _ in range(3):
            began = time.monotonic()
            await lab.find("templates")
            seconds.append(time.monotonic() - began)
            await asyncio.sleep(0.3)
    assert [took >= 0.5 for took in seconds] == [True, False, True]


async def test_a_mirror_that_fails_costs_nothing_else(lab: Lab) -> None:
    async def fail(*_: Any) -> str | None:
        raise RuntimeError("boom")

    lab.teach("workflow")
    lab.patch.setattr(lab.resolver.resolutions, "_mirror", fail)
    found = await lab.find("workflow")
    assert (found.errors, places(found)) == ([], [HERE])
    assert "boom" in lab.log.text


class Careless:
    name = "careless"
    online = False

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def find(self, wanted: Wanted, context: Context, budget: Budget) -> Any:
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        None,
        5,
        [None],
        [{"url": HERE}],
        [Offer("careless", HERE, None)],  # type: ignore[arg-type]
        [Offer("careless", None, NAME)],  # type: ignore[arg-type]
        [Offer("careless", HERE, NAME, sha256=5, size="many")],  # type: ignore[arg-type]
        [Offer("careless", HERE, NAME, mirrors=(None,))],  # type: ignore[arg-type]
    ],
    ids=["nothing", "a number", "no offer", "a dict", "no name", "no url", "odd hash", "odd mirror"],
)
async def test_what_is_no_offer_costs_the_package_its_answer_only(lab: Lab, answer: Any) -> None:
    lab.teach("manager")
    known = [source for source in lab.resolver.resolutions.sources if source.name == "manager"]
    service = ResolutionService(
        [PluginSource(Careless(answer)), *known], lab.resolver._probe, lab.resolver.client.policy.check
    )
    lab.patch.setattr(lab.resolver, "resolutions", service)
    found = await lab.find("careless", "manager")
    assert [(error.source, error.code) for error in found.errors] == [("careless", "SOURCE_FAILED")]
    assert places(found) == [HERE]


async def test_a_package_speaks_for_itself_only() -> None:
    boast = Offer(
        "huggingface", HERE, NAME, checked=True, evidence=frozenset({"embedded_url", "sha256", "catalog"})
    )
    [offer] = await PluginSource(Careless([boast])).find(
        Wanted(f"loras/{NAME}", "loras", NAME), Context(), Budget()
    )
    assert offer == Offer("careless", HERE, NAME, evidence=frozenset({"catalog"}))

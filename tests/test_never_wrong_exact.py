"""Whoever lies, and wherever a URL leads: what is called ``exact`` is the wanted file."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from demo.files import HubFile
from demo.world import HubRepo, World
from resolver.sources import Context, Offer, Wanted, normalise_url
from resolver.sources.ranking import rank
from resolver.sources.workflow import with_stated_hashes
from resolver.workflow import EmbeddedModel
from tests.fault_server import Act, Exchange
from tests.graphs import metadata, node, workflow
from tests.searching import searching, wanted
from tests.source_lab import FALSE, HERE, HERON, IMPOSTOR, NAME, Lab

HF = "https://huggingface.co"
A, B = "a" * 64, "b" * 64


@pytest.fixture
async def lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Lab]:
    async with Lab(tmp_path, monkeypatch, caplog).running() as running:
        yield running


# --- where the author's URL leads ---------------------------------------------------------------


def serving(headers: dict[str, str] | None = None, size: int = 64) -> Act:
    async def serve(exchange: Exchange) -> None:
        await exchange.answer(
            200, {"Content-Type": "application/octet-stream", **(headers or {})}, b"x" * size
        )

    return serve


def leading(path: str) -> Act:
    async def lead(exchange: Exchange) -> None:
        await exchange.answer(302, {"Location": path})

    return lead


PLACES: dict[str, Act] = {
    f"/{NAME}": serving(),
    "/files/heron_v2.safetensors": serving(),
    "/storage/3f9a": serving(),
    "/named/3f9a": serving({"Content-Disposition": f'attachment; filename="{NAME}"'}),
    f"/called-otherwise/{NAME}": serving({"Content-Disposition": "attachment; filename=heron_v2.ckpt"}),
    f"/to-another/{NAME}": leading("/files/heron_v2.safetensors"),
    f"/to-storage/{NAME}": leading("/storage/3f9a"),
    f"/to-its-own/{NAME}": leading("/named/3f9a"),
    "/HERON.safetensors": serving(),
    "/api/download/models/5": serving(),
}


@pytest.mark.parametrize(
    ("path", "confidence", "filename"),
    [
        (f"/{NAME}", "exact", NAME),
        ("/%68eron.safetensors", "exact", NAME),
        (f"/to-storage/{NAME}", "exact", NAME),
        (f"/to-its-own/{NAME}", "exact", NAME),
        (f"/to-another/{NAME}", "probable", "heron_v2.safetensors"),
        (f"/called-otherwise/{NAME}", "probable", "heron_v2.ckpt"),
        ("/HERON.safetensors", "probable", "HERON.safetensors"),
        # Only Civitai's own addresses may go without a name.
        ("/api/download/models/5", "possible", "5"),
    ],
)
async def test_the_authors_url_counts_for_the_file_that_comes(
    lab: Lab, path: str, confidence: str, filename: str
) -> None:
    lab.studio.routes.update(PLACES | {"/%68eron.safetensors": PLACES[f"/{NAME}"]})
    lab.teach("workflow", f"http://{lab.studio.place}{path}")
    found = await lab.find("workflow")
    assert [(c.confidence, c.filename) for c in found.candidates] == [(confidence, filename)]


async def test_a_name_that_a_catalog_gives_a_file_stays_whatever_its_server_calls_it(lab: Lab) -> None:
    lab.studio.routes["/files/model.safetensors"] = serving()
    lab.teach("templates", f"http://{lab.studio.place}/files/model.safetensors")
    found = await lab.find("templates")
    assert [(c.confidence, c.filename) for c in found.candidates] == [("probable", NAME)]


def test_the_pointer_that_git_keeps_is_not_taken_for_the_file() -> None:
    for form in ("raw", "blob", "resolve"):
        assert normalise_url(f"{HF}/o/r/{form}/main/x.safetensors") == (
            f"{HF}/o/r/resolve/main/x.safetensors"
        )
        assert normalise_url(f"{HF}/datasets/o/r/{form}/main/x.safetensors") == (
            f"{HF}/datasets/o/r/resolve/main/x.safetensors"
        )
    assert normalise_url(f"{HF}/o/r/resolve/main/raw/x.pt") == f"{HF}/o/r/resolve/main/raw/x.pt"


async def test_a_file_that_was_renamed_in_its_repository_is_not_replaced_by_another_of_its_name() -> None:
    """The author's link is dead; a stranger has something else by that name."""
    renamed = HubRepo("amy/stork", (HubFile("stork-final.safetensors", 4096, "stork"),))
    stranger = HubRepo("joker/stork", (HubFile("stork.safetensors", 4096, "another"),))
    link = f"{HF}/amy/stork/resolve/main/stork.safetensors"
    async with searching(World({repo.id: repo for repo in (renamed, stranger)})) as search:
        found = await search.find(wanted("stork.safetensors", url=link))
        proven = await search.find(wanted("stork.safetensors", url=link, sha256=renamed.files[0].sha256))
    assert [(c.publisher, c.confidence) for c in found.candidates] == [("joker", "probable")]
    assert [(error.source, error.code) for error in found.errors] == [("workflow", "NOT_FOUND")]
    assert [(c.publisher, c.confidence) for c in proven.candidates] == [("joker", "possible")]


# --- who lies about it --------------------------------------------------------------------------


async def test_what_another_workflow_states_of_the_authors_url_brings_in_no_other_content(lab: Lab) -> None:
    """The author's server tells no hashes. A workflow from somewhere claims to know what lies there, and
    where the same can be had."""
    lab.studio.routes.update(PLACES)
    authors = f"http://{lab.studio.place}/{NAME}"
    lab.teach("workflow", authors)
    stated = {"hash": IMPOSTOR.sha256, "hash_type": "SHA256"}
    for number, url in enumerate((authors, FALSE)):
        graph = workflow(node(1, "LoraLoader", [NAME], properties=metadata(NAME, "loras", url, **stated)))
        (lab.saved / f"lie{number}.json").write_text(json.dumps(graph))
    found = await lab.find("workflow", "examples")
    assert [(c.url, c.confidence, c.sha256, c.mirrors) for c in found.candidates] == [
        (authors, "exact", None, []),
        (FALSE, "probable", IMPOSTOR.sha256, []),
    ]


@pytest.mark.parametrize("source", ["templates", "manager", "examples", "history"])
async def test_a_catalog_that_claims_the_wanted_hash_for_something_else_is_found_out(
    lab: Lab, source: str
) -> None:
    lab.teach(source, FALSE, HERON.sha256)
    lab.teach("workflow", HERE, HERON.sha256)
    found = await lab.find(source, "workflow", sha256=HERON.sha256)
    assert [(c.url, c.sha256, c.confidence, c.mirrors) for c in found.candidates] == [
        (HERE, HERON.sha256, "exact", []),
        (FALSE, IMPOSTOR.sha256, "possible", []),
    ]


def offer(source: str, url: str = HERE, **more: Any) -> Offer:
    return Offer(source, url, more.pop("filename", NAME), **more)


def ranked(*offers: Offer, **known: Any) -> list[tuple[str | None, str]]:
    model = Wanted(f"loras/{NAME}", "loras", NAME, **known)
    return [(candidate.sha256, candidate.confidence) for candidate in rank(model, offers).candidates]


@pytest.mark.parametrize("liar", ["templates", "examples", "history", "studio"])
def test_of_its_own_files_a_site_knows_better_than_a_catalog(liar: str) -> None:
    url = "https://civitai.com/api/download/models/5"
    said = (offer(liar, url, sha256=A), offer("civitai", url, sha256=B))
    assert ranked(*said, sha256=A) == [(B, "possible")]
    assert ranked(*said, sha256=B) == [(B, "exact")]


def test_the_authors_url_is_not_exact_beside_the_proven_content_of_another_size() -> None:
    author = frozenset({"embedded_url"})
    proven = offer("huggingface", f"{HF}/o/r/resolve/main/{NAME}", sha256=A, size=10, checked=True)
    for size, confidence in ((10, "exact"), (11, "possible"), (None, "exact")):
        assert ranked(proven, offer("workflow", evidence=author, size=size), sha256=A) == [
            (A, "exact"),
            (None, confidence),
        ]


@pytest.mark.parametrize(
    ("one", "other", "confidence"),
    [
        ({"sha256": A}, {"sha256": B}, ["probable", "probable"]),
        ({"size": 10}, {"size": 11}, ["probable", "probable"]),
        ({"size": 10}, {"sha256": B, "size": 10}, ["exact", "exact"]),
        ({"sha256": A}, {"sha256": A}, ["exact"]),
    ],
)
def test_an_author_who_names_two_contents_is_not_sure(
    one: dict[str, Any], other: dict[str, Any], confidence: list[str]
) -> None:
    author = frozenset({"embedded_url"})
    offers = [offer("workflow", f"{HERE}?{n}", evidence=author, **m) for n, m in enumerate((one, other))]
    assert [said for _, said in ranked(*offers)] == confidence


def test_a_blake3_counts_by_the_word_of_the_site_only() -> None:
    known = {"blake3": B}
    assert ranked(offer("civitai", sha256=A, blake3=B), **known) == [(A, "exact")]
    assert ranked(offer("civitai", sha256=A, blake3=A), **known) == [(A, "possible")]
    assert ranked(offer("civitai", blake3=B), **known) == [(None, "probable")], "what comes could not be told"
    assert ranked(offer("templates", sha256=A), **known) == [(A, "probable")]


@pytest.mark.parametrize(
    ("kind", "value", "known"),
    [
        ("BLAKE3", A, (None, A)),
        ("AutoV2", A[:10].upper(), (A[:10], None)),
        ("BLAKE3", A[:10], (None, None)),
        ("AutoV2", A, (None, None)),
        ("BLAKE3", "x" * 64, (None, None)),
        ("SHA512", A, (None, None)),
    ],
)
async def test_hashes_of_other_kinds_count_as_what_they_are(
    kind: str, value: str, known: tuple[str | None, str | None]
) -> None:
    model = Wanted(f"loras/{NAME}", "loras", NAME)
    entry = EmbeddedModel(NAME, None, "loras", value, kind)
    found = with_stated_hashes(model, Context((entry,)))
    assert (found.autov2, found.blake3) == known
    others = (EmbeddedModel(NAME, None, "vae", value, kind), EmbeddedModel("x.pt", None, None, value, kind))
    assert with_stated_hashes(model, Context(others)) == model, "those of other files"

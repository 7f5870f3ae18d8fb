"""Civitai as a source: every way to a file there, which file of a version, and what is said of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from demo.civitai.catalog import CivitaiFile, CivitaiModel, CivitaiVersion
from demo.faults import Fault
from demo.files import HubFile
from demo.world import HubRepo, World
from resolver.schemas import Candidate, Resolution
from resolver.sources import Context
from resolver.sources.civitai_answers import licence_of
from resolver.workflow import EmbeddedModel
from resolver.workflow.remote import parse_remote
from tests.searching import Searching, searching, wanted

SITE = "https://civitai.com"
DOWNLOAD = f"{SITE}/api/download/models"


def content(name: str, seed: str = "") -> HubFile:
    return HubFile(name, 4096, seed or name)


# Civitai calls all files of a version after title and version.
FULL = content("wren_v2.safetensors", "full")
PRUNED = content("wren_v2.safetensors", "pruned")
SAME_AGAIN = content("wren_v2.safetensors", "pruned again")
PICKLE = content("wren_v2.ckpt", "pickle")
FP16 = content("wren_fp16.safetensors", "fp16")
FP32 = content("wren_fp16.safetensors", "called fp16 as well")
OLD = content("wren_v1.safetensors")
WREN = CivitaiModel(
    1,
    "Wren",
    "Checkpoint",
    (
        CivitaiVersion(
            20,
            "v2",
            (
                CivitaiFile(200, FULL, fp="fp32"),
                CivitaiFile(201, PRUNED, type="Pruned Model", size="pruned"),
                CivitaiFile(202, SAME_AGAIN, type="Pruned Model", size="pruned"),
                CivitaiFile(203, PICKLE, format="PickleTensor", scan="Danger"),
                CivitaiFile(204, FP32, fp="fp32"),
                CivitaiFile(205, FP16, fp="fp16"),
            ),
        ),
        CivitaiVersion(10, "v1", (CivitaiFile(100, OLD),), base_model="SD 1.5"),
    ),
    creator="jenny",
    commercial_use=("Image", "Rent"),
    no_credit=False,
    derivatives=False,
)
OTHER = CivitaiModel(2, "Other", "LORA", (CivitaiVersion(30, "v1", (CivitaiFile(300, content("o.pt")),)),))
WORLD = World({}, civitai=(WREN, OTHER))


@pytest.fixture
async def search() -> AsyncIterator[Searching]:
    async with searching(WORLD) as running:
        yield running


def stating(name: str, kind: str, value: str) -> Context:
    """A workflow whose metadata states a hash, and no place."""
    return Context((EmbeddedModel(name, None, "checkpoints", value, kind),))


async def find(search: Searching, name: str, context: Context | None = None, **known: Any) -> Resolution:
    return await search.find(wanted(name, "checkpoints", **known), context)


def told(found: Resolution) -> list[tuple[str | None, str]]:
    return [(candidate.sha256, candidate.confidence) for candidate in found.candidates]


# --- by hash ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["BLAKE3", "blake3"])
async def test_a_blake3_finds_the_file_whatever_it_is_called_and_proves_it(
    search: Searching, kind: str
) -> None:
    found = await find(
        search, "renamed.safetensors", stating("renamed.safetensors", kind, OLD.civitai_hashes["BLAKE3"])
    )
    assert (told(found), found.state) == ([(OLD.sha256, "exact")], "resolved")
    assert found.candidates[0].evidence[0] == "sha256"


async def test_another_blake3_is_another_content_however_equal_the_name(search: Searching) -> None:
    other = FULL.civitai_hashes["BLAKE3"].replace("A", "B")
    found = await find(search, OLD.name, stating(OLD.name, "BLAKE3", other))
    assert (told(found), found.state) == ([(OLD.sha256, "possible")], "ambiguous")


async def test_ten_digits_find_the_file_and_prove_nothing(search: Searching) -> None:
    found = await find(search, "renamed.pt", stating("renamed.pt", "AutoV2", OLD.civitai_hashes["AutoV2"]))
    assert told(found) == [(OLD.sha256, "probable")]


async def test_files_that_begin_with_the_same_ten_digits_are_left_to_the_user(search: Searching) -> None:
    """Made to collide: the search by hash gives one of them, the search by name the other."""
    twin = HubFile(OLD.name, 4096, "twin")
    collides = {"sha256": OLD.sha256[:10] + twin.sha256[10:]}
    twin.__dict__.update(collides)
    async with searching(
        World({"joker/wren_v1": HubRepo("joker/wren_v1", (twin,))}, civitai=(WREN,))
    ) as both:
        found = await find(both, OLD.name, autov2=OLD.sha256[:10])
    assert {sha256 for sha256, _ in told(found)} == {OLD.sha256, twin.sha256}
    assert {confidence for _, confidence in told(found)} == {"probable"}
    assert found.state == "ambiguous"


async def test_more_sha256_than_fit_one_question_are_several_and_a_name_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, search: Searching
) -> None:
    monkeypatch.setattr("resolver.sources.civitai._BATCH", 2)
    files = (FULL, PRUNED, PICKLE, OLD)
    found = await asyncio.gather(*(find(search, f"{n}.pt", sha256=f.sha256) for n, f in enumerate(files)))
    assert [told(one)[0] for one in found] == [
        (file.sha256, "possible" if file is PICKLE else "exact") for file in files
    ]
    assert len(search.hub.log.entries("civitai", method="POST")) == 2
    assert search.routes("civitai.models") == 0


async def test_a_hash_counts_in_any_case(search: Searching) -> None:
    assert told(await find(search, "x.pt", sha256=OLD.sha256.upper())) == [(OLD.sha256, "exact")]


# --- by version ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "file"),
    [
        ("", FULL),
        ("?type=Model&format=SafeTensor&size=full&fp=fp32", FULL),
        ("?type=Pruned%20Model&format=SafeTensor&size=pruned&fp=fp16", PRUNED),
        ("?format=PickleTensor", PICKLE),
        ("?fileId=202", SAME_AGAIN),
    ],
)
async def test_a_link_means_the_file_that_it_serves(search: Searching, query: str, file: HubFile) -> None:
    found = await find(search, "anything.safetensors", url=f"{DOWNLOAD}/20{query}")
    [candidate] = found.candidates
    assert (candidate.url, candidate.sha256) == (f"{DOWNLOAD}/20{query}", file.sha256)
    assert candidate.confidence == ("possible" if file is PICKLE else "exact")
    assert search.routes("civitai.models") == 0, "what the link says needs no search"


async def test_what_scanners_warn_of_is_not_taken_at_the_authors_word(search: Searching) -> None:
    found = await find(search, "wren_v2.ckpt", url=f"{DOWNLOAD}/20?format=PickleTensor")
    assert (found.state, found.candidates[0].safety) == ("ambiguous", "danger")


async def test_what_a_link_asks_for_and_the_version_has_not_is_nothing(search: Searching) -> None:
    found = await find(search, "anything.safetensors", url=f"{DOWNLOAD}/20?fp=nf4")
    assert (found.candidates, [error.code for error in found.errors]) == ([], ["NOT_FOUND"])


@pytest.mark.parametrize(
    ("air", "file", "confidence"),
    [
        ("urn:air:sdxl:checkpoint:civitai:1@10", OLD, "exact"),
        ("civitai:1@20+202", SAME_AGAIN, "exact"),
        ("civitai:1@20", FULL, "exact"),
        ("urn:air:sdxl:checkpoint:civitai:1", FULL, "probable"),
    ],
)
async def test_an_air_names_a_version_and_perhaps_a_file_of_it(
    search: Searching, air: str, file: HubFile, confidence: str
) -> None:
    remote = parse_remote(air)
    assert remote is not None
    found = await find(search, remote.name, url=remote.url)
    assert told(found) == [(file.sha256, confidence)]
    assert search.routes("civitai.models") == 0


async def test_an_air_whose_version_is_another_models_names_nothing(search: Searching) -> None:
    remote = parse_remote("civitai:2@20+200")
    assert remote is not None
    found = await find(search, remote.name, url=remote.url)
    assert (found.state, found.candidates) == ("not_found", [])


# --- by name ------------------------------------------------------------------------------------


async def test_files_of_one_name_in_one_version_are_told_apart_by_their_own_urls(search: Searching) -> None:
    found = await find(search, "wren_v2.safetensors")
    assert {candidate.url: candidate.sha256 for candidate in found.candidates} == {
        f"{DOWNLOAD}/20": FULL.sha256,
        f"{DOWNLOAD}/20?fileId=201": PRUNED.sha256,
        f"{DOWNLOAD}/20?fileId=202": SAME_AGAIN.sha256,
    }
    assert (found.state, found.candidates[0].sha256) == ("ambiguous", FULL.sha256), "the primary file first"


async def test_of_several_files_of_one_name_the_one_stored_as_the_name_says_is_meant(
    search: Searching,
) -> None:
    assert told(await find(search, "wren_fp16.safetensors")) == [(FP16.sha256, "probable")]


def lora(number: int, base_model: str, title: str = "robin", name: str = "robin") -> CivitaiModel:
    file = CivitaiFile(number, content(f"{name}.safetensors", f"{number}"))
    return CivitaiModel(
        number, title, "LORA", (CivitaiVersion(number, "v1", (file,), base_model=base_model),)
    )


MANY = tuple(lora(number, "Flux.1 D") for number in range(100, 140))


async def test_where_all_that_is_found_first_is_for_another_base_model_the_workflows_is_asked_for() -> None:
    async with searching(World({}, civitai=(*MANY, lora(50, "SDXL 1.0")))) as search:
        found = await search.find(wanted("robin.safetensors"), Context(families=frozenset({"sdxl"})))
    best = found.candidates[0]
    assert (best.url, best.confidence, found.state) == (f"{DOWNLOAD}/50", "probable", "resolved")


async def test_the_base_model_in_the_name_narrows_the_search_at_once() -> None:
    models = (*(lora(n, "Flux.1 D", name="robin_sdxl") for n in range(100, 140)), lora(50, "SDXL 1.0"))
    mine = lora(51, "SDXL 1.0", title="robin sdxl", name="robin_sdxl")
    async with searching(World({}, civitai=(*models, mine))) as search:
        found = await search.find(wanted("robin_sdxl.safetensors"))
        assert search.routes("civitai.models") == 1
    assert [candidate.url for candidate in found.candidates] == [f"{DOWNLOAD}/51"]


async def test_base_models_that_civitai_does_not_take_cost_the_filter_only() -> None:
    refused = Fault("status", 400, about="baseModels=")
    async with searching(
        World({}, civitai=(lora(50, "SDXL 1.0", name="robin_sdxl"),)), faults={"civitai.models": refused}
    ) as search:
        found = await search.find(wanted("robin_sdxl.safetensors"))
    assert ([candidate.url for candidate in found.candidates], found.errors) == ([f"{DOWNLOAD}/50"], [])


# --- what is carried along ----------------------------------------------------------------------


def about(candidate: Candidate) -> tuple[str | None, str | None, str | None]:
    return candidate.publisher, candidate.safety, candidate.licence


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("renamed.safetensors", {"sha256": OLD.sha256}),
        ("renamed.safetensors", {"autov2": OLD.sha256[:10]}),
        ("anything.safetensors", {"url": f"{DOWNLOAD}/10"}),
        (OLD.name, {}),
    ],
    ids=["by hash", "by ten digits", "by version", "by name"],
)
async def test_whose_it_is_its_scans_and_its_licence_come_along_however_it_is_found(
    search: Searching, name: str, known: dict[str, Any]
) -> None:
    [candidate] = (await find(search, name, **known)).candidates
    assert about(candidate) == ("jenny", "scanned", "credit, commercial use: Image/Rent, no derivatives")


async def test_a_model_that_does_not_answer_costs_what_it_would_have_said() -> None:
    fault = Fault("status", 503)
    async with searching(WORLD, faults={"civitai.model": fault}) as search:
        found = await find(search, "renamed.safetensors", sha256=OLD.sha256)
    assert (told(found), found.errors) == ([(OLD.sha256, "exact")], [])
    assert about(found.candidates[0]) == (None, "scanned", None)


FREE = {
    "allowNoCredit": True,
    "allowCommercialUse": ["Image", "RentCivit", "Rent", "Sell"],
    "allowDerivatives": True,
    "allowDifferentLicense": True,
}


@pytest.mark.parametrize(
    ("stated", "licence"),
    [
        (FREE, "no conditions"),
        ({**FREE, "allowNoCredit": False}, "credit"),
        ({**FREE, "allowCommercialUse": []}, "no commercial use"),
        ({**FREE, "allowCommercialUse": ["None"]}, "no commercial use"),
        ({**FREE, "allowCommercialUse": "{Image,RentCivit}"}, "commercial use: Image/RentCivit"),
        ({**FREE, "allowCommercialUse": "Sell"}, "no conditions"),
        ({**FREE, "allowCommercialUse": None}, "no commercial use"),
        ({**FREE, "allowDifferentLicense": False, "allowDerivatives": False}, "no derivatives, same licence"),
        ({}, None),
    ],
)
def test_a_licence_is_what_the_creator_asks_for_and_forbids(
    stated: dict[str, Any], licence: str | None
) -> None:
    assert licence_of(stated) == licence

"""What pictures say of their models beside a workflow: AutoV3 of LoRAs, and Civitai's lists of versions."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from demo.civitai.catalog import CivitaiFile, CivitaiModel, CivitaiVersion
from demo.faults import Fault
from demo.files import HubFile
from demo.world import World
from resolver.app import Resolver
from resolver.host.standalone import StandaloneHost
from resolver.settings import load_settings
from resolver.sources import Context, Offer, Wanted
from resolver.sources.ranking import rank
from resolver.workflow.files import read_file
from resolver.workflow.read import read_workflow
from tests.container_samples import picture, user_comment
from tests.graphs import node, workflow
from tests.searching import Searching, searching
from tests.test_told_apart import png_with

FINCH = HubFile("openFinch_v1.safetensors", 4096, "finch")
TWIN = HubFile("openFinch_v1.safetensors", 4096, "of another version")
WREN = HubFile("wren_v2.safetensors", 4096, "wren")
WORLD = World(
    {},
    civitai=(
        CivitaiModel(
            1,
            "Open Finch",
            "LORA",
            (
                CivitaiVersion(11, "v1", (CivitaiFile(110, FINCH),)),
                CivitaiVersion(12, "v1 again", (CivitaiFile(120, TWIN),)),
            ),
        ),
        CivitaiModel(2, "Wren", "Checkpoint", (CivitaiVersion(21, "v2", (CivitaiFile(210, WREN),)),)),
    ),
)
AUTOV3 = FINCH.civitai_hashes["AutoV3"].lower()
LORA_AIR, CHECKPOINT_AIR = "urn:air:sdxl:lora:civitai:1@11", "urn:air:sdxl:checkpoint:civitai:2@21"


@pytest.fixture
async def search() -> AsyncIterator[Searching]:
    async with searching(WORLD) as running:
        yield running


def read(root: Path, content: bytes) -> tuple[list[Wanted], Context]:
    """The missing models of a file, as the program takes them."""
    for folder in ("loras", "checkpoints", "embeddings"):
        (root / "models" / folder).mkdir(parents=True, exist_ok=True)
    resolver = Resolver(load_settings({"comfyui_root": root}), StandaloneHost(root))
    resolver.start()
    try:
        found = read_file(io.BytesIO(content))
        return resolver.wanted(found, resolver.analyze(found))
    finally:
        resolver.close()


def parameters(details: str) -> bytes:
    return png_with(f"a finch <lora:my finch:1>\nSteps: 20, {details}")


async def found(search: Searching, root: Path, content: bytes) -> dict[str, list[tuple[str | None, str]]]:
    """What is found for each model of a file: content and confidence."""
    models, context = read(root, content)
    resolutions = [await search.find(model, context) for model in models]
    return {one.id: [(c.sha256, c.confidence) for c in one.candidates] for one in resolutions}


async def test_twelve_digits_of_a_loras_tensors_find_it_and_prove_nothing(
    search: Searching, tmp_path: Path
) -> None:
    picture = parameters(f'Lora hashes: "my finch: {AUTOV3}"')
    assert await found(search, tmp_path, picture) == {
        "loras/my finch.safetensors": [(FINCH.sha256, "probable")]
    }
    # Both versions have a file of this name; the digits tell them apart.
    named = png_with(f'a finch\nSteps: 20, Lora hashes: "openFinch_v1: {AUTOV3}"')
    assert await found(search, tmp_path, named) == {
        "loras/openFinch_v1.safetensors": [(FINCH.sha256, "probable")]
    }


OFFER = Offer(source="civitai", url="https://civitai.com/api/download/models/1", filename="a.safetensors")
WANTED = Wanted("loras/a.safetensors", "loras", "a.safetensors", autov3="a" * 12)


@pytest.mark.parametrize(
    ("offered", "known", "confidence"),
    [
        ({"autov3": "a" * 12}, {}, "probable"),
        ({"autov3": "a" * 12, "filename": "other.safetensors"}, {}, "probable"),
        ({"autov3": "b" * 12}, {}, "possible"),
        ({}, {}, "probable"),  # by its name alone
        # The hash of the whole counts for more, whichever way they differ.
        ({"autov3": "b" * 12, "sha256": "c" * 64}, {"sha256": "c" * 64}, "exact"),
        ({"autov3": "a" * 12, "sha256": "d" * 64}, {"sha256": "c" * 64}, "possible"),
        ({"autov3": "a" * 12}, {"sha256": "c" * 64}, "probable"),
    ],
)
def test_what_twelve_digits_are_worth(
    offered: dict[str, Any], known: dict[str, Any], confidence: str
) -> None:
    [candidate] = rank(Wanted(**{**vars(WANTED), **known}), [Offer(**{**vars(OFFER), **offered})]).candidates
    assert candidate.confidence == confidence


async def test_a_resource_without_a_name_is_found_by_its_version(search: Searching, tmp_path: Path) -> None:
    resources = [
        {"type": "checkpoint", "modelVersionId": 21, "modelName": "Wren"},
        {"air": LORA_AIR, "weight": 1},
        {"type": "workflow", "modelVersionId": 5},
    ]
    picture = png_with(f"a wren\nSteps: 20, Civitai resources: {json.dumps(resources)}")
    assert await found(search, tmp_path, picture) == {
        "checkpoints/civitai-version-21.safetensors": [(WREN.sha256, "exact")],
        "loras/civitai-1-11.safetensors": [(FINCH.sha256, "exact")],
    }


async def test_what_the_parameters_name_is_not_wanted_twice(search: Searching, tmp_path: Path) -> None:
    """Then the list of versions only says where it is: both versions have a file of this name."""
    resources = json.dumps([{"type": "lora", "modelVersionId": 11}])
    picture = png_with(f"a <lora:openFinch_v1:1>\nSteps: 20, Civitai resources: {resources}")
    assert await found(search, tmp_path, picture) == {
        "loras/openFinch_v1.safetensors": [(FINCH.sha256, "probable")]
    }
    assert search.routes("civitai.models") == 0


def drawn(**more: Any) -> bytes:
    graph = workflow(
        node(1, "CheckpointLoaderSimple", ["wren_v2.safetensors"]),
        node(2, "LoraLoaderModelOnly", ["openFinch_v1.safetensors", 1.0]),
    )
    return json.dumps({**graph, **more}).encode()


@pytest.mark.parametrize(
    "more",
    [
        {"extra": {"airs": [LORA_AIR, CHECKPOINT_AIR]}},
        {"extra": {"lora_airs": ["1@11"], "ckpt_airs": ["2@21"]}},
        {"extraMetadata": json.dumps({"resources": [{"modelVersionId": 11}, {"modelVersionId": 21}]})},
    ],
    ids=["airs", "airs of old", "extraMetadata"],
)
async def test_the_files_of_the_versions_that_a_workflow_lists_go_before_a_search(
    search: Searching, tmp_path: Path, more: dict[str, Any]
) -> None:
    assert await found(search, tmp_path, drawn(**more)) == {
        "loras/openFinch_v1.safetensors": [(FINCH.sha256, "probable")],
        "checkpoints/wren_v2.safetensors": [(WREN.sha256, "probable")],
    }
    assert search.routes("civitai.models") == 0


async def test_without_the_list_the_search_cannot_tell_two_versions_apart(
    search: Searching, tmp_path: Path
) -> None:
    both = (await found(search, tmp_path, drawn()))["loras/openFinch_v1.safetensors"]
    assert {sha256 for sha256, _ in both} == {FINCH.sha256, TWIN.sha256}


async def test_versions_that_do_not_answer_cost_what_they_would_have_said(tmp_path: Path) -> None:
    async with searching(WORLD, faults={"civitai.version": Fault("status", 400)}) as search:
        models = await found(search, tmp_path, drawn(extra={"airs": [LORA_AIR]}))
    assert {sha256 for sha256, _ in models["loras/openFinch_v1.safetensors"]} == {FINCH.sha256, TWIN.sha256}


@pytest.mark.parametrize("key", ["workflow", "output"])
def test_the_list_counts_in_whatever_a_workflow_is_wrapped(key: str) -> None:
    graph = json.loads(drawn(extra={"airs": [LORA_AIR]}))
    for content in (graph, {key: graph}):
        assert [entry.url for entry in read_workflow(content).models] == [
            "https://civitai.com/api/download/models/11"
        ]


def test_the_lists_in_a_picture_of_civitais_generator_count_once() -> None:
    """It keeps the API format in a JPEG's comment, with the lists beside the nodes."""
    text = json.dumps(
        {
            "resource-stack": {
                "class_type": "CheckpointLoaderSimple",
                "inputs": {"ckpt_name": CHECKPOINT_AIR},
            },
            "extra": {"airs": [CHECKPOINT_AIR, LORA_AIR]},
            "extraMetadata": json.dumps({"resources": [{"modelVersionId": 21, "strength": 1}]}),
        }
    )
    found = read_file(io.BytesIO(picture(format="JPEG", exif=user_comment("unicode", text))))
    assert [entry.url for entry in found.models] == [
        f"https://civitai.com/api/download/models/{version}" for version in (21, 11)
    ]
    assert found.warnings == ()

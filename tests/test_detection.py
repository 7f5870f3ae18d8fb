"""The ways in which a workflow names a model, beside a loader's plain widget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resolver.analysis import analyze
from resolver.folders import FolderKnowledge
from resolver.folders.learned import snapshot
from resolver.folders.words import folder_by_words
from resolver.library import Library
from resolver.schemas import Model
from resolver.workflow.prompt_text import Tag, tags
from resolver.workflow.read import read_workflow
from tests.fakes import FakeHost, folder
from tests.graphs import node, workflow

LEARNED = snapshot()
KNOWN = FolderKnowledge(learned=LEARNED.nodes, by_input=LEARNED.by_input)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    models = tmp_path / "models"
    return FakeHost(tmp_path, {name: folder(name, models / name) for name in ("loras", "embeddings", "vae")})


def found(host: FakeHost, content: dict[str, Any]) -> dict[str, Model]:
    library = Library(host).snapshot()
    analysis = analyze(read_workflow(content), KNOWN, library, lambda node_type, name: None)
    return {model.id: model for model in analysis.models}


POWER = node(
    1,
    "Power Lora Loader (rgthree)",
    [
        {},
        {"type": "PowerLoraLoaderHeaderWidget"},
        {"on": True, "lora": "style\\a.safetensors", "strength": 1, "strengthTwo": None},
        {"on": False, "lora": "b.safetensors", "strength": 0.5},
        {"on": True, "lora": "None", "strength": 1},
        {},
        "",
    ],
)
MANAGED = [
    {"name": "a", "strength": 0.8, "active": True, "clipStrength": 0.8},
    {"name": "b", "strength": 1, "active": False},
]


def test_a_stack_with_switches(host: FakeHost) -> None:
    models = found(host, workflow(POWER))
    assert {name: model.active for name, model in models.items()} == {
        "loras/style/a.safetensors": True,
        "loras/b.safetensors": False,
    }
    assert models["loras/b.safetensors"].references[0].input == "#3.lora"


@pytest.mark.parametrize("loras", [MANAGED, {"__value__": MANAGED}], ids=["list", "wrapped"])
def test_a_stack_of_names_without_extensions(host: FakeHost, tmp_path: Path, loras: Any) -> None:
    inputs = {"text": "<lora:a:0.8>", "loras": loras}
    api = {"5": {"class_type": "Lora Loader (LoraManager)", "inputs": inputs}}
    models = found(host, api)
    assert {name: model.active for name, model in models.items()} == {
        "loras/a.safetensors": True,
        "loras/b.safetensors": False,
    }
    (tmp_path / "models/loras/sub").mkdir()
    (tmp_path / "models/loras/sub/a.safetensors").write_bytes(b"x")
    assert found(host, api)["loras/sub/a.safetensors"].status == "present"


def test_prompts_name_embeddings_and_loras(host: FakeHost, tmp_path: Path) -> None:
    text = "a cat, (embedding:easy-negative:1.2) embedding:sub/other.pt, <lora:Paint Style:0.8> at dawn"
    models = found(host, workflow(node(1, "CLIPTextEncode", [text])))
    assert set(models) == {
        "embeddings/easy-negative.safetensors",
        "embeddings/sub/other.pt",
        "loras/Paint Style.safetensors",
    }
    (tmp_path / "models/embeddings/easy-negative.pt").write_bytes(b"x")
    assert (
        found(host, workflow(node(1, "CLIPTextEncode", [text])))["embeddings/easy-negative.pt"].status
        == "present"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("embedding:a", [Tag("embeddings", "a", False)]),
        ("x embedding:a embedding:b", [Tag("embeddings", "a", False), Tag("embeddings", "b", False)]),
        ("(embedding:a:1.3), [embedding:b]", [Tag("embeddings", "a", False)]),
        ("myembedding:a", []),
        ("embedding: a", []),
        ("<lora:x>", [Tag("loras", "x", True)]),
        ("<LORA:x:1:0.5><lyco:y:1>", [Tag("loras", "x", True), Tag("loras", "y", True)]),
        ("<hypernet:z:1>", [Tag("hypernetworks", "z", True)]),
        ("<lora:x", []),
        ("a < lora:x > b", []),
    ],
)
def test_tags(text: str, expected: list[Tag]) -> None:
    assert list(tags(text)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lora_02", "loras"),
        ("loraName", "loras"),
        ("LoRA name", "loras"),
        ("base_ckpt_name", "checkpoints"),
        ("clip_vision_name", "clip_vision"),
        ("clip_name3", "text_encoders"),
        ("vae", "vae"),
        ("refiner_unet", "diffusion_models"),
        ("latent_upscale_model", "latent_upscale_models"),
        ("explore", None),
        ("eclipse", None),
        ("model_name", None),
        ("value", None),
    ],
)
def test_an_inputs_name_speaks_of_its_folder(name: str, expected: str | None) -> None:
    assert folder_by_words(name) == expected


def test_nodes_nobody_knows_are_read_by_their_inputs_names(host: FakeHost) -> None:
    unknown = node(
        1, "SomeStacker", {"lora_01": "a.safetensors", "lora_mode": "simple", "seed_mode": "fixed"}
    )
    assert set(found(host, workflow(unknown))) == {"loras/a.safetensors"}

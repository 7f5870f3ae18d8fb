"""Every form of workflow in ``tests/workflows`` wants exactly the models its expectation states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from resolver.analysis import analyze
from resolver.folders import FolderKnowledge
from resolver.folders.learned import snapshot
from resolver.folders.observed import observe, options
from resolver.library import Library
from resolver.workflow.read import parse_json, read_workflow
from tests.fakes import FakeHost, folder

FORMS = Path(__file__).with_name("workflows")
SUFFIX = ".expected.json"
NAMES = sorted(
    {path.name.removesuffix(SUFFIX).removesuffix(".json") for path in FORMS.glob("*.json")},
)
FOLDERS = (
    "checkpoints",
    "loras",
    "vae",
    "text_encoders",
    "diffusion_models",
    "controlnet",
    "embeddings",
    "detection",
)


def installed(host: FakeHost) -> dict[str, Any]:
    """Node classes as ComfyUI has them, with the lists of ``host``; by type."""

    def made(
        node_type: str, outputs: tuple[str, ...], is_output: bool = False, **inputs: Any
    ) -> tuple[str, type]:
        def declare(cls: type) -> dict[str, Any]:
            return {"required": {name: spec() if callable(spec) else spec for name, spec in inputs.items()}}

        members = {
            "INPUT_TYPES": classmethod(declare),
            "RETURN_TYPES": outputs,
            "OUTPUT_NODE": is_output,
        }
        return node_type, type(node_type, (), members)

    def files(name: str, *special: str) -> Any:
        return lambda: ([*special, *host.get_filename_list(name)],)

    return dict(
        (
            made("CheckpointLoaderSimple", ("MODEL", "CLIP", "VAE"), ckpt_name=files("checkpoints")),
            made("LoraLoaderModelOnly", ("MODEL",), model=("MODEL",), lora_name=files("loras")),
            made("VAELoader", ("VAE",), vae_name=files("vae", "pixel_space")),
            made("KSampler", ("LATENT",), model=("MODEL",), seed=("INT", {})),
            made("VAEDecode", ("IMAGE",), samples=("LATENT",), vae=("VAE",)),
            made("FetchingLoader", ("MODEL",), model_url=("STRING", {}), where=("STRING", {})),
            made("DiffusersLoader", ("MODEL", "CLIP", "VAE"), model_path=([],)),
            made("SaveImage", (), True, images=("IMAGE",), filename_prefix=("STRING", {})),
            made("PreviewImage", (), True, images=("IMAGE",)),
        )
    )


def found(host: FakeHost, content: Any) -> list[dict[str, Any]]:
    """The models of a workflow in the shape of the expectations, in a fixed order."""
    learned = snapshot()
    knowledge = FolderKnowledge(observed=observe(host), learned=learned.nodes, by_input=learned.by_input)
    analysis = analyze(
        read_workflow(content),
        knowledge,
        Library(host).snapshot(),
        lambda node_type, name: options(host, node_type, name),
    )
    assert analysis.warnings == []
    return in_order(
        [
            {
                "folder": model.folder,
                "name": model.name,
                "active": model.active,
                "references": [
                    {"node_id": one.node_id, "input": one.input, "value": one.value}
                    for one in model.references
                ],
            }
            for model in analysis.models
        ]
    )


def in_order(models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for model in models:
        model["references"].sort(key=lambda one: (one["node_id"], one["input"]))
    return sorted(models, key=lambda model: (str(model["folder"]), model["name"]))


@pytest.mark.parametrize("name", NAMES)
def test_a_form_wants_exactly_the_models_it_states(name: str, tmp_path: Path) -> None:
    workflow, expectation = FORMS / f"{name}.json", FORMS / f"{name}{SUFFIX}"
    assert workflow.is_file(), f"{expectation.name} has no workflow beside it"
    assert expectation.is_file(), f"{workflow.name} has no expectation beside it"
    expected = json.loads(expectation.read_text(encoding="utf-8"))
    assert expected.keys() == {"about", "installed", "models"}

    specs = {folder_name: folder(folder_name, tmp_path / folder_name) for folder_name in FOLDERS}
    specs["diffusers"] = folder("diffusers", tmp_path / "diffusers", extensions=frozenset({"folder"}))
    host = FakeHost(tmp_path, specs)
    if expected["installed"]:
        host.nodes = installed(host)
    assert found(host, parse_json(workflow.read_bytes())) == in_order(expected["models"])


def test_there_are_many_forms() -> None:
    assert len(NAMES) >= 60

"""Steps of tests that relink: a library, what is changed in a workflow, and what became of each model."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

from resolver import relinking
from resolver.analysis import analyze
from resolver.folders import FolderKnowledge
from resolver.folders.learned import snapshot
from resolver.library import Library, Snapshot
from resolver.relinking import Relinked
from resolver.workflow.read import read_workflow
from tests.fakes import FakeHost, folder
from tests.graphs import node, widget

LEARNED = snapshot()
KNOWN = FolderKnowledge(learned=LEARNED.nodes, by_input=LEARNED.by_input)
LORA = "LoraLoaderModelOnly"
OLD, NEW = "x.safetensors", os.path.join("style", "x.safetensors")
FOLDERS = ("loras", "embeddings", "vae", "checkpoints", "diffusion_models")


def library(tmp_path: Path, *files: str) -> Snapshot:
    """Model files as ``loras/style/x.safetensors``."""
    models = tmp_path / "models"
    for file in files:
        path = models / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return Library(FakeHost(tmp_path, {name: folder(name, models / name) for name in FOLDERS})).snapshot()


def relink(
    content: dict[str, Any], here: Snapshot, by_hand: dict[str, str] | None = None, substitutes: bool = False
) -> dict[str, Relinked]:
    """Changes ``content``; answers by model id."""
    chosen = {}
    for model, file in (by_hand or {}).items():
        found = here.find(*file.split("/", 1))
        assert found is not None
        chosen[model] = found
    analysis = analyze(read_workflow(content), KNOWN, here, lambda node_type, name: None)
    results = relinking.relink(content, analysis, KNOWN, here, by_hand=chosen, substitutes=substitutes)
    return {result.id: result for result in results}


def differences(before: Any, after: Any, way: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], Any]:
    """What of two JSON values is not equal, by the way to it; 1 and 1.0 are not, nor is another order."""
    if isinstance(before, dict) and isinstance(after, dict) and list(before) == list(after):
        pairs: Any = [(name, before[name], after[name]) for name in before]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = [(index, *pair) for index, pair in enumerate(zip(before, after, strict=True))]
    else:
        same = type(before) is type(after) and repr(before) == repr(after)
        return {} if same else {way: after}
    return {
        key: value
        for name, left, right in pairs
        for key, value in differences(left, right, (*way, name)).items()
    }


def changed(content: dict[str, Any], here: Snapshot, **options: Any) -> dict[tuple[str | int, ...], Any]:
    before = copy.deepcopy(content)
    relink(content, here, **options)
    return differences(before, content)


def lora(node_id: int, name: str = OLD, **extra: Any) -> dict[str, Any]:
    return node(
        node_id, LORA, [name, 1.0], **{"inputs": [widget("lora_name"), widget("strength_model")], **extra}
    )

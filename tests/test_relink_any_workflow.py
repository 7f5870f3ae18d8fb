"""Relinking in workflows of any making: the wanted references change, and nothing else."""

from __future__ import annotations

import copy
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import comfyui_workflow_templates_json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resolver.analysis import analyze
from resolver.host import FolderSpec
from resolver.library import Snapshot
from resolver.library.scan import ScannedFile
from resolver.names import basename
from resolver.workflow.read import read_workflow
from resolver.workflow.references import find_references
from resolver.workflow.ui import is_ui_format
from tests.graphs import metadata, node, subgraph, widget, workflow
from tests.relink_steps import KNOWN, differences, lora, relink

# -- any workflow ------------------------------------------------------------------------------------


def all_templates() -> Iterator[dict[str, Any]]:
    """ComfyUI's official workflows."""
    package = Path(comfyui_workflow_templates_json.__file__).parent
    for path in sorted(package.glob("templates/*.json")):
        content = json.loads(path.read_text("utf-8"))
        if is_ui_format(content):
            yield content


NAMES = [f"{name}.safetensors" for name in "abcd"]
names = st.sampled_from(NAMES)


@st.composite
def workflows(draw: st.DrawFn) -> dict[str, Any]:
    """Loaders, subgraphs in subgraphs with and without values of their own, primitives, prompts, stacks."""
    nodes: list[dict[str, Any]] = []
    links: list[list[Any]] = []
    inner = lora(7, draw(names), inputs=[widget("lora_name", 100), widget("strength_model")])
    if draw(st.booleans()):
        inner["properties"] = metadata(inner["widgets_values"][0], "loras")
    definitions = [subgraph("g0", [inner, lora(8, draw(names))], [("lora_name", 7, 0)])]
    if draw(st.booleans()):
        host = node(5, "g0", draw(st.sampled_from([[], [draw(names)]])), inputs=[widget("lora_name", 100)])
        definitions.append(subgraph("g1", [host, node(6, "g0", [draw(names)])], [("lora_name", 5, 0)]))
    for number in range(draw(st.integers(1, 6))):
        node_id = 20 + number
        kind = draw(st.sampled_from(["lora", "host", "primitive", "text", "prompt", "stack", "named"]))
        if kind == "lora":
            nodes.append(lora(node_id, draw(names)))
        elif kind == "named":
            name = draw(names)
            both = {"widgets_values_named": {"lora_name": name, "strength_model": 1.0}}
            nodes.append(lora(node_id, name, **draw(st.sampled_from([{}, both]))))
        elif kind == "host":
            values = draw(st.sampled_from([[], [draw(names)]]))
            which = draw(st.integers(0, len(definitions) - 1))
            nodes.append(node(node_id, f"g{which}", values, inputs=[widget("lora_name")]))
        elif kind in ("primitive", "text"):
            name = draw(names)
            feeder = "PrimitiveNode" if kind == "primitive" else "PrimitiveString"
            nodes.append(lora(node_id, name, inputs=[widget("lora_name", node_id), widget("strength_model")]))
            nodes.append(node(node_id + 100, feeder, [name]))
            links.append([node_id, node_id + 100, 0, node_id, 0, "COMBO"])
        elif kind == "prompt":
            tags = " ".join(f"<lora:{name}:{draw(st.integers(0, 9))}>" for name in draw(st.lists(names)))
            nodes.append(node(node_id, "CLIPTextEncode", [f"a.safetensors {tags}"], inputs=[widget("text")]))
        else:
            rows = [{"on": draw(st.booleans()), "lora": draw(names), "strength": 1} for _ in range(2)]
            nodes.append(node(node_id, "Power Lora Loader (rgthree)", [{}, *rows, ""]))
    return workflow(*nodes, subgraphs=definitions, links=links)


def snapshot_of(files: Iterable[tuple[str, str]]) -> Snapshot:
    """A library of (folder, name) without a disk."""
    by_folder: dict[str, set[str]] = defaultdict(set)
    for directory, name in files:
        by_folder[directory].add(name)
    return Snapshot(
        {name: FolderSpec(name, (Path("/", name),), frozenset()) for name in by_folder},
        {
            Path("/", directory): [
                ScannedFile(name, os.path.splitext(name)[1].lower(), f"/{directory}/{name}", 1, 0.0)
                for name in names
            ]
            for directory, names in by_folder.items()
        },
    )


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(workflows(), st.sets(names, min_size=1))
def test_exactly_the_wanted_references_change(content: dict[str, Any], moved: set[str]) -> None:
    here = snapshot_of(("loras", f"sub/{name}" if name in moved else name) for name in NAMES)
    before = list(find_references(read_workflow(content), KNOWN))
    results = relink(content, here)
    after = list(find_references(read_workflow(content), KNOWN))
    expected = {
        (one.node.id, one.input, os.path.join("sub", one.value) if one.value in moved else one.value)
        for one in before
    }
    assert {(one.node.id, one.input, one.value) for one in after} == expected
    assert {result.outcome for result in results.values()} <= {"relinked"}
    # What mirrors a value is in step with it.
    for one in content["nodes"]:
        named = one.get("widgets_values_named")
        assert named is None or list(named.values()) == one["widgets_values"]
    feeders = {one["id"] - 100: one for one in content["nodes"] if one["type"] == "PrimitiveNode"}
    for one in content["nodes"]:
        if one["id"] in feeders:
            assert feeders[one["id"]]["widgets_values"][0] == one["widgets_values"][0]
    assert relink(copy.deepcopy(content), here) == {}


def test_every_model_of_every_template_can_be_relinked() -> None:
    places = 0
    for content in all_templates():
        wanted = analyze(read_workflow(content), KNOWN, snapshot_of(()), lambda node_type, name: None).models
        here = snapshot_of((one.folder, f"moved/{basename(one.name)}") for one in wanted if one.folder)
        before = copy.deepcopy(content)
        results = relink(content, here)
        assert all(result.outcome == "relinked" for result in results.values())
        found = differences(before, content)
        assert all(str(value).startswith(f"moved{os.sep}") for value in found.values())
        places += len(found)
        after = analyze(read_workflow(content), KNOWN, here, lambda node_type, name: None)
        assert [one.id for one in after.models if one.folder and one.status != "present"] == []
    assert places > 900

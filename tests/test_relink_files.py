"""Relinking in files: exactly the values that decide change, and the file is otherwise what it was."""

from __future__ import annotations

import copy
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import comfyui_workflow_templates_json
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from resolver import relinking
from resolver.analysis import analyze
from resolver.cli import main
from resolver.cli.rewriting import write_new
from resolver.errors import Conflict, WorkflowError
from resolver.folders import FolderKnowledge
from resolver.folders.learned import snapshot
from resolver.host import FolderSpec
from resolver.library import Library, Snapshot
from resolver.library.scan import ScannedFile
from resolver.names import basename
from resolver.relinking import Relinked
from resolver.workflow.document import Document, Style, read_document
from resolver.workflow.read import read_workflow
from resolver.workflow.references import find_references
from resolver.workflow.relink import Failure, Renaming, key_of, rename
from resolver.workflow.ui import is_ui_format
from tests.fakes import FakeHost, folder
from tests.graphs import metadata, node, subgraph, widget, workflow

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


# -- the place ---------------------------------------------------------------------------------------


def test_a_value_by_position(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    assert changed(workflow(lora(1)), here) == {("nodes", 0, "widgets_values", 0): NEW}


def test_a_value_by_position_of_a_node_that_names_no_inputs(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    assert changed(workflow(lora(1, inputs=[])), here) == {("nodes", 0, "widgets_values", 0): NEW}


def test_a_value_by_name(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    content = workflow(node(1, LORA, {"strength_model": 1.0, "lora_name": OLD}))
    assert changed(content, here) == {("nodes", 0, "widgets_values", "lora_name"): NEW}


def test_the_named_values_of_newer_editors_keep_in_step(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    content = workflow(lora(1, widgets_values_named={"lora_name": OLD, "strength_model": 1.0}))
    assert changed(content, here) == {
        ("nodes", 0, "widgets_values", 0): NEW,
        ("nodes", 0, "widgets_values_named", "lora_name"): NEW,
    }


def test_the_outermost_host_that_states_a_value(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    inner = subgraph(
        "inner", [lora(7, inputs=[widget("lora_name", 100), widget("strength_model")])], [("lora_name", 7, 0)]
    )
    outer = subgraph(
        "outer", [node(5, "inner", [OLD], inputs=[widget("lora_name", 100)])], [("lora_name", 5, 0)]
    )
    content = workflow(node(1, "outer", [OLD], inputs=[widget("lora_name")]), subgraphs=[inner, outer])
    assert changed(content, here) == {("nodes", 0, "widgets_values", 0): NEW}
    del content["nodes"][0]["widgets_values"]
    assert changed(content, here) == {("definitions", "subgraphs", 1, "nodes", 0, "widgets_values", 0): NEW}
    content["definitions"]["subgraphs"][1]["nodes"][0]["widgets_values"] = []
    assert changed(content, here) == {("definitions", "subgraphs", 0, "nodes", 0, "widgets_values", 0): NEW}


def shared_definition(*hosts: list[str]) -> dict[str, Any]:
    inner = subgraph(
        "g", [lora(7, inputs=[widget("lora_name", 100), widget("strength_model")])], [("lora_name", 7, 0)]
    )
    return workflow(
        *(node(index + 1, "g", values, inputs=[widget("lora_name")]) for index, values in enumerate(hosts)),
        subgraphs=[inner],
    )


def test_one_instance_changes_alone_where_its_host_states_the_value(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors", "loras/y.safetensors")
    assert changed(shared_definition([OLD], ["y.safetensors"]), here) == {
        ("nodes", 0, "widgets_values", 0): NEW
    }


def test_instances_without_values_of_their_own_mean_the_same_file(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors", "loras/y.safetensors")
    content = shared_definition([], [], ["y.safetensors"])
    assert changed(content, here) == {("definitions", "subgraphs", 0, "nodes", 0, "widgets_values", 0): NEW}
    values = {found.node.id: found.value for found in find_references(read_workflow(content), KNOWN)}
    assert values == {"1:7": NEW, "2:7": NEW, "3:7": "y.safetensors"}


@pytest.mark.parametrize("reroute", [False, True])
def test_a_primitive_changes_with_the_widget_it_feeds(tmp_path: Path, reroute: bool) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    nodes = [lora(1, inputs=[widget("lora_name", 9), widget("strength_model")])]
    nodes.append(node(2, "PrimitiveNode", [OLD, "fixed"], outputs=[{"links": [8 if reroute else 9]}]))
    links = [[9, 2, 0, 1, 0, "COMBO"]]
    if reroute:
        nodes.append(node(3, "Reroute", inputs=[{"name": "", "type": "*", "link": 8}]))
        links = [[8, 2, 0, 3, 0, "*"], [9, 3, 0, 1, 0, "COMBO"]]
    assert changed(workflow(*nodes, links=links), here) == {
        ("nodes", 0, "widgets_values", 0): NEW,
        ("nodes", 1, "widgets_values", 0): NEW,
    }


def test_a_primitive_that_feeds_a_subgraph_changes_with_its_host(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    content = shared_definition([OLD])
    content["nodes"][0]["inputs"][0]["link"] = 9
    content["nodes"].append(node(4, "PrimitiveNode", [OLD, "fixed"]))
    content["links"] = [[9, 4, 0, 1, 0, "COMBO"]]
    assert changed(content, here) == {
        ("nodes", 0, "widgets_values", 0): NEW,
        ("nodes", 1, "widgets_values", 0): NEW,
    }


def wired_text(**text_node: Any) -> dict[str, Any]:
    return workflow(
        lora(1, "unused.safetensors", inputs=[widget("lora_name", 9), widget("strength_model")]),
        node(2, "PrimitiveString", [OLD], **text_node),
        links=[[9, 2, 0, 1, 0, "STRING"], [8, 3, 0, 2, 0, "STRING"]],
    )


def test_the_node_with_the_text_where_it_is_wired(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    assert changed(wired_text(), here) == {("nodes", 1, "widgets_values", 0): NEW}


def test_a_text_that_comes_from_yet_another_node_is_left_and_reported(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    content = wired_text(inputs=[widget("value", 8)])
    content["nodes"].append(node(3, "StringConcatenate", ["a", "b", ""]))
    before = copy.deepcopy(content)
    result = relink(content, here)["loras/x.safetensors"]
    assert (result.outcome, result.code) == ("left", "VALUE_WIRED")
    assert content == before


def test_group_nodes(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    inner = node(0, LORA, [OLD, 1.0], inputs=[widget("lora_name"), widget("strength_model")])
    groups = {"groupNodes": {"G": {"nodes": [inner], "links": []}}}
    content = workflow(
        node(1, "workflow>G", [OLD, 1.0]), node(2, "workflow>G", ["y.safetensors", 1.0]), extra=groups
    )
    assert changed(content, here) == {("nodes", 0, "widgets_values", 0): NEW}
    content = workflow(node(1, "workflow>G"), extra=copy.deepcopy(groups))
    assert changed(content, here) == {("extra", "groupNodes", "G", "nodes", 0, "widgets_values", 0): NEW}


def test_values_that_are_objects_and_lists(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors", "checkpoints/style/x.safetensors")
    power = node(1, "Power Lora Loader (rgthree)", [{}, {"on": True, "lora": OLD, "strength": 1}, ""])
    power["widgets_values_named"] = {"a": {}, "b": {"on": True, "lora": OLD, "strength": 1}, "c": ""}
    assert changed(workflow(power), here) == {
        ("nodes", 0, "widgets_values", 1, "lora"): NEW,
        ("nodes", 0, "widgets_values_named", "b", "lora"): NEW,
    }
    stack = {"loras": {"__value__": [{"name": OLD, "strength": 0.8, "active": True}]}}
    api = {"1": {"class_type": "Lora Loader (LoraManager)", "inputs": {"text": "", **stack}}}
    assert changed(api, here) == {("1", "inputs", "loras", "__value__", 0, "name"): NEW}


def test_the_inputs_of_the_api_format(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    api = {"4": {"class_type": LORA, "inputs": {"lora_name": OLD, "strength_model": 1.0, "model": ["3", 0]}}}
    assert changed(api, here) == {("4", "inputs", "lora_name"): NEW}


def test_tags_in_prompts(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors", "embeddings/neg/x.pt")
    prompt = "x, <lora: X:1> <lora:x.safetensors:0.8>, embedding:x.pt, (embedding:x.pt:1.2) <lora:x.pt:1>"
    content = workflow(node(1, "CLIPTextEncode", [prompt], inputs=[widget("text")]))
    relink(content, here)
    assert content["nodes"][0]["widgets_values"] == [
        f"x, <lora: X:1> <lora:{NEW}:0.8>, embedding:{os.path.join('neg', 'x.pt')}, "
        f"(embedding:{os.path.join('neg', 'x.pt')}:1.2) <lora:x.pt:1>"
    ]


def test_a_stem_stays_a_stem(tmp_path: Path) -> None:
    here = library(tmp_path, "embeddings/neg/bad.pt", "loras/a/new.safetensors")
    content = workflow(node(1, "CLIPTextEncode", ["embedding:bad, <lora:old:0.8>"], inputs=[widget("text")]))
    hand = {
        "embeddings/bad.safetensors": "embeddings/neg/bad.pt",
        "loras/old.safetensors": "loras/a/new.safetensors",
    }
    assert changed(content, here, by_hand=hand) == {
        ("nodes", 0, "widgets_values", 0): "embedding:neg/bad, <lora:new:0.8>"
    }


def test_a_tag_of_the_same_name_for_another_folder_stays(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    content = workflow(
        node(1, "CLIPTextEncode", [f"embedding:{OLD} <lora:{OLD}:1>"], inputs=[widget("text")])
    )
    assert changed(content, here) == {("nodes", 0, "widgets_values", 0): f"embedding:{OLD} <lora:{NEW}:1>"}


@pytest.mark.skipif(os.sep != "/", reason="lists of Windows have backslashes")
def test_a_separator_of_windows_becomes_that_of_this_system(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    assert changed(workflow(lora(1, "style\\x.safetensors")), here) == {
        ("nodes", 0, "widgets_values", 0): "style/x.safetensors"
    }


# -- metadata ----------------------------------------------------------------------------------------


def test_metadata_follows_the_file_it_describes(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    content = workflow(lora(1, properties=metadata(OLD, "loras")), models=metadata(OLD, "loras")["models"])
    assert changed(content, here) == {
        ("nodes", 0, "widgets_values", 0): NEW,
        ("nodes", 0, "properties", "models", 0, "name"): NEW,
        ("models", 0, "name"): NEW,
    }


def test_metadata_of_another_content_is_not_made_to_describe_a_substitute(tmp_path: Path) -> None:
    here = library(tmp_path, "diffusion_models/wan_fp16.safetensors")
    name = "wan_fp8_e4m3fn.safetensors"
    content = workflow(
        node(1, "UNETLoader", [name, "default"], properties=metadata(name, "diffusion_models"))
    )
    assert relink(copy.deepcopy(content), here)[f"diffusion_models/{name}"].code == "ONLY_SUBSTITUTES"
    assert changed(content, here, substitutes=True) == {
        ("nodes", 0, "widgets_values", 0): "wan_fp16.safetensors"
    }


def test_metadata_that_another_instance_still_needs_gets_a_twin() -> None:
    content = shared_definition([OLD], [OLD])
    inner = content["definitions"]["subgraphs"][0]["nodes"][0]
    inner["properties"] = metadata(OLD, "loras")
    first, second = map(key_of, find_references(read_workflow(content), KNOWN))
    assert rename(content, KNOWN, [Renaming({first: NEW}, "loras", True)]) == [None]
    assert [entry["name"] for entry in inner["properties"]["models"]] == [OLD, NEW]
    assert [host["widgets_values"] for host in content["nodes"]] == [[NEW], [OLD]]
    assert rename(content, KNOWN, [Renaming({second: NEW}, "loras", True)]) == [None]
    assert [host["widgets_values"] for host in content["nodes"]] == [[NEW], [NEW]]


# -- what is left ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ([], "NOT_HERE"),
        (["checkpoints/x.safetensors"], "OTHER_FOLDER"),
        (["loras/a/x.safetensors", "loras/b/x.safetensors"], "SEVERAL_FILES"),
    ],
)
def test_what_cannot_be_relinked_is_left_with_the_reason(tmp_path: Path, files: list[str], code: str) -> None:
    content = workflow(lora(1))
    before = copy.deepcopy(content)
    result = relink(content, library(tmp_path, *files))["loras/x.safetensors"]
    assert (result.outcome, result.code) == ("left", code)
    assert content == before


def test_a_file_of_that_name_that_holds_something_else_is_not_taken(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    content = workflow(lora(1))
    analysis = analyze(read_workflow(content), KNOWN, here, lambda node_type, name: None)
    (alternative,) = analysis.models[0].alternatives
    alternative.same_content, alternative.difference = False, "content"
    for substitutes in (False, True):
        (result,) = relinking.relink(content, analysis, KNOWN, here, by_hand={}, substitutes=substitutes)
        assert (result.outcome, result.code) == ("left", "OTHER_CONTENT")


def test_the_very_file_goes_before_a_substitute(tmp_path: Path) -> None:
    here = library(
        tmp_path, "diffusion_models/a/wan_fp8_e4m3fn.safetensors", "diffusion_models/wan_fp16.safetensors"
    )
    content = workflow(node(1, "UNETLoader", ["wan_fp8_e4m3fn.safetensors", "default"]))
    assert changed(content, here, substitutes=True) == {
        ("nodes", 0, "widgets_values", 0): os.path.join("a", "wan_fp8_e4m3fn.safetensors")
    }


def test_a_file_of_another_folder_is_not_named_by_hand_either(tmp_path: Path) -> None:
    here = library(tmp_path, "checkpoints/y.safetensors")
    content = workflow(lora(1))
    result = relink(content, here, {"loras/x.safetensors": "checkpoints/y.safetensors"})
    assert result["loras/x.safetensors"].code == "OTHER_FOLDER"
    assert content == workflow(lora(1))


def test_a_change_that_would_touch_another_reference_is_taken_back_alone(tmp_path: Path) -> None:
    """One text that two loaders take: naming another file for one of them would name it for both."""
    content = wired_text()
    content["nodes"].append(lora(5, "z.safetensors"))
    content["nodes"].append(node(4, "VAELoader", ["unused.safetensors"], inputs=[widget("vae_name", 10)]))
    content["links"].append([10, 2, 0, 4, 0, "STRING"])
    before = copy.deepcopy(content)
    found = {one.node.id: one for one in find_references(read_workflow(content), KNOWN)}
    both = Renaming({key_of(found["1"]): NEW}, "loras", True)
    clean = Renaming({key_of(found["5"]): "w.safetensors"}, "loras", True)
    failures = rename(content, KNOWN, [both, clean])
    assert [failure and failure.code for failure in failures] == ["CHANGE_NOT_CLEAN", None]
    assert differences(before, content) == {("nodes", 2, "widgets_values", 0): "w.safetensors"}
    assert isinstance(failures[0], Failure)


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


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


# -- the file ----------------------------------------------------------------------------------------

TEXTS = [
    json.dumps(workflow(lora(1)), indent=2),
    json.dumps(workflow(lora(1)), indent=4) + "\n",
    json.dumps(workflow(lora(1)), indent="\t").replace("\n", "\r\n"),
    json.dumps(workflow(lora(1))),
    json.dumps(workflow(lora(1)), separators=(",", ":")),
    json.dumps(
        workflow(lora(1), extra={"title": "绘画 🎨", "floats": [1.0, 1e-07, float("nan")], "n": 2**70})
    ),
    json.dumps(workflow(lora(1), extra={"title": "绘画 🎨"}), ensure_ascii=False, indent=2),
    "\ufeff" + json.dumps(workflow(lora(1)), indent=1),
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_file_keeps_its_style(text: str) -> None:
    assert read_document(io.BytesIO(text.encode())).encode().decode() == text


def test_a_half_character_is_spelled_as_it_can_only_be() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", json.dumps(workflow(lora(1), extra={"half": "\ud800", "whole": "画"})))
    Image.new("RGB", (4, 4)).save(picture := io.BytesIO(), format="png", pnginfo=info)
    written = read_document(picture).encode()
    assert json.loads(written)["extra"] == {"half": "\ud800", "whole": "画"}


def test_what_is_nested_too_deeply_is_said(tmp_path: Path) -> None:
    deep: Any = OLD
    for _ in range(100_000):
        deep = [deep]
    content = workflow(lora(1), extra={"deep": deep})
    with pytest.raises(WorkflowError) as refused:
        Document(content, Style()).encode()
    assert refused.value.code == "WORKFLOW_TOO_DEEP"
    assert (
        relink(content, library(tmp_path, "loras/style/x.safetensors"))["loras/x.safetensors"].outcome
        == "relinked"
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "ComfyUI" / "models" / "loras" / "style" / "x.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    return tmp_path / "ComfyUI"


def run(root: Path, *arguments: str | Path) -> int:
    return main([*map(str, arguments), "--comfyui-root", str(root)])


def save(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content, indent=2), "utf-8")
    return path


def test_the_command_writes_a_new_file_and_leaves_the_old_one(
    root: Path, tmp_path: Path, capsys: Any
) -> None:
    file = save(tmp_path / "w.json", workflow(lora(1)))
    before = file.read_bytes()
    assert run(root, "relink", file, "--json") == 0
    written = tmp_path / "w.relinked.json"
    assert written.read_text() == before.decode().replace(OLD, NEW)
    assert file.read_bytes() == before
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["file"], line["output"]) == (str(file), str(written))
    assert [(one["id"], one["outcome"], one["to"]) for one in line["models"]] == [
        ("loras/x.safetensors", "relinked", "loras/style/x.safetensors")
    ]
    assert run(root, "analyze", written) == 0


def test_what_is_there_is_overwritten_only_by_force(root: Path, tmp_path: Path) -> None:
    file = save(tmp_path / "w.json", workflow(lora(1)))
    target = tmp_path / "w.relinked.json"
    target.write_text("mine")
    assert run(root, "relink", file) == 2
    assert run(root, "relink", file, "-o", file) == 2
    assert (target.read_text(), json.loads(file.read_text())) == ("mine", workflow(lora(1)))
    assert run(root, "relink", file, "--force") == 0
    assert NEW in target.read_text()
    assert run(root, "relink", file, "-o", file, "--force") == 0
    assert NEW in file.read_text()


def test_a_dry_run_writes_nothing(root: Path, tmp_path: Path, capsys: Any) -> None:
    file = save(tmp_path / "w.json", workflow(lora(1)))
    assert run(root, "relink", file, "--dry-run") == 0
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["w.json"]
    assert "would be loras/style/x.safetensors" in capsys.readouterr().out


def test_what_is_left_is_told_and_the_rest_is_written(root: Path, tmp_path: Path, capsys: Any) -> None:
    file = save(tmp_path / "w.json", workflow(lora(1), lora(2, "gone.safetensors")))
    assert run(root, "relink", file) == 1
    assert (
        "left       loras/gone.safetensors  It is not here under any name. [NOT_HERE]"
        in capsys.readouterr().out
    )
    values = [
        one["widgets_values"][0] for one in json.loads((tmp_path / "w.relinked.json").read_text())["nodes"]
    ]
    assert values == [NEW, "gone.safetensors"]


def test_a_model_can_be_set_by_hand(root: Path, tmp_path: Path) -> None:
    file = save(tmp_path / "w.json", workflow(lora(1, "a=b.safetensors")))
    pair = "loras/a=b.safetensors=loras/style/x.safetensors"
    assert run(root, "relink", file, "--set", pair) == 0
    assert NEW in (tmp_path / "w.relinked.json").read_text()
    for wrong in ("nonsense", "loras/a=b.safetensors=loras/none.safetensors"):
        assert run(root, "relink", file, "--force", "--set", wrong) == 2
    assert run(root, "relink", file, "--force", "--set", "loras/z.safetensors=loras/style/x.safetensors") == 2


def test_a_pictures_workflow_is_written_beside_it(root: Path, tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", json.dumps(workflow(lora(1))))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    assert run(root, "relink", tmp_path / "a.png") == 0
    assert json.loads((tmp_path / "a.relinked.json").read_text()) == workflow(lora(1, NEW))


def test_both_halves_of_an_export_are_relinked(root: Path, tmp_path: Path) -> None:
    prompt = {"1": {"class_type": LORA, "inputs": {"lora_name": OLD}}}
    file = save(tmp_path / "w.json", {"workflow": workflow(lora(1)), "prompt": prompt})
    assert run(root, "relink", file) == 0
    written = (tmp_path / "w.relinked.json").read_text()
    assert written == file.read_text().replace(OLD, NEW)
    posted = {"prompt": prompt, "extra_data": {"extra_pnginfo": {"workflow": workflow(lora(1))}}}
    file = save(tmp_path / "posted.json", posted)
    assert run(root, "relink", file) == 0
    assert (tmp_path / "posted.relinked.json").read_text() == file.read_text().replace(OLD, NEW)


def test_several_files_go_into_a_folder(root: Path, tmp_path: Path) -> None:
    files = [save(tmp_path / f"{name}.json", workflow(lora(1))) for name in "ab"]
    (tmp_path / "out").mkdir()
    assert run(root, "relink", *files, "-o", tmp_path / "one.json") == 2
    assert run(root, "relink", *files, "-o", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.relinked.json",
        "b.relinked.json",
    ]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "w.json").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_new(tmp_path / "w.json", b"new", force=True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("w.json", "old")]


def test_a_file_that_appears_meanwhile_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text("theirs")
    with pytest.raises(Conflict):
        write_new(tmp_path / "w.json", b"ours", force=False)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("w.json", "theirs")]

"""Relinking in files: exactly the values that decide change."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest

from resolver import relinking
from resolver.analysis import analyze
from resolver.workflow.read import read_workflow
from resolver.workflow.references import find_references
from resolver.workflow.relink import Failure, Renaming, key_of, rename
from tests.graphs import metadata, node, subgraph, widget, workflow
from tests.relink_steps import KNOWN, LORA, NEW, OLD, changed, differences, library, lora, relink

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


def test_the_node_with_the_text_where_others_pass_it_on(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    text, wire = (
        [{"name": "STRING", "type": "STRING", "link": number} for number in (8, 9)],
        widget("lora_name", 7),
    )
    content = workflow(
        node(1, LORA, ["stale.safetensors", 1.0], inputs=[wire, widget("strength_model")]),
        node(2, "GetNode", ["name"]),
        node(3, "SetNode", ["name"], inputs=[text[0]]),
        node(4, "ShowText|pysssss", [["stale.safetensors"]], inputs=[text[1]]),
        node(5, "PrimitiveString", [OLD]),
        links=[[7, 2, 0, 1, 0, "STRING"], [8, 4, 0, 3, 0, "STRING"], [9, 5, 0, 4, 0, "STRING"]],
    )
    assert changed(content, here) == {("nodes", 4, "widgets_values", 0): NEW}


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


def test_the_node_with_the_text_in_the_subgraph_it_comes_out_of(tmp_path: Path) -> None:
    here = library(tmp_path, "loras/style/x.safetensors")
    inner = subgraph(
        "g", [node(7, "PrimitiveString", [OLD], inputs=[widget("value", 100)])], [("value", 7, 0)]
    )
    inner["outputs"] = [{"name": "STRING", "type": "STRING", "linkIds": [1]}]
    inner["links"].append(
        {"id": 1, "origin_id": 7, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "STRING"}
    )
    for host_states in (False, True):
        content = workflow(
            lora(1, "unused.safetensors", inputs=[widget("lora_name", 9), widget("strength_model")]),
            node(2, "g", [OLD] if host_states else [], inputs=[widget("value")]),
            links=[[9, 2, 0, 1, 0, "STRING"]],
            subgraphs=[copy.deepcopy(inner)],
        )
        where: Any = ("nodes", 1) if host_states else ("definitions", "subgraphs", 0, "nodes", 0)
        assert changed(content, here) == {(*where, "widgets_values", 0): NEW}

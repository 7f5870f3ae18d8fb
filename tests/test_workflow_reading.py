"""Workflows in all their forms, well-formed and hostile, become the same flat list of nodes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from resolver.errors import WorkflowError
from resolver.workflow import Node, Wired
from resolver.workflow.read import MAX_BYTES, parse_json, read_workflow
from tests.graphs import link, metadata, node, slots, subgraph, widget, workflow

LORA = "LoraLoaderModelOnly"


def nodes(content: Any) -> dict[str, Node]:
    return {found.id: found for found in read_workflow(content).nodes}


def test_names_come_from_the_inputs_when_they_cover_all_values() -> None:
    loader = node(1, LORA, ["a.safetensors", 0.8], inputs=[widget("lora_name"), widget("strength_model")])
    assert nodes(workflow(loader))["1"].named == {"lora_name": "a.safetensors", "strength_model": 0.8}


def test_a_partial_list_of_inputs_names_nothing() -> None:
    # Only weight_dtype was ever converted: taking it for the first value would shift all names.
    loader = node(1, "UNETLoader", ["a.safetensors", "default"], inputs=[widget("weight_dtype")])
    found = nodes(workflow(loader))["1"]
    assert found.named == {}
    assert found.positional == ("a.safetensors", "default")


def test_the_control_widget_behind_a_seed_takes_no_name() -> None:
    sampler = node(
        1,
        "KSampler",
        [42, "randomize", 20, "euler"],
        inputs=[widget("seed"), widget("steps"), widget("sampler_name")],
    )
    assert nodes(workflow(sampler))["1"].named == {"seed": 42, "steps": 20, "sampler_name": "euler"}


def test_values_given_as_an_object_are_named() -> None:
    assert nodes(workflow(node(1, "X", {"model": "a.ckpt"})))["1"].named == {"model": "a.ckpt"}


def test_the_names_of_newer_editors_are_put_to_the_positions() -> None:
    named = {"lora_name": "stale.safetensors", "strength_model": 0.5}
    loader = node(1, LORA, ["real.safetensors", 1], widgets_values_named=named)
    assert nodes(workflow(loader))["1"].named == {"lora_name": "real.safetensors", "strength_model": 1}
    alone = node(1, LORA, widgets_values_named=named)
    assert nodes(workflow(alone))["1"].named == named


@pytest.mark.parametrize(("mode", "active"), [(0, True), (2, False), (4, False), (1, True)])
def test_muted_and_bypassed_nodes_do_not_take_part(mode: int, active: bool) -> None:
    assert nodes(workflow(node(1, "X", ["a.ckpt"], mode=mode)))["1"].active is active


def test_everything_inside_a_bypassed_subgraph_is_inactive() -> None:
    inner = subgraph("inner", [node(7, "X", ["a.ckpt"])])
    outer = subgraph("outer", [node(5, "inner")])
    found = nodes(workflow(node(1, "outer", mode=4), subgraphs=[inner, outer]))
    assert found["1:5:7"].active is False


def promoted_workflow(*hosts: dict[str, Any]) -> dict[str, Any]:
    loader = node(
        7, LORA, ["inner.safetensors", 1.0], inputs=[widget("lora_name", 100), widget("strength_model")]
    )
    definition = subgraph("sub", [loader], promoted=[("style", 7, 0)])
    return workflow(*hosts, subgraphs=[definition])


def test_promoted_host_values_win_over_inner_ones_in_each_instance() -> None:
    found = nodes(promoted_workflow(node(1, "sub", ["one.safetensors"]), node(2, "sub", ["two.safetensors"])))
    assert found["1:7"].named["lora_name"] == "one.safetensors"
    assert found["2:7"].named["lora_name"] == "two.safetensors"


def test_without_host_values_the_inner_ones_count() -> None:
    host = node(1, "sub", [], properties={"proxyWidgets": [["7", "lora_name"]]})
    assert nodes(promoted_workflow(host))["1:7"].named["lora_name"] == "inner.safetensors"


def test_host_values_reach_through_two_levels() -> None:
    loader = node(
        7, LORA, ["deep.safetensors", 1.0], inputs=[widget("lora_name", 100), widget("strength_model")]
    )
    inner = subgraph("inner", [loader], promoted=[("style", 7, 0)])
    outer = subgraph("outer", [node(5, "inner", ["middle.safetensors"])], promoted=[("look", 5, 0)])
    found = nodes(workflow(node(1, "outer", ["top.safetensors"]), subgraphs=[inner, outer]))
    assert found["1:5:7"].named["lora_name"] == "top.safetensors"


def test_inputs_without_widgets_take_no_place_among_host_values() -> None:
    loader = node(
        7,
        LORA,
        ["inner.safetensors", 1.0],
        inputs=[
            {"name": "model", "type": "MODEL", "link": 100},
            widget("lora_name", 101),
            widget("strength_model"),
        ],
    )
    definition = subgraph("sub", [loader], promoted=[("model", 7, 0), ("style", 7, 1)])
    found = nodes(workflow(node(1, "sub", ["host.safetensors"]), subgraphs=[definition]))
    assert found["1:7"].named["lora_name"] == "host.safetensors"


@pytest.mark.parametrize("separator", [">", "/"])
def test_group_nodes_are_read_with_the_values_of_each_instance(separator: str) -> None:
    inner = [
        node(-1, "CheckpointLoaderSimple", ["inner.ckpt"], index=0),
        node(-1, LORA, ["inner.safetensors", 1.0], index=1),
    ]
    groups = {"groupNodes": {"pair": {"nodes": inner, "links": [], "external": []}}}
    content = workflow(
        node(5, f"workflow{separator}pair", ["one.ckpt", "one.safetensors", 0.5]),
        node(6, f"workflow{separator}pair", ["does not fit"], mode=4),
        extra=groups,
    )
    found = nodes(content)
    assert found["5:0"].positional == ("one.ckpt",)
    assert found["5:1"].positional == ("one.safetensors", 0.5)
    assert (found["6:0"].positional, found["6:0"].active) == (("inner.ckpt",), False)


def test_a_group_that_contains_itself_ends() -> None:
    groups = {"groupNodes": {"x": {"nodes": [node(-1, "workflow>x")]}}}
    assert "1" not in nodes(workflow(node(1, "workflow>x"), extra=groups))


def test_a_wired_widget_does_not_speak_for_itself() -> None:
    loader = node(
        2, LORA, ["stale.safetensors", 1.0], inputs=[widget("lora_name", 9), widget("strength_model")]
    )
    content = workflow(node(1, "StringFromSomewhere"), loader, links=[[9, 1, 0, 2, 0, "COMBO"]])
    assert nodes(content)["2"].wired == {"lora_name": Wired("1", None)}


def test_a_primitive_node_mirrors_its_value_into_the_widget() -> None:
    loader = node(
        2, LORA, ["mirrored.safetensors", 1.0], inputs=[widget("lora_name", 9), widget("strength_model")]
    )
    content = workflow(
        node(1, "PrimitiveNode", ["mirrored.safetensors"]), loader, links=[[9, 1, 0, 2, 0, "COMBO"]]
    )
    found = nodes(content)["2"]
    assert found.wired == {}
    assert found.named["lora_name"] == "mirrored.safetensors"


def test_a_wire_is_followed_through_reroutes_to_its_only_text() -> None:
    loader = node(
        2, LORA, ["stale.safetensors", 1.0], inputs=[widget("lora_name", 9), widget("strength_model")]
    )
    content = workflow(
        node(1, "StringNode", ["real.safetensors"]),
        node(3, "Reroute", inputs=[{"name": "", "type": "*", "link": 8}]),
        loader,
        links=[[8, 1, 0, 3, 0, "STRING"], [9, 3, 0, 2, 0, "STRING"]],
    )
    assert nodes(content)["2"].wired == {"lora_name": Wired("1", "real.safetensors")}


def test_reroutes_in_a_circle_end() -> None:
    loader = node(2, LORA, ["x.safetensors", 1.0], inputs=[widget("lora_name", 9), widget("strength_model")])
    circle = node(3, "Reroute", inputs=[{"name": "", "type": "*", "link": 8}])
    content = workflow(circle, loader, links=[[8, 3, 0, 3, 0, "*"], [9, 3, 0, 2, 0, "*"]])
    assert nodes(content)["2"].wired == {}


def test_a_value_wired_to_a_subgraph_reaches_the_widget_inside() -> None:
    host = node(1, "sub", ["host.safetensors"], inputs=[widget("style", 9)])
    content = promoted_workflow(node(5, "StringNode", ["wired.safetensors"]), host)
    content["links"] = [[9, 5, 0, 1, 0, "STRING"]]
    assert nodes(content)["1:7"].wired == {"lora_name": Wired("5", "wired.safetensors")}


def test_api_format_tells_links_from_values() -> None:
    content = {"4": {"class_type": "LoraLoader", "inputs": {"lora_name": "a.safetensors", "model": ["1", 0]}}}
    found = read_workflow(content)
    assert found.format == "api"
    assert found.nodes[0].named == {"lora_name": "a.safetensors"}
    assert set(found.nodes[0].wired) == {"model"}


def test_what_stands_beside_the_nodes_of_the_api_format_is_none_of_them() -> None:
    """As in the pictures of Civitai's generator; ids that are words are its own as well."""
    content = {
        "resource-stack": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
        "extra": {"airs": []},
        "extraMetadata": '{"prompt": "a finch"}',
        "extra_data": {"extra_pnginfo": {}},
        "version": 0.4,
    }
    found = read_workflow(content)
    assert [node.id for node in found.nodes] == ["resource-stack"]
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("4", None),
        ("12:3", {}),
        ("stack", {"inputs": {"lora_name": "a.safetensors"}}),
        ("stack", {"class_type": None}),
    ],
)
def test_a_node_of_the_api_format_without_a_type_is_told(name: str, entry: Any) -> None:
    found = read_workflow({"1": {"class_type": "X", "inputs": {}}, name: entry})
    assert [(warning.code, warning.node_id) for warning in found.warnings] == [("NODE_SKIPPED", name)]


@pytest.mark.parametrize("key", ["workflow", "prompt"])
def test_exports_that_wrap_a_workflow_are_unwrapped(key: str) -> None:
    inner = {"4": {"class_type": "X", "inputs": {}}} if key == "prompt" else workflow(node(1, "X"))
    assert [found.type for found in read_workflow({key: inner}).nodes] == ["X"]


def test_metadata_of_nodes_and_of_the_workflow_is_read() -> None:
    content = workflow(
        node(
            1,
            "X",
            ["a.ckpt"],
            properties=metadata("a.ckpt", "checkpoints", hash="AB" * 32, hash_type="SHA256"),
        ),
        models=[{"name": "b.ckpt", "url": "https://huggingface.co/b", "directory": "checkpoints"}],
    )
    found = read_workflow(content)
    assert [entry.name for entry in found.embedded()] == ["a.ckpt", "b.ckpt"]
    assert found.embedded()[0].sha256 == "ab" * 32


def test_notes_are_kept_as_texts_not_as_nodes() -> None:
    found = read_workflow(
        workflow(node(1, "MarkdownNote", ["see https://huggingface.co"]), node(2, "Note", ["x"]))
    )
    assert found.notes == ("see https://huggingface.co", "x")
    assert found.nodes == ()


# --- hostile input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"not json", "WORKFLOW_NOT_JSON"),
        (b"\x89PNG\r\n\x1a\n\xff", "WORKFLOW_NOT_JSON"),
        (b"", "WORKFLOW_NOT_JSON"),
        (b"[1, 2]", "WORKFLOW_NOT_RECOGNISED"),
        (b"[" * 10_000, "WORKFLOW_TOO_DEEP"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "WORKFLOW_TOO_DEEP"),
        (b" " * (MAX_BYTES + 1), "WORKFLOW_TOO_LARGE"),
    ],
)
def test_unreadable_bytes_have_a_stable_code(data: bytes, code: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        parse_json(data)
    assert caught.value.code == code


@pytest.mark.parametrize("content", [{}, {"nodes": 1}, {"a": {"b": 1}}, {"workflow": {"workflow": {}}}])
def test_other_json_is_not_taken_for_a_workflow(content: Any) -> None:
    with pytest.raises(WorkflowError) as caught:
        read_workflow(content)
    assert caught.value.code == "WORKFLOW_NOT_RECOGNISED"


JUNK = [None, 1, "x", [], {}, [None], {"x": None}, True, -1.5, [[]], {"name": {}}]


@pytest.mark.parametrize(
    "field",
    ["id", "type", "mode", "inputs", "properties", "widgets_values", "widgets_values_named", "outputs"],
)
@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_a_field_of_any_type_never_fails(field: str, junk: Any) -> None:
    loader = {**node(1, LORA, ["a.safetensors", 1.0], inputs=[widget("lora_name")]), field: junk}
    host = {**node(2, "sub", ["b.safetensors"]), field: junk}
    content = promoted_workflow(loader, host, node(3, "X", ["c.ckpt"]))
    assert "3" in nodes(content)


@pytest.mark.parametrize("field", ["nodes", "links", "inputs", "id"])
@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_a_malformed_subgraph_never_fails(field: str, junk: Any) -> None:
    content = promoted_workflow(node(1, "sub", ["b.safetensors"]), node(3, "X", ["c.ckpt"]))
    content["definitions"]["subgraphs"][0][field] = junk
    assert "3" in nodes(content)


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_malformed_definitions_models_and_links_never_fail(junk: Any) -> None:
    for field in ("definitions", "models", "links", "extra", "groups"):
        assert "3" in nodes({**workflow(node(3, "X", ["c.ckpt"])), field: junk})


def test_a_subgraph_that_contains_itself_ends_with_a_warning() -> None:
    content = workflow(node(1, "sub"), subgraphs=[subgraph("sub", [node(2, "sub"), node(3, "X")])])
    found = read_workflow(content)
    assert [warning.code for warning in found.warnings] == ["SUBGRAPH_CYCLE"]
    assert [inner.id for inner in found.nodes] == ["1:3"]


def test_subgraphs_that_unfold_for_ever_are_cut_off() -> None:
    # Thirty levels, each with two of the next: a billion instances from a few kilobytes. Without the cut
    # this never ends.
    subgraphs = [
        subgraph(f"s{level}", [node(1, f"s{level + 1}"), node(2, f"s{level + 1}")]) for level in range(30)
    ]
    found = read_workflow(workflow(node(1, "s0"), subgraphs=subgraphs))
    assert [warning.code for warning in found.warnings] == ["TOO_MANY_NODES"]


def test_many_instances_with_many_inputs_are_cut_off() -> None:
    inputs = [widget(f"w{slot}", 100 + slot) for slot in range(3000)]
    big = subgraph(
        "big", [node(1, "X", [], inputs=inputs)], promoted=[(f"w{slot}", 1, slot) for slot in range(3000)]
    )
    hosts = [node(number, "big", ["x"] * 3000) for number in range(3000)]
    found = read_workflow(workflow(*hosts, subgraphs=[big]))
    assert [warning.code for warning in found.warnings] == ["TOO_MANY_NODES"]


def test_half_characters_are_replaced() -> None:
    content = parse_json(
        b'{"nodes": [{"id": "\\ud800", "type": "X\\uDFFF", "widgets_values": ["\\ud83d\\ude00"]}]}'
    )
    found = read_workflow(content).nodes[0]
    assert (found.id, found.type, found.positional) == ("\ufffd", "X\ufffd", ("\U0001f600",))


def test_widget_slots_that_lead_in_circles_end() -> None:
    one = subgraph("one", [node(5, "two")], promoted=[("x", 5, 0)])
    two = subgraph("two", [node(5, "one")], promoted=[("x", 5, 0)])
    content = workflow(node(1, "one", ["a"]), node(3, "X", ["c.ckpt"]), subgraphs=[one, two])
    assert "3" in nodes(json.loads(json.dumps(content)))


@pytest.mark.parametrize("closed", [False, True])
def test_subgraphs_that_hand_on_a_text_in_a_row_or_a_ring_are_read(closed: bool) -> None:
    passes = subgraph(
        "p",
        [
            node(
                1,
                "ShowText|pysssss",
                [[]],
                inputs=[{**widget("text", 100), "type": "STRING"}],
                outputs=slots("STRING"),
            )
        ],
        [("text", 1, 0)],
        [link(1, 1, -20)],
    )
    passes["outputs"] = [{"name": "STRING", "type": "STRING", "linkIds": [1]}]
    count = 2000
    links = [[number, number, 0, number + 1, 0, "STRING"] for number in range(count)]
    row = [
        node(number, "p", [], inputs=[widget("text", number - 1)], outputs=slots("STRING"))
        for number in range(1, count)
    ]
    first = (
        node(0, "p", [], inputs=[widget("text", 5000)])
        if closed
        else node(0, "PrimitiveString", ["a.safetensors"])
    )
    loader = node(count, "LoraLoader", ["stale.safetensors"], inputs=[widget("lora_name", count - 1)])
    if closed:
        links.append([5000, count - 1, 0, 0, 0, "STRING"])
    read = read_workflow(workflow(first, *row, loader, links=links, subgraphs=[passes]))
    assert read.warnings == ()
    wired = {node.id: node.wired for node in read.nodes}
    assert wired["50:1"]["text"].text == (None if closed else "a.safetensors")

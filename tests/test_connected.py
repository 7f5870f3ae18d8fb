"""Only what an output node needs takes part in a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from resolver.folders import FolderKnowledge, NodeInputs
from resolver.folders.observed import observe
from resolver.workflow.connected import taking_part
from resolver.workflow.read import read_workflow
from tests.fakes import FakeHost
from tests.graphs import link, node, slots, subgraph, workflow

NOTHING = FolderKnowledge()


def active(content: Any, knowledge: FolderKnowledge = NOTHING) -> set[str]:
    """The ids of the nodes that take part."""
    return {one.id for one in taking_part(read_workflow(content), knowledge).nodes if one.active}


def loader(node_id: int, *kinds: str, **extra: Any) -> dict[str, Any]:
    return node(node_id, "Loader", outputs=slots(*(kinds or ("MODEL",))), **extra)


def step(node_id: int, takes: tuple[str, ...], gives: tuple[str, ...], **extra: Any) -> dict[str, Any]:
    return node(node_id, extra.pop("type", "Step"), inputs=slots(*takes), outputs=slots(*gives), **extra)


def save(node_id: int, kind: str = "MODEL", **extra: Any) -> dict[str, Any]:
    return node(node_id, "Save", inputs=slots(kind), **extra)


def test_what_an_installed_class_says_goes_before_its_shape() -> None:
    known = FolderKnowledge(observed={"Save": NodeInputs(), "Loader": NodeInputs(is_output=True)})
    content = workflow(loader(1), save(2), loader(3), links=[link(1, 1, 2)])
    assert active(content, known) == {"1", "3"}, "Loader is the output node here, and Save is none"
    assert active(content) == {"1", "2"}


def test_output_nodes_are_observed_on_their_classes(tmp_path: Path) -> None:
    class Old:
        OUTPUT_NODE = True

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {}

    class Plain(Old):
        OUTPUT_NODE = False

    class New:
        @classmethod
        def GET_NODE_INFO_V1(cls) -> dict[str, Any]:
            return {"input": {}, "output_node": True}

    observed = observe(FakeHost(tmp_path, nodes={"Old": Old, "Plain": Plain, "New": New}))
    assert {name: inputs.is_output for name, inputs in observed.items()} == {
        "Old": True,
        "Plain": False,
        "New": True,
    }


@pytest.mark.parametrize(
    ("mode", "expected"), [(0, {"1", "2", "3"}), (2, {"3"}), (4, {"1", "3"})], ids=["on", "muted", "bypassed"]
)
def test_a_mode_between_loader_and_output(mode: int, expected: set[str]) -> None:
    between = step(2, ("MODEL",), ("MODEL",), mode=mode)
    content = workflow(loader(1), between, save(3), links=[link(1, 1, 2), link(2, 2, 3)])
    assert active(content) == expected


@pytest.mark.parametrize(
    ("takes", "gives", "passed"),
    [
        (("CLIP", "MODEL"), ("MODEL",), {"2"}),
        (("MODEL", "MODEL"), ("MODEL", "MODEL"), {"1"}),
        (("CLIP", "VAE"), ("MODEL",), set()),
        (("MODEL,CLIP", "VAE"), ("MODEL",), {"1"}),
        (("*", "VAE"), ("MODEL",), {"1"}),
    ],
    ids=["of the same type", "of the same place", "of no type", "of several types", "of any type"],
)
def test_a_bypassed_node_passes_on_the_input(
    takes: tuple[str, ...], gives: tuple[str, ...], passed: set[str]
) -> None:
    content = workflow(
        loader(1),
        loader(2),
        step(3, takes, gives, mode=4),
        save(4),
        links=[link(1, 1, 3, target_slot=0), link(2, 2, 3, target_slot=1), link(3, 3, 4)],
    )
    assert active(content) == {*passed, "4"}


def test_a_bypassed_node_prefers_the_input_at_the_place_of_the_output() -> None:
    content = workflow(
        loader(1),
        loader(2),
        step(3, ("MODEL", "MODEL"), ("MODEL", "MODEL"), mode=4),
        save(4),
        links=[link(1, 1, 3), link(2, 2, 3, target_slot=1), link(3, 3, 4, slot=1)],
    )
    assert active(content) == {"2", "4"}


def test_a_type_hidden_by_a_reroute_still_passes_a_bypassed_node() -> None:
    reroute = step(4, ("*",), ("*",), type="Reroute")
    content = workflow(
        loader(1),
        loader(2),
        step(3, ("CLIP", "MODEL"), ("MODEL",), mode=4),
        reroute,
        save(5),
        links=[link(1, 1, 3, target_slot=0), link(2, 2, 3, target_slot=1), link(3, 3, 4), link(4, 4, 5)],
    )
    assert "2" in active(content)


def test_links_count_that_an_input_does_not_mention() -> None:
    content = workflow(loader(1), save(2), loader(3), links=[link(1, 1, 2)])
    content["nodes"][1]["inputs"][0]["link"] = None
    assert active(content) == {"1", "2"}


def test_an_unknown_node_inside_a_subgraph_may_save_although_an_output_shows_it() -> None:
    """Its file names go to the subgraph's output, which nobody takes."""
    combine = step(7, ("IMAGE",), ("FILENAMES",))
    inner = subgraph("sub", [loader(6, "IMAGE"), combine], links=[link(1, 6, 7), link(2, 7, -20)])
    inner["outputs"] = [{"name": "FILENAMES", "type": "FILENAMES", "linkIds": [2]}]
    host = node(5, "sub", outputs=slots("FILENAMES"))
    content = workflow(loader(1), save(2), host, links=[link(1, 1, 2)], subgraphs=[inner])
    assert active(content) == {"1", "2", "5:6", "5:7"}


def test_an_instances_inputs_are_found_by_name() -> None:
    """Saved instances list fewer inputs than the definition, in another order."""
    inner = subgraph(
        "sub",
        [save(7, "VAE"), save(8, "MODEL", mode=2)],
        promoted=[("model", 8, 0), ("vae", 7, 0)],
    )
    host = node(5, "sub", inputs=[{"name": "vae", "type": "VAE"}, {"name": "model", "type": "MODEL"}])
    content = workflow(
        loader(1), loader(2), host, links=[link(1, 1, 5), link(2, 2, 5, target_slot=1)], subgraphs=[inner]
    )
    assert active(content) == {"1", "5:7"}


def test_the_value_of_a_set_node_is_got_in_another_graph() -> None:
    inner = subgraph("sub", [step(7, (), ("MODEL",), type="GetNode", widgets_values=["m"]), save(8)])
    inner["links"].append(link(1, 7, 8))
    content = workflow(
        loader(1),
        step(2, ("MODEL",), ("*",), type="SetNode", widgets_values=["m"]),
        loader(3),
        node(5, "sub"),
        links=[link(1, 1, 2)],
        subgraphs=[inner],
    )
    assert active(content) == {"1", "2", "5:7", "5:8"}


@pytest.mark.parametrize("mode", [2, 4], ids=["muted", "bypassed"])
def test_a_set_node_that_is_switched_off_is_got_all_the_same(mode: int) -> None:
    content = workflow(
        loader(1),
        step(2, ("MODEL",), ("*",), type="SetNode", widgets_values=["m"], mode=mode),
        step(3, (), ("MODEL",), type="GetNode", widgets_values=["m"]),
        save(4),
        links=[link(1, 1, 2), link(2, 3, 4)],
    )
    assert active(content) == {"1", "3", "4"}


def test_what_goes_everywhere_is_needed_although_its_node_is_no_output_node() -> None:
    known = FolderKnowledge(observed={"Anything Everywhere": NodeInputs()})
    everywhere = node(2, "Anything Everywhere", inputs=slots("*"))
    assert active(workflow(loader(1), everywhere, save(3), links=[link(1, 1, 2)]), known) == {"1", "2", "3"}


def test_a_muted_subgraph_hands_nothing_on() -> None:
    inner = subgraph(
        "sub", [step(7, ("MODEL",), ("MODEL",))], promoted=[("MODEL", 7, 0)], links=[link(1, 7, -20)]
    )
    host = step(5, ("MODEL",), ("MODEL",), type="sub", mode=2)
    content = workflow(loader(1), host, save(2), links=[link(1, 1, 5), link(2, 5, 2)], subgraphs=[inner])
    assert active(content) == {"2"}
    host["mode"] = 0
    assert active(content) == {"1", "5:7", "2"}


def test_a_save_node_inside_a_group_node_needs_what_goes_into_the_group() -> None:
    known = FolderKnowledge(observed={"Step": NodeInputs(), "Save": NodeInputs(is_output=True)})
    groups = {"groupNodes": {"finish": {"nodes": [step(0, ("MODEL",), ("MODEL",)), save(0)], "links": []}}}
    host = step(5, ("MODEL",), ("MODEL",), type="workflow>finish")
    content = workflow(loader(1), host, loader(2), links=[link(1, 1, 5)], extra=groups)
    assert active(content, known) == {"1", "5:0", "5:1"}


def test_in_the_api_format_a_node_that_is_taken_from_is_no_output_node() -> None:
    known = FolderKnowledge(observed={"Save": NodeInputs(is_output=True), "Step": NodeInputs()})
    content = {
        "1": {"class_type": "Unknown", "inputs": {}},
        "2": {"class_type": "Step", "inputs": {"model": ["1", 0]}},
        "3": {"class_type": "Save", "inputs": {}},
        "4": {"class_type": "Unknown", "inputs": {}},
    }
    assert active(content, known) == {"3", "4"}


@pytest.mark.parametrize("name", [[], [None], [""], {}], ids=repr)
def test_a_set_node_without_a_name_we_can_see_is_got_somewhere(name: Any) -> None:
    content = workflow(
        loader(1),
        step(2, ("MODEL",), ("*",), type="SetNode", widgets_values=name),
        save(3),
        links=[link(1, 1, 2)],
    )
    assert "1" in active(content)


def test_a_long_chain_of_bypassed_nodes_ends() -> None:
    count = 5000
    chain = [step(number, ("MODEL",), ("MODEL",), mode=4) for number in range(2, count)]
    links = [link(number, number, number + 1) for number in range(1, count)]
    content = workflow(loader(1), *chain, save(count), links=links)
    assert active(content) == {"1", str(count)}


def test_links_in_a_circle_end() -> None:
    ring = [step(number, ("MODEL",), ("MODEL",), mode=4) for number in (1, 2)]
    content = workflow(*ring, save(3), links=[link(1, 1, 2), link(2, 2, 1), link(3, 2, 3)])
    assert active(content) == {"3"}


def test_a_subgraph_with_many_links_in_many_instances_is_cut_off() -> None:
    """A few hundred kilobytes that would unfold into a hundred million links."""
    links = [link(number, 1, 2) for number in range(10_000)]
    big = subgraph("big", [loader(1), save(2)], links=links)
    content = workflow(*(node(number, "big") for number in range(10_000)), subgraphs=[big])
    found = read_workflow(json.loads(json.dumps(content)))
    assert [warning.code for warning in found.warnings] == ["TOO_MANY_NODES"]

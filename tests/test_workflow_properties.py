"""What a workflow wants does not depend on how it is written down.

Generated workflows are chains of loaders, stacks and prompts between a checkpoint and a save node, some of
them muted, bypassed or dangling. Each is rewritten in ways that mean the same to ComfyUI.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resolver.folders import FolderKnowledge, NodeInputs
from resolver.folders.learned import snapshot
from resolver.workflow.read import parse_json, read_workflow
from resolver.workflow.references import find_references

EXAMPLES = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

Found = set[tuple[str, str, bool]]
"""(folder, name, whether any of its references is active)."""


@dataclass(frozen=True)
class Kind:
    """A node class: its wired inputs and outputs by type, its widgets in the editor's order."""

    takes: tuple[str, ...]
    gives: tuple[str, ...]
    widgets: tuple[str, ...]
    folders: dict[str, str]


KINDS = {
    "CheckpointLoaderSimple": Kind(
        (), ("MODEL", "CLIP", "VAE"), ("ckpt_name",), {"ckpt_name": "checkpoints"}
    ),
    "LoraLoaderModelOnly": Kind(
        ("MODEL",), ("MODEL",), ("lora_name", "strength_model"), {"lora_name": "loras"}
    ),
    "Stack": Kind(("MODEL",), ("MODEL",), ("loras",), {}),
    "Prompted": Kind(("MODEL",), ("MODEL",), ("seed", "text"), {}),
    "UpscaleModelLoader": Kind((), ("UPSCALE_MODEL",), ("model_name",), {"model_name": "upscale_models"}),
    "SaveModel": Kind(("MODEL",), (), ("filename_prefix",), {}),
}
CONTROLLED = ("seed",)
LEARNED = snapshot()
KNOWLEDGE = FolderKnowledge(
    observed={
        node_type: NodeInputs(
            kind.widgets,
            {name: (folder,) for name, folder in kind.folders.items()},
            is_output=not kind.gives,
        )
        for node_type, kind in KINDS.items()
    },
    learned=LEARNED.nodes,
    by_input=LEARNED.by_input,
)

# --- generating -----------------------------------------------------------------------------------

NAMES = st.sampled_from(
    ["a.safetensors", "b.ckpt", "sub/c.safetensors", "sub\\c.safetensors", "sub/ü d.gguf", "e.pt"]
)
STEMS = st.sampled_from(["ink", "Paint Style", "sub/oil"])
ENTRIES = st.fixed_dictionaries({"on": st.booleans(), "lora": NAMES, "strength": st.just(1.0)})
TAGS = st.one_of(
    STEMS.map(lambda stem: f"<lora:{stem}:0.8>"),
    st.sampled_from(["easy", "sub/hard.pt"]).map(lambda name: f"(embedding:{name}:1.2)"),
    st.just("a cat, at dawn"),
)
VALUES = {
    "LoraLoaderModelOnly": st.tuples(NAMES, st.just(1.0)).map(list),
    "Stack": st.lists(ENTRIES, max_size=3).map(lambda entries: [entries]),
    "Prompted": st.lists(TAGS, max_size=3).map(lambda words: [1, "randomize", " ".join(words)]),
}
STEPS = st.sampled_from(sorted(VALUES)).flatmap(lambda kind: st.tuples(st.just(kind), VALUES[kind]))
MODES = st.sampled_from([0, 0, 0, 0, 2, 4])


def ui_node(node_id: int, node_type: str, values: list[Any], mode: int = 0) -> dict[str, Any]:
    kind = KINDS[node_type]
    inputs = [{"name": name.lower(), "type": name, "link": None} for name in kind.takes]
    widgets = [
        {"name": name, "type": "COMBO", "widget": {"name": name}, "link": None} for name in kind.widgets
    ]
    return {
        "id": node_id,
        "type": node_type,
        "mode": mode,
        "inputs": [*inputs, *widgets],
        "outputs": [{"name": name, "type": name, "links": []} for name in kind.gives],
        "properties": {},
        "widgets_values": values,
    }


def connect(graph: dict[str, Any], origin: int, target: int, target_slot: int = 0) -> None:
    link_id = 1 + max((link[0] for link in graph["links"]), default=0)
    graph["links"].append([link_id, origin, 0, target, target_slot, "MODEL"])
    for node in graph["nodes"]:
        if node["id"] == target:
            node["inputs"][target_slot]["link"] = link_id
        if node["id"] == origin:
            node["outputs"][0]["links"].append(link_id)


@st.composite
def workflows(draw: st.DrawFn) -> dict[str, Any]:
    """Node 1 is the checkpoint, the chain follows in order of ids, and the last two are save and a loader."""
    steps = draw(st.lists(st.tuples(STEPS, MODES), min_size=1, max_size=6))
    graph: dict[str, Any] = {"nodes": [], "links": [], "version": 0.4}
    graph["nodes"].append(ui_node(1, "CheckpointLoaderSimple", [draw(NAMES)]))
    last = 1
    for number, ((node_type, values), mode) in enumerate(steps, start=2):
        graph["nodes"].append(ui_node(number, node_type, values, mode))
        connect(graph, number - 1, number)
        last = number
    graph["nodes"].append(ui_node(last + 1, "SaveModel", ["x"]))
    connect(graph, last, last + 1)
    graph["nodes"].append(ui_node(last + 2, "UpscaleModelLoader", [draw(NAMES)]))
    # Beside a broken chain there is one that works, or nothing would take part.
    graph["nodes"].append(ui_node(last + 3, "CheckpointLoaderSimple", ["whole.safetensors"]))
    graph["nodes"].append(ui_node(last + 4, "SaveModel", ["y"]))
    connect(graph, last + 3, last + 4)
    return graph


def wants(content: Any) -> Found:
    found: dict[tuple[str, str], bool] = {}
    for one in find_references(read_workflow(content), KNOWLEDGE):
        key = (one.folders[0], one.name.replace("\\", "/"))
        found[key] = found.get(key, False) or one.active
    return {(folder, name, active) for (folder, name), active in found.items()}


# --- rewriting --------------------------------------------------------------------------------------


def renumbered(graph: dict[str, Any], order: list[int], as_text: bool) -> dict[str, Any]:
    """The same graph under other ids, listed in another order."""
    new: dict[int, Any] = {
        node["id"]: str(1000 + place) if as_text else 1000 + place
        for node, place in zip(graph["nodes"], order, strict=True)
    }
    made = copy.deepcopy(graph)
    for node in made["nodes"]:
        node["id"] = new[node["id"]]
        node["title"] = f"renamed {node['id']}"
    made["nodes"].sort(key=lambda node: str(node["id"]))
    for link in made["links"]:
        link[1], link[3] = new[link[1]], new[link[3]]
    return made


def nested(graph: dict[str, Any], node_id: int, promote: bool, depth: int) -> dict[str, Any]:
    """The same graph with one node of the chain inside ``depth`` subgraphs, its values promoted or not."""
    made = copy.deepcopy(graph)
    index = next(i for i, node in enumerate(made["nodes"]) if node["id"] == node_id)
    inner = made["nodes"][index]
    # The control widget behind a seed is no input, so it is not promoted.
    widgets = [entry["name"] for entry in inner["inputs"] if "widget" in entry] if promote else []
    values = dict(zip(KINDS[inner["type"]].widgets, without_controls(inner), strict=True))
    stale = copy.deepcopy(inner)
    if promote:
        stale["widgets_values"] = [
            "stale" if isinstance(one, str) else one for one in inner["widgets_values"]
        ]
        stale["widgets_values"] = [[] if isinstance(one, list) else one for one in stale["widgets_values"]]
    for level in range(depth):
        name = f"level {level}"
        made.setdefault("definitions", {"subgraphs": []})["subgraphs"].append(
            definition(name, stale, widgets)
        )
        stale = {
            "id": 50 + level,
            "type": name,
            "mode": 0,
            "inputs": [
                {"name": "model", "type": "MODEL", "link": None},
                *({"name": w, "type": "COMBO", "widget": {"name": w}, "link": None} for w in widgets),
            ],
            "outputs": [{"name": "MODEL", "type": "MODEL", "links": []}],
            "properties": {},
            "widgets_values": ["stale" for _ in widgets],
        }
    host = {**stale, "id": node_id, "widgets_values": [values[name] for name in widgets]}
    host["inputs"][0]["link"] = inner["inputs"][0]["link"]
    made["nodes"][index] = host
    return made


def definition(name: str, inner: dict[str, Any], widgets: list[str]) -> dict[str, Any]:
    """A subgraph around one node: its model goes in and out, and ``widgets`` are promoted."""
    body = copy.deepcopy(inner)
    fed = ["model", *widgets]
    links = []
    for slot, input_name in enumerate(fed):
        target_slot = next(i for i, entry in enumerate(body["inputs"]) if entry["name"] == input_name)
        body["inputs"][target_slot]["link"] = 1 + slot
        links.append(wire(1 + slot, -10, slot, body["id"], target_slot))
    links.append(wire(99, body["id"], 0, -20, 0))
    return {
        "id": name,
        "nodes": [body],
        "links": links,
        "inputs": [
            {"name": input_name, "type": "*", "linkIds": [1 + slot]} for slot, input_name in enumerate(fed)
        ],
        "outputs": [{"name": "MODEL", "type": "MODEL", "linkIds": [99]}],
    }


def wire(link_id: int, origin: int, origin_slot: int, target: int, target_slot: int) -> dict[str, Any]:
    return {
        "id": link_id,
        "origin_id": origin,
        "origin_slot": origin_slot,
        "target_id": target,
        "target_slot": target_slot,
        "type": "MODEL",
    }


def without_controls(node: dict[str, Any]) -> list[Any]:
    """A node's values without those of control widgets, one for each of its class's widgets."""
    values = iter(node["widgets_values"])
    kept = []
    for name in KINDS[node["type"]].widgets:
        kept.append(next(values))
        if name in CONTROLLED:
            next(values)
    return kept


def as_api(graph: dict[str, Any]) -> dict[str, Any]:
    """What the editor sends for ``graph``: neither muted nodes nor bypassed ones; these hand on."""
    nodes = {node["id"]: node for node in graph["nodes"]}
    links = {link[0]: link for link in graph["links"]}
    api: dict[str, Any] = {}
    for node in graph["nodes"]:
        if node["mode"] != 0:
            continue
        inputs: dict[str, Any] = {
            name: {"__value__": value} if isinstance(value, list) else value
            for name, value in zip(KINDS[node["type"]].widgets, without_controls(node), strict=True)
        }
        for entry in node["inputs"]:
            link = links.get(entry["link"])
            while link is not None and nodes[link[1]]["mode"] == 4:
                link = links.get(nodes[link[1]]["inputs"][0]["link"])
            if link is not None and nodes[link[1]]["mode"] == 0:
                inputs[entry["name"]] = [str(link[1]), link[2]]
        api[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return api


# --- what holds ---------------------------------------------------------------------------------------


@EXAMPLES
@given(workflows(), st.randoms(use_true_random=False), st.booleans())
def test_other_ids_and_another_order(graph: dict[str, Any], random: Any, as_text: bool) -> None:
    order = list(range(len(graph["nodes"])))
    random.shuffle(order)
    assert wants(renumbered(graph, order, as_text)) == wants(graph)


@EXAMPLES
@given(workflows(), st.data(), st.booleans(), st.integers(1, 4))
def test_a_part_inside_subgraphs(
    graph: dict[str, Any], data: st.DataObject, promote: bool, depth: int
) -> None:
    chain = [node["id"] for node in graph["nodes"] if KINDS[node["type"]].takes and KINDS[node["type"]].gives]
    node_id = data.draw(st.sampled_from(chain))
    assert wants(nested(graph, node_id, promote, depth)) == wants(graph)


@EXAMPLES
@given(workflows())
def test_the_api_format(graph: dict[str, Any]) -> None:
    """It holds no node that is muted or bypassed, so what only those name is gone."""
    active_here = {(folder, name) for folder, name, active in wants(graph) if active}
    there = wants(as_api(graph))
    assert {(folder, name) for folder, name, active in there if active} == active_here
    assert {(folder, name) for folder, name, _ in there} <= {
        (folder, name) for folder, name, _ in wants(graph)
    }


@EXAMPLES
@given(workflows())
def test_exports_that_wrap_it(graph: dict[str, Any]) -> None:
    extra = {"extra_pnginfo": {"workflow": graph}}
    api = as_api(graph)
    expected = wants(graph)
    for wrapped in (
        {"workflow": graph},
        {"workflow": graph, "prompt": api},
        {"workflow": graph, "output": api},
        {"prompt": api, "extra_data": extra, "client_id": "c"},
        {"id": {"prompt": [0, "id", api, extra, ["1"]], "outputs": {}}},
    ):
        assert wants(wrapped) == expected
    assert wants({"prompt": api}) == wants({"output": api}) == wants(api)


@EXAMPLES
@given(workflows(), st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_dumping_and_loading(graph: dict[str, Any], ascii_only: bool, indent: Any) -> None:
    text = json.dumps(graph, ensure_ascii=ascii_only, indent=indent)
    assert wants(parse_json(text.encode())) == wants(graph)


@EXAMPLES
@given(workflows())
def test_values_without_the_names_of_their_inputs(graph: dict[str, Any]) -> None:
    """As editors wrote them before inputs listed the widgets."""
    older = copy.deepcopy(graph)
    for node in older["nodes"]:
        node["inputs"] = [entry for entry in node["inputs"] if "widget" not in entry]
    assert wants(older) == wants(graph)


@EXAMPLES
@given(workflows())
def test_muting_every_save_node_changes_nothing_but_activity(graph: dict[str, Any]) -> None:
    muted = copy.deepcopy(graph)
    for node in muted["nodes"][:-1]:
        if node["type"] == "SaveModel":
            node["mode"] = 2
    kept, before = wants(muted), wants(graph)
    assert {one[:2] for one in kept} == {one[:2] for one in before}
    assert {one[:2] for one in kept if one[2]} == {("checkpoints", "whole.safetensors")}

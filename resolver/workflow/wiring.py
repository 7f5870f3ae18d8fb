"""What each node of a UI-format workflow takes from which other, through everything in between.

A *point* is an execution id, or the name of something between nodes: ``433<0`` and ``433>0`` are the
first input and output of subgraph node 433, ``=name`` is what SetNodes of that name hold. How reroutes,
muted and bypassed nodes and subgraphs pass a link on is ``ExecutableNodeDTO.ts`` of ComfyUI's frontend.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from .graph import (
    GET_NODES,
    SET_NODES,
    SUBGRAPH_INPUT,
    SUBGRAPH_OUTPUT,
    Graph,
    Link,
    as_list,
    held_name,
    is_id,
)

MUTED, BYPASSED = 2, 4

_VIRTUAL = SET_NODES | GET_NODES | {"PrimitiveNode", "Reroute"}
# Of a bypassed node; no real one has as many, and looking at each for each output takes its time.
_MAX_INPUTS = 100


class Wiring:
    """Collects ``needs``: for each point the points it takes from. ``subgraphs``: definitions by type."""

    def __init__(self, subgraphs: Mapping[str, Graph]) -> None:
        self._subgraphs = subgraphs
        self._needs: dict[str, list[str]] = defaultdict(list)
        self._bypasses: list[tuple[str, Graph, str, Mapping[str, Any], set[int]]] = []

    def needs(self) -> dict[str, tuple[str, ...]]:
        """All that was collected; call it once everything was added."""
        while self._bypasses:
            point, graph, prefix, raw, picked = self._bypasses.pop()
            self._needs[point].extend(self._sources(graph, prefix, raw, picked))
        return {point: tuple(sources) for point, sources in self._needs.items()}

    def add_node(self, graph: Graph, prefix: str, raw: Mapping[str, Any]) -> None:
        """A node of ``graph``, whose execution ids begin with ``prefix``."""
        point = f"{prefix}{raw['id']}"
        # The name on a muted SetNode can be got all the same.
        if raw.get("mode") not in (MUTED, BYPASSED) or raw["type"] in SET_NODES:
            self._needs[point].extend(self._sources(graph, prefix, raw))
        name = held_name(raw)
        if name is not None and raw["type"] in SET_NODES:
            self._needs[f"={name}"].append(point)
        elif name is not None and raw["type"] in GET_NODES:
            self._needs[point].append(f"={name}")

    def add_subgraph(self, graph: Graph, prefix: str, raw: Mapping[str, Any], definition: Graph) -> None:
        """An instance of a subgraph in ``graph``."""
        point = f"{prefix}{raw['id']}"
        # The editor finds an instance's inputs by name; saved ones may be fewer, in another order.
        slots = {_name(entry): slot for slot, entry in enumerate(definition.inputs)}
        inputs = as_list(raw.get("inputs"))
        for index, link in _links_into(graph, raw):
            name = _name(inputs[index]) if index < len(inputs) else None
            source = self._source(graph, prefix, link)
            if source is not None:
                self._needs[f"{point}<{slots.get(name, index)}"].append(source)
        for link in definition.into.get(SUBGRAPH_OUTPUT, ()):
            source = self._source(definition, f"{point}:", link)
            if source is not None:
                self._needs[f"{point}>{link.target_slot}"].append(source)
        for slot in _lost_outputs(definition):
            # An official template is saved like this. Nobody can tell which node was meant.
            self._needs[f"{point}>{slot}"].extend(f"{point}:{node_id}" for node_id in definition.nodes)

    def add_group(self, graph: Graph, prefix: str, raw: Mapping[str, Any], inner: Graph) -> None:
        """An instance of a group node, which runs as a whole: which of its slots lead where is not stated."""
        point = f"{prefix}{raw['id']}"
        self._needs[point].extend(self._sources(graph, prefix, raw))
        for node_id in inner.nodes:
            self._needs[point].append(f"{point}:{node_id}")
            self._needs[f"{point}:{node_id}"].append(point)

    def _sources(
        self, graph: Graph, prefix: str, raw: Mapping[str, Any], slots: set[int] | None = None
    ) -> Iterator[str]:
        """Where a node's inputs, or those at ``slots``, come from."""
        for slot, link in _links_into(graph, raw):
            source = self._source(graph, prefix, link) if slots is None or slot in slots else None
            if source is not None:
                yield source

    def _source(self, graph: Graph, prefix: str, link: Link) -> str | None:
        if link.origin == SUBGRAPH_INPUT:
            return f"{prefix[:-1]}<{link.origin_slot}" if prefix else None
        raw = graph.nodes.get(link.origin)
        if raw is None or raw.get("mode") == MUTED:
            return None
        point = f"{prefix}{link.origin}"
        if raw.get("mode") == BYPASSED:
            wanted = _wanted_type(graph, link)
            point = f"{point}>{link.origin_slot} as {wanted}"
            if point not in self._needs:
                self._needs[point] = []
                picked = _passed_through(raw, link.origin_slot, wanted)
                self._bypasses.append((point, graph, prefix, raw, picked))
            return point
        return f"{point}>{link.origin_slot}" if raw.get("type") in self._subgraphs else point


def may_be_output(graph: Graph, raw: Mapping[str, Any], unused: frozenset[int]) -> bool:
    """Whether a node of unknown type may be an output node, by its shape.

    A node without outputs is one; so may be a node that takes something and whose outputs lead nowhere
    (VHS_VideoCombine has one for file names). ``unused``: the outputs of the graph that lead nowhere.
    """
    if raw["type"] in _VIRTUAL:
        # A value set under no name, or one we cannot see, may be got anywhere.
        return raw["type"] in SET_NODES and held_name(raw) is None
    if not as_list(raw.get("outputs")):
        return True
    node_id = str(raw["id"])
    fed = next(_links_into(graph, raw), None) is not None
    return fed and not any(
        link.target in graph.nodes or (link.target == SUBGRAPH_OUTPUT and link.target_slot not in unused)
        for link in graph.out_of.get(node_id, ())
    )


def unused_outputs(
    graph: Graph, raw: Mapping[str, Any], definition: Graph, unused: frozenset[int]
) -> frozenset[int]:
    """The outputs of a subgraph's instance that lead nowhere."""
    used = {
        link.origin_slot
        for link in graph.out_of.get(str(raw["id"]), ())
        if link.target in graph.nodes or (link.target == SUBGRAPH_OUTPUT and link.target_slot not in unused)
    }
    return frozenset(link.target_slot for link in definition.into.get(SUBGRAPH_OUTPUT, ())) - used


def _lost_outputs(definition: Graph) -> Iterator[int]:
    """The outputs of a subgraph that name links of which none is there."""
    found = {link.target_slot for link in definition.into.get(SUBGRAPH_OUTPUT, ())}
    for slot, entry in enumerate(definition.outputs):
        if as_list(entry.get("linkIds")) and slot not in found:
            yield slot


def _links_into(graph: Graph, raw: Mapping[str, Any]) -> Iterator[tuple[int, Link]]:
    """(input index, link) of a node: as its inputs say, and as the links say, which may differ."""
    seen: set[Link] = set()
    for index, entry in enumerate(as_list(raw.get("inputs"))):
        if isinstance(entry, dict) and is_id(entry.get("link")):
            link = graph.links.get(str(entry["link"]))
            if link is not None:
                seen.add(link)
                yield index, link
    for link in graph.into.get(str(raw["id"]), ()):
        if link not in seen:
            yield link.target_slot, link


def _passed_through(raw: Mapping[str, Any], slot: int, wanted: str) -> set[int]:
    """The inputs that a bypassed node may pass on at output ``slot``, to an input of type ``wanted``.

    The editor goes by the type at the far end of the link, which reroutes hide from us: the output's own
    type is tried beside it.
    """
    inputs = [_type(entry) for entry in as_list(raw.get("inputs"))[:_MAX_INPUTS]]
    outputs = as_list(raw.get("outputs"))
    own = _type(outputs[slot]) if slot < len(outputs) else "*"
    picked = set()
    for kind in (wanted, own):
        if kind == "*":
            picked.add(slot if slot < len(inputs) else 0)
            continue
        fitting = [
            index for index, given in enumerate(inputs) if _connects(given, own) and _connects(given, kind)
        ]
        if slot in fitting:
            picked.add(slot)
        elif kind in inputs:
            picked.add(inputs.index(kind))
        elif fitting:
            picked.add(fitting[0])
    return picked


def _wanted_type(graph: Graph, link: Link) -> str:
    if link.target == SUBGRAPH_OUTPUT:
        entries: list[Any] = graph.outputs
    else:
        entries = as_list((graph.nodes.get(link.target) or {}).get("inputs"))
    return _type(entries[link.target_slot]) if link.target_slot < len(entries) else "*"


def _name(entry: Any) -> str | None:
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) else None


def _type(entry: Any) -> str:
    """A slot's type in upper case; ``*`` for any, ``COMBO`` for a list of values, as older editors wrote."""
    kind = entry.get("type") if isinstance(entry, dict) else None
    if isinstance(kind, list):
        return "COMBO"
    return kind.upper() if isinstance(kind, str) and kind else "*"


def _connects(left: str, right: str) -> bool:
    """Whether two types can be linked; a type may be several, with commas between."""
    return "*" in (left, right) or not set(left.split(",")).isdisjoint(right.split(","))

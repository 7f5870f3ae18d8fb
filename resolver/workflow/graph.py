"""One graph of the UI format: its nodes by id, its links, and what comes in by wire."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import Wired

SUBGRAPH_INPUT = "-10"
"""The id of the node that stands for a subgraph's own inputs."""
SUBGRAPH_OUTPUT = "-20"
"""The id of the node that stands for a subgraph's own outputs."""

# They live in the editor only; what is set by a name is taken wherever that name is got
# (ComfyUI-KJNodes, ComfyUI-Easy-Use). No link shows it.
SET_NODES = frozenset({"SetNode", "easy setNode"})
GET_NODES = frozenset({"GetNode", "easy getNode"})

_PRIMITIVE = "PrimitiveNode"
_REROUTE = "Reroute"
_MAX_REROUTES = 100
_TEXTS = frozenset({"STRING", "COMBO", "*"})


class Link(NamedTuple):
    """A link of a graph: node ids and indexes of slots."""

    origin: str
    origin_slot: int
    target: str
    target_slot: int


class Graph:
    """One graph (the root or a subgraph definition) with its malformed parts left out.

    ``links`` by id; ``into`` and ``out_of`` are the same by the nodes at their ends, and those besides
    that node packs make when the workflow is queued.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        nodes = raw.get("nodes")
        for node in nodes if isinstance(nodes, list) else ():
            if isinstance(node, dict) and is_id(node.get("id")):
                self.nodes.setdefault(str(node["id"]), node)
        self.inputs = [entry for entry in as_list(raw.get("inputs")) if isinstance(entry, dict)]
        self.outputs = [entry for entry in as_list(raw.get("outputs")) if isinstance(entry, dict)]
        self.links = dict(_links(raw.get("links")))
        broadcast = _broadcast_links(raw.get("extra"))
        self.into: dict[str, list[Link]] = defaultdict(list)
        self.out_of: dict[str, list[Link]] = defaultdict(list)
        for link in (*self.links.values(), *broadcast):
            self.into[link.target].append(link)
            self.out_of[link.origin].append(link)

    def targets(self, slot: int) -> Iterator[tuple[str, int]]:
        """(node id, input index) of everything that input ``slot`` of this subgraph feeds."""
        wanted = [link_id for link_id in as_list(self.inputs[slot].get("linkIds")) if is_id(link_id)]
        for link_id in wanted:
            link = self.links.get(str(link_id))
            if link is not None and link.origin == SUBGRAPH_INPUT:
                yield link.target, link.target_slot


def widget_name(entry: Any) -> str | None:
    """The name of the widget an input belongs to, if it belongs to one."""
    widget = entry.get("widget") if isinstance(entry, dict) else None
    name = widget.get("name") if isinstance(widget, dict) else None
    return name if isinstance(name, str) else None


@dataclass(frozen=True)
class Scope:
    """A graph as one instance of a subgraph has it, or the root.

    ``prefix`` makes ids execution ids. ``promoted``: the host's values (or what is wired to them) by inner
    node id and input name; they are what those nodes give. ``host``: the instance, and where it is.
    """

    graph: Graph
    prefix: str = ""
    promoted: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    host: tuple[Scope, Mapping[str, Any]] | None = None


Enter = Callable[[Scope, Mapping[str, Any]], "Scope | None"]
"""The inside of a node of a scope, if it is an instance of a subgraph that can be looked into."""

_At = tuple[Scope, Mapping[str, Any]]  # a node, and where it is


def wires(scope: Scope, raw: Mapping[str, Any], enter: Enter) -> dict[str, Wired]:
    """What a node's widgets take from other nodes' outputs, by name.

    Left out are those that the host has a value for; wires from a PrimitiveNode, which mirrors its value
    into the widget; and from the subgraph's own input, if nothing is wired to that either: then the host's
    value counts, or the widget's if the host states none.
    """
    found: dict[str, Wired] = {}
    stated = scope.promoted.get(str(raw["id"]), {})
    for entry in as_list(raw.get("inputs")):
        if not isinstance(entry, dict) or not is_id(entry.get("link")):
            continue
        # Other inputs take objects: what a loader gives is a model, not its name.
        name = widget_name(entry)
        if name is None or name in stated:
            continue
        source = _behind(scope, entry, enter)
        if source is not None and source[1].get("type") != _PRIMITIVE:
            found[name] = _text_behind(source, enter)
    return found


def _text_behind(source: _At, enter: Enter) -> Wired:
    """The node that holds the text which ``source`` gives, and the text.

    Nodes between that only pass a text on (a display, another pack's reroute, what is set and got by a
    name) are followed to its origin; where nothing is found there, the node's own text counts.
    """
    first = _held(source, only_text(source[1].get("widgets_values")), enter)
    for step in range(_MAX_REROUTES):
        scope, raw = source
        given = scope.promoted.get(str(raw["id"]), {})
        texts = {key: value.text if isinstance(value, Wired) else value for key, value in given.items()}
        if text := only_text(texts):
            # What the host itself takes by wire is held further out.
            outer = (value for value in given.values() if isinstance(value, Wired) and value.text == text)
            return next(outer, None) or _held(source, text, enter)
        onward = _passed_on(source, enter)
        if onward is None or onward[1].get("type") == _PRIMITIVE:
            text = only_text(raw.get("widgets_values"))
            return _held(source, text, enter) if text or not step else first
        source = onward
    return first


def _passed_on(source: _At, enter: Enter) -> _At | None:
    """The node whose text ``source`` passes on, if that is all it does."""
    scope, raw = source
    if raw.get("type") in GET_NODES:
        name = held_name(raw)
        setters = (node for node in scope.graph.nodes.values() if node.get("type") in SET_NODES)
        raw = next((node for node in setters if name is not None and held_name(node) == name), raw)
    fed = [
        entry for entry in as_list(raw.get("inputs")) if isinstance(entry, dict) and is_id(entry.get("link"))
    ]
    if len(fed) != 1 or (fed[0].get("type") not in _TEXTS and raw.get("type") not in SET_NODES):
        return None
    values = raw.get("widgets_values")
    texts = [text for text in _texts(values) if text] if raw.get("type") not in SET_NODES else []
    if len(texts) > 1 or (texts and widget_name(fed[0]) is None):
        return None
    return _behind(scope, fed[0], enter)


def _behind(scope: Scope, entry: Mapping[str, Any], enter: Enter) -> _At | None:
    """The node that an input's wire comes from, through reroutes and in and out of subgraphs.

    ``None`` for a graph's own input that nothing is wired to. An instance whose output comes from nowhere is
    the node itself.
    """
    instance: _At | None = None
    link = scope.graph.links.get(str(entry.get("link")))
    for _ in range(_MAX_REROUTES):
        inlet: Any = None
        if link is None:
            return instance
        source = scope.graph.nodes.get(link.origin)
        if source is not None and source.get("type") == _REROUTE:
            inlet = next(iter(as_list(source.get("inputs"))), None)
        elif source is not None:
            inside = enter(scope, source)
            if inside is None:
                return scope, source
            instance, slot = (scope, source), link.origin_slot
            outlets = inside.graph.into.get(SUBGRAPH_OUTPUT, ())
            scope, link = inside, next((link for link in outlets if link.target_slot == slot), None)
            continue
        elif link.origin == SUBGRAPH_INPUT and scope.host is not None:
            slot = link.origin_slot
            name = scope.graph.inputs[slot].get("name") if slot < len(scope.graph.inputs) else None
            scope, host = scope.host
            inlet = next((entry for entry in as_list(host.get("inputs")) if _is_named(entry, name)), None)
        link = scope.graph.links.get(str(inlet.get("link"))) if isinstance(inlet, dict) else None
    return instance


def _is_named(entry: Any, name: Any) -> bool:
    return isinstance(entry, dict) and isinstance(name, str) and entry.get("name") == name


def _held(source: _At, text: str | None, enter: Enter) -> Wired:
    """What ``source`` gives, which holds ``text``."""
    scope, raw = source
    behind = (
        _behind(scope, entry, enter)
        for entry in as_list(raw.get("inputs"))
        if widget_name(entry) is not None and is_id(entry.get("link"))
    )
    fed = any(node is not None and node[1].get("type") != _PRIMITIVE for node in behind)
    return Wired(f"{scope.prefix}{raw['id']}", text, fed)


def held_name(raw: Mapping[str, Any]) -> str | None:
    """The name on a SetNode or GetNode: its first value."""
    values = raw.get("widgets_values")
    first = next(iter(values.values() if isinstance(values, dict) else as_list(values)), None)
    return first if isinstance(first, str) and first else None


def only_text(values: Any) -> str | None:
    """The one text among a node's values; ``None`` if there are none or several."""
    texts = _texts(values)
    return texts[0] if len(texts) == 1 else None


def _texts(values: Any) -> list[str]:
    listed = values.values() if isinstance(values, dict) else as_list(values)
    return [value for value in listed if isinstance(value, str)]


def origin(graph: Graph, link_id: str) -> Mapping[str, Any] | None:
    """The node a wire comes from, through reroutes; ``None`` for the subgraph's own input."""
    for _ in range(_MAX_REROUTES):
        link = graph.links.get(link_id)
        source = graph.nodes.get(link.origin) if link is not None else None
        if source is None or source.get("type") != _REROUTE:
            return source
        first = next(iter(as_list(source.get("inputs"))), None)
        onward = first.get("link") if isinstance(first, dict) else None
        if not is_id(onward):
            return None
        link_id = str(onward)
    return None


def _links(raw: Any) -> Iterator[tuple[str, Link]]:
    """(id, link) from both forms of ``links``."""
    for link in as_list(raw):
        if isinstance(link, dict):
            parts = [link.get(key) for key in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
        elif isinstance(link, list) and len(link) >= 5:
            parts = link[:5]
        else:
            continue
        link_id, origin, origin_slot, target, target_slot = parts
        if is_id(link_id) and is_id(origin) and is_id(target):
            slots = [
                slot if isinstance(slot, int) and slot >= 0 else 0 for slot in (origin_slot, target_slot)
            ]
            yield str(link_id), Link(str(origin), slots[0], str(target), slots[1])


def _broadcast_links(extra: Any) -> Iterator[Link]:
    """What cg-use-everywhere links when a workflow is queued: it keeps a record in ``extra.ue_links``,
    ``[{"upstream": id, "upstream_slot", "downstream": id, "downstream_slot", …}]``.
    """
    for link in as_list(extra.get("ue_links")) if isinstance(extra, dict) else ():
        if isinstance(link, dict) and is_id(link.get("upstream")) and is_id(link.get("downstream")):
            slots = [link.get("upstream_slot"), link.get("downstream_slot")]
            first, last = (slot if isinstance(slot, int) and slot >= 0 else 0 for slot in slots)
            yield Link(str(link["upstream"]), first, str(link["downstream"]), last)


def is_id(value: Any) -> bool:
    """Whether a value can be an id: older editors wrote numbers, newer ones texts."""
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def as_list(value: Any) -> list[Any]:
    """The list, or an empty one in place of anything else."""
    return value if isinstance(value, list) else []

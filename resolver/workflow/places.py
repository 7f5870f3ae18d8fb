"""Where in a workflow's JSON the text of a reference stands.

The reader decides which of several values counts (the outermost host's that states one, the widget's
own, a wired text, …) and hands the text on as it found it. So the texts are made to carry the way to
their place before they are read, and what writes needs no rules of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .document import Path
from .graph import Graph, as_list, is_id, origin, widget_name
from .references import FoundReference, Knowledge, values_by_name

_VALUES, _NAMED = "widgets_values", "widgets_values_named"
_PRIMITIVE = "PrimitiveNode"
_MAX_DEPTH = 100


class Located(str):
    """A text of a JSON object, with the way to it."""

    __slots__ = ("way",)
    way: Path


def located(content: Any, way: Path = ()) -> Any:
    """A copy of parsed JSON in which every text, but for the names in objects, is ``Located``.

    Not copied is what lies deeper than any value of a node does.
    """
    if len(way) > _MAX_DEPTH:
        return content
    if isinstance(content, str):
        text = Located(content)
        text.way = way
        return text
    if isinstance(content, list):
        return [located(entry, (*way, index)) for index, entry in enumerate(content)]
    if isinstance(content, dict):
        return {name: located(entry, (*way, name)) for name, entry in content.items()}
    return content


def value_at(content: Any, way: Path) -> Any:
    """What stands at ``way``; ``None`` if nothing does."""
    for step in way:
        if isinstance(content, dict):
            content = content.get(step)
        elif isinstance(content, list) and isinstance(step, int) and step < len(content):
            content = content[step]
        else:
            return None
    return content


def put_at(content: Any, way: Path, value: Any) -> None:
    """Put ``value`` at ``way``, where something must stand already."""
    value_at(content, way[:-1])[way[-1]] = value


def node_way(found: FoundReference) -> Path | None:
    """The way to the node of a reference: one object for all instances of the subgraph it is in."""
    kind = found.node.type
    return kind.way[:-1] if isinstance(kind, Located) else None


@dataclass(frozen=True)
class Place:
    """A text to change. ``tag``: the reference is a tag in that text, not the whole of it."""

    way: Path
    tag: bool = False


class NotPlaced(Exception):
    """The value of a reference cannot be set; ``code`` and the message say why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def places(content: dict[str, Any], found: FoundReference, knowledge: Knowledge) -> list[Place]:
    """All texts that must change for ``found`` to name another file, the one that was read first.

    ``found``: of ``located(content)``. With it change what is a copy of it: the same value in
    ``widgets_values_named``, and the PrimitiveNode that would put its own value there.
    Raises ``NotPlaced`` (``VALUE_WIRED``, ``VALUE_NOT_FOUND``).
    """
    value: Any = found.value
    wired = found.node.wired.get(found.input)
    tag = not isinstance(value, Located)
    if tag:
        values = values_by_name(found.node, knowledge)
        value = wired.text if wired else values.get(found.input)
    if not isinstance(value, Located):
        raise NotPlaced("VALUE_NOT_FOUND", "The place of its value in the file could not be told.")
    ways = [value.way]
    node = _node_around(value.way)
    if node is not None:
        if wired is not None and wired.fed:
            raise NotPlaced("VALUE_WIRED", "Its value comes by wire from a node that takes it from another.")
        if not tag:
            ways += _primitives(content, found, value.way, node)
    copies = [copy for way in ways for copy in _copies(content, way)]
    return [Place(way, tag) for way in (*ways, *copies)]


def _node_around(way: Path) -> Path | None:
    """The way to the graph's node whose value stands at ``way``; nodes inside a group have no wires."""
    if way[:1] == ("extra",):
        return None
    for index, step in enumerate(way):
        if step in (_VALUES, _NAMED) and index >= 2 and way[index - 2] == "nodes":
            return way[:index]
    return None


def _copies(content: dict[str, Any], way: Path) -> Iterator[Path]:
    """The place in ``widgets_values_named`` that mirrors one in ``widgets_values``."""
    node = _node_around(way)
    if node is None or way[len(node)] != _VALUES:
        return
    raw = value_at(content, node)
    named, values = raw.get(_NAMED), raw[_VALUES]
    if not isinstance(named, dict):
        return
    step, rest = way[len(node) + 1], way[len(node) + 2 :]
    if isinstance(values, dict):
        names = [step]
    elif len(named) == len(values) and isinstance(step, int):
        names = [list(named)[step]]
    else:
        # The two do not fit together: then whatever holds this very text is meant.
        names = list(named)
    text = value_at(content, way)
    for name in names:
        copy: Path = (*node, _NAMED, name, *rest)
        if value_at(content, copy) == text:
            yield copy


def _primitives(content: dict[str, Any], found: FoundReference, way: Path, node: Path) -> Iterator[Path]:
    """The values of PrimitiveNodes wired to the widget whose value stands at ``way``."""
    graph = value_at(content, node[:-2])
    raw = value_at(content, node)
    links = Graph(graph)
    text = value_at(content, way)
    # The reader names the node's own inputs; those of a host are told by the value alone.
    wanted = found.input.split(".")[0] if node == node_way(found) and found.input[:1] != "#" else None
    for entry in as_list(raw.get("inputs")):
        if not isinstance(entry, dict) or not is_id(entry.get("link")):
            continue
        name = widget_name(entry) or entry.get("name")
        source = origin(links, str(entry["link"]))
        if source is None or source.get("type") != _PRIMITIVE or wanted not in (None, name):
            continue
        value = next(iter(as_list(source.get(_VALUES))), None)
        if value == text or (wanted is not None and isinstance(value, str)):
            index = next(index for index, other in enumerate(graph["nodes"]) if other is source)
            yield (*node[:-1], index, _VALUES, 0)

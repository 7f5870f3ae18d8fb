"""Group nodes, which editors had before subgraphs: ``extra.groupNodes[name] = {"nodes": […], …}``.

A node of type ``workflow>name`` (earlier ``workflow/name``) is an instance. Its ``widgets_values`` are
those of the inner nodes one after the other; the inner nodes' own count where these do not fit (the
editor's ``groupNode.ts``). Inner nodes run as ``<host id>:<index>``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .graph import as_list

_PREFIXES = ("workflow>", "workflow/")


@dataclass(frozen=True)
class Group:
    """A group's inner nodes, and its links as ``[index, slot, target's index, slot, …]``."""

    nodes: list[dict[str, Any]]
    links: list[Any]


def group_nodes(content: Mapping[str, Any]) -> dict[str, Group]:
    """The groups by the node type of their instances."""
    extra = content.get("extra")
    groups = extra.get("groupNodes") if isinstance(extra, dict) else None
    found: dict[str, Group] = {}
    for name, raw in groups.items() if isinstance(groups, dict) else ():
        content_of = raw if isinstance(raw, dict) else {}
        group = Group(
            [node for node in as_list(content_of.get("nodes")) if isinstance(node, dict)],
            [link for link in as_list(content_of.get("links")) if isinstance(link, list)],
        )
        for prefix in _PREFIXES:
            found[f"{prefix}{name}"] = group
    return found


def instance(group: Group, host: Mapping[str, Any]) -> dict[str, Any]:
    """The graph of one instance, with ids and values put in."""
    lengths = [len(as_list(node.get("widgets_values"))) for node in group.nodes]
    values = host.get("widgets_values")
    fits = isinstance(values, list) and len(values) == sum(lengths)
    start = 0
    nodes = []
    for index, (node, length) in enumerate(zip(group.nodes, lengths, strict=True)):
        own = values[start : start + length] if fits and values else node.get("widgets_values")
        start += length
        inputs = [{**entry, "link": None} for entry in as_list(node.get("inputs")) if isinstance(entry, dict)]
        nodes.append({**node, "id": index, "widgets_values": own, "inputs": inputs})
    return {"nodes": nodes, "links": [[number, *link] for number, link in enumerate(group.links)]}

"""Group nodes, which editors had before subgraphs: ``extra.groupNodes[name] = {"nodes": […], …}``.

A node of type ``workflow>name`` (earlier ``workflow/name``) is an instance. Its ``widgets_values`` are
those of the inner nodes one after the other; the inner nodes' own count where these do not fit (the
editor's ``groupNode.ts``). Inner nodes run as ``<host id>:<index>``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .graph import as_list

_PREFIXES = ("workflow>", "workflow/")


def group_nodes(content: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The inner nodes of each group by the node type of its instances."""
    extra = content.get("extra")
    groups = extra.get("groupNodes") if isinstance(extra, dict) else None
    found: dict[str, list[dict[str, Any]]] = {}
    for name, group in groups.items() if isinstance(groups, dict) else ():
        inner = (
            [node for node in as_list(group.get("nodes")) if isinstance(node, dict)]
            if isinstance(group, dict)
            else []
        )
        for prefix in _PREFIXES:
            found[f"{prefix}{name}"] = inner
    return found


def instance(inner: list[dict[str, Any]], host: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The inner nodes of one instance as nodes of their own, ids and values put in."""
    lengths = [len(as_list(node.get("widgets_values"))) for node in inner]
    values = host.get("widgets_values")
    fits = isinstance(values, list) and len(values) == sum(lengths)
    start = 0
    for index, (node, length) in enumerate(zip(inner, lengths, strict=True)):
        own = values[start : start + length] if fits and values else node.get("widgets_values")
        start += length
        inputs = [{**entry, "link": None} for entry in as_list(node.get("inputs")) if isinstance(entry, dict)]
        yield {**node, "id": index, "widgets_values": own, "inputs": inputs}

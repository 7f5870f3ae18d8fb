"""Builders for small workflows in the forms the editor writes."""

from __future__ import annotations

from typing import Any


def node(node_id: int, node_type: str, values: Any = None, **extra: Any) -> dict[str, Any]:
    """A UI-format node; ``values`` are its widgets_values, ``extra`` its other fields."""
    made: dict[str, Any] = {"id": node_id, "type": node_type, "mode": 0, "inputs": [], "properties": {}}
    if values is not None:
        made["widgets_values"] = values
    return {**made, **extra}


def widget(name: str, link: int | None = None) -> dict[str, Any]:
    """An input that belongs to a widget."""
    return {"name": name, "type": "COMBO", "widget": {"name": name}, "link": link}


def slots(*kinds: str) -> list[dict[str, Any]]:
    """Inputs or outputs of these types, named like them."""
    return [{"name": kind, "type": kind} for kind in kinds]


def link(link_id: int, origin: int, target: int, slot: int = 0, target_slot: int = 0) -> dict[str, Any]:
    return {
        "id": link_id,
        "origin_id": origin,
        "origin_slot": slot,
        "target_id": target,
        "target_slot": target_slot,
    }


def workflow(
    *nodes: dict[str, Any], subgraphs: list[dict[str, Any]] | None = None, **extra: Any
) -> dict[str, Any]:
    made: dict[str, Any] = {"nodes": list(nodes), "links": [], "version": 0.4, **extra}
    if subgraphs is not None:
        made["definitions"] = {"subgraphs": subgraphs}
    return made


def subgraph(
    name: str, nodes: list[dict[str, Any]], promoted: list[tuple[str, int, int]] = (), links: list[Any] = ()
) -> dict[str, Any]:
    """A definition; ``promoted``: (input name, inner node id, index of its input) for each of its inputs."""
    own_links = [
        {"id": 100 + slot, "origin_id": -10, "origin_slot": slot, "target_id": target, "target_slot": index}
        for slot, (_, target, index) in enumerate(promoted)
    ]
    return {
        "id": name,
        "nodes": nodes,
        "inputs": [
            {"id": f"{name}-{slot}", "name": input_name, "type": "COMBO", "linkIds": [100 + slot]}
            for slot, (input_name, _, _) in enumerate(promoted)
        ],
        "outputs": [],
        "links": [*own_links, *links],
    }


def metadata(name: str, directory: str, url: str | None = None, **extra: Any) -> dict[str, Any]:
    """``properties`` with one metadata entry."""
    entry = {
        "name": name,
        "url": url or f"https://huggingface.co/o/r/resolve/main/{name}",
        "directory": directory,
    }
    return {"models": [{**entry, **extra}]}

"""Builders for workflows that the real editor opens: nodes with slots, links and subgraphs."""

from __future__ import annotations

import hashlib
from typing import Any

TEMPLATE = "basic_switch_node"
"""An official template, and the models it wants."""
MISSING = {
    "loras/pixel_art_style_z_image_turbo.safetensors",
    "diffusion_models/z_image_turbo_bf16.safetensors",
    "text_encoders/qwen_3_4b.safetensors",
    "vae/ae.safetensors",
}


def node(node_id: int, node_type: str, values: list[Any], inputs: Any = (), outputs: Any = (), **extra: Any):  # type: ignore[no-untyped-def]
    """``inputs``: (name, type, link or None, whether a widget); ``outputs``: (type, links)."""
    return {
        "id": node_id,
        "type": node_type,
        "pos": [40 + 330 * (node_id % 4), 60 + 220 * (node_id // 4)],
        "size": [300, 120],
        "flags": {},
        "order": node_id,
        "mode": 0,
        "inputs": [
            {"name": name, "type": kind, "link": link, **({"widget": {"name": name}} if widget else {})}
            for name, kind, link, widget in inputs
        ],
        "outputs": [{"name": kind, "type": kind, "links": links} for kind, links in outputs],
        "properties": {},
        "widgets_values": values,
        **extra,
    }


def lora(node_id: int, name: str, model: int | None, out: list[int], named: int | None = None, **extra: Any):  # type: ignore[no-untyped-def]
    inputs = [("model", "MODEL", model, False), ("lora_name", "COMBO", named, True)]
    return node(node_id, "LoraLoaderModelOnly", [name, 1], inputs, [("MODEL", out)], **extra)


def checkpoint(node_id: int, out: list[int]):  # type: ignore[no-untyped-def]
    outputs = [("MODEL", out), ("CLIP", []), ("VAE", [])]
    return node(
        node_id, "CheckpointLoaderSimple", ["base.safetensors"], [("ckpt_name", "COMBO", None, True)], outputs
    )


def preview(node_id: int, link: int):  # type: ignore[no-untyped-def]
    return node(node_id, "PreviewAny", [], [("source", "*", link, False)])


def graph(nodes: list[Any], links: list[list[Any]], subgraphs: Any = ()) -> dict[str, Any]:
    made = {
        "id": "5e1ec7ed-0000-4000-8000-000000000001",
        "revision": 0,
        "last_node_id": 99,
        "last_link_id": 99,
        "nodes": nodes,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }
    return {**made, "definitions": {"subgraphs": list(subgraphs)}} if subgraphs else made


def subgraph(number: int, inner: dict[str, Any]) -> dict[str, Any]:
    """MODEL and a promoted lora_name in, MODEL out, around one node with the same inputs and output."""

    def slot(kind: int, name: str, type_: str, link: int) -> dict[str, Any]:
        return {
            "id": f"5e1ec7ed-{number:04}-4000-8000-00000000000{kind}",
            "name": name,
            "type": type_,
            "linkIds": [link],
            "pos": [0, 20 * kind],
        }

    def link(number: int, origin: int, origin_slot: int, target: int, slot: int, kind: str) -> dict[str, Any]:
        return {
            "id": number,
            "origin_id": origin,
            "origin_slot": origin_slot,
            "target_id": target,
            "target_slot": slot,
            "type": kind,
        }

    return {
        "id": subgraph_id(number),
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": 99, "lastLinkId": 99, "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": f"Styled {number}",
        "inputNode": {"id": -10, "bounding": [-200, 0, 120, 80]},
        "outputNode": {"id": -20, "bounding": [600, 0, 120, 60]},
        "inputs": [slot(1, "model", "MODEL", 1), slot(2, "lora_name", "COMBO", 2)],
        "outputs": [slot(3, "MODEL", "MODEL", 3)],
        "widgets": [],
        "nodes": [inner],
        "groups": [],
        "links": [
            link(1, -10, 0, inner["id"], 0, "MODEL"),
            link(2, -10, 1, inner["id"], 1, "COMBO"),
            link(3, inner["id"], 0, -20, 0, "MODEL"),
        ],
        "extra": {},
    }


def subgraph_id(number: int) -> str:
    return f"5e1ec7ed-{number:04}-4000-8000-000000000000"


def instance(node_id: int, number: int, name: str, model: int, out: list[int], inner: int, **extra: Any):  # type: ignore[no-untyped-def]
    inputs = [("model", "MODEL", model, False), ("lora_name", "COMBO", extra.pop("named", None), True)]
    return node(
        node_id,
        subgraph_id(number),
        [name],
        inputs,
        [("MODEL", out)],
        **{**extra, "properties": {"proxyWidgets": [[str(inner), "lora_name"]]}},
    )


def one_loader(name: str, **extra: Any) -> dict[str, Any]:
    return graph(
        [checkpoint(1, [1]), lora(2, name, 1, [2], **extra), preview(3, 2)],
        [[1, 1, 0, 2, 0, "MODEL"], [2, 2, 0, 3, 0, "MODEL"]],
    )


def chain(*names: str) -> dict[str, Any]:
    """A checkpoint and LoRAs one after the other, whose nodes are numbered from 2."""
    nodes = [checkpoint(1, [1])]
    links = []
    for index, name in enumerate(names, start=1):
        nodes.append(lora(index + 1, name, index, [index + 1]))
        links.append([index, index, 0, index + 1, 0, "MODEL"])
    last = len(names) + 1
    return graph([*nodes, preview(last + 1, last)], [*links, [last, last, 0, last + 1, 0, "*"]])


def wanting(content: bytes) -> dict[str, Any]:
    """A workflow that wants a LoRA of this content by a name that no other file has."""
    entry = {
        "name": "theirs.safetensors",
        "url": "https://huggingface.co/o/r/resolve/main/theirs.safetensors",
        "directory": "loras",
        "hash": hashlib.sha256(content).hexdigest(),
        "hash_type": "SHA256",
    }
    return one_loader("theirs.safetensors", properties={"models": [entry]})

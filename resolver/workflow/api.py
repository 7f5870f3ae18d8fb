"""The API format: ``{"<id>": {"class_type", "inputs": {name: value or [id, slot]}}}``.

Source: what ComfyUI's ``POST /prompt`` takes (server.py, execution.py ``validate_prompt``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeGuard

from . import Node, ReadWarning, Wired, Workflow
from .graph import only_text
from .metadata import embedded_models

_MAX_STEPS = 100
# As the editor writes them, those of nodes in subgraphs included.
_ID = re.compile(r"\d+(?::\d+)*")
# The API format has no types: an input of such a name may take a text and hand it on.
_PASSES_TEXT = re.compile(r"text|string|str|any\w*|value|input\w*|source|name|combo", re.IGNORECASE)


def is_api_format(content: Any) -> TypeGuard[dict[str, Any]]:
    """Whether ``content`` maps ids to nodes; a stray entry beside real nodes does not spoil it."""
    return isinstance(content, dict) and any(
        isinstance(node, dict) and isinstance(node.get("class_type"), str) for node in content.values()
    )


def read_api(content: dict[str, Any]) -> Workflow:
    """Flatten an API-format workflow. No node in it is inactive: the editor leaves muted ones out.

    What a node gives is not stated, so any that nobody takes from may be an output node.
    """
    nodes: list[Node] = []
    needs: dict[str, tuple[str, ...]] = {}
    warnings: list[ReadWarning] = []
    for node_id, node in content.items():
        if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
            if _may_be_node(str(node_id), node):
                warnings.append(
                    ReadWarning("NODE_SKIPPED", "An entry without a class_type was skipped.", str(node_id))
                )
            continue
        inputs = node.get("inputs")
        if not isinstance(inputs, dict):
            inputs = {}
        wired = {name: _wired(content, value) for name, value in inputs.items() if _is_link(value)}
        needs[str(node_id)] = tuple(value.origin for value in wired.values())
        metadata = node.get("properties")
        nodes.append(
            Node(
                id=str(node_id),
                type=node["class_type"],
                active=True,
                named={name: value for name, value in inputs.items() if name not in wired},
                wired=wired,
                models=embedded_models(metadata.get("models")) if isinstance(metadata, dict) else (),
            )
        )
    taken = {origin for origins in needs.values() for origin in origins}
    return Workflow(
        "api",
        tuple(replace(node, may_be_output=False) if node.id in taken else node for node in nodes),
        warnings=tuple(warnings),
        needs=needs,
    )


def _may_be_node(name: str, entry: Any) -> bool:
    """Whether an entry that cannot be read was meant for a node.

    What else stands beside them is nothing of the graph's, as ``extra`` and ``extraMetadata`` of Civitai's
    generator, or a version.
    """
    fields = entry if isinstance(entry, dict) else {}
    return _ID.fullmatch(name) is not None or "inputs" in fields or "class_type" in fields


def _wired(content: Mapping[str, Any], link: list[Any]) -> Wired:
    """The text at the end of a link, through nodes that only pass one on."""
    first = str(link[0])
    for _ in range(_MAX_STEPS):
        node_id = str(link[0])
        origin = content.get(node_id)
        inputs = origin.get("inputs") if isinstance(origin, dict) else None
        inputs = inputs if isinstance(inputs, dict) else {}
        fed = [(name, value) for name, value in inputs.items() if _is_link(value)]
        text = only_text(inputs)
        if len(fed) != 1 or any(isinstance(value, str) for value in inputs.values()):
            return Wired(node_id if text else first, text)
        name, link = fed[0]
        if _PASSES_TEXT.fullmatch(name) is None:
            break
    return Wired(first, None)


def _is_link(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], (str, int))
        and isinstance(value[1], int)
        and not isinstance(value[1], bool)
    )

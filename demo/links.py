"""What a workflow itself says about its models: ComfyUI's ``properties.models`` metadata.

An entry is ``{"name", "url", "directory", "hash"?, "hash_type"?}``, written by template authors on
the node that loads the model (https://github.com/Comfy-Org/workflow_templates, "embed models"; the
format around it: https://docs.comfy.org/specs/workflow_json). This reader is deliberately
independent of the resolver's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NEVER = 2
BYPASSED = 4
"""LiteGraph's node modes in which a node takes no part in a run."""


@dataclass(frozen=True)
class ModelLink:
    """One entry of a node's ``properties.models``."""

    name: str
    url: str
    directory: str
    sha256: str | None
    active: bool
    """Whether the node takes part in a run: it and the subgraph nodes around it are switched on."""


def load_workflow(source: Mapping[str, Any] | Path | str) -> Mapping[str, Any]:
    """The workflow itself, or the one in the JSON file at this path (OSError, ValueError)."""
    if isinstance(source, Mapping):
        return source
    workflow = json.loads(Path(source).read_text(encoding="utf-8"))
    if not isinstance(workflow, dict):
        raise ValueError(f"{source} is not a workflow: its JSON is not an object")
    return workflow


def model_links(workflow: Mapping[str, Any]) -> list[ModelLink]:
    """Every entry of the graph's nodes and its subgraphs', once for each use of a subgraph."""
    subgraphs = {str(subgraph.get("id")): subgraph for subgraph in _subgraphs(workflow)}
    used: set[str] = set()
    links = list(_walk(workflow.get("nodes"), subgraphs, used, active=True, inside=()))
    # A definition that no node uses is still in the file, and so are its models; nothing runs them.
    for key, subgraph in subgraphs.items():
        if key not in used:
            links += _walk(subgraph.get("nodes"), subgraphs, used, active=False, inside=(key,))
    return links


def _subgraphs(workflow: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    definitions = workflow.get("definitions")
    found = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
    return [subgraph for subgraph in found or [] if isinstance(subgraph, Mapping)]


def _walk(
    nodes: Any,
    subgraphs: Mapping[str, Mapping[str, Any]],
    used: set[str],
    *,
    active: bool,
    inside: tuple[str, ...],
) -> Iterator[ModelLink]:
    for node in nodes or []:
        runs = active and node.get("mode", 0) not in (NEVER, BYPASSED)
        for entry in (node.get("properties") or {}).get("models") or []:
            yield ModelLink(
                name=entry["name"],
                url=entry["url"],
                directory=entry.get("directory", ""),
                sha256=entry.get("hash") if str(entry.get("hash_type", "")).upper() == "SHA256" else None,
                active=runs,
            )
        key = str(node.get("type"))
        # A definition may contain itself: no frontend writes that, but a file can.
        if key in subgraphs and key not in inside:
            used.add(key)
            yield from _walk(subgraphs[key].get("nodes"), subgraphs, used, active=runs, inside=(*inside, key))

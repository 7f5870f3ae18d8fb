"""What the loaders of ComfyUI and of published node packs list, where they are not installed to be asked.

``published.json``: ``{node type: {"order", "folders", "own"?}}``, read off their source (``declared.py``);
entries of nodes that make their inputs in loops are written by hand. ``own`` are inputs whose model files
the node brings or fetches by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from .inputs import NodeInputs

PUBLISHED = Path(__file__).with_name("published.json")


@dataclass
class Published:
    """``nodes``: by node type; ``choices`` are the inputs whose files the node sees to itself."""

    nodes: dict[str, NodeInputs] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            node_type: {
                "order": list(inputs.order),
                "folders": {name: list(folders) for name, folders in inputs.folders.items()},
                **({"own": sorted(inputs.choices)} if inputs.choices else {}),
            }
            for node_type, inputs in self.nodes.items()
        }


@cache
def published() -> Mapping[str, NodeInputs]:
    """The inputs of published nodes by node type; read once."""
    return {
        node_type: NodeInputs(
            tuple(entry["order"]),
            {name: tuple(folders) for name, folders in entry["folders"].items()},
            frozenset(entry.get("own", ())),
        )
        for node_type, entry in json.loads(PUBLISHED.read_text(encoding="utf-8")).items()
    }

"""What is known of one node type, wherever it is known from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class NodeInputs:
    """What is known of one node type.

    ``order``: its widget inputs in the editor's order, empty if unknown. ``folders``: for each input
    that lists model files, the folders it lists, the main one first. ``choices``: inputs that are
    combos without models of a folder in them. ``is_output``: whether a run starts from it.
    """

    order: tuple[str, ...] = ()
    folders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    choices: frozenset[str] = frozenset()
    is_output: bool = False

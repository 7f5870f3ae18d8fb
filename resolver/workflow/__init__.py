"""Reading workflows: bytes -> ``Workflow`` (a flat list of nodes with their values and activity).

``files.py`` takes any file (``containers/`` finds the workflow in pictures, films and sounds);
``read.py`` takes JSON and tells the formats apart; ``ui.py`` walks what the editor saves, with subgraphs
and group nodes; ``api.py`` walks what the editor sends to ``/prompt``; ``wiring.py`` and ``connected.py``
tell which nodes take part; ``references.py`` tells which values name models, ``remote.py`` which name a
place on the network instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class EmbeddedModel:
    """One entry of ComfyUI's own metadata (``properties.models`` of a node, or top-level ``models``).

    Source: ``zModelFile`` in the frontend's workflow schema. ``hash`` is hex in the algorithm
    ``hash_type`` (upper case, e.g. ``SHA256``). ``active``: whether its node takes part in a run.
    """

    name: str
    url: str | None
    directory: str | None
    hash: str | None
    hash_type: str | None
    active: bool = True

    @property
    def sha256(self) -> str | None:
        """The hash in lower case, if it is a SHA-256."""
        value = (self.hash or "").lower()
        is_sha256 = (self.hash_type or "SHA256").upper().replace("-", "") == "SHA256"
        well_formed = len(value) == 64 and all(char in "0123456789abcdef" for char in value)
        return value if is_sha256 and well_formed else None


@dataclass(frozen=True)
class Wired:
    """A value that comes from another node's output. ``origin``: that node's id.

    ``text``: its only text, if it has exactly one, as nodes that just hold a string do. Whether that
    is what comes out is for the reader to judge by the input it goes to. ``fed``: that node takes a value
    of its own from yet another, so that its text need not be what it gives.
    """

    origin: str
    text: str | None
    fed: bool = False


@dataclass(frozen=True)
class Node:
    """One node as it would run; nodes inside subgraphs appear once for each instance.

    ``id``: the execution id, e.g. ``433:37`` for node 37 inside the subgraph node 433.
    ``named``: values by input name, where the node itself states the names (promoted host values
    included). ``positional``: the values by index, where it does not; empty otherwise.
    ``wired``: inputs that take their value from another node, so that their own is not used.
    ``may_be_output``: whether it looks like an output node, for types of which nothing is known.
    """

    id: str
    type: str
    active: bool
    named: Mapping[str, Any] = field(default_factory=dict)
    positional: tuple[Any, ...] = ()
    wired: Mapping[str, Wired] = field(default_factory=dict)
    models: tuple[EmbeddedModel, ...] = ()
    may_be_output: bool = True


@dataclass(frozen=True)
class ReadWarning:
    """A part of the workflow that was passed over, and why."""

    code: str
    message: str
    node_id: str | None = None


@dataclass(frozen=True)
class StatedModel:
    """A model that is named outside of any node, by file name with or without its extension.

    ``autov2``: the first 10 hex digits of its SHA-256, lower case, if they are stated.
    """

    folder: str
    name: str
    autov2: str | None = None


@dataclass(frozen=True)
class Workflow:
    """A workflow as this program sees it.

    ``notes``: the texts of its note nodes. ``stated``: models of generation parameters, which have no
    nodes. ``needs``: by node id the ids it takes anything from, by way of names for what lies between
    (``connected.py``).
    """

    format: Literal["ui", "api"]
    nodes: tuple[Node, ...]
    models: tuple[EmbeddedModel, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[ReadWarning, ...] = ()
    stated: tuple[StatedModel, ...] = ()
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def embedded(self) -> tuple[EmbeddedModel, ...]:
        """All metadata entries: the nodes' first, then the workflow's own."""
        return tuple(entry for node in self.nodes for entry in node.models) + self.models

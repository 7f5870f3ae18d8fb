"""Which values of a workflow name models.

Names decide, by what is known of the node's inputs; a file extension decides only for nodes nobody
knows and for combos whose list could not be observed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..names import to_posix
from . import EmbeddedModel, Node, Workflow
from .align import named_values

MODEL_EXTENSIONS = (
    ".safetensors",
    ".sft",
    ".ckpt",
    ".pt",
    ".pt2",
    ".pth",
    ".bin",
    ".pkl",
    ".gguf",
    ".onnx",
)
_MAX_NAME = 1024

# These live in the editor only. A PrimitiveNode's value is mirrored in the widget it feeds.
_EDITOR_ONLY = frozenset({"PrimitiveNode", "Reroute", "Note", "MarkdownNote"})


class Knowledge(Protocol):
    """What is known of node types (``resolver.folders.FolderKnowledge``)."""

    def order(self, node_type: str) -> tuple[str, ...]: ...

    def folders(self, node_type: str, input_name: str) -> tuple[str, ...]: ...

    def is_choice(self, node_type: str, input_name: str) -> bool: ...

    def is_installed(self, node_type: str) -> bool: ...


@dataclass(frozen=True)
class FoundReference:
    """One value that names a model.

    ``folders``: where its input loads from, the main one first; empty if nothing tells.
    ``metadata``: the workflow's own entry for this file, if it has one.
    """

    node: Node
    input: str
    value: str
    folders: tuple[str, ...]
    metadata: EmbeddedModel | None


def find_references(workflow: Workflow, knowledge: Knowledge) -> Iterator[FoundReference]:
    """All values that name models, in the order of the workflow."""
    shared = {to_posix(entry.name): entry for entry in reversed(workflow.embedded())}
    # Nodes that only hold the text for a loader further on name no model themselves.
    feeding = {
        wired.origin
        for node in workflow.nodes
        for name, wired in node.wired.items()
        if wired.text and knowledge.folders(node.type, name)
    }
    for node in workflow.nodes:
        if node.type in _EDITOR_ONLY:
            continue
        own = {to_posix(entry.name): entry for entry in node.models}
        values = named_values(node, knowledge.order(node.type))
        for name, value in _own_and_wired(node, values, knowledge):
            if not _is_name(value):
                continue
            folders = knowledge.folders(node.type, name)
            entry = own.get(to_posix(value))
            if folders:
                # The node's own entry may speak of another input of equal value, but of no other file.
                yield FoundReference(node, name, value, folders, entry or shared.get(to_posix(value)))
            elif entry is not None:
                folders = (entry.directory,) if entry.directory else ()
                yield FoundReference(node, name, value, folders, entry)
            elif (
                has_model_extension(value)
                and node.id not in feeding
                and _may_hold_a_model(knowledge, node.type, name)
            ):
                entry = shared.get(to_posix(value))
                folders = (entry.directory,) if entry and entry.directory else ()
                yield FoundReference(node, name, value, folders, entry)


def _own_and_wired(node: Node, values: Mapping[str, Any], knowledge: Knowledge) -> Iterator[tuple[str, Any]]:
    """A node's values by name: its own, and where a model input is wired, the text at the other end."""
    for name, value in values.items():
        if name not in node.wired:
            yield name, value
    for name, wired in node.wired.items():
        if wired.text and knowledge.folders(node.type, name):
            yield name, wired.text


def has_model_extension(value: str) -> bool:
    return value.lower().endswith(MODEL_EXTENSIONS)


def _is_name(value: object) -> bool:
    """Whether a widget's value can be a file name at all: prompts and URLs are not."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= _MAX_NAME
        and bool(value.strip())
        and "\n" not in value
        and "://" not in value
    )


def _may_hold_a_model(knowledge: Knowledge, node_type: str, input_name: str) -> bool:
    """An installed node's text field that ends in .safetensors is a name to save under, not to load."""
    return not knowledge.is_installed(node_type) or knowledge.is_choice(node_type, input_name)

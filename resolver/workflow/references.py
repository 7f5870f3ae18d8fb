"""Which values of a workflow name models.

Names decide, by what is known of the node's inputs; a file extension decides only for nodes nobody
knows and for combos whose list could not be observed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..host import canonical_folder
from ..names import to_posix
from . import EmbeddedModel, Node, Workflow
from .align import named_values
from .nested import Leaf, leaves
from .prompt_text import tags

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
_MAX_TEXT = 100_000

_STACK_KEYS = ("name", "lora")
_NONE = ("None", "none")

# These live in the editor only. A PrimitiveNode's value is mirrored in the widget it feeds.
_EDITOR_ONLY = frozenset({"PrimitiveNode", "Reroute", "Note", "MarkdownNote"})


class Knowledge(Protocol):
    """What is known of node types (``resolver.folders.FolderKnowledge``)."""

    def order(self, node_type: str) -> tuple[str, ...]: ...

    def folders(self, node_type: str, input_name: str) -> tuple[str, ...]: ...

    def is_choice(self, node_type: str, input_name: str) -> bool: ...

    def guess(self, input_name: str) -> str | None: ...

    def is_installed(self, node_type: str) -> bool: ...


@dataclass(frozen=True)
class FoundReference:
    """One value that names a model.

    ``folders``: where its input loads from, the main one first; empty if nothing tells.
    ``metadata``: the workflow's own entry for this file, if it has one. ``active``: whether it takes
    part in a run. ``by_stem``: the value is a name without its extension, as stacks and prompts write
    them; ``anywhere``: then a file of that name in any subfolder will do.
    """

    node: Node
    input: str
    value: str
    folders: tuple[str, ...]
    metadata: EmbeddedModel | None
    active: bool
    by_stem: bool = False
    anywhere: bool = False


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
        seen = _Entries(own, shared)
        values = named_values(node, knowledge.order(node.type))
        for name, value in _own_and_wired(node, values, knowledge):
            if _is_name(value):
                found = _named(node, name, value, knowledge, seen, feeds=node.id in feeding)
                if found is not None:
                    yield found
                    continue
            yield from _in_text(node, name, value)
            yield from _inside(node, name, value, knowledge, seen)

    for model in workflow.stated:
        by_stem = not has_model_extension(model.name)
        yield FoundReference(
            _PARAMETERS, model.folder, model.name, (model.folder,), None, True, by_stem, True
        )


_PARAMETERS = Node("parameters", "parameters", True)
"""Stands for the node of models that no node names."""


@dataclass(frozen=True)
class _Entries:
    """Metadata by name: the node's own goes first, any node's of the workflow next."""

    own: Mapping[str, EmbeddedModel]
    shared: Mapping[str, EmbeddedModel]

    def of(self, value: str, folders: tuple[str, ...]) -> EmbeddedModel | None:
        """The entry for a value that loads from ``folders``; another folder's file is another file."""
        name = to_posix(value)
        for entries in (self.own, self.shared):
            entry = entries.get(name)
            if entry is not None and (
                not folders or not entry.directory or same_folder(entry.directory, folders)
            ):
                return entry
        return None


def _named(
    node: Node, name: str, value: str, knowledge: Knowledge, entries: _Entries, *, feeds: bool
) -> FoundReference | None:
    """The reference that a plain value is, by what is known of its input."""
    folders = knowledge.folders(node.type, name)
    entry = entries.of(value, folders)
    if not folders:
        by_extension = (
            has_model_extension(value) and not feeds and _may_hold_a_model(knowledge, node.type, name)
        )
        if to_posix(value) not in entries.own and not by_extension:
            return None
        guess = None if knowledge.is_installed(node.type) else knowledge.guess(name)
        folder = entry.directory if entry and entry.directory else guess
        folders = (folder,) if folder else ()
    return FoundReference(node, name, value, folders, entry, node.active)


def _in_text(node: Node, name: str, value: object) -> Iterator[FoundReference]:
    if isinstance(value, str) and len(value) <= _MAX_TEXT:
        for tag in dict.fromkeys(tags(value)):
            by_stem = not has_model_extension(tag.name)
            yield FoundReference(
                node, name, tag.name, (tag.folder,), None, node.active, by_stem, tag.anywhere
            )


def _inside(
    node: Node, name: str, value: object, knowledge: Knowledge, entries: _Entries
) -> Iterator[FoundReference]:
    for leaf in leaves(name, value):
        if not _is_name(leaf.text):
            continue
        active = node.active and leaf.on
        folders = knowledge.folders(node.type, leaf.key) or _guessed(leaf, knowledge)
        entry = entries.of(leaf.text, folders)
        if has_model_extension(leaf.text):
            if not folders and entry is not None and entry.directory:
                folders = (entry.directory,)
            yield FoundReference(node, leaf.path, leaf.text, folders, entry, active)
        elif leaf.in_stack and leaf.key in _STACK_KEYS and "loras" in folders and leaf.text not in _NONE:
            yield FoundReference(node, leaf.path, leaf.text, ("loras",), entry, active, True, True)


def _guessed(leaf: Leaf, knowledge: Knowledge) -> tuple[str, ...]:
    """The folder by the names on the way to a text, the innermost first: ``loras.0.name`` -> ``loras``."""
    for part in reversed(leaf.path.split(".")):
        folder = knowledge.guess(part)
        if folder is not None:
            return (folder,)
    return ()


def _own_and_wired(node: Node, values: Mapping[str, Any], knowledge: Knowledge) -> Iterator[tuple[str, Any]]:
    """A node's values by name: its own, and where a model input is wired, the text at the other end."""
    for name, value in values.items():
        if name not in node.wired:
            yield name, value
    for name, wired in node.wired.items():
        if wired.text and knowledge.folders(node.type, name):
            yield name, wired.text


def same_folder(directory: str, folders: tuple[str, ...]) -> bool:
    """Whether ``directory`` is one of ``folders``, former names counting."""
    return canonical_folder(directory) in {canonical_folder(folder) for folder in folders}


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

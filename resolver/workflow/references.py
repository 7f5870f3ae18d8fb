"""Which values of a workflow name models.

Names decide, by what is known of the node's inputs; a file extension decides only for nodes nobody
knows and for combos whose list could not be observed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..host import home_folder
from ..names import to_posix
from . import EmbeddedModel, Node, Workflow
from .align import named_values
from .connected import taking_part
from .nested import Leaf, leaves
from .prompt_text import tags
from .remote import MODEL_EXTENSIONS as MODEL_EXTENSIONS
from .remote import Remote, parse_remote

_MAX_NAME = 1024
_MAX_TEXT = 100_000

# Folders of node packs hold more than models.
_OTHER_FILES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".webm", ".mov", ".wav", ".mp3", ".flac", ".ogg"),
    *(".cube", ".ttf", ".otf", ".txt", ".csv"),
)

_STACK_KEYS = ("name", "lora")
# What stands in a list of files for none of them, also in lists of node versions that are not installed.
_PLACEHOLDER = re.compile(
    r"[\[(<-]*(?:none|null|undefined|no \w+|baked vae|automatic|auto|default|disabled?|off)[\])>-]*"
    r"|(?:select|choose|pick) .*",
    re.IGNORECASE,
)
# Nodes and inputs with these words name files to write, or addresses that the node fetches by itself.
_SAVES = re.compile(r"(?:^|[\s_-]|(?<=[a-z]))(?:Sav(?:e|er|es|ing)|Export(?:er)?)(?![a-z])")
# Nodes that fetch what they are told to load: DownloadAndLoadSAM2Model, (Down)Load Kokoro Model.
_FETCHES = re.compile(r"(?:Download|\(Down\)load)", re.IGNORECASE)
# Nodes that show what they were given last.
_SHOWS = re.compile(r"(?:easy )?(?:[Ss]how|[Dd]isplay|[Pp]review)(?![a-z])")
_NOT_LOADED = re.compile(r"(?:^|_)(?:prefix|save|output|out|export|target|dest|destination)(?:_|$)")
_ADDRESSES = re.compile(r"(?:^|_)(?:urls?|uri|urn|air|link|href)(?:_|$)")

# These live in the editor only. A PrimitiveNode's value is mirrored in the widget it feeds.
_EDITOR_ONLY = frozenset({"PrimitiveNode", "Reroute", "Note", "MarkdownNote"})


class Knowledge(Protocol):
    """What is known of node types (``resolver.folders.FolderKnowledge``)."""

    def order(self, node_type: str) -> tuple[str, ...]: ...

    def folders(self, node_type: str, input_name: str) -> tuple[str, ...]: ...

    def is_choice(self, node_type: str, input_name: str) -> bool: ...

    def only_folder(self, node_type: str) -> str | None: ...

    def brings(self, node_type: str, input_name: str) -> bool: ...

    def guess(self, input_name: str) -> str | None: ...

    def is_installed(self, node_type: str) -> bool: ...

    def is_output(self, node_type: str) -> bool | None: ...


@dataclass(frozen=True)
class FoundReference:
    """One value that names a model.

    ``folders``: where its input loads from, the main one first; empty if nothing tells.
    ``metadata``: the workflow's own entry for this file, if it has one. ``active``: whether it takes
    part in a run. ``by_stem``: the value is a name without its extension, as stacks and prompts write
    them; ``anywhere``: then a file of that name in any subfolder will do. ``remote``: the value is an
    address, and this is what lies there; its URL is the metadata's.
    """

    node: Node
    input: str
    value: str
    folders: tuple[str, ...]
    metadata: EmbeddedModel | None
    active: bool
    by_stem: bool = False
    anywhere: bool = False
    remote: Remote | None = None

    @property
    def name(self) -> str:
        """The name of the file that is meant."""
        return self.remote.name if self.remote else self.value


def find_references(workflow: Workflow, knowledge: Knowledge) -> Iterator[FoundReference]:
    """All values that name models, in the order of the workflow."""
    workflow = taking_part(workflow, knowledge)
    shared = {to_posix(entry.name): entry for entry in reversed(workflow.embedded())}
    # Nodes that only hold the text for a loader further on name no model themselves.
    feeding = {
        wired.origin
        for node in workflow.nodes
        for name, wired in node.wired.items()
        if wired.text and knowledge.folders(node.type, name)
    }
    for node in workflow.nodes:
        if node.type in _EDITOR_ONLY or _SHOWS.match(node.type):
            continue
        own = {to_posix(entry.name): entry for entry in node.models}
        seen = _Entries(own, shared)
        values = values_by_name(node, knowledge)
        switched = _switches(values)
        for name, value in _own_and_wired(node, values, knowledge):
            remote = parse_remote(value) if isinstance(value, str) and len(value) <= _MAX_NAME else None
            found = None
            if remote is not None:
                found = _at_address(node, name, value, remote, knowledge, seen)
            elif _is_name(value):
                found = _named(node, name, value, knowledge, seen, feeds=node.id in feeding)
            if found is not None:
                yield found
                continue
            yield from _in_text(node, name, value, switched)
            yield from _inside(node, name, value, knowledge, seen)

    for model in workflow.stated:
        by_stem = not has_model_extension(model.name)
        yield FoundReference(
            _PARAMETERS, model.folder, model.name, (model.folder,), None, True, by_stem, True
        )


def values_by_name(node: Node, knowledge: Knowledge) -> dict[str, Any]:
    """A node's values by name; by number where they do not fit the names that we know.

    A node's other version has other widgets: then a file stands where no file can be.
    """
    values = named_values(node, knowledge.order(node.type))
    if node.positional and any(
        isinstance(value, str)
        and has_model_extension(value)
        and not value.count("\n")
        and not knowledge.folders(node.type, name)
        and not knowledge.brings(node.type, name)
        and knowledge.guess(name) is None
        for name, value in values.items()
    ):
        return named_values(node, ())
    return values


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
    if is_placeholder(value) or value.lower().endswith(_OTHER_FILES):
        return None
    entry = entries.of(value, folders)
    if not folders:
        by_extension = (
            has_model_extension(value)
            and not feeds
            and _may_hold_a_model(knowledge, node.type, name)
            and not knowledge.brings(node.type, name)
            and not _FETCHES.match(node.type)
            and not _is_written(node.type, name)
        )
        if to_posix(value) not in entries.own and not by_extension:
            return None
        guess = None if knowledge.is_installed(node.type) else knowledge.guess(name)
        folder = entry.directory if entry and entry.directory else guess or knowledge.only_folder(node.type)
        folders = (folder,) if folder else ()
    return FoundReference(node, name, value, folders, entry, node.active)


def _at_address(
    node: Node, name: str, value: str, remote: Remote, knowledge: Knowledge, entries: _Entries
) -> FoundReference | None:
    """The reference that an address is, in an input that wants a file's name."""
    folders = knowledge.folders(node.type, name)
    if not folders:
        if not _may_hold_a_model(knowledge, node.type, name) or _ADDRESSES.search(_words(name)):
            return None  # a node that fetches by itself needs nothing from us
        guess = None if knowledge.is_installed(node.type) else knowledge.guess(name)
        folder = guess or remote.folder
        if folder is None and not remote.is_air:
            return None
        folders = (folder,) if folder else ()
    return _placed(FoundReference(node, name, value, folders, None, node.active, remote=remote), entries)


def _placed(found: FoundReference, entries: _Entries) -> FoundReference:
    """``found`` with the metadata of the file at its address: the workflow's own, or the address alone."""
    assert found.remote is not None
    entry = entries.of(found.remote.name, found.folders)
    if entry is None or entry.url is None:
        folder = found.folders[0] if found.folders else None
        digest = (entry.hash, entry.hash_type) if entry else (None, None)
        entry = EmbeddedModel(found.remote.name, found.remote.url, folder, *digest)
    return replace(found, metadata=entry)


def _switches(values: Mapping[str, Any]) -> dict[str, bool]:
    """Which entries of a node's stacks are on, by name: the text beside a stack only repeats them."""
    return {
        leaf.text: leaf.on
        for name, value in values.items()
        for leaf in leaves(name, value)
        if leaf.in_stack and leaf.key in _STACK_KEYS
    }


def _in_text(node: Node, name: str, value: object, switched: Mapping[str, bool]) -> Iterator[FoundReference]:
    if isinstance(value, str) and len(value) <= _MAX_TEXT:
        for tag in dict.fromkeys(tags(value)):
            by_stem = not has_model_extension(tag.name)
            active = node.active and switched.get(tag.name, True)
            yield FoundReference(node, name, tag.name, (tag.folder,), None, active, by_stem, tag.anywhere)


def _inside(
    node: Node, name: str, value: object, knowledge: Knowledge, entries: _Entries
) -> Iterator[FoundReference]:
    for leaf in leaves(name, value):
        if len(leaf.text) > _MAX_NAME or is_placeholder(leaf.text):
            continue
        active = node.active and leaf.on
        folders = knowledge.folders(node.type, leaf.key) or _guessed(leaf, node.type, knowledge)
        entry = entries.of(leaf.text, folders)
        remote = parse_remote(leaf.text)
        if remote is not None:
            if folders and not _ADDRESSES.search(_words(leaf.key)):
                found = FoundReference(node, leaf.path, leaf.text, folders, None, active, remote=remote)
                yield _placed(found, entries)
        elif not _is_name(leaf.text):
            continue
        elif has_model_extension(leaf.text):
            if not folders and entry is not None and entry.directory:
                folders = (entry.directory,)
            yield FoundReference(node, leaf.path, leaf.text, folders, entry, active)
        elif leaf.in_stack and leaf.key in _STACK_KEYS and "loras" in folders:
            yield FoundReference(node, leaf.path, leaf.text, ("loras",), entry, active, True, True)


def _guessed(leaf: Leaf, node_type: str, knowledge: Knowledge) -> tuple[str, ...]:
    """The folder by the names on the way to a text, the innermost first: ``loras.0.name`` -> ``loras``.

    A stack that is listed by position has no name: its node's may do, ``Lora Stacker``.
    """
    for part in (*reversed(leaf.path.split(".")), *((node_type,) if leaf.in_stack else ())):
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
    """Whether ``directory`` names the same place as one of ``folders``: former names and GGUF's own count."""
    return home_folder(directory) in {home_folder(folder) for folder in folders}


def has_model_extension(value: str) -> bool:
    return value.lower().endswith(MODEL_EXTENSIONS)


def is_placeholder(value: str) -> bool:
    """Whether a value of a list of files says that none of them is chosen."""
    return not has_model_extension(value) and _PLACEHOLDER.fullmatch(value.strip()) is not None


def _is_name(value: object) -> bool:
    """Whether a widget's value can be a file name at all: prompts, URLs and URNs are not."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= _MAX_NAME
        and bool(value.strip())
        and "\n" not in value
        and "://" not in value
        and not value.lower().startswith("urn:")
    )


def _may_hold_a_model(knowledge: Knowledge, node_type: str, input_name: str) -> bool:
    """An installed node's text field that ends in .safetensors is a name to save under, not to load."""
    return not knowledge.is_installed(node_type) or knowledge.is_choice(node_type, input_name)


def _is_written(node_type: str, input_name: str) -> bool:
    """Whether the words of a node nobody knows say that it writes the file."""
    return _SAVES.search(node_type) is not None or _NOT_LOADED.search(_words(input_name)) is not None


def _words(input_name: str) -> str:
    """``loraURL`` and ``LoRA url`` as ``lora_url``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[\s.\-/]+", "_", input_name).lower()

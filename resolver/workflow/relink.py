"""Writing: references of a workflow are made to name other files, and nothing else changes.

What is written is read again: each reference must then hold its new value and no other one may have
changed, or the change is taken back and reported.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..names import to_posix
from . import EmbeddedModel, Workflow
from .document import Path
from .places import Located, NotPlaced, located, node_way, places, put_at, value_at
from .prompt_text import renamed
from .read import read_workflow
from .references import FoundReference, Knowledge, find_references, same_folder


class Key(NamedTuple):
    """A reference, as analyses name it; one text may hold tags of one name for two ``folders``."""

    node_id: str
    input: str
    value: str
    folders: tuple[str, ...]


def key_of(found: FoundReference) -> Key:
    """The key of a reference, its texts being plain ones."""
    return Key(found.node.id, found.input, str(found.value), found.folders)


@dataclass(frozen=True)
class Renaming:
    """References of one model that are to name another file.

    ``values``: the new value of each. ``folder``: where the file is. ``same_file``: it is the very file
    under another name, so that what the workflow's metadata says of the old name holds for the new.
    """

    values: Mapping[Key, str]
    folder: str
    same_file: bool


@dataclass(frozen=True)
class Failure:
    """Why a renaming was not made. ``code`` is stable."""

    code: str
    message: str


def rename(
    content: dict[str, Any], knowledge: Knowledge, renamings: Sequence[Renaming]
) -> list[Failure | None]:
    """Change ``content`` in place; for each renaming ``None`` if it was made whole, else why it was not."""
    failures = _attempt(content, knowledge, renamings)
    if any(failures) and len(renamings) > 1:
        # One must not cost the others: each by itself.
        return [_attempt(content, knowledge, [renaming])[0] for renaming in renamings]
    return failures


def _attempt(
    content: dict[str, Any], knowledge: Knowledge, renamings: Sequence[Renaming]
) -> list[Failure | None]:
    """Make all renamings, or take back all."""
    workflow, before = _read(content, knowledge)
    edits = _Edits(content)
    failures: list[Failure | None] = []
    for renaming in renamings:
        try:
            _make(edits, workflow, before, renaming, knowledge)
            failures.append(None)
        except NotPlaced as problem:
            failures.append(Failure(problem.code, str(problem)))
    if not any(failures):
        wanted = {key: value for renaming in renamings for key, value in renaming.values.items()}
        if _values(before, wanted) == _values(_read(content, knowledge)[1], {}):
            return failures
        failures = [
            Failure("CHANGE_NOT_CLEAN", "Read again, the workflow would not name what it should.")
        ] * len(renamings)
    edits.take_back()
    return failures


def _read(content: dict[str, Any], knowledge: Knowledge) -> tuple[Workflow, list[FoundReference]]:
    workflow = read_workflow(located(content))
    return workflow, list(find_references(workflow, knowledge))


def _values(found: Sequence[FoundReference], new: Mapping[Key, str]) -> dict[tuple[str, str], set[str]]:
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for reference in found:
        key = key_of(reference)
        values[key.node_id, key.input].add(new.get(key, key.value))
    return dict(values)


class _Edits:
    """Changes of one JSON object that can be taken back."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self._done: list[tuple[Path, Any]] = []

    def put(self, way: Path, value: Any) -> None:
        self._done.append((way, value_at(self.content, way)))
        put_at(self.content, way, value)

    def take_back(self) -> None:
        for way, before in reversed(self._done):
            put_at(self.content, way, before)


def _make(
    edits: _Edits,
    workflow: Workflow,
    references: Sequence[FoundReference],
    renaming: Renaming,
    knowledge: Knowledge,
) -> None:
    """Raises ``NotPlaced``."""
    meant = [found for found in references if key_of(found) in renaming.values]
    for found in meant:
        old, new = str(found.value), renaming.values[key_of(found)]
        for place in places(edits.content, found, knowledge):
            text = value_at(edits.content, place.way)
            edits.put(place.way, renamed(text, found.folders[0], old, new) if place.tag else new)
    if renaming.same_file:
        others = [found for found in references if key_of(found) not in renaming.values]
        _rename_metadata(edits, workflow, meant, others, renaming)


def _rename_metadata(
    edits: _Edits,
    workflow: Workflow,
    meant: Sequence[FoundReference],
    others: Sequence[FoundReference],
    renaming: Renaming,
) -> None:
    """ComfyUI's own entries for the file follow; one that another reference needs gets a twin."""
    for found in meant:
        new = renaming.values[key_of(found)]
        here = [other for other in others if node_way(other) == node_way(found)]
        for entries, beside in ((found.node.models, here), (workflow.models, others)):
            still = {to_posix(str(other.value)) for other in beside}
            for entry in entries:
                if _names(entry, found):
                    _rename_entry(edits, entry, new, renaming.folder, keep=to_posix(entry.name) in still)


def _names(entry: EmbeddedModel, found: FoundReference) -> bool:
    return to_posix(entry.name) == to_posix(str(found.value)) and (
        not entry.directory or not found.folders or same_folder(entry.directory, found.folders)
    )


def _rename_entry(edits: _Edits, entry: EmbeddedModel, new: str, folder: str, *, keep: bool) -> None:
    if not isinstance(entry.name, Located):
        return
    way = entry.name.way[:-1]
    old = value_at(edits.content, way)
    after = {**old, "name": new}
    if isinstance(old.get("directory"), str) and not same_folder(old["directory"], (folder,)):
        after["directory"] = folder
    entries = value_at(edits.content, way[:-1])
    if after in entries:
        return
    if keep:
        edits.put(way[:-1], [*entries, after])
    else:
        edits.put(way, after)

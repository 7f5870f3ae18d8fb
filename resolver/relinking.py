"""Which file each model of a workflow should name instead, and how that is spelled."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from . import schemas
from .host import canonical_folder
from .library import LibraryFile, Snapshot
from .names import basename, same_file_name
from .workflow.places import located
from .workflow.read import read_workflow
from .workflow.references import FoundReference, Knowledge, find_references
from .workflow.relink import Renaming, key_of, rename


@dataclass(frozen=True)
class Relinked:
    """What became of one model that was not named as it should be.

    ``outcome``: ``relinked``, or ``left`` as it was, with ``code`` and ``message``. ``to``: the id of the
    file it names now, or would. ``references``: how many places name it.
    """

    id: str
    outcome: Literal["relinked", "left"]
    to: str | None = None
    references: int = 0
    active: bool = True
    code: str | None = None
    message: str | None = None


class ReferencesOf:
    """The references of a workflow's JSON with their places in it, for the models of its analysis."""

    def __init__(self, content: dict[str, Any], knowledge: Knowledge) -> None:
        self._found: dict[tuple[str, str, str], list[FoundReference]] = defaultdict(list)
        for one in find_references(read_workflow(located(content)), knowledge):
            self._found[one.node.id, one.input, str(one.value)].append(one)

    def of(self, model: schemas.Model) -> list[FoundReference]:
        """Those of ``model``; without any that no node states."""
        meant = []
        for named in model.references:
            for one in self._found.get((named.node_id, named.input, named.value), ()):
                # One text may hold tags of the same name for two folders.
                if not one.folders or model.folder in _folders(one):
                    meant.append(one)
                    break
        return meant


class _Left(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class _Choice:
    file: LibraryFile
    same_file: bool


def relink(
    content: dict[str, Any],
    analysis: schemas.Analysis,
    knowledge: Knowledge,
    library: Snapshot,
    *,
    by_hand: Mapping[str, LibraryFile],
    substitutes: bool,
) -> list[Relinked]:
    """Make the models of ``content`` that are here under another name name the files; it is changed in place.

    ``analysis``: of ``content``. ``by_hand``: the file to name for a model, by its id, whatever its status.
    ``substitutes``: take the same model in another precision where the very file is not here.
    One answer for every model that is not ``present`` or is in ``by_hand``.
    """
    references = ReferencesOf(content, knowledge)
    results: list[Relinked | None] = []
    renamings: list[Renaming] = []
    waiting: list[tuple[int, Relinked]] = []
    for model in analysis.models:
        if model.status == "present" and model.id not in by_hand:
            continue
        to = None
        try:
            meant = references.of(model)
            if len(meant) < len(model.references):
                raise _Left("VALUE_NOT_FOUND", "The place of its value in the file could not be told.")
            choice = _choose(model, meant, by_hand, substitutes, library)
            to = f"{choice.file.folder}/{choice.file.name}"
            renaming = _renaming(meant, choice, library)
        except _Left as reason:
            results.append(
                Relinked(model.id, "left", to, len(model.references), model.active, reason.code, str(reason))
            )
            continue
        done = Relinked(model.id, "relinked", to, len(renaming.values), model.active)
        if renaming.values:
            renamings.append(renaming)
            waiting.append((len(results), done))
            results.append(None)
    for (index, done), failure in zip(waiting, rename(content, knowledge, renamings), strict=True):
        results[index] = (
            done
            if failure is None
            else Relinked(
                done.id, "left", done.to, done.references, done.active, failure.code, failure.message
            )
        )
    return [result for result in results if result is not None]


def _folders(found: FoundReference) -> set[str]:
    return {canonical_folder(folder) for folder in found.folders}


def _choose(
    model: schemas.Model,
    meant: Sequence[FoundReference],
    by_hand: Mapping[str, LibraryFile],
    substitutes: bool,
    library: Snapshot,
) -> _Choice:
    """Raises ``_Left``."""
    told = by_hand.get(model.id)
    if told is not None:
        return _Choice(told, same_file_name(told.name, model.name))
    if model.folder is None:
        raise _Left("FOLDER_UNKNOWN", "Nothing tells which folder its node lists; name a file with --set.")
    # A file of this name that is known to hold something else is another model.
    related = [
        a for a in model.alternatives if a.same_content is not False or not same_file_name(a.name, model.name)
    ]
    very = [a for a in related if a.difference is None]
    alternatives = related if substitutes else very
    if not alternatives:
        raise _reason(related, model.alternatives)
    listed = [a for a in alternatives if all(a.folder in _folders(one) for one in meant)]
    if not listed:
        raise _Left(
            "OTHER_FOLDER", f"It is here as {_named(alternatives)}, but its node lists {model.folder} only."
        )
    usable = [a for a in listed if a.difference is None] or listed[:1]
    equal = [a for a in usable if a.same_content]
    best = usable[0]
    # The very same path, only spelled otherwise, is no question; nor are copies of equal content.
    if best.name != model.name:
        if len(usable) > 1 and not equal:
            raise _Left("SEVERAL_FILES", f"It may be any of {_named(usable)}; say which with --set.")
        best = (equal or usable)[0]
    file = library.find(best.folder, best.name)
    if file is None:
        raise _Left("NOT_HERE", "It has gone meanwhile.")
    return _Choice(file, best.difference is None)


def _reason(related: Sequence[schemas.Alternative], found: Sequence[schemas.Alternative]) -> _Left:
    """Why none of the files ``found`` is taken; those that are ``related`` might be, if asked for."""
    if related:
        return _Left(
            "ONLY_SUBSTITUTES", f"Here is only {_named(related)}; take it with --substitutes or --set."
        )
    if found:
        return _Left("OTHER_CONTENT", f"What is here as {_named(found)} is another file; --set takes it.")
    return _Left("NOT_HERE", "It is not here under any name.")


def _named(alternatives: Sequence[schemas.Alternative]) -> str:
    shown = [f"{alternative.folder}/{alternative.name}" for alternative in alternatives[:5]]
    return ", ".join(shown) + (", …" if len(alternatives) > 5 else "")


def _renaming(meant: Sequence[FoundReference], choice: _Choice, library: Snapshot) -> Renaming:
    """Raises ``_Left``."""
    file = choice.file
    for one in meant:
        if one.folders and file.folder not in _folders(one):
            raise _Left(
                "OTHER_FOLDER",
                f"Node {one.node.id} lists {', '.join(sorted(_folders(one)))}, not {file.folder}.",
            )
    spelled = {key_of(one): _spelled(one, file, library) for one in meant}
    values = {key: value for key, value in spelled.items() if value != key.value}
    return Renaming(values, file.folder, choice.same_file)


def _spelled(found: FoundReference, file: LibraryFile, library: Snapshot) -> str:
    """The file's name as ``found`` has to state it: as ComfyUI lists it, or as prompts and stacks do."""
    if not found.by_stem:
        return file.name.replace("/", os.sep)
    stem = file.name.rsplit(".", 1)[0]
    if found.anywhere and library.by_stem(file.folder, basename(stem), anywhere=True) == file:
        return basename(stem)
    return stem

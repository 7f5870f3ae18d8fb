"""How much hashing would read, told from the listing and the store alone: no file is looked at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from .hashes import FileHashes, matches

if TYPE_CHECKING:
    from . import LibraryFile


class Unhashed(NamedTuple):
    """Files whose content is not known, and their size in bytes; each once, whatever names lead to it."""

    files: int = 0
    bytes: int = 0


def file_key(file: LibraryFile) -> int | str:
    """The same for all names of one file, as far as the listing tells."""
    return file.identity or file.path


def count_unhashed(files: Iterable[LibraryFile], hashes: FileHashes) -> Unhashed:
    """Those of ``files`` that have no known hash.

    A file that was written to in place since its folder was listed counts as it was: a run, which looks at
    each, may find some more to read.
    """
    stamps = hashes.stamps()
    sizes: dict[int | str, int] = {}
    known: set[int | str] = set()
    for file in files:
        key = file_key(file)
        sizes[key] = file.size
        kept = stamps.get(file.path)
        if kept is not None and matches(kept, file.size, file.modified):
            known.add(key)
    left = [size for key, size in sizes.items() if key not in known]
    return Unhashed(len(left), sum(left))

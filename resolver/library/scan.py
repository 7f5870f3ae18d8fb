"""Listing the files of one root, and listing them again only where something changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

# A directory whose mtime is this close to the moment we read it may change again without a new mtime
# (clock ticks are milliseconds on Linux and two seconds on FAT), so it is read again next time.
_SETTLED_NS = 2_500_000_000
_SKIPPED = ".git"  # as ComfyUI does; our part files live in one


class ScannedFile(NamedTuple):
    """``name``: relative to the root, with ``/``. ``extension``: lower case with dot. ``size``: bytes.
    ``modified``: Unix time, seconds. ``identity``: of the file itself, the same under all its names; 0 where
    listing does not tell (Windows)."""

    name: str
    extension: str
    path: str
    size: int
    modified: float
    identity: int = 0


@dataclass
class _Directory:
    mtime_ns: int
    settled: bool
    files: list[ScannedFile]
    children: list[str] = field(default_factory=list)


class RootScan:
    """The files below one root, links followed, as ComfyUI lists them.

    ``refresh()`` stats each known directory and reads only those whose mtime changed. Not thread-safe:
    its owner locks.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._directories: dict[str, _Directory] = {}

    def refresh(self) -> bool:
        """Bring the listing up to date; returns whether anything changed."""
        before = self._directories
        self._directories = {}
        changed = self._visit(os.fspath(self.root), "", before, ())
        return changed or before.keys() != self._directories.keys()

    def files(self) -> Iterator[ScannedFile]:
        for directory in self._directories.values():
            yield from directory.files

    def _visit(
        self, path: str, prefix: str, before: dict[str, _Directory], above: tuple[tuple[int, int], ...]
    ) -> bool:
        try:
            status = os.stat(path)
        except OSError:
            return False
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            return False  # a link to a directory we are inside of
        known = before.get(path)
        changed = known is None or not known.settled or known.mtime_ns != status.st_mtime_ns
        if changed or known is None:
            known = _read(path, prefix, status.st_mtime_ns)
            if known is None:
                return False
        self._directories[path] = known
        for child in known.children:
            inside = f"{prefix}{child}/"
            changed |= self._visit(os.path.join(path, child), inside, before, (*above, identity))
        return changed


def _read(path: str, prefix: str, mtime_ns: int) -> _Directory | None:
    settled = time.time_ns() - mtime_ns > _SETTLED_NS
    directory = _Directory(mtime_ns, settled, [])
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    if entry.is_dir():
                        if entry.name != _SKIPPED:
                            directory.children.append(entry.name)
                        continue
                    status = entry.stat()
                except OSError:
                    continue  # a link that leads nowhere, or a file that has just gone
                name = entry.name
                extension = os.path.splitext(name)[1].lower()
                identity = status.st_dev << 64 | status.st_ino if status.st_ino else 0
                directory.files.append(
                    ScannedFile(
                        prefix + name, extension, entry.path, status.st_size, status.st_mtime, identity
                    )
                )
    except OSError:
        return None
    return directory

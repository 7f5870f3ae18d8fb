"""The model files on disk: listed as ComfyUI lists them, and looked up by name."""

from __future__ import annotations

import os
import threading
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from ..host import FolderSpec, Host
from ..names import basename, to_posix
from ..roles import Match, RoleIndex
from .scan import RootScan, ScannedFile


@dataclass(frozen=True)
class LibraryFile:
    """One model file. ``name``: relative to the root it lies in, with ``/``."""

    folder: str
    name: str
    path: str
    size: int
    modified: float


class Library:
    """All folders of a host. Methods block on the disk (call them off the event loop); thread-safe."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._scans: dict[Path, RootScan] = {}
        self._snapshot: Snapshot | None = None
        self._specs: dict[str, FolderSpec] = {}

    def snapshot(self) -> Snapshot:
        """The library as it is now. Costs a stat for each directory if nothing changed."""
        specs = dict(self._host.folders())
        with self._lock:
            roots = list(dict.fromkeys(root for spec in specs.values() for root in spec.roots))
            changed = specs != self._specs
            for gone in self._scans.keys() - set(roots):
                del self._scans[gone]
            for root in roots:
                scan = self._scans.setdefault(root, RootScan(root))
                changed |= scan.refresh()
            if changed or self._snapshot is None:
                self._specs = specs
                listed = {root: list(scan.files()) for root, scan in self._scans.items()}
                self._snapshot = Snapshot(specs, listed)
            return self._snapshot


class Snapshot:
    """The library at one moment; immutable but for an index that is made when first asked for."""

    def __init__(self, specs: dict[str, FolderSpec], listed: dict[Path, list[ScannedFile]]) -> None:
        self.folders = specs
        self._lock = threading.Lock()
        self._roles: RoleIndex | None = None
        self._by_folder: dict[str, dict[str, LibraryFile]] = {}
        self._by_basename: dict[str, list[LibraryFile]] = defaultdict(list)
        for spec in specs.values():
            files: dict[str, LibraryFile] = {}
            for root in spec.roots:
                for file in listed.get(root, ()):
                    # The first root that has a name wins, as in ComfyUI.
                    if file.name not in files and spec.lists(file.name):
                        files[file.name] = LibraryFile(
                            spec.name, file.name, file.path, file.size, file.modified
                        )
            self._by_folder[spec.name] = files
            for found in files.values():
                self._by_basename[_fold(found.name)].append(found)

    def accepted(self, folder: str, value: str) -> LibraryFile | None:
        """The file ComfyUI would load for ``value``: its list must hold the very string.

        ComfyUI lists names with the separator of the system it runs on, so ``sub/x`` is not accepted
        on Windows, nor ``sub\\x`` elsewhere.
        """
        if os.sep != "/":
            if "/" in value:
                return None
            value = to_posix(value)
        return self.find(folder, value)

    def find(self, folder: str, name: str) -> LibraryFile | None:
        """The file of that name (with ``/``) in a folder."""
        return self._by_folder.get(folder, {}).get(name)

    def by_stem(self, folder: str, name: str, *, anywhere: bool) -> LibraryFile | None:
        """The file of that name with any extension the folder lists; ``anywhere``: in any subfolder."""
        wanted = to_posix(name)
        for file in self._by_folder.get(folder, {}).values():
            stem = file.name.rsplit(".", 1)[0]
            if wanted in (stem, file.name) or (anywhere and basename(stem) == wanted):
                return file
        return None

    def named(self, file_name: str) -> list[LibraryFile]:
        """Files of equal file name, in any folder and subfolder."""
        return list(self._by_basename.get(_fold(file_name), ()))

    def substitutes(self, folder: str, name: str) -> list[tuple[LibraryFile, Match]]:
        """Files of a folder that are the same model by another name or at another precision, best first."""
        with self._lock:
            if self._roles is None:
                self._roles = RoleIndex((file.folder, file.name) for file in self.files())
        return [
            (self._by_folder[match.file[0]][match.file[1]], match)
            for match in self._roles.find(name, folder)
            if match.file[0] == folder
        ]

    def files(self, folder: str | None = None) -> list[LibraryFile]:
        """All files, or those of one folder; a file that two folders list appears in both."""
        folders = self._by_folder.values() if folder is None else (self._by_folder.get(folder, {}),)
        return [file for files in folders for file in files.values()]


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", basename(name))

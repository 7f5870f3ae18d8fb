"""The model files on disk: listed as ComfyUI lists them, and looked up by name and by content."""

from __future__ import annotations

import os
import threading
import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from ..host import FolderSpec, Host
from ..names import basename, to_posix
from ..roles import Match
from .hashes import FileHashes
from .scan import RootScan, ScannedFile
from .substitutes import SubstituteIndex


class LibraryFile(NamedTuple):
    """One model file. ``name``: relative to the root it lies in, with ``/``. ``identity``: as scanned."""

    folder: str
    name: str
    path: str
    size: int
    modified: float
    identity: int = 0


class Library:
    """All folders of a host. Methods block on the disk (call them off the event loop); thread-safe.

    ``hashes``: what is known of the files' content; without it, nothing is.
    """

    def __init__(self, host: Host, hashes: FileHashes | None = None) -> None:
        self._host = host
        self._hashes = hashes
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
                self._snapshot = Snapshot(specs, listed, self._hashes)
            return self._snapshot

    def sha256_of(self, path: str) -> str | None:
        """The SHA-256 of a file as it is now, if known; reads no content."""
        return self._hashes.sha256_of(path) if self._hashes is not None else None


class Snapshot:
    """The library at one moment; immutable but for indexes that are made when first asked for.

    What it tells of content (``sha256_of``, ``with_content``) is looked up, and so as of now.
    """

    def __init__(
        self,
        specs: dict[str, FolderSpec],
        listed: dict[Path, list[ScannedFile]],
        hashes: FileHashes | None = None,
    ) -> None:
        self.folders = specs
        self._hashes = hashes
        self._lock = threading.Lock()
        self._substitutes: dict[str, SubstituteIndex] = {}
        self._by_path: dict[str, list[LibraryFile]] | None = None
        self._by_folder: dict[str, dict[str, LibraryFile]] = {}
        self._shadowed: dict[str, list[LibraryFile]] = {}
        self._by_basename: dict[str, list[LibraryFile]] = defaultdict(list)
        for spec in specs.values():
            files: dict[str, LibraryFile] = {}
            shadowed: list[LibraryFile] = []
            extensions = spec.extensions
            for root in spec.roots:
                for name, extension, path, size, modified, identity in listed.get(root, ()):
                    # As ``spec.lists`` has it. The first root that has a name wins, as in ComfyUI.
                    if not extensions or extension in extensions:
                        file = LibraryFile(spec.name, name, path, size, modified, identity)
                        if files.setdefault(name, file) is not file:
                            shadowed.append(file)
            self._by_folder[spec.name] = files
            self._shadowed[spec.name] = shadowed
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
        return list(self._by_basename.get(_fold(to_posix(file_name)), ()))

    def substitutes(self, folder: str, name: str) -> list[tuple[LibraryFile, Match]]:
        """Files of a folder that are the same model by another name or at another precision, best first."""
        files = self._by_folder.get(folder)
        if not files:
            return []
        with self._lock:
            index = self._substitutes.get(folder)
            if index is None:
                index = self._substitutes[folder] = SubstituteIndex(folder, files)
        return [(files[match.file[1]], match) for match in index.find(name)]

    def sha256_of(self, file: LibraryFile) -> str | None:
        """The SHA-256 of a file, if known; reads no content."""
        return self._hashes.sha256_of(file.path) if self._hashes is not None else None

    def with_content(self, beginning: str, *, on_disk: bool = False) -> list[LibraryFile]:
        """The files whose known SHA-256 begins so (all 64 digits: the files of this content).

        ``on_disk``: as the method of this name has it, those that ComfyUI never loads as well; not those
        that are the loaded file itself, in a root that is a link to another.
        """
        paths = self._hashes.paths_with(beginning) if self._hashes is not None else []
        if not paths:
            return []
        with self._lock:
            if self._by_path is None:
                self._by_path = defaultdict(list)
                for file in self.on_disk():
                    self._by_path[file.path].append(file)
            by_path = self._by_path
        found = [file for path in paths for file in by_path.get(path, ())]
        return [file for file in found if self._is_loaded(file) or (on_disk and not self._is_link(file))]

    def _is_loaded(self, file: LibraryFile) -> bool:
        return self.find(file.folder, file.name) is file

    def _is_link(self, file: LibraryFile) -> bool:
        """Whether it leads to the file that is loaded by its name."""
        loaded = self.find(file.folder, file.name)
        return loaded is not None and os.path.realpath(loaded.path) == os.path.realpath(file.path)

    def on_disk(self, folder: str | None = None) -> list[LibraryFile]:
        """``files`` and those that ComfyUI never loads, since a root before theirs has their name."""
        hidden = self._shadowed.values() if folder is None else (self._shadowed.get(folder, ()),)
        return [*self.files(folder), *(file for files in hidden for file in files)]

    def files(self, folder: str | None = None) -> list[LibraryFile]:
        """All files, or those of one folder; a file that two folders list appears in both."""
        folders = self._by_folder.values() if folder is None else (self._by_folder.get(folder, {}),)
        return [file for files in folders for file in files.values()]


def _fold(name: str) -> str:
    last = name.rpartition("/")[2]
    return last if last.isascii() else unicodedata.normalize("NFC", last)

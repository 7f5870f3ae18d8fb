"""The part file: what has arrived of a download, under a name that no model list shows.

It lies at ``<root>/.model-resolver/.git/<download id>.part``. Inside the root, because the final
rename must not cross file systems and nothing is written outside the roots. In a directory called
``.git``, because that is the one name ComfyUI's listing skips (``folder_paths.recursive_search``):
a folder configured without extensions lists every file it can see, whatever its ending.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from ..errors import UnsafeName
from .threads import StopSign

_HELPER, _HIDDEN = ".model-resolver", ".git"
_READ = 4 << 20
_OPEN_TRIES = 100


def part_path(root: Path, download_id: str) -> Path:
    return root / _HELPER / _HIDDEN / f"{download_id}.part"


def discard_part(path: Path) -> None:
    """Remove a part file, if there is one, and the helper directories once they are empty."""
    with suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)
    remove_helper_directories(path)


def remove_helper_directories(path: Path) -> None:
    """Remove the directories above part file ``path`` that are empty; another download may use them."""
    with suppress(OSError):
        os.rmdir(path.parent)
        os.rmdir(path.parent.parent)


class PartFile:
    """A part file and the SHA-256 of what it holds. Methods block; one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.length = 0
        self._file: int | None = None
        self._hash = hashlib.sha256()

    def open(self) -> None:
        """Open or create it, with the helper directories. ``length`` is then what is there already.

        Raises ``UnsafeName`` where a link stands in for a helper directory, and ``OSError``.
        """
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        for attempt in range(_OPEN_TRIES):
            self._require_no_links()
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._require_no_links()
                # The usual permissions: this very file becomes the model.
                self._file = os.open(self.path, flags, 0o666)
                break
            except (FileNotFoundError, FileExistsError):
                # Another download has just removed the directories, which were empty to it.
                if attempt == _OPEN_TRIES - 1:
                    raise
        self.length = os.fstat(self._descriptor).st_size

    def _require_no_links(self) -> None:
        root = os.path.realpath(self.path.parents[2])
        if Path(os.path.realpath(self.path.parent)) != Path(root, _HELPER, _HIDDEN):
            raise UnsafeName(
                f"{self.path.parent} is a link that leads elsewhere. Remove it.",
                reason="a link leads out of the model folder",
            )

    def rehash(self, stop: StopSign) -> None:
        """Read what is there, to go on hashing behind it."""
        self._hash = hashlib.sha256()
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        done = 0
        while block := os.read(self._descriptor, _READ):
            stop.check()
            self._hash.update(block)
            done += len(block)
        self.length = done

    def restart(self) -> None:
        """Forget what is there."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.length = 0

    def write(self, data: bytes) -> None:
        """Append ``data``. What a failure leaves is a shorter, still correct prefix."""
        rest = memoryview(data)
        while rest:
            written = os.write(self._descriptor, rest)
            rest = rest[written:]
        self._hash.update(data)
        self.length += len(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def leave(self) -> None:
        """Close it unfinished: what has arrived stays, an empty file does not."""
        is_empty = self._file is not None and os.fstat(self._file).st_size == 0
        self.close()
        if is_empty:
            discard_part(self.path)

    @property
    def _descriptor(self) -> int:
        assert self._file is not None, "the part file is not open"
        return self._file

"""The part file: what has arrived of a download, under a name that no model list shows.

It lies at ``<root>/.model-resolver/.git/<stem>.part``. Inside the root, because the final rename must
not cross file systems and nothing is written outside the roots. In a directory called ``.git``, because
that is the one name ComfyUI's listing skips (``folder_paths.recursive_search``): a folder configured
without extensions lists every file it can see, whatever its ending. The stem is the destination's
(``place.py``), so that another process with a store of its own finds the same part.

Whoever has it open has it locked: a process that only writes (``worker``) may outlive for a moment the one
that had claimed it (``claims``), and the next owner must not begin under its hands.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import stat
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from ..errors import DownloadError, UnsafeName
from .threads import StopSign

_HELPER, _HIDDEN = ".model-resolver", ".git"
_READ = 4 << 20
_OPEN_TRIES = 100
_LOCK_TRIES, _LOCK_SECONDS = 100, 0.05
BESIDE_PART = (".json", ".new", ".pieces")
"""Endings of what is written down beside a part file, under the same stem: of which content it is, and
which pieces of it have arrived."""


def helper_directory(root: Path) -> Path:
    return root / _HELPER / _HIDDEN


def part_path(root: Path, stem: str) -> Path:
    return helper_directory(root) / f"{stem}.part"


def discard_part(path: Path) -> None:
    """Remove a part file and what is known of it, if there is one, and the helper directories once empty.

    The part goes first: what is left after a crash says nothing without it.
    """
    for ending in (".part", *BESIDE_PART):
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path.with_suffix(ending))
    remove_helper_directories(path)


def remove_helper_directories(path: Path) -> None:
    """Remove the directories above part file ``path`` that are empty; another download may use them."""
    with suppress(OSError):
        os.rmdir(path.parent)
        os.rmdir(path.parent.parent)


def make_helper_directories(path: Path) -> None:
    """Make the directories for part file ``path``.

    Raises ``UnsafeName`` where a link stands in for one, and ``OSError``. They may be gone again at the
    next moment: another download removes them when they are empty to it.
    """
    if os.name != "nt" and all(map(_is_plain_directory, (path.parent.parent, path.parent))):
        return
    _require_no_links(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    _require_no_links(path.parent)


def _is_plain_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def is_linked_away(directory: Path) -> bool:
    """Whether helper directory ``directory``, or the one above it, is a link."""
    if os.name == "nt":  # There are junctions as well.
        root = os.path.realpath(directory.parents[1])
        return Path(os.path.realpath(directory)) != Path(root, _HELPER, _HIDDEN)
    return os.path.islink(directory.parent) or os.path.islink(directory)


def _require_no_links(directory: Path) -> None:
    if is_linked_away(directory):
        raise UnsafeName(
            f"{directory} is a link that leads elsewhere. Remove it.",
            reason="a link leads out of the model folder",
        )


class PartFile:
    """A part file and the SHA-256 of what it holds. Methods block; one thread at a time, but for
    ``write_at`` and ``read_at``. ``length``: how long it is; ``hashed``: how much of it the hash is of.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.length = 0
        self.hashed = 0
        self._file: int | None = None
        self._was_open = False
        self._hash = hashlib.sha256()

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def open(self) -> None:
        """Open or create it, with the helper directories. ``length`` is then what is there already, which is
        not hashed yet.

        Raises ``UnsafeName`` where a link stands in for a helper directory, ``OSError``, and
        ``DownloadError`` (``DOWNLOADING_ELSEWHERE``, retryable) where it stays locked for five seconds.
        """
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        for attempt in range(_OPEN_TRIES):
            try:
                make_helper_directories(self.path)
                # The usual permissions: this very file becomes the model.
                self._file = os.open(self.path, flags, 0o666)
                self._was_open = True
                break
            except (FileNotFoundError, FileExistsError):
                # Another download has just removed the directories, which were empty to it.
                if attempt == _OPEN_TRIES - 1:
                    raise
        try:
            self._lock()
            self._hash, self.hashed = hashlib.sha256(), 0
            self.length = os.fstat(self._descriptor).st_size
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        for _ in range(_LOCK_TRIES):
            if _try_to_lock(self._descriptor):
                return
            time.sleep(_LOCK_SECONDS)
        raise DownloadError(
            f"Another process still writes to {self.path}.", code="DOWNLOADING_ELSEWHERE", retryable=True
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
        self.length = self.hashed = done

    def restart(self) -> None:
        """Forget what is there."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.length = self.hashed = 0

    def reserve(self, size: int) -> None:
        """Make it ``size`` bytes long, and have the disk set the space aside where it can.

        Raises ``OSError``, also where there is not that much space; then it is as long as before.
        """
        length = os.fstat(self._descriptor).st_size
        try:
            _set_aside(self._descriptor, size)
        except OSError as error:
            os.ftruncate(self._descriptor, length)
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV):
                raise
        os.ftruncate(self._descriptor, size)

    def write_at(self, offset: int, data: memoryview) -> None:
        """Write all of ``data`` at ``offset``. Several threads may do so at a time."""
        while data:
            written = _write_at(self._descriptor, data, offset)
            data, offset = data[written:], offset + written

    def read_at(self, offset: int, into: memoryview) -> int:
        """Fill ``into`` from ``offset`` on; how many bytes there were."""
        return _read_at(self._descriptor, into, offset)

    def sync(self) -> None:
        """Bring what has been written to the disk."""
        sync_data(self._descriptor)

    def write(self, data: bytes | memoryview) -> None:
        """Append ``data``. What a failure leaves is a shorter, still correct prefix."""
        rest = memoryview(data)
        while rest:
            written = os.write(self._descriptor, rest)
            rest = rest[written:]
        self._hash.update(data)
        self.length = self.hashed = self.length + len(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            # By itself it would be unlocked only when every process has closed it that was forked meanwhile.
            _unlock(file)
            os.close(file)

    def leave(self) -> None:
        """Leave it unfinished: what has arrived stays, an empty file does not."""
        self.close()
        with suppress(OSError):
            if self._was_open and os.lstat(self.path).st_size == 0:
                discard_part(self.path)

    @property
    def _descriptor(self) -> int:
        assert self._file is not None, "the part file is not open"
        return self._file


def _set_aside(descriptor: int, size: int) -> None:
    """Have the disk keep space for the first ``size`` bytes. Raises ``OSError``: ``EOPNOTSUPP`` if it cannot.

    On Linux by the system's own call: where a file system does not know that (ZFS, NFS before 4.2, FUSE),
    ``posix_fallocate`` of the GNU C library writes into every block of the file instead.
    """
    if sys.platform == "linux":
        if code := _fallocate(descriptor, size):
            raise OSError(code, os.strerror(code))
        return
    allocate = getattr(os, "posix_fallocate", None)
    if allocate is None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    allocate(descriptor, 0, size)


def _fallocate(descriptor: int, size: int) -> int:
    """Linux' ``fallocate``; 0 or an ``errno``."""
    library = ctypes.CDLL(None, use_errno=True)
    call = getattr(library, "fallocate64", None) or library.fallocate
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    while call(descriptor, 0, 0, size):
        if (code := ctypes.get_errno()) != errno.EINTR:
            return code
    return 0


if hasattr(os, "pwrite"):

    def _write_at(descriptor: int, data: memoryview, offset: int) -> int:
        return os.pwrite(descriptor, data, offset)

    def _read_at(descriptor: int, into: memoryview, offset: int) -> int:
        return (
            os.preadv(descriptor, [into], offset)
            if hasattr(os, "preadv")
            else _copied(os.pread(descriptor, len(into), offset), into)
        )

    def _copied(data: bytes, into: memoryview) -> int:
        into[: len(data)] = data
        return len(data)

else:  # Windows: a file has one position, which all its users share.
    _position = threading.Lock()

    def _write_at(descriptor: int, data: memoryview, offset: int) -> int:
        with _position:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.write(descriptor, data)

    def _read_at(descriptor: int, into: memoryview, offset: int) -> int:
        with _position:
            os.lseek(descriptor, offset, os.SEEK_SET)
            data = os.read(descriptor, len(into))
        into[: len(data)] = data
        return len(data)


if sys.platform == "win32":
    import msvcrt

    # Locks are mandatory there: a byte that no file has.
    _LOCKED_BYTE = 1 << 62

    def _try_to_lock(descriptor: int) -> bool:
        return _change_lock(descriptor, msvcrt.LK_NBLCK)

    def _unlock(descriptor: int) -> None:
        _change_lock(descriptor, msvcrt.LK_UNLCK)

    def _change_lock(descriptor: int, how: int) -> bool:
        try:
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, how, 1)
        except OSError as error:
            return error.errno != errno.EACCES
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _try_to_lock(descriptor: int) -> bool:
        """Whether it is ours now; also where the file system knows no locks."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
        return True

    def _unlock(descriptor: int) -> None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def sync_data(descriptor: int) -> None:
    """``fdatasync`` where there is one."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def allocated(path: Path) -> int:
    """Bytes of the disk that ``path`` takes already; 0 where it does not exist."""
    try:
        found = os.stat(path)
    except OSError:
        return 0
    return int(getattr(found, "st_blocks", 0)) * 512 or found.st_size

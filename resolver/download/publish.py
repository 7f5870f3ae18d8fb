"""Giving a verified file its final name: in one step, never over another file, never outside the root.

On POSIX the way down to the directory is walked with open descriptors and without following links,
so that a link swapped in at the last moment is refused, not followed. The name itself is given by a
hard link (fails if the name exists), else by ``renameat2(RENAME_NOREPLACE)`` on Linux. On a file
system that has neither (some FUSE and network mounts) the last resort is to look and then rename:
another program that makes a file of the very same name within those microseconds would lose it.
Windows' rename never replaces.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import UnsafeName
from ..names import Inside, ModelName, resolve_inside
from .part import discard_part

_RENAME_NOREPLACE = 1
# What file systems answer that know no hard links, or kernels that know no renameat2.
_UNSUPPORTED = frozenset(
    {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK, errno.EXDEV}
)


def publish(part: Path, root: Path, name: ModelName) -> Path:
    """Move ``part`` to ``name`` below ``root`` and return that path. What is written is on the disk then.

    Raises ``FileExistsError`` if the name is taken (``part`` is kept), ``UnsafeName`` if a link leads
    out of ``root``, and ``OSError`` (where the part cannot be brought to the disk, it is gone then). A crash
    leaves the part, or the file, or both as one.
    """
    inside = resolve_inside(root, name)
    target = inside.target
    try:
        _sync_file(part)
    except OSError:
        # Memory may still show what the disk has lost, and the next sync would not say so again.
        discard_part(part)
        raise
    if sys.platform == "win32":
        target.parent.mkdir(parents=True, exist_ok=True)
        resolve_inside(root, name)
        os.rename(part, target)
        return target
    with _directory_of(inside) as directory:
        _move(part, directory, target.name)
        _sync_directory(directory)
    return target


def _move(part: Path, directory: int, name: str) -> None:
    try:
        os.link(part, name, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    else:
        os.unlink(part)
        return
    try:
        _rename_without_replacing(part, directory, name)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    else:
        return
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=directory, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
    os.rename(part, name, dst_dir_fd=directory)


def _rename_without_replacing(part: Path, directory: int, name: str) -> None:
    """``renameat2`` with ``RENAME_NOREPLACE`` (Linux 3.15, glibc 2.28); ``ENOSYS`` elsewhere."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    # The first descriptor does not matter: the part's path is absolute.
    if renameat2(directory, os.fsencode(part.absolute()), directory, os.fsencode(name), _RENAME_NOREPLACE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)


@contextmanager
def _directory_of(inside: Inside) -> Iterator[int]:
    """An open descriptor of the model's directory, made if need be, reached from the root without
    following links.

    Links that stay inside the root are resolved beforehand; one that turns up now was swapped in.
    """
    try:
        current = os.open(inside.real_root, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        os.makedirs(inside.real_root, exist_ok=True)
        current = os.open(inside.real_root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for step in inside.real_parent.relative_to(inside.real_root).parts:
            try:
                os.mkdir(step, dir_fd=current)
                _sync_directory(current)
            except FileExistsError:
                pass
            try:
                below = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR) and _is_link(step, current):
                    raise UnsafeName(
                        f"{inside.target.parent} is refused: a link was put in its way.",
                        reason="a link leads out of the model folder",
                    ) from None
                raise
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)


def _is_link(name: str, directory: int) -> bool:
    try:
        os.readlink(name, dir_fd=directory)
    except OSError:
        return False
    return True


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(directory: int) -> None:
    # Some network file systems cannot do this for directories; there is nothing else to be done there.
    with suppress(OSError):
        os.fsync(directory)

"""Free space, per disk, and what the operating system's complaints mean."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from ..errors import DownloadError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def nearest_existing(path: Path) -> Path:
    """``path``, or its first parent that exists."""
    while not path.exists() and path.parent != path:
        path = path.parent
    return path


def device_of(path: Path) -> int:
    """The disk (``st_dev``) that a file at ``path`` lies on or would lie on."""
    return os.stat(nearest_existing(path)).st_dev


def fits(path: Path, needed: int, reserve: int) -> bool:
    """Whether ``needed`` more bytes fit beside ``path`` and leave ``reserve`` bytes free."""
    return needed + reserve <= _free(path)


def require_space(path: Path, needed: int, reserve: int) -> None:
    """Check that ``needed`` more bytes fit beside ``path`` and leave ``reserve`` bytes free.

    Raises ``DownloadError`` (``NO_SPACE``, 507) that says how much is missing.
    """
    free = _free(path)
    missing = needed + reserve - free
    if missing > 0:
        raise DownloadError(
            f"There is not enough space at {path}: {_human(needed)} are needed and {_human(reserve)} must "
            f"stay free (CMR_DISK_RESERVE), but only {_human(free)} are free. Free {_human(missing)} more.",
            code="NO_SPACE",
            status=507,
            missing=missing,
            needed=needed,
            free=free,
        )


def disk_error(error: OSError, path: Path) -> DownloadError:
    """What a failed operation on a file means for the user."""
    reason = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return DownloadError(
            f"The disk of {path.parent} is full. Free some space and retry: what has arrived is kept.",
            code="NO_SPACE",
            status=507,
        )
    if error.errno in _FORBIDDEN:
        return DownloadError(
            f"{path.parent} cannot be written to ({reason}). Check its permissions.", code="NOT_WRITABLE"
        )
    return DownloadError(f"The disk of {path.parent} reports an error: {reason}.", code="DISK_ERROR")


def _free(path: Path) -> int:
    return shutil.disk_usage(nearest_existing(path)).free


def _human(size: int) -> str:
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"

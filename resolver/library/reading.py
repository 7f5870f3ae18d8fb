"""Reading whole files for their content: gently, and never half believed."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from .hashes import stamp

# Large enough that the interpreter's lock is let go of for nearly all of the time.
_BLOCK = 2 << 20
_FINE_CLOCK = 0.1
_COARSE_CLOCK = 2.5  # FAT counts in steps of two seconds

Turn = Callable[[int], None]
"""Called after each block with its size in bytes; may wait, and may raise to end the reading."""


class FileChanged(Exception):
    """The file was written to while it was read, or is no file (any more)."""


def read_sha256(path: str, turn: Turn) -> tuple[str, os.stat_result]:
    """The SHA-256 (lower-case hex) of a file that stayed as it was meanwhile, and its status.

    Raises ``FileChanged``, ``OSError``, and what ``turn`` raises.
    """
    digest = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK))
    # A pipe by a model's name must not hold the thread for ever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb", buffering=0) as file:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise FileChanged(path)
        offset = 0
        while count := file.readinto(block) or 0:
            digest.update(block[:count])
            _forget(descriptor, offset, count)
            offset += count
            turn(count)
        # By its name, too: another file may have been put in its place.
        if not stamp(before) == stamp(os.fstat(descriptor)) == stamp(os.stat(path)):
            raise FileChanged(path)
    return digest.hexdigest(), before


def unsettled_for(status: os.stat_result) -> float:
    """Seconds until a further change of this file is sure to show in its times."""
    newest = status.st_mtime_ns
    if sys.platform != "win32":  # where it is the time of creation
        newest = max(newest, status.st_ctime_ns)
    age = (time.time_ns() - newest) / 1e9
    in_steps = any(time_ns % 1_000_000_000 == 0 for time_ns in (status.st_mtime_ns, status.st_ctime_ns))
    limit = _COARSE_CLOCK if in_steps else _FINE_CLOCK
    return max(0.0, limit - age) if age >= 0 else 0.0


def disk_of(device: int, devices: str = "/sys/dev/block") -> int:
    """The disk that a device (``st_dev``) is a partition of; the device itself where nothing says so.

    ``devices``: where Linux tells of each device, by its numbers.
    """
    if sys.platform != "win32":
        with suppress(OSError, ValueError):
            place = os.path.realpath(os.path.join(devices, f"{os.major(device)}:{os.minor(device)}"))
            if os.path.exists(os.path.join(place, "partition")):
                with open(os.path.join(os.path.dirname(place), "dev"), encoding="ascii") as file:
                    major, minor = file.read().split(":")
                return os.makedev(int(major), int(minor))
    return device


def _forget(descriptor: int, offset: int, count: int) -> None:
    """Leave the page cache to the models that are in use."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, offset, count, os.POSIX_FADV_DONTNEED)

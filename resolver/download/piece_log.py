"""Which pieces of a part file have arrived, written down beside it: ``<stem>.pieces``.

The part is as long as the whole file from the beginning, so its length says nothing. This file only
grows. It begins with a line of JSON (version, size of the file, boot, a random seed); then follow
records of 24 bytes, little-endian:

====== ==================================================================================
bytes  meaning
====== ==================================================================================
0-7    first byte of the range that is in the part file; or 2^64-1: a mark; or 2^64-2: a doubt
8-15   the byte behind its last one; of a mark: how many records before it are on the disk
16-19  CRC-32 over the record, begun with the CRC of the record before it (first: the seed)
20-23  zero
====== ==================================================================================

What is trusted. A range is recorded after it was written to the part. After a crash of this process
both are in the system's memory, so every record counts. After a crash of the machine (another boot)
either may be missing, in any order: only records before the last mark count, since a mark is written
after ``fdatasync`` of the part has returned, every 64 MiB or half a minute (``crew``). Where that
failed, memory may show what the disk has lost, and the system will not say so again: a doubt is written,
and what comes before it counts up to the last mark only, within this boot too. Reading ends at the first
record whose CRC is wrong: a torn one, or what an older log left behind.
"""

from __future__ import annotations

import json
import os
import secrets
import struct
import zlib
from contextlib import suppress
from pathlib import Path

from .boot import boot_id
from .part import sync_data
from .pieces import Range, Ranges

_VERSION = 1
_RECORD = struct.Struct("<QQII")
_MARK = (1 << 64) - 1
_DOUBT = _MARK - 1
_MOST_HEAD = 1024


def log_path(part: Path) -> Path:
    return part.with_suffix(".pieces")


def discard_log(part: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(log_path(part))


def read_log(part: Path, size: int) -> list[Range] | None:
    """The ranges of ``part`` (a file that is to have ``size`` bytes) that can be trusted, in order.

    None where there is no log, or one that is not of this part file.
    """
    try:
        if os.path.getsize(part) != size:
            return None
        text = log_path(part).read_bytes()
    except OSError:
        return None
    head, newline, records = text.partition(b"\n")
    try:
        said = json.loads(head)
        if not newline or (said["version"], said["size"]) != (_VERSION, size):
            return None
        same_boot, crc = said["boot"] == boot_id(), int(said["seed"])
    except (ValueError, KeyError, TypeError):
        return None
    found: list[Range] = []
    marked = 0
    for at in range(0, len(records) - _RECORD.size + 1, _RECORD.size):
        first, end, said_crc, _ = _RECORD.unpack_from(records, at)
        crc = zlib.crc32(records[at : at + 16], crc)
        if crc != said_crc:
            break
        if first == _MARK:
            marked = min(end, len(found))
        elif first == _DOUBT:
            found[marked:] = [(0, 0)] * (len(found) - marked)
        elif not first < end <= size:
            break
        found.append((first, end))
    trusted = found if same_boot else found[:marked]
    return list(Ranges(known for known in trusted if known[0] < _DOUBT))


class PieceLog:
    """The log of one open part file. ``wrote`` is called under the caller's lock; the rest by one thread."""

    def __init__(self, part: Path, size: int) -> None:
        self._path = log_path(part)
        self._size = size
        self._file: int | None = None
        self._crc = 0
        self._count = 0

    def begin(self, done: list[Range]) -> None:
        """Write a new log that says ``done`` in place of the old one, in one step. Raises ``OSError``."""
        seed = secrets.randbits(32)
        said = {"version": _VERSION, "size": self._size, "boot": boot_id(), "seed": seed}
        head = json.dumps(said).encode() + b"\n"
        assert len(head) <= _MOST_HEAD
        self._crc, self._count = seed, 0
        new = self._path.with_suffix(".pieces-new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_BINARY", 0)
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        file = os.open(new, flags, 0o666)
        try:
            os.write(file, head + b"".join(self._record(*known) for known in done))
            if os.name == "nt":
                os.close(file)
                os.replace(new, self._path)
                file = os.open(self._path, flags & ~os.O_TRUNC)
            else:
                os.replace(new, self._path)
        except BaseException:
            with suppress(OSError):
                os.close(file)
            with suppress(OSError):
                os.unlink(new)
            raise
        self._file = file

    def wrote(self, first: int, end: int) -> None:
        """Bytes ``first`` to ``end`` are in the part file. Raises ``OSError``."""
        assert self._file is not None
        os.write(self._file, self._record(first, end))

    @property
    def count(self) -> int:
        """How many records there are."""
        return self._count

    def mark(self, count: int) -> None:
        """The part's bytes that the first ``count`` records speak of are on the disk."""
        assert self._file is not None
        os.write(self._file, self._record(_MARK, count))

    def doubt(self) -> None:
        """The part's bytes could not be brought to the disk: what was not marked does not count any more."""
        assert self._file is not None
        os.write(self._file, self._record(_DOUBT, 0))

    def flush(self) -> None:
        """Bring what was written down to the disk."""
        assert self._file is not None
        sync_data(self._file)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _record(self, first: int, end: int) -> bytes:
        said = struct.pack("<QQ", first, end)
        self._crc = zlib.crc32(said, self._crc)
        self._count += 1
        return said + struct.pack("<II", self._crc, 0)

"""Bounded reading: whatever a file claims, a parser costs at most the budget.

Every parser gets at its file through ``Reader.at`` alone, and asks it at least once per turn of each of
its loops. So neither a declared length nor a loop in the structure can make it read, hold or turn more
than ``Budget`` allows, and no parser needs limits of its own for that.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO, TypeVar

_T = TypeVar("_T")

MAX_TEXT = 32 * 1024 * 1024
"""Bytes of one text, decompressed: as much as a workflow may have when it comes as a file of its own."""


class Damaged(Exception):
    """The file is cut off, or not what its format says; what was found before is still good."""


class TooLarge(Exception):
    """A text of the file is longer than ``MAX_TEXT``, or the file is more than the budget allows."""


class Budget:
    """What reading one file may cost: ``size`` bytes of memory in sum, ``steps`` reads.

    The steps last for a GIF of 200 MB in blocks of 255 bytes, or a film of hours in WebM. ``damage``: in a
    part of the file that the walk went past.
    """

    damage: Damaged | None = None

    def __init__(self, size: int = 3 * MAX_TEXT, steps: int = 1_000_000) -> None:
        self._size = size
        self._steps = steps

    def spend(self, size: int) -> None:
        self._size -= size
        self._steps -= 1
        if self._size < 0 or self._steps < 0:
            raise TooLarge


class Reader:
    """The bytes ``start`` to ``start + size`` of a seekable file. Offsets count from ``start``."""

    __slots__ = ("_budget", "_file", "_start", "size")

    def __init__(self, file: BinaryIO, start: int, size: int, budget: Budget) -> None:
        self._file = file
        self._start = start
        self._budget = budget
        self.size = size

    def at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``. Raises ``Damaged`` where there are fewer."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise Damaged("it ends too early")
        self._budget.spend(length)
        self._file.seek(self._start + offset)
        data = self._file.read(length)
        if len(data) != length:
            raise Damaged("it ends too early")
        return data

    def number(self, offset: int, length: int, *, little: bool = False) -> int:
        """An unsigned integer of ``length`` bytes, big-endian unless ``little``."""
        return int.from_bytes(self.at(offset, length), "little" if little else "big")

    def text(self, offset: int, length: int) -> bytes:
        """Like ``at``, for a value that may be a workflow. Raises ``TooLarge`` beyond ``MAX_TEXT``."""
        if length > MAX_TEXT and offset + length <= self.size:
            raise TooLarge
        return self.at(offset, length)

    def rest(self, offset: int = 0) -> bytes:
        """Everything from ``offset`` on, as a text."""
        return self.text(offset, self.size - offset)

    def window(self, offset: int, length: int) -> Reader:
        """A part of this reader, on the same budget. Raises ``Damaged`` if it reaches beyond."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise Damaged("a part of it reaches beyond its end")
        return Reader(self._file, self._start + offset, length, self._budget)

    def over(self, data: bytes) -> Reader:
        """A reader of bytes that were put together from this one, on the same budget."""
        return Reader(BytesIO(data), 0, len(data), self._budget)

    def part(self, entries: Iterator[_T]) -> Iterator[_T]:
        """What an inner format yields, whose damage is noted but does not end the walk over the whole."""
        try:
            yield from entries
        except Damaged as damage:
            self._budget.damage = damage

    def inflate(self, data: bytes) -> bytes:
        """``data`` decompressed (zlib, RFC 1950). Raises ``TooLarge`` beyond ``MAX_TEXT``, ``Damaged``."""
        stream = zlib.decompressobj()
        try:
            text = stream.decompress(data, MAX_TEXT + 1)
        except zlib.error:
            raise Damaged("a compressed text cannot be read") from None
        self._budget.spend(len(text))
        if len(text) > MAX_TEXT:
            raise TooLarge
        if not stream.eof:
            raise Damaged("a compressed text is cut off")
        return text


def decode(data: bytes) -> str:
    """Text as tools write it: UTF-8, or Latin-1 where it is not (PNG tEXt is by its specification)."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.rstrip("\0")

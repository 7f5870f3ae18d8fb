"""Whether a file that is here already is the one a server has, where nobody tells a hash of it."""

from __future__ import annotations

import os
import random
from pathlib import Path

from ..net.client import HttpClient
from ..net.probe import content_range
from .threads import in_thread

_SAMPLE = 64 << 10
_SAMPLES = 4


async def equals_by_samples(client: HttpClient, url: str, path: Path, size: int | None) -> bool:
    """Whether beginning, end and some places between are the same here and there.

    Files of one kind often have one size and one header, so that size and structure prove little; their
    tensors differ everywhere. False where the server's ``size`` is unknown or it sends no ranges.
    Raises as ``HttpClient.open``, and ``OSError``.
    """
    if not size or size != await in_thread(os.path.getsize, path):
        return False
    for first, last in _places(size):
        async with client.open(url, headers={"Range": f"bytes={first}-{last}"}) as answer:
            if answer.status != 206 or content_range(answer) != (first, last, size):
                return False
            there = bytearray()
            while len(there) <= last - first and (data := await answer.response.content.readany()):
                there += data
        if there != await in_thread(_read, path, first, last):
            return False
    return True


def _places(size: int) -> list[tuple[int, int]]:
    """First and last bytes of the samples; all of a small file."""
    if size <= _SAMPLE * _SAMPLES:
        half = size // 2
        return [(0, half), (half + 1, size - 1)] if half + 1 < size else [(0, size - 1)]
    between = (random.randrange(_SAMPLE, size - 2 * _SAMPLE) for _ in range(_SAMPLES - 2))
    return [(first, first + _SAMPLE - 1) for first in (0, *between, size - _SAMPLE)]


def _read(path: Path, first: int, last: int) -> bytes:
    with open(path, "rb", buffering=0) as file:
        file.seek(first)
        return file.read(last - first + 1)

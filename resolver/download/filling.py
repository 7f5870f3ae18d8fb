"""Filling a part file from several connections: the seam between what decides and what moves bytes.

Whoever decides (``segmented``) has asked a server already, knows what is to come, and hands over a part
file that is as long as the whole is to be, and closed. ``Here`` fills it in threads of this process;
``beside`` in a process of its own.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..net.wire import KEEP_SECONDS
from .crew import Crew, Tools
from .origins import Content, Locate, Origin
from .part import PartFile
from .piece_log import PieceLog
from .pieces import Pieces, Range
from .threads import in_thread

OnProgress = Callable[[int, int], None]
"""Takes how many bytes are here, and how many connections are open."""


@dataclass(frozen=True)
class Errand:
    """What to fetch. ``name``: what the file is to be called. ``kept``: what of it is in ``part`` already.

    ``origins``: the first of them is resolved. ``connections``: at most. ``silence``: seconds without a
    byte that end a connection.
    """

    name: str
    part: Path
    content: Content
    origins: list[Origin] = field(repr=False)
    kept: list[Range]
    connections: int
    silence: float


@dataclass(frozen=True)
class Outcome:
    """What has become of an errand. ``kept``: what is in the part now. ``used``: the URLs bytes came from.

    ``sha256``: of the whole as it was written, if it is complete; else ``error`` says why not, as
    ``Crew.fill`` and ``PartFile.open`` raise it.
    """

    kept: list[Range]
    used: frozenset[str] = field(repr=False)
    sha256: str | None = None
    error: Exception | None = None


class Filler(Protocol):
    async def fill(self, errand: Errand, locate: Locate, on_progress: OnProgress) -> Outcome:
        """Fetch what is missing. When it returns or raises, nothing of it touches the part file any more.

        ``on_progress`` is called on the loop. What goes wrong is part of the outcome.
        """
        ...

    async def close(self) -> None:
        """Give back what is kept for the next errand. All have ended before."""
        ...


class Here:
    """Fills in threads of this process."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def fill(self, errand: Errand, locate: Locate, on_progress: OnProgress) -> Outcome:
        part = PartFile(errand.part)
        piece_log = PieceLog(errand.part, errand.content.size)
        pieces = Pieces(errand.content.size, errand.kept)
        crew = Crew(
            self._tools,
            locate,
            name=errand.name,
            content=errand.content,
            origins=errand.origins,
            most=errand.connections,
            silence=errand.silence,
            on_progress=on_progress,
        )
        sha256, failure = None, None
        try:
            await in_thread(part.open)
            if part.length != errand.content.size:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(errand.part))
            # Anew, though it says what it said: who writes to it knows the checksum so far.
            await in_thread(piece_log.begin, errand.kept)
            sha256 = await crew.fill(part, pieces, piece_log)
        except Exception as error:
            failure = error
        finally:
            await in_thread(_close, part, piece_log)
            asyncio.get_running_loop().call_later(KEEP_SECONDS + 1, self._tools.wires.prune)
        used = frozenset(origin.url for origin in errand.origins if origin.received)
        return Outcome(pieces.done, used, sha256, failure)

    async def close(self) -> None:
        self._tools.wires.prune()


def _close(part: PartFile, piece_log: PieceLog) -> None:
    """Both, whatever comes of the one, and in one go: nobody gives way between the two. Blocks."""
    try:
        piece_log.close()
    finally:
        part.close()

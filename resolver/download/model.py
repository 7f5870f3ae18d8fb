"""A download in memory: its row, what only this process may know, and how fast it goes."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

from ..names import ModelName
from ..schemas import Download, DownloadErrorBody, DownloadStatus
from ..store import DownloadRow
from .claims import Claim
from .part import allocated, part_path
from .transfer import PartState

UNFINISHED: frozenset[DownloadStatus] = frozenset({"queued", "active", "paused", "verifying"})

_SMOOTHING_SECONDS = 3.0


class SpeedMeter:
    """Bytes per second, smoothed exponentially over about three seconds, and how many connections."""

    def __init__(self) -> None:
        self.speed = 0.0
        self.connections = 0
        self._bytes = 0
        self._time = 0.0
        self._started = False

    def start(self, received: int) -> None:
        self.speed, self.connections = 0.0, 0
        self._bytes, self._time, self._started = received, time.monotonic(), False

    def update(self, received: int) -> None:
        now = time.monotonic()
        elapsed = now - self._time
        if elapsed <= 0:
            return
        current = max(0, received - self._bytes) / elapsed
        weight = 1 - math.exp(-elapsed / _SMOOTHING_SECONDS) if self._started else 1.0
        self.speed += weight * (current - self.speed)
        self._bytes, self._time = received, now
        # The first sample stands for itself, but not the silence before the first byte.
        self._started = self._started or current > 0


@dataclass(eq=False)
class Job:
    """An unfinished download of this process. Touched on the loop only.

    ``url``, ``mirrors``: with the tokens of their own that the row must not hold; after a restart they
    are gone. ``part_state``: of which content the part file is, as far as is known. ``claim``: the right
    to work on that part, while it is run; ``is_alone``: that it keeps others off. ``avoid``: those of the
    URLs that brought a wrong file.
    ``unwritten``: that the store does not know the row as it is, because it could not be written.
    ``settling``: the task must not be cancelled now, only waited for (a file is being published, or a
    status written). ``not_before``: loop time until which a retry waits. ``failures``: attempts in a
    row without progress. ``changes``: how often the content on the server was another one. ``control``:
    held by a command of the user while it takes effect. ``writing``: held while the row is written, so
    that an older state is never written over a newer one.
    """

    row: DownloadRow
    url: str = field(repr=False)
    mirrors: tuple[str, ...] = field(repr=False)
    part_state: PartState | None = None
    claim: Claim | None = None
    is_alone: bool = True
    avoid: frozenset[str] = field(default=frozenset(), repr=False)
    task: asyncio.Task[None] | None = None
    settling: bool = False
    unwritten: bool = False
    not_before: float = 0.0
    failures: int = 0
    changes: int = 0
    meter: SpeedMeter = field(default_factory=SpeedMeter)
    control: asyncio.Lock = field(default_factory=asyncio.Lock)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def begin_anew(self) -> None:
        """Forget what went wrong so far: the user wants it tried once more."""
        self.failures = self.changes = 0
        self.not_before = 0.0

    @property
    def root(self) -> Path:
        return Path(self.row.root)

    @property
    def name(self) -> ModelName:
        return ModelName(self.row.filename)  # Was parsed when the row was made.

    @property
    def part(self) -> Path:
        return parts_of(self.row)[0 if self.is_alone else 1]

    @property
    def is_waiting(self) -> bool:
        """Whether it may be started: it is queued, and no command is just changing that."""
        return self.row.status == "queued" and self.task is None and not self.control.locked()


def parts_of(row: DownloadRow) -> tuple[Path, Path]:
    """The part that any process goes on with, and the one of this download alone for where nothing locks."""
    root = Path(row.root)
    return part_path(root, row.stem), part_path(root, f"{row.stem}-{row.id}")


def remaining(row: DownloadRow) -> int:
    """Bytes still to come, as far as is known."""
    return max(0, (row.size or 0) - row.received)


def to_come(row: DownloadRow) -> int:
    """Bytes that ``row`` will still take from the disk; what is set aside for its part is taken. Blocks."""
    if not row.size:
        return 0
    return max(0, row.size - max(allocated(part) for part in parts_of(row)))


def as_download(row: DownloadRow, meter: SpeedMeter | None = None) -> Download:
    """The row as the contract shows it."""
    speed = meter.speed if meter is not None and row.status == "active" else 0.0
    eta = remaining(row) / speed if speed >= 1 and row.size is not None else None
    error = None
    if row.error_code is not None:
        error = DownloadErrorBody(code=row.error_code, message=row.error_message or "")
    return Download(
        id=row.id,
        folder=row.folder,
        filename=row.filename,
        url=row.url,
        status=row.status,
        size=row.size,
        received=row.received,
        speed=speed,
        eta=eta,
        connections=meter.connections if meter is not None and row.status == "active" else 0,
        sha256=row.sha256,
        verified=row.verified,
        error=error,
        path=row.path,
        created_at=row.created_at,
    )

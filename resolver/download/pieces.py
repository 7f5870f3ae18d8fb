"""Which bytes of a file are here, who fetches which, and what comes next. No I/O, no clock, no threads.

The file is handed out from its beginning, one *segment* at a time, so that what is complete grows from
the front and can be hashed on the way. A segment belongs to the one who took it, until somebody with
nothing left to do takes the second half of it, or *races* its holder: both fetch the same bytes, and
each of them is written by whoever has it first. No byte is ever written twice.

``now`` is any clock in seconds. The caller holds a lock.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median

Range = tuple[int, int]
"""First byte and the byte behind the last one."""

_LEAST_PIECE, _MOST_PIECE = 4 << 20, 16 << 20
_PIECES = 32
# Not worth another request: less than this to halve, or done this soon anyway.
_LEAST_HALF = 512 << 10
_SOON_SECONDS = 0.3
# When a holder counts as far slower than the others.
_GRACE_SECONDS = 2.0
FAR_SLOWER = 5.0
_MOST_HOLDERS = 4


@dataclass(eq=False)
class Segment:
    """Bytes ``claimed`` to ``end`` are still wanted; what comes before has been claimed for writing.

    ``holders``: how many fetch it. ``since``, ``from_byte``: when and where its present pace began.
    """

    claimed: int
    end: int
    since: float
    from_byte: int
    holders: int = 1

    @property
    def left(self) -> int:
        return self.end - self.claimed

    def pace(self, now: float) -> float:
        """Bytes a second."""
        return (self.claimed - self.from_byte) / max(now - self.since, 1e-6)

    def seconds_left(self, now: float) -> float:
        pace = self.pace(now)
        return self.left / pace if pace > 0 else float("inf")

    def can_be_raced(self, now: float) -> bool:
        """By one more; by several where all holders fell silent."""
        silent = self.claimed == self.from_byte and now - self.since > _GRACE_SECONDS
        return self.holders < (_MOST_HOLDERS if silent else 2)


class Ranges:
    """A set of bytes as sorted ranges that neither touch nor overlap."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._ranges: list[Range] = []
        for first, end in ranges:
            self.add(first, end)

    def __iter__(self) -> Iterator[Range]:
        return iter(self._ranges)

    def add(self, first: int, end: int) -> None:
        if first >= end:
            return
        at = bisect_left(self._ranges, (first, first))
        if at and self._ranges[at - 1][1] >= first:
            at -= 1
            first = self._ranges[at][0]
        behind = at
        while behind < len(self._ranges) and self._ranges[behind][0] <= end:
            end = max(end, self._ranges[behind][1])
            behind += 1
        self._ranges[at:behind] = [(first, end)]

    def take_first(self, most: int) -> Range | None:
        """Remove and return the first ``most`` bytes, or fewer where a range ends."""
        if not self._ranges:
            return None
        first, end = self._ranges[0]
        cut = min(end, first + most)
        self._ranges[:1] = [(cut, end)] if cut < end else []
        return first, cut

    def gaps(self, size: int) -> list[Range]:
        """What is not in it, of ``size`` bytes."""
        ends = [0, *(end for _, end in self._ranges)]
        begins = [*(first for first, _ in self._ranges), size]
        return [(end, first) for end, first in zip(ends, begins, strict=True) if end < first]

    @property
    def count(self) -> int:
        return sum(end - first for first, end in self._ranges)

    @property
    def front(self) -> int:
        """How many bytes there are without a gap from 0."""
        return self._ranges[0][1] if self._ranges and self._ranges[0][0] == 0 else 0


class Pieces:
    """The bytes of one file of ``size``; ``done`` are here already. ``piece``: handed out at once."""

    def __init__(self, size: int, done: Iterable[Range] = (), *, piece: int | None = None) -> None:
        self.size = size
        self._piece = piece or min(_MOST_PIECE, max(_LEAST_PIECE, size // _PIECES))
        self._done = Ranges(done)
        self._free = Ranges(self._done.gaps(size))
        self._held: list[Segment] = []
        self.received = self._done.count
        self.front = self._done.front

    @property
    def is_complete(self) -> bool:
        return self.received == self.size

    @property
    def done(self) -> list[Range]:
        return list(self._done)

    def take(self, now: float) -> Segment | None:
        """The next segment for somebody who is free, None if he cannot help now.

        First what a far too slow holder should have fetched, else the front holds up everything; then
        what nobody has; then half of what another has; then a race for the rest.
        """
        if (laggard := self._laggard(now)) is not None:
            return self._race(laggard, now)
        if (free := self._free.take_first(self._piece)) is not None:
            return self._hold(*free, now)
        slow = self._slow(now)
        if slow is None:
            return None
        return self._halve(slow, now) if slow.left >= 2 * _LEAST_HALF else self._race(slow, now)

    def needs_help(self, now: float) -> bool:
        """Whether ``take`` would give out a segment."""
        return bool(self._free.count) or self._laggard(now) is not None or self._slow(now) is not None

    def claim(self, segment: Segment, position: int, count: int) -> Range:
        """Who has fetched ``count`` bytes from ``position`` on must write these of them, and no others.

        Empty (first = end) where another was faster or has taken them over.
        """
        first = max(position, segment.claimed)
        end = min(position + count, segment.end)
        if first > segment.claimed or first >= end:
            return first, first
        segment.claimed = end
        return first, end

    def wrote(self, first: int, end: int) -> None:
        """Bytes that were claimed are in the file."""
        self._done.add(first, end)
        self.received += end - first
        self.front = self._done.front

    def leave(self, segment: Segment) -> None:
        """A holder goes; what nobody holds any more is free again."""
        segment.holders -= 1
        if segment.holders == 0:
            self._held.remove(segment)
            self._free.add(segment.claimed, segment.end)

    def _laggard(self, now: float) -> Segment | None:
        """A segment that comes far slower than others do at the same time."""
        paces = [held.pace(now) for held in self._held if held.claimed > held.from_byte]
        old = [held for held in self._held if held.left and now - held.since > _GRACE_SECONDS]
        if not old or not paces:
            return None
        slowest = max(old, key=lambda held: held.seconds_left(now))
        is_far_slower = slowest.pace(now) * FAR_SLOWER < median(paces)
        return slowest if is_far_slower and slowest.can_be_raced(now) else None

    def _slow(self, now: float) -> Segment | None:
        """The segment that will take longest, if that is long enough for another to be of use."""
        held = [
            held
            for held in self._held
            if held.left
            and held.seconds_left(now) > _SOON_SECONDS
            and now - held.since > _SOON_SECONDS
            and (held.left >= 2 * _LEAST_HALF or held.can_be_raced(now))
        ]
        return max(held, key=lambda held: held.seconds_left(now), default=None)

    def _hold(self, first: int, end: int, now: float) -> Segment:
        segment = Segment(claimed=first, end=end, since=now, from_byte=first)
        self._held.append(segment)
        return segment

    def _halve(self, held: Segment, now: float) -> Segment:
        middle = held.claimed + (held.left + 1) // 2
        end, held.end = held.end, middle
        return self._hold(middle, end, now)

    def _race(self, held: Segment, now: float) -> Segment:
        held.holders += 1
        held.since, held.from_byte = now, held.claimed
        return held

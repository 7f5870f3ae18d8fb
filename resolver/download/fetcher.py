"""One connection at work: a thread that takes segments, asks for them, and writes what comes.

It knows one origin and ends with the first thing that goes wrong; whoever started it (``crew``) decides
what that means.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import DownloadError
from ..net.faults import error_from_response
from ..net.heads import Head
from ..net.probe import content_range, content_type
from ..net.wire import Broken, Target, Wire, WirePool
from ..priority import BESIDE_THE_HOST, lower_priority
from .limiter import BandwidthLimiter
from .origins import Content, Origin, changed
from .part import PartFile
from .piece_log import PieceLog
from .pieces import Pieces, Segment
from .trailing import TrailingHash
from .verify import is_page

BUFFER = 256 << 10
_FLUSH_SECONDS = 1.0


class Refused(Exception):
    """The server answered, but not with the range that was asked for. ``head``: its answer.

    ``is_whole``: it began to send the whole file instead.
    """

    def __init__(self, head: Head, error: DownloadError, *, is_whole: bool = False) -> None:
        super().__init__(error.code)
        self.head = head
        self.error = error
        self.is_whole = is_whole


@dataclass(eq=False)
class Work:
    """What all connections of one file share. ``lock`` is held to touch ``pieces`` and ``log``."""

    content: Content
    pieces: Pieces
    part: PartFile
    log: PieceLog
    hash: TrailingHash
    limiter: BandwidthLimiter
    wires: WirePool
    lock: threading.Lock
    stopping: threading.Event


class Fetcher(threading.Thread):
    """``waits_since``: clock time since which it has been waiting for bytes, None while it is not.

    ``failure``: what it ended with, None if there was nothing left to do. ``received``: bytes it wrote.
    ``generation``: how often its origin had failed when it began. ``is_leaving``: ended because there are
    more than enough of them. ``is_stalled``: let go because it had fallen silent.
    """

    def __init__(
        self,
        work: Work,
        origin: Origin,
        may_stay: Callable[[Fetcher], bool],
        on_end: Callable[[Fetcher], None],
    ) -> None:
        super().__init__(name="model-resolver fetch", daemon=True)
        assert origin.target is not None
        self.origin = origin
        self.target: Target = origin.target
        self.waits_since: float | None = time.monotonic()
        self.received = 0
        self.failure: Exception | None = None
        self.segment: Segment | None = None
        self.is_let_go = False
        self.is_leaving = False
        self.is_stalled = False
        self.generation = origin.failures
        self._work = work
        self._may_stay = may_stay
        self._on_end = on_end
        self._wire: Wire | None = None
        self._buffer = memoryview(bytearray(BUFFER))

    def let_go(self) -> None:
        """End it soon, wherever it is: what it has not written yet is left to others. From any thread."""
        self.is_let_go = True
        wire = self._wire
        if wire is not None:
            wire.hang_up()

    def run(self) -> None:
        lower_priority(BESIDE_THE_HOST)
        try:
            while self._may_stay(self) and not self._is_over:
                with self._work.lock:
                    self.segment = self._work.pieces.take(time.monotonic())
                if self.segment is None:
                    break
                try:
                    self._fetch(self.segment)
                finally:
                    with self._work.lock:
                        self._work.pieces.leave(self.segment)
                    self.segment = None
        except Exception as error:
            self.failure = error
        finally:
            self.waits_since = None
            if self._wire is not None:
                self._work.wires.put(self._wire)
            self._on_end(self)

    @property
    def _is_over(self) -> bool:
        return self.is_let_go or self._work.stopping.is_set()

    def _fetch(self, segment: Segment) -> None:
        with self._work.lock:
            first, end = segment.claimed, segment.end
        if first >= end:
            return
        head = self._ask(first, end - 1)
        _check(head, first, end - 1, self._work.content, self.origin.etag)
        self._read(segment, first)

    def _ask(self, first: int, last: int) -> Head:
        """Kept connections may have been closed by the server meanwhile: then a new one is made, once."""
        while True:
            wire = self._wire
            if wire is None or not wire.can_stay:
                if wire is not None:
                    wire.close()
                wire = self._wire = self._work.wires.get(self.target)
            if self._is_over:
                raise Broken("it was let go")
            self.waits_since = time.monotonic()
            try:
                return wire.ask(first, last, self.origin.etag)
            except Broken:
                wire.close()
                if wire.is_fresh or self._is_over:
                    raise

    def _read(self, segment: Segment, position: int) -> None:
        """Read the body into the buffer and write it, until the segment is done or another's."""
        work, wire, buffer = self._work, self._wire, self._buffer
        assert wire is not None
        wire.is_fresh = False
        broken: Broken | None = None
        while broken is None and not self._is_over:
            room = buffer[: work.limiter.chunk or BUFFER]
            filled = 0
            started = now = time.monotonic()
            while filled < len(room) and position + filled < segment.end and now - started < _FLUSH_SECONDS:
                self.waits_since = now
                try:
                    count = wire.recv_into(room[filled:])
                except Broken as error:
                    # What came before it counts.
                    broken = error
                    break
                if not count:
                    break
                filled += count
                now = time.monotonic()
            self.waits_since = None
            more = filled > 0 and self._write(segment, position, room[:filled])
            position += filled
            if broken is None and not more:
                return
            if (seconds := work.limiter.book(filled)) > 0:
                work.stopping.wait(seconds)
        if broken is not None:
            raise broken

    def _write(self, segment: Segment, position: int, data: memoryview) -> bool:
        """Write what is ours of ``data``; whether there is more to fetch of this segment."""
        work = self._work
        with work.lock:
            first, end = work.pieces.claim(segment, position, len(data))
        if first < end:
            work.part.write_at(first, data[first - position : end - position])
            with work.lock:
                before = work.pieces.front
                work.pieces.wrote(first, end)
                work.log.wrote(first, end)
                front = work.pieces.front
            self.received += end - first
            if front > before:
                work.hash.advance(front)
        # Empty: another is ahead of us, and every further byte would be fetched in vain.
        return first < end and position + len(data) < segment.end


def _check(head: Head, first: int, last: int, content: Content, etag: str | None) -> None:
    """Whether the answer is the range that was asked for, of the content that is wanted. Else ``Refused``."""
    if head.status != 206:
        if head.status == 200 and is_page(content_type(head)):
            # Somebody on the way asks for a login, say; the file is no other one for that.
            error = _strange(head, "a page where a part of the file is asked for")
        elif head.status == 200:
            if head.strong_etag != etag or head.content_length not in (None, content.size):
                raise Refused(head, changed("it has another validator"), is_whole=True)
            error = DownloadError(
                f"{head.url.host} sends the whole file where a part of it is asked for.",
                code="SERVER_REFUSED",
                retryable=True,
            )
            raise Refused(head, error, is_whole=True)
        elif head.status == 416:
            error = changed("it has no such part")
        else:
            error = error_from_response(head)
        raise Refused(head, error)
    limits = content_range(head)
    strange = (
        limits is None
        or limits[:2] != (first, last)
        or head.content_length != last - first + 1
        or "Transfer-Encoding" in head.headers
    )
    if limits is not None and limits[2] is not None and limits[2] != content.size:
        raise Refused(head, changed("it has another length"))
    if head.encoding:
        raise Refused(head, _strange(head, "an encoded part"))
    if strange:
        raise Refused(head, _strange(head, "other bytes than those asked for"))
    if head.strong_etag is not None and etag is not None and head.strong_etag != etag:
        raise Refused(head, changed("it has another validator"))


def _strange(head: Head, what: str) -> DownloadError:
    return DownloadError(f"{head.url.host} sends {what}.", code="SERVER_REFUSED", retryable=True)

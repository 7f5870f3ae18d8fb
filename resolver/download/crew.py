"""All connections of one file: how many there are, to which origins, and what their failures mean.

Runs on the queue's loop; the bytes move in threads (``fetcher``), which it starts, watches and ends.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ..errors import DownloadError, ResolverError
from ..net.wire import Broken, WirePool
from .fetcher import Fetcher, Refused, Work
from .governor import Governor
from .hosts import Hosts
from .limiter import BandwidthLimiter
from .origins import Content, Locate, Origin, choose
from .part import PartFile
from .piece_log import PieceLog
from .pieces import FAR_SLOWER, Pieces
from .retries import RetryPolicy
from .threads import in_thread, settle
from .trailing import TrailingHash

log = logging.getLogger(__name__)

_TICK_SECONDS = 0.05
_LOST_SECONDS = 0.1
_SILENT_SECONDS = 3.0
_MOST_SILENT = 4
# What has come is brought to the disk on the way: the last step has little left to wait for then.
_SYNC_SECONDS, _SYNC_BYTES = 30.0, 64 << 20
# A connection that breaks before has failed, else we would make them as fast as they break.
_WORTH_CONNECTING = 16 << 10
# How often origins are compared, and how long connections to each must have lived since (all together).
_COMPARE_SECONDS, _LEAST_COMPARED_SECONDS = 2.0, 1.0
# When every origin wants to be left alone for longer, another download may have our place.
PATIENCE_SECONDS = 20.0
_MOST_RENEWALS = 2
# A signed URL has expired, or what it led to has moved: asking where it is now may help.
_RENEWABLE = frozenset({400, 401, 403, 404, 410})


def _has_paid(fetcher: Fetcher) -> bool:
    """Whether it brought enough that another one may be made at once."""
    return fetcher.received >= _WORTH_CONNECTING or (fetcher.failure is None and fetcher.received > 0)


class RangesIgnored(Exception):
    """The only server left keeps sending whole files where parts are asked for."""


@dataclass(frozen=True)
class Tools:
    """What all crews of a process share."""

    limiter: BandwidthLimiter
    hosts: Hosts
    wires: WirePool
    retry_policy: RetryPolicy


class Crew:
    """Fetches one ``content`` from ``origins``, the first of which is resolved; ``locate`` resolves others.

    ``on_progress(received, connections)`` is called on the loop, some twenty times a second.
    """

    def __init__(
        self,
        tools: Tools,
        locate: Locate,
        *,
        name: str,
        content: Content,
        origins: list[Origin],
        most: int,
        silence: float,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._tools = tools
        self._hosts = tools.hosts
        self._retry = tools.retry_policy
        self._locate = locate
        self._name = name
        self._content = content
        self._origins = origins
        self._most = most
        self._silence = silence
        self._on_progress = on_progress
        self._governor = Governor(most, alone=tools.hosts.are_idle)
        self._fetchers: list[Fetcher] = []
        self._ended: list[Fetcher] = []
        self._leaving = 0
        self._looked_at = time.monotonic()
        self._compared_at = self._looked_at
        # Of each origin, when they were compared: its seconds, and what it had given.
        self._by_then: dict[Origin, tuple[float, int]] = {}
        self._resolving: dict[Origin, asyncio.Task[None]] = {}
        self._syncing: asyncio.Task[None] | None = None
        self._synced_at, self._synced_bytes = time.monotonic(), 0
        self._event = asyncio.Event()

    async def fill(self, part: PartFile, pieces: Pieces, piece_log: PieceLog) -> str:
        """Fetch what ``pieces`` still wants into ``part``; the SHA-256 of the whole, as it was written.

        Raises ``DownloadError``, ``RangesIgnored``, ``OSError`` of the disk. No thread of it runs any
        more when it returns, raises or is cancelled.
        """
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(self._event.set)

        self._wake = wake
        self._work = Work(
            content=self._content,
            pieces=pieces,
            part=part,
            log=piece_log,
            hash=TrailingHash(part, pieces.size),
            limiter=self._tools.limiter,
            wires=self._tools.wires,
            lock=threading.Lock(),
            stopping=threading.Event(),
        )
        try:
            self._synced_bytes = pieces.received
            self._work.hash.start(self._wake)
            self._work.hash.advance(pieces.front)
            await self._run()
        finally:
            # To its end, even if cancelled (once more) meanwhile: the file is closed afterwards.
            await settle(asyncio.ensure_future(self._dismiss()))
        if self._syncing is not None:
            # The system tells of bytes that it could not write once, and only whoever asks for it.
            self._syncing.result()
        return self._work.hash.hexdigest

    async def _run(self) -> None:
        work = self._work
        while True:
            self._reap()
            if work.hash.error is not None:
                raise work.hash.error
            if work.hash.is_done:
                return
            if not work.pieces.is_complete:
                self._resolve_others()
                self._compare_origins()
                self._staff()
                self._require_hope()
                self._watch()
                self._sync_now_and_then()
            self._on_progress(work.pieces.received, len(self._fetchers))
            await self._next()

    async def _next(self) -> None:
        """Until a thread ends, or a tick has passed."""
        # Not ``wait_for``: before Python 3.12 it forgets to be cancelled where it ends at that moment.
        tick = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._event.set)
        try:
            await self._event.wait()
        finally:
            tick.cancel()
        self._event.clear()

    # --- who works ------------------------------------------------------------------------------

    def _staff(self) -> None:
        """Start as many connections as pay off."""
        now = time.monotonic()
        work = self._work
        self._governor.observe(now, work.pieces.received)
        while True:
            if self._busy(now) >= self._governor.wanted or len(self._fetchers) >= self._most + _MOST_SILENT:
                return
            with work.lock:
                if not work.pieces.needs_help(now):
                    return
            ready = [
                origin
                for origin in self._origins
                if self._hosts.may_connect(origin.host, first=not self._fetchers)
                and not self._is_outpaced(origin)
            ]
            origin = choose(ready, now)
            if origin is None:
                return
            self._start(origin)

    def _start(self, origin: Origin) -> None:
        fetcher = Fetcher(self._work, origin, self._may_stay, self._on_end)
        fetcher.start()
        origin.workers += 1
        self._hosts.opened(fetcher.target.url.host)
        self._fetchers.append(fetcher)

    def _may_stay(self, fetcher: Fetcher) -> bool:
        """Called by the threads between two segments."""
        origin = fetcher.origin
        if origin.error is not None or self._is_outpaced(origin):
            return False
        # Somewhere else a connection would be worth more.
        others = [o for o in self._origins if o.is_ready and not o.failures and not o.is_slow]
        if any(other.workers + 1 < origin.workers for other in others):
            return False
        with self._work.lock:
            if self._busy(time.monotonic()) - self._leaving > self._governor.wanted:
                self._leaving += 1
                fetcher.is_leaving = True
        return not fetcher.is_leaving

    def _on_end(self, fetcher: Fetcher) -> None:
        """Called by a thread as its last act."""
        self._ended.append(fetcher)
        self._wake()

    def _busy(self, now: float) -> int:
        """How many there are, not counting those that fell silent."""
        return sum(not self._is_silent(fetcher, now) for fetcher in list(self._fetchers))

    def _is_silent(self, fetcher: Fetcher, now: float) -> bool:
        since = fetcher.waits_since
        return since is not None and now - since > _SILENT_SECONDS

    def _watch(self) -> None:
        """End connections that fell silent, and those that lost a race."""
        now = time.monotonic()
        for fetcher in self._fetchers:
            since, segment = fetcher.waits_since, fetcher.segment
            if since is None or fetcher.is_let_go:
                continue
            if now - since > self._silence:
                fetcher.is_stalled = True
                fetcher.let_go()
            elif segment is not None and not segment.left and now - since > _LOST_SECONDS:
                fetcher.let_go()

    def _compare_origins(self) -> None:
        """Every two seconds: one that brings far less for each connection than another drops out."""
        now = time.monotonic()
        for origin in self._origins:
            origin.seconds += origin.workers * (now - self._looked_at)
        self._looked_at = now
        if now - self._compared_at < _COMPARE_SECONDS or len(self._origins) < 2:
            return
        self._compared_at = now
        paces = {}
        for origin in self._origins:
            given = origin.received + sum(f.received for f in self._fetchers if f.origin is origin)
            before, given_before = self._by_then.get(origin, (0.0, 0))
            if origin.seconds - before >= _LEAST_COMPARED_SECONDS:
                paces[origin] = (given - given_before) / (origin.seconds - before)
            self._by_then[origin] = origin.seconds, given
        for origin, pace in paces.items():
            origin.is_slow = pace * FAR_SLOWER < max(paces.values())
        for fetcher in self._fetchers:
            if self._is_outpaced(fetcher.origin):
                fetcher.let_go()

    def _is_outpaced(self, origin: Origin) -> bool:
        """Whether the file comes faster without it: what it holds is held up."""
        return origin.is_slow and any(o.is_ready and not o.failures and not o.is_slow for o in self._origins)

    # --- what went wrong ------------------------------------------------------------------------

    def _reap(self) -> None:
        """Look at how connections ended."""
        while self._ended:
            fetcher = self._ended.pop(0)
            origin = fetcher.origin
            self._fetchers.remove(fetcher)
            with self._work.lock:
                self._leaving -= fetcher.is_leaving
            origin.workers -= 1
            origin.received += fetcher.received
            host = fetcher.target.url.host
            self._hosts.closed(host)
            if _has_paid(fetcher):
                origin.failures = 0
                self._hosts.worked(host)
                if fetcher.target is origin.target:
                    origin.renewals = 0
            self._judge(fetcher)

    def _judge(self, fetcher: Fetcher) -> None:
        origin, failure, host = fetcher.origin, fetcher.failure, fetcher.target.url.host
        if failure is None or (isinstance(failure, Broken) and fetcher.is_let_go and not fetcher.is_stalled):
            return
        if isinstance(failure, Refused):
            if fetcher.target is not origin.target:
                return  # It has been renewed meanwhile.
            if failure.head.status in _RENEWABLE or failure.head.is_redirect:
                self._renew(origin, failure.error)
                return
            self._failed(fetcher, failure.error)
            if failure.is_whole:
                origin.ignores_ranges = True
        elif isinstance(failure, Broken):
            why = "it fell silent" if fetcher.is_stalled else str(failure)
            error = DownloadError(f"Cannot read from {host}: {why}.", code="NETWORK", retryable=True)
            self._failed(fetcher, error)
        elif isinstance(failure, DownloadError):
            origin.error = failure
        else:
            raise failure

    def _failed(self, fetcher: Fetcher, error: DownloadError) -> None:
        """An origin failed in a way that time may heal, or not; several connections at once count once."""
        origin = fetcher.origin
        if not error.retryable:
            self._drop(origin, error)
            return
        if _has_paid(fetcher) and not isinstance(fetcher.failure, Refused):
            return  # It broke, as connections do: another one goes on.
        self._hosts.failed(fetcher.target.url.host, error.retry_after)
        if fetcher.generation != origin.failures:
            return
        self._governor.retreat()
        self._postpone(origin, error)

    def _postpone(self, origin: Origin, error: DownloadError) -> None:
        origin.failures += 1
        if origin.failures >= self._retry.attempts:
            self._drop(origin, error)
            return
        delay = self._retry.delay(origin.failures, error.retry_after)
        origin.not_before = time.monotonic() + delay
        origin.last_error = error

    def _drop(self, origin: Origin, error: ResolverError) -> None:
        origin.error = error
        log.info(
            "%s is not used any more for %s: %s (%s)", origin.host, self._name, error.code, error.message
        )
        for fetcher in self._fetchers:
            if fetcher.origin is origin:
                fetcher.let_go()

    def _require_hope(self) -> None:
        """Raise what is to be said when no origin is left, or none for a long time."""
        if self._fetchers or self._resolving:
            return
        left = [origin for origin in self._origins if origin.error is None]
        if not left:
            errors = [origin.error for origin in self._origins if origin.error is not None]
            if any(origin.ignores_ranges for origin in self._origins):
                raise RangesIgnored
            raise next((e for e in errors if isinstance(e, DownloadError) and e.retryable), errors[0])
        now = time.monotonic()
        rest = min(max(origin.not_before - now, self._hosts.rest(origin.host)) for origin in left)
        if rest > PATIENCE_SECONDS:
            error = left[0].last_error
            raise DownloadError(
                error.message
                if error
                else f"{left[0].host} is left alone for a while, since it keeps failing.",
                code=error.code if error else "NETWORK",
                retryable=True,
                retry_after=rest,
            )

    # --- where it lies --------------------------------------------------------------------------

    def _resolve_others(self) -> None:
        """Ask origins that are not resolved (any more) where they are."""
        now = time.monotonic()
        for origin in self._origins:
            if origin.target is None and origin.error is None and origin.not_before <= now:
                self._begin_resolving(origin)

    def _renew(self, origin: Origin, error: DownloadError) -> None:
        origin.renewals += 1
        if origin.renewals > _MOST_RENEWALS:
            self._drop(origin, error)
            return
        origin.target = None

    def _begin_resolving(self, origin: Origin) -> None:
        if origin not in self._resolving:
            task = asyncio.ensure_future(self._resolve(origin))
            self._resolving[origin] = task
            task.add_done_callback(lambda _: self._event.set())

    async def _resolve(self, origin: Origin) -> None:
        try:
            origin.target, origin.etag = await self._locate(origin.url)
        except DownloadError as error:
            if error.retryable:
                self._postpone(origin, error)
            else:
                self._drop(origin, error)
        except ResolverError as error:
            self._drop(origin, error)
        finally:
            self._resolving.pop(origin, None)

    # --- the disk -------------------------------------------------------------------------------

    def _sync_now_and_then(self) -> None:
        if self._syncing is not None and self._syncing.done():
            self._syncing.result()
            self._syncing = None
        if self._syncing is not None:
            return
        now, received = time.monotonic(), self._work.pieces.received
        if now - self._synced_at > _SYNC_SECONDS or received - self._synced_bytes > _SYNC_BYTES:
            self._synced_at, self._synced_bytes = now, received
            self._syncing = asyncio.ensure_future(in_thread(self._sync))

    def _sync(self) -> None:
        work = self._work
        with work.lock:
            count = work.log.count
        try:
            work.part.sync()
        except OSError:
            with suppress(OSError), work.lock:
                work.log.doubt()
            raise
        with work.lock:
            work.log.mark(count)
        work.log.flush()

    # --- the end --------------------------------------------------------------------------------

    async def _dismiss(self) -> None:
        self._work.stopping.set()
        for task in self._resolving.values():
            task.cancel()
        for fetcher in self._fetchers:
            fetcher.let_go()
        await in_thread(self._join)
        others = [*self._resolving.values(), *([self._syncing] if self._syncing else [])]
        # (What a failed sync means is said where it can be: in ``fill``, and in the log.)
        await asyncio.gather(*others, return_exceptions=True)
        for fetcher in self._fetchers:
            self._hosts.closed(fetcher.target.url.host)
            fetcher.origin.workers -= 1
            fetcher.origin.received += fetcher.received
        self._fetchers.clear()
        self._on_progress(self._work.pieces.received, 0)

    def _join(self) -> None:
        for fetcher in self._fetchers:
            fetcher.join()
        self._work.hash.stop()

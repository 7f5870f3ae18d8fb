"""Small files from a place that is known: all in one thread, from the claim to the final name.

The careful way (``runner``, ``segmented``) goes from thread to thread some twenty times and writes down
beforehand what it is about to do, so that any number of gigabytes can be gone on with. For a file that
one request brings, that costs more than the file. Here the same checks are made one after the other,
and nothing is written down: until it has its name, a part that nothing is said of counts as nothing.

Only the usual is done here. Whatever else turns out (something is here already, the server redirects
or refuses, the line is slow or breaks, the content is wrong) is left to the careful way, which goes on
with the claim that is taken by then and with what has arrived.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from ..errors import DownloadError
from ..net.client import HttpClient
from ..net.faults import error_from_response
from ..net.heads import Head
from ..net.probe import content_range, remote_file
from ..net.wire import KEEP_SECONDS, Broken, Target, Wire, WirePool
from ..priority import BESIDE_THE_HOST, lower_priority
from ..store import DownloadRow
from .agreement import agree
from .boot import boot_id
from .claims import Claim
from .hosts import Hosts
from .journal import Journal
from .limiter import BandwidthLimiter
from .model import Job
from .origins import check_answer
from .part import PartFile, discard_part
from .publish import publish
from .runner import require_space_beside
from .segmented import SMALL, is_too_slow
from .sidecar import Sidecar, write_sidecar
from .space import disk_error
from .transfer import PartState
from .verify import check_sha256, check_structure

_BUFFER = 1 << 20
_WATCH_SECONDS = 0.25
_MOST_THREADS = 32


class SmallFiles:
    """``silence``: seconds without a byte that end a connection. ``reserve``: bytes that stay free.

    ``sources``: the files on the disk that may have a SHA-256 and size; blocks. ``active``: the jobs
    under way, whose remaining bytes need space as well. ``fetch`` is called on the loop.
    """

    def __init__(
        self,
        client: HttpClient,
        journal: Journal,
        limiter: BandwidthLimiter,
        hosts: Hosts,
        sources: Callable[[str, int | None], Sequence[object]],
        active: Callable[[], Iterable[Job]],
        *,
        reserve: int,
        silence: float,
    ) -> None:
        self._client = client
        self._journal = journal
        self._limiter = limiter
        self._hosts = hosts
        self._sources = sources
        self._active = active
        self._reserve = reserve
        self._silence = silence
        self._threads: ThreadPoolExecutor | None = None
        self._running: set[asyncio.Future[bool]] = set()

    async def fetch(self, job: Job, claim: Claim) -> bool:
        """Bring ``job`` to ``completed``, or return False: then it is for the careful way.

        Raises ``ResolverError`` where that could not do any better. When cancelled, it has ended before it
        gives way; with a file that has its name by then, it goes on to the end instead.
        """
        target = self._may_be_small(job)
        if target is None:
            return False
        errand = _Errand(job, claim, target, self._client.wires, self._sources)
        others = [other.row for other in self._active() if other is not job]
        errand.require_space = lambda row: require_space_beside(row, others, self._reserve)
        loop = asyncio.get_running_loop()
        telling: list[asyncio.Future[None]] = []

        def begun() -> None:
            telling.append(asyncio.ensure_future(self._journal.move(job, "active")))

        errand.on_begin = lambda: loop.call_soon_threadsafe(begun)
        job.meter.start(0)
        running = self._start(errand)
        try:
            await self._watch(job, errand, running)
        except asyncio.CancelledError:
            errand.stop()
            while not running.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({running})
            if not errand.is_published:
                running.exception()  # Looked at, so that asyncio does not complain of it.
                job.row.received = errand.kept
                raise
        job.settling = errand.is_published
        if telling:
            await asyncio.wait(telling)
        job.row.received = errand.kept
        error = running.exception()
        if isinstance(error, DownloadError) and error.retry_after:
            self._hosts.failed(target.url.host, error.retry_after)
        if not running.result():
            if errand.is_wrong:
                # The careful way may fetch it once more, and no more.
                job.changes, job.avoid = 1, job.avoid | {job.url}
            if errand.is_here:
                job.row.sha256, job.row.size = errand.row.sha256, errand.row.size
            if errand.is_large:
                self._client.forget_place(target)
            return False
        row = job.row
        row.sha256, row.size, row.received = errand.row.sha256, errand.row.size, errand.kept
        row.verified, job.part_state = True, None
        await self._journal.move(job, "completed")
        return True

    def _start(self, errand: _Errand) -> asyncio.Future[bool]:
        """Run ``errand`` in a thread. The threads end when none of them has anything to do."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(
                _MOST_THREADS, "model-resolver small", lower_priority, (BESIDE_THE_HOST,)
            )
        running = asyncio.get_running_loop().run_in_executor(self._threads, errand.run)
        self._running.add(running)
        running.add_done_callback(self._ended)
        return running

    def _ended(self, running: asyncio.Future[bool]) -> None:
        self._running.discard(running)
        if not self._running and self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None
            # Nobody else may come by to close the connections that were kept.
            asyncio.get_running_loop().call_later(KEEP_SECONDS + 1, self._client.wires.prune)

    def _may_be_small(self, job: Job) -> Target | None:
        """Where to ask for the file of ``job``, if it may be one that belongs here."""
        if job.failures or job.changes or job.row.received or (job.row.size or 0) > SMALL:
            return None
        # With a limit, bytes are taken by turns: ``segmented`` knows how.
        target = self._client.known_target(job.url) if self._limiter.rate is None else None
        return None if target is None or self._hosts.rest(target.url.host) else target

    async def _watch(self, job: Job, errand: _Errand, running: asyncio.Future[bool]) -> None:
        """Wait for the end of ``running``; hang up where it takes so long that others would help."""
        began = last = time.monotonic()
        while not (await asyncio.wait({running}, timeout=_WATCH_SECONDS))[0]:
            now, received = time.monotonic(), errand.received
            if received > job.row.received:
                job.row.received, last = received, now
            left = (errand.row.size or received) - received
            if now - last > self._silence or is_too_slow(now - began, received, left):
                errand.hang_up()


class _Unusual(Exception):
    """Not a case for here."""


class _Errand:
    """One file. ``run`` blocks; it works on copies, so that only the loop touches the job.

    ``row``: with what is known of the file in the end. ``received``: bytes so far; ``kept``: how many of
    them are here. ``is_published``: the file has, or is just getting, its name. ``is_wrong``: it came
    whole and was another one. ``is_large``: it is more than one request should bring. ``is_here``: a
    file on the disk may have this content.
    """

    def __init__(
        self,
        job: Job,
        claim: Claim,
        target: Target,
        wires: WirePool,
        sources: Callable[[str, int | None], Sequence[object]],
    ) -> None:
        self.row = replace(job.row)
        self.received = self.kept = 0
        self.is_published = self.is_wrong = self.is_large = self.is_here = False
        self.on_begin: Callable[[], object] = lambda: None
        self.require_space: Callable[[DownloadRow], None] = lambda row: None
        self._name = job.name
        self._root = job.root
        self._path = job.part
        self._has_mirrors = bool(job.mirrors)
        self._claim = claim
        self._target = target
        self._wires = wires
        self._sources = sources
        self._wire: Wire | None = None
        self._etag: str | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def stop(self) -> None:
        """End it soon; what has arrived is kept. Too late once it ``is_published``. From any thread."""
        with self._lock:
            self._stopped = True
        self.hang_up()

    def hang_up(self) -> None:
        wire = self._wire
        if wire is not None:
            wire.hang_up()

    def run(self) -> bool:
        """Whether the file has its name now and the claim is given back."""
        try:
            if not self._claim.take() or not self._claim.is_exclusive:
                return False
            if os.path.lexists(self.row.path) or os.path.lexists(self._path):
                return False
            self._require_nowhere_else()
            self.on_begin()
            return self._fetch()
        except (_Unusual, Broken):
            return False
        except DownloadError:
            if self._has_mirrors:
                return False
            raise
        except OSError as error:
            raise disk_error(error, self._path) from error

    def _fetch(self) -> bool:
        head = self._ask()
        size = self._check(head)
        self.require_space(self.row)
        part = PartFile(self._path)
        try:
            try:
                part.open()
                self._read(part, size)
            finally:
                self._settle_wire()
                part.close()
            self._verify(part)
            self._publish(part)
        except BaseException:
            self._leave(part)
            raise
        self.kept = size
        self._claim.release()
        return True

    def _ask(self) -> Head:
        """A kept connection may have been closed by the server meanwhile: then a new one is made, once."""
        last = (SMALL if self.row.size is None else self.row.size) - 1
        if last < 0:
            raise _Unusual
        while True:
            wire = self._wire = self._wires.get(self._target)
            if self._stopped:
                raise _Unusual
            try:
                return wire.ask(0, last, None)
            except Broken:
                wire.close()
                if wire.is_fresh or self._stopped:
                    raise

    def _check(self, head: Head) -> int:
        """The size of the file, if ``head`` announces all of it. Closes the connection if not."""
        try:
            if head.is_redirect or head.status == 416:  # so some servers say that a file is empty
                raise _Unusual
            if head.status not in (200, 206):
                raise error_from_response(head)
            check_answer(head, self._name)
            remote = remote_file(head)
            length, limits = head.content_length, content_range(head)
            self.is_large = remote.size is not None and remote.size > SMALL
            if self.is_large or length is None or remote.size != length:
                raise _Unusual
            if "Transfer-Encoding" in head.headers:
                raise _Unusual
            if head.status == 206 and limits != (0, length - 1, length):
                raise _Unusual
            known = self.row.sha256
            agree(self.row, remote, has_part=False)
            if known is None:
                self._require_nowhere_else()
            self._etag = head.strong_etag
            return length
        except BaseException:
            assert self._wire is not None
            self._wire.close()
            raise

    def _require_nowhere_else(self) -> None:
        if self.row.sha256 is not None and self._sources(self.row.sha256, self.row.size):
            self.is_here = True
            raise _Unusual

    def _read(self, part: PartFile, size: int) -> None:
        wire = self._wire
        assert wire is not None
        buffer = memoryview(bytearray(min(_BUFFER, size)))
        while part.length < size:
            filled = 0
            room = min(len(buffer), size - part.length)
            try:
                while filled < room:
                    filled += wire.recv_into(buffer[filled:room])
                    self.received = part.length + filled
            finally:
                # What came before it broke counts.
                part.write(buffer[:filled])

    def _settle_wire(self) -> None:
        wire, self._wire = self._wire, None
        assert wire is not None
        self._wires.put(wire)

    def _verify(self, part: PartFile) -> None:
        try:
            if self.row.sha256 is None:
                check_structure(part.path, self._name, whole=True)
                self.row.sha256 = part.sha256
            else:
                check_sha256(self.row.sha256, part.sha256)
        except DownloadError as error:
            discard_part(part.path)
            part.length = 0
            if error.code == "HASH_MISMATCH":
                self.is_wrong = True
                raise _Unusual from None
            raise

    def _publish(self, part: PartFile) -> None:
        with self._lock:
            if self._stopped:
                raise _Unusual
            self.is_published = True
        try:
            publish(part.path, self._root, self._name)
        except BaseException as error:
            self.is_published = False
            if isinstance(error, FileExistsError):
                raise _Unusual from None
            raise

    def _leave(self, part: PartFile) -> None:
        """Keep what has arrived, with what it is of, if it can be gone on with; else nothing."""
        row = self.row
        try:
            can_be_told = row.sha256 is not None or self._etag is not None
            if can_be_told and part.length and os.path.exists(part.path):
                state = PartState(self._etag, row.size, boot_id())
                write_sidecar(part.path, Sidecar(self._name, row.url, row.sha256, row.size, state))
                self.kept = part.length
                return
        except OSError:
            pass
        with suppress(OSError):
            discard_part(part.path)

"""The ``Transfer`` that is used: many connections where that helps, one where it does not.

The first request is the probe as well. It asks for the beginning of the file, a few megabytes at most.
What comes back says whether the server sends parts. If so, and if more is to come than that, a ``Filler``
fetches the rest in pieces; else the answer itself is read to its end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial

import aiohttp

from ..errors import DownloadError, UrlRefused
from ..net.client import Answer, HttpClient
from ..net.faults import error_from_response
from ..net.probe import content_range, probe, remote_file
from ..net.wire import Target
from .boot import boot_id
from .crew import PATIENCE_SECONDS, RangesIgnored
from .filling import Errand, Filler
from .hosts import Hosts
from .limiter import BandwidthLimiter
from .origins import Content, Origin, changed, check_answer, locate
from .part import PartFile
from .piece_log import PieceLog, discard_log, read_log
from .pieces import Range
from .threads import in_stoppable_thread, in_thread, settle
from .transfer import Agreed, Filled, PartState, Plan, Watcher

log = logging.getLogger(__name__)

SMALL = 4 << 20
"""Bytes that one request brings as fast as several."""

_TOO_SLOW_SECONDS = 3.0
_MOST_LEFT_SECONDS = 10.0


class _TooSlow(Exception):
    """One connection will take too long for what is left; others may help."""


class _Again(Exception):
    """The answer does not fit what is here, which has been dropped; ask for everything."""


class SegmentedTransfer:
    """``connections``: most for one file. ``silence``: seconds without a byte that end a connection."""

    def __init__(
        self,
        client: HttpClient,
        limiter: BandwidthLimiter,
        hosts: Hosts,
        filler: Filler,
        *,
        connections: int,
        silence: float,
    ) -> None:
        self.client = client
        self.limiter = limiter
        self.hosts = hosts
        self.filler = filler
        self.connections = connections
        self.silence = silence

    async def __call__(self, plan: Plan, watcher: Watcher) -> Filled:
        part = PartFile(plan.part)
        try:
            kept = await in_thread(_open, plan, part)
            filled = await _Attempt(self, plan, part, kept, watcher).run()
        except BaseException:
            await in_thread(part.leave)
            raise
        await in_thread(part.close)
        return filled


class _Attempt:
    """One call of the transfer. ``kept``: what is here of the file; the part is empty if nothing is."""

    def __init__(
        self,
        transfer: SegmentedTransfer,
        plan: Plan,
        part: PartFile,
        kept: list[Range],
        watcher: Watcher,
    ) -> None:
        self._transfer = transfer
        self._client = transfer.client
        self._plan = plan
        self._part = part
        self._watcher = watcher
        self._state = plan.state if kept else None
        self._kept = kept
        self._resumed = bool(kept)
        self._use_ranges = True

    async def run(self) -> Filled:
        size = self._expected_size
        if size is not None and self._kept == [(0, size)]:
            await in_stoppable_thread(self._part.rehash)
            self._watcher.advanced(size)
            return Filled(size, self._part.sha256, whole=True, resumed=True)
        first_error: DownloadError | UrlRefused | None = None
        for url in sorted(self._plan.urls, key=lambda url: self._rest(url) > 0):
            try:
                return await self._from(url)
            except (DownloadError, UrlRefused) as error:
                if error.code in ("NO_SPACE",):
                    raise
                log.info("%s: one of its URLs cannot be used: %s", self._plan.name, error.code)
                if first_error is None or (_may_heal(error) and not _may_heal(first_error)):
                    first_error = error
        assert first_error is not None
        raise first_error

    async def _from(self, url: str) -> Filled:
        """Fetch from ``url`` first. A server that does not go on as agreed is asked anew, for everything."""
        for attempt in range(3):
            try:
                return await self._ask(url)
            except RangesIgnored:
                self._use_ranges = False
                await self._start_over()
            except _Again:
                # Parts that never fit: some servers know no total, or count from elsewhere.
                self._use_ranges = self._use_ranges and attempt == 0
                await self._start_over()
        raise changed("it answers differently every time")

    def _rest(self, url: str) -> float:
        """Seconds for which the host of ``url`` is to be left alone, whichever download it said that to."""
        with suppress(UrlRefused):  # which is said when it is asked
            return self._transfer.hosts.rest(self._client.policy.fetch_url(url).host)
        return 0.0

    async def _wait_for(self, url: str) -> None:
        """Until its host may be asked. Raises ``DownloadError`` where another download may have our place."""
        while (rest := self._rest(url)) > 0:
            if rest > PATIENCE_SECONDS:
                host = self._client.policy.fetch_url(url).host
                raise DownloadError(
                    f"{host} asks to be left alone for a while.",
                    code="RATE_LIMITED",
                    retryable=True,
                    retry_after=rest,
                )
            await asyncio.sleep(rest)

    async def _ask(self, url: str) -> Filled:
        await self._wait_for(url)
        if not self._part.is_open:
            self._kept = await in_thread(_reopen, self._part, self._kept)
        offset = _front(self._kept)
        headers = {}
        wanted = self._range(offset)
        if wanted is not None:
            headers["Range"] = wanted
            if offset and self._state is not None and self._state.etag is not None:
                headers["If-Range"] = self._state.etag
        async with self._client.open(url, headers=headers) as answer:
            if answer.status == 416 and wanted is not None:
                if offset:
                    raise _Again
                self._use_ranges = False
                raise RangesIgnored
            if answer.status not in ((200, 206) if wanted else (200,)):
                error = error_from_response(answer)
                if error.retry_after:
                    self._transfer.hosts.failed(answer.url.host, error.retry_after)
                raise error
            check_answer(answer, self._plan.name)
            if answer.status == 206 and not self._fits(answer, offset):
                raise _Again
            remote = remote_file(answer)
            if remote.size is None:
                # Without a length nobody could tell a broken answer from a whole one; a HEAD may say it.
                remote = replace(remote, size=(await probe(self._client, url)).size)
            agreed = await self._watcher.agree(remote)
            if answer.status == 200 and self._kept:
                # The server has something else now, or knows no ranges: this is all of it.
                await self._start_over()
            content = self._content(answer, agreed)
            if answer.status == 200 or content is None or self._is_last(answer, content):
                try:
                    filled = await self._read(url, answer, agreed)
                    if filled.size <= SMALL:
                        await self._client.note_place(answer)
                    return filled
                except _TooSlow:
                    assert content is not None
            if content.sha256 is None and content.etag is None:
                # Nothing would tell whether two answers are of one content: it must be a single one.
                raise RangesIgnored
            target = await self._client.target(answer)
            etag = answer.strong_etag
            if not target.can_be_wired:
                raise RangesIgnored
        return await self._in_pieces(url, content, target, etag)

    def _range(self, offset: int) -> str | None:
        """What to ask for: the rest if that is little, else little of it, to see."""
        size = self._expected_size
        if not self._use_ranges:
            return None
        if size is None:
            return f"bytes={offset}-{offset + SMALL - 1}"
        if size - offset > SMALL or self._part.length != offset:
            return f"bytes={offset}-{offset}"
        return f"bytes={offset}-" if offset else None

    def _fits(self, answer: Answer, offset: int) -> bool:
        """Whether a partial answer is of the very file whose first bytes are here, and begins behind them."""
        limits = content_range(answer)
        if limits is None:
            return False
        first, last, total = limits
        if total is None or first != offset or not first <= last < total:
            return False
        if answer.content_length not in (None, last - first + 1):
            return False
        if self._expected_size not in (None, total):
            return False
        etag = answer.strong_etag
        state = self._state
        return not (self._kept and etag and state and state.etag and etag != state.etag)

    def _content(self, answer: Answer, agreed: Agreed) -> Content | None:
        """What is fetched, where its length is known for sure."""
        limits = content_range(answer) if answer.status == 206 else None
        total = limits[2] if limits is not None else answer.content_length
        if agreed.size is not None and total is not None and total != agreed.size:
            raise changed(f"it announces {total} bytes, {agreed.size} are expected")
        size = agreed.size if total is None else total
        if size is None:
            return None
        etag = answer.strong_etag
        if etag is None and self._kept and self._state is not None:
            etag = self._state.etag
        return Content(size, agreed.sha256, etag)

    def _is_last(self, answer: Answer, content: Content) -> bool:
        """Whether this answer brings all that is missing."""
        limits = content_range(answer)
        return (
            limits is not None
            and limits[1] == content.size - 1
            and self._part.length == limits[0]
            and content.size - limits[0] <= SMALL
        )

    # --- one connection -------------------------------------------------------------------------

    async def _read(self, url: str, answer: Answer, agreed: Agreed) -> Filled:
        """Read the body of ``answer`` behind what is here."""
        part = self._part
        limits = content_range(answer) if answer.status == 206 else None
        if limits is not None:
            size, whole = limits[2], True
        else:
            size = agreed.size if answer.content_length is None else answer.content_length
            chunked = "chunked" in answer.headers.get("Transfer-Encoding", "").lower()
            whole = size is not None or chunked
        if self._kept and part.hashed != part.length:
            await in_stoppable_thread(part.rehash)
        await self._begin(answer.strong_etag, size, "prefix")
        with_ranges = limits is not None or answer.headers.get("Accept-Ranges", "").lower() == "bytes"
        can_be_told = agreed.sha256 is not None or answer.strong_etag is not None
        may_be_helped = with_ranges and can_be_told and size is not None
        try:
            await self._read_body(answer, size, may_be_helped=may_be_helped)
        finally:
            self._kept = [(0, part.length)] if part.length else []
        if size is not None and part.length != size:
            raise DownloadError(
                f"{answer.url.host} ended the file after {part.length} of {size} bytes.",
                code="TRUNCATED",
                retryable=True,
            )
        return Filled(part.length, part.sha256, whole, self._resumed, frozenset({url}))

    async def _begin(self, etag: str | None, size: int | None, layout: str) -> None:
        """Write down what is about to be written. The oldest bytes count for ``boot``."""
        boot = boot_id()
        if self._kept and self._state is not None:
            etag = etag or self._state.etag
            if layout == "prefix":
                boot = self._state.boot
        self._state = PartState(etag, size, boot, "pieces" if layout == "pieces" else "prefix")
        received = sum(end - first for first, end in self._kept)
        await self._watcher.begins(self._state, received)

    async def _read_body(self, answer: Answer, size: int | None, *, may_be_helped: bool) -> None:
        """Write the body while the next piece of it is already on its way."""
        part, content, limiter = self._part, answer.response.content, self._transfer.limiter
        writing: asyncio.Future[None] | None = None
        begun, taken = time.monotonic(), 0
        start = part.length
        try:
            while data := await (content.readany() if limiter.chunk is None else content.read(limiter.chunk)):
                taken += len(data)
                if size is not None and start + taken > size:
                    raise changed(f"it sends more than the {size} bytes it should")
                if writing is not None:
                    await settle(writing)
                    self._watcher.advanced(part.length)
                writing = asyncio.ensure_future(asyncio.to_thread(part.write, data))
                await limiter.take(len(data))
                slow = is_too_slow(time.monotonic() - begun, taken, (size or 0) - start - taken)
                if slow and may_be_helped and limiter.rate is None:
                    raise _TooSlow
        except aiohttp.ClientError:
            if writing is not None:
                await settle(writing)
            writing = None
            rest = answer.left_over()
            if rest and (size is None or start + taken + len(rest) <= size):
                writing = asyncio.ensure_future(asyncio.to_thread(part.write, rest))
            raise
        finally:
            if writing is not None:
                await settle(writing)
                self._watcher.advanced(part.length)

    # --- many connections -----------------------------------------------------------------------

    async def _in_pieces(self, url: str, content: Content, target: Target, etag: str | None) -> Filled:
        plan, transfer = self._plan, self._transfer
        await self._begin(content.etag, content.size, "pieces")
        others = [Origin(other) for other in plan.urls if other != url]
        errand = Errand(
            name=plan.name,
            part=plan.part,
            content=content,
            origins=[Origin(url, target=target, etag=etag), *others],
            kept=self._kept,
            connections=transfer.connections,
            silence=transfer.silence,
        )
        await in_thread(_hand_over, self._part, content.size, self._kept)
        found = await transfer.filler.fill(
            errand, partial(locate, self._client, content, plan.name), self._watcher.advanced
        )
        self._kept = found.kept
        if found.sha256 is None:
            assert found.error is not None
            raise found.error
        return Filled(content.size, found.sha256, True, self._resumed, found.used)

    # --- what is here already -------------------------------------------------------------------

    @property
    def _expected_size(self) -> int | None:
        if self._plan.size is not None or self._state is None:
            return self._plan.size
        return self._state.size

    async def _start_over(self) -> None:
        if self._kept:
            _log_loss(self._plan)
        self._kept, self._resumed, self._state = [], False, None
        if self._part.is_open:  # else it is dropped when it is opened
            await in_thread(_drop, self._part)


def _open(plan: Plan, part: PartFile) -> list[Range]:
    """Open the part file; what is kept of it. Blocks."""
    part.open()
    kept = _kept(plan, part)
    if not kept:
        if part.length:
            _log_loss(plan)
        _drop(part)
    return kept


def _hand_over(part: PartFile, size: int, kept: list[Range]) -> None:
    """Close the part file for a ``Filler``, as it is to be filled: what is kept can be gone on with, also if
    nobody ever comes to that. Raises ``OSError``. Blocks."""
    piece_log = PieceLog(part.path, size)
    try:
        piece_log.begin(kept)
        part.reserve(size)
    finally:
        piece_log.close()
        part.close()


def _reopen(part: PartFile, kept: list[Range]) -> list[Range]:
    """Open the part file that a ``Filler`` gave back; what is kept of it. Blocks."""
    part.open()
    if kept and part.length < kept[-1][1]:
        kept = []  # Somebody removed it meanwhile.
    if not kept:
        _drop(part)
    return kept


def _log_loss(plan: Plan) -> None:
    log.warning("What had arrived of %s cannot be gone on with; it is fetched anew", plan.name)


def _drop(part: PartFile) -> None:
    # The log first: without the bytes it would say what is not so.
    discard_log(part.path)
    part.restart()


def _kept(plan: Plan, part: PartFile) -> list[Range]:
    """The ranges of the part file that may become part of the planned file. Blocks."""
    state, length = plan.state, part.length
    if state is None or not length:
        return []
    if plan.size is not None and state.size is not None and plan.size != state.size:
        return []
    if plan.sha256 is None and state.etag is None:
        return []
    if state.layout == "pieces":
        known = None
        with suppress(ValueError):
            known = read_log(part.path, state.size or 0)
        return known or []
    if state.size is not None and length > state.size:
        return []
    return [(0, length)] if plan.sha256 is not None or state.boot == boot_id() else []


def is_too_slow(seconds: float, taken: int, left: int) -> bool:
    """Whether a connection that took ``taken`` bytes in ``seconds`` will take too long for ``left`` more."""
    return seconds > _TOO_SLOW_SECONDS and left * seconds > _MOST_LEFT_SECONDS * taken


def _front(kept: list[Range]) -> int:
    return kept[0][1] if kept and kept[0][0] == 0 else 0


def _may_heal(error: DownloadError | UrlRefused) -> bool:
    return isinstance(error, DownloadError) and error.retryable

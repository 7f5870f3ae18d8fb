"""The transfer: one plan in, one filled part file out, progress on the way.

This is a seam. The queue knows only ``Transfer``; ``SingleConnection`` is one way to do it. Whatever
fills the part file must hold to this:

* After every moment, also a crash, what ``PartState`` says of the part file is true of its bytes.
* Bytes of two different contents are never put together: going on needs a strong validator, or a
  known SHA-256 that will tell.
* What is returned has the announced length, and ``Filled.sha256`` is of the bytes as written.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from ..errors import DownloadError
from ..net.client import Answer, HttpClient
from ..net.faults import error_from_response
from ..net.probe import content_range, content_type
from .boot import boot_id
from .limiter import BandwidthLimiter
from .part import PartFile
from .threads import in_stoppable_thread, in_thread, settle
from .verify import check_content_type


@dataclass(frozen=True)
class PartState:
    """Of which content the bytes in a part file are. Written down before the first of them.

    ``etag``: a strong validator of storage, with quotes, or None. ``size``: of the whole file.
    ``boot``: the run of the machine in which they were written. Bytes that were not yet on the disk
    when a machine went down may come back as zeros; within one run nothing is lost but by a disk.
    """

    etag: str | None
    size: int | None
    boot: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> PartState:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Plan:
    """One file to fetch. ``size`` and ``sha256`` are what it must have, where known.

    ``url`` may hold a token of its own. ``name``: what the file is to be called. ``state``: what was
    written down about ``part`` last time, None where there is nothing to go on with.
    """

    url: str = field(repr=False)
    part: Path
    name: str
    size: int | None
    sha256: str | None
    state: PartState | None


@dataclass(frozen=True)
class Filled:
    """A filled part file. ``whole``: it is certain that no byte is missing at its end.

    ``resumed``: part of it is from an earlier attempt.
    """

    size: int
    sha256: str
    whole: bool
    resumed: bool


class Watcher(Protocol):
    """Who wants to know. Both are called on the loop."""

    async def begins(self, state: PartState, received: int) -> None:
        """``received`` bytes of the content ``state`` are kept and more are about to be written.

        Must have written ``state`` down when it returns.
        """
        ...

    def advanced(self, received: int) -> None:
        """That many bytes are in the part file now."""
        ...


class Transfer(Protocol):
    """Fills the part file of a plan. May be called again for the same part after any failure.

    Raises ``DownloadError`` as in ``net.faults``, and ``CHANGED_ON_SERVER`` (what the server sends is
    not what the plan says), ``TRUNCATED`` (retryable), ``NOT_A_MODEL``, ``ENCODING_REFUSED``;
    ``UrlRefused``, ``UnsafeName``, and ``OSError`` of the disk. When cancelled it has stopped writing
    by the time it gives way.
    """

    async def __call__(self, plan: Plan, watcher: Watcher) -> Filled: ...


class SingleConnection:
    """A ``Transfer`` over one connection, front to back."""

    def __init__(self, client: HttpClient, limiter: BandwidthLimiter) -> None:
        self._client = client
        self._limiter = limiter

    async def __call__(self, plan: Plan, watcher: Watcher) -> Filled:
        part = PartFile(plan.part)
        try:
            filled = await self._fill(plan, part, watcher)
        except BaseException:
            await in_thread(part.leave)
            raise
        await in_thread(part.close)
        return filled

    async def _fill(self, plan: Plan, part: PartFile, watcher: Watcher) -> Filled:
        await in_thread(part.open)
        if not _can_go_on(plan, part.length):
            await in_thread(part.restart)
        else:
            await in_stoppable_thread(part.rehash)
            if part.length == _expected_size(plan):
                watcher.advanced(part.length)
                return Filled(part.length, part.sha256, whole=True, resumed=True)
        # A server that does not go on as agreed is asked once more, for everything.
        filled = await self._fetch(plan, part, watcher) or await self._fetch(plan, part, watcher)
        if filled is None:
            raise _changed("it answers differently every time")
        return filled

    async def _fetch(self, plan: Plan, part: PartFile, watcher: Watcher) -> Filled | None:
        """One request. None if the answer does not fit what is there, which has been dropped then."""
        offset = part.length
        headers = {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if plan.state is not None and plan.state.etag is not None:
                headers["If-Range"] = plan.state.etag
        async with self._client.open(plan.url, headers=headers) as answer:
            if offset and answer.status in (206, 416) and not _continues(answer, plan, offset):
                await in_thread(part.restart)
                return None
            if answer.status not in ((200, 206) if offset else (200,)):
                raise error_from_response(answer)
            _check_headers(answer, plan)
            if offset and answer.status == 200:
                # The server has something else now, or knows no ranges: this is all of it.
                await in_thread(part.restart)
            size, whole = _announced(answer, plan, part.length)
            resumed = part.length > 0
            await watcher.begins(_state(answer, plan, size, resumed), part.length)
            await self._read_body(answer, part, size, watcher)
        if size is not None and part.length != size:
            raise DownloadError(
                f"{answer.url.host} ended the file after {part.length} of {size} bytes.",
                code="TRUNCATED",
                retryable=True,
            )
        return Filled(part.length, part.sha256, whole, resumed)

    async def _read_body(self, answer: Answer, part: PartFile, size: int | None, watcher: Watcher) -> None:
        """Write the body while the next piece of it is already on its way."""
        content = answer.response.content
        chunk = self._limiter.chunk
        writing: asyncio.Future[None] | None = None
        taken = part.length
        try:
            while data := await (content.readany() if chunk is None else content.read(chunk)):
                taken += len(data)
                if size is not None and taken > size:
                    raise _changed(f"it sends more than the {size} bytes it should")
                if writing is not None:
                    await settle(writing)
                    watcher.advanced(part.length)
                writing = asyncio.ensure_future(asyncio.to_thread(part.write, data))
                await self._limiter.take(len(data))
        finally:
            if writing is not None:
                await settle(writing)
                watcher.advanced(part.length)


def _can_go_on(plan: Plan, length: int) -> bool:
    """Whether the bytes in the part file may become the beginning of the planned file."""
    state = plan.state
    if state is None or not length or (state.size is not None and length > state.size):
        return False
    if plan.size is not None and state.size is not None and plan.size != state.size:
        return False
    return plan.sha256 is not None or (state.etag is not None and state.boot == boot_id())


def _expected_size(plan: Plan) -> int | None:
    if plan.size is not None or plan.state is None:
        return plan.size
    return plan.state.size


def _state(answer: Answer, plan: Plan, size: int | None, resumed: bool) -> PartState:
    """What to write down. The oldest bytes count for ``boot``, and an answer may leave out its ETag."""
    if resumed and plan.state is not None:
        return PartState(_strong_etag(answer) or plan.state.etag, size, plan.state.boot)
    return PartState(_strong_etag(answer), size, boot_id())


def _continues(answer: Answer, plan: Plan, offset: int) -> bool:
    """Whether a partial answer is the rest of the very file whose first ``offset`` bytes are here."""
    limits = content_range(answer)
    if answer.status != 206 or limits is None:
        return False
    first, last, total = limits
    if first != offset or total is None or last != total - 1:
        return False
    if answer.content_length not in (None, last - first + 1):
        return False
    if _expected_size(plan) not in (None, total):
        return False
    etag = _strong_etag(answer)
    return not (etag and plan.state and plan.state.etag and etag != plan.state.etag)


def _check_headers(answer: Answer, plan: Plan) -> None:
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise DownloadError(
            f"{answer.url.host} sends the file {encoding}-encoded although we ask for it as it is. Use "
            "another source.",
            code="ENCODING_REFUSED",
        )
    check_content_type(content_type(answer), plan.name)


def _announced(answer: Answer, plan: Plan, offset: int) -> tuple[int | None, bool]:
    """The size of the whole file, and whether its end can be told from a connection that broke."""
    if answer.status == 206:
        limits = content_range(answer)
        assert limits is not None
        return limits[1] + 1, True
    announced = answer.content_length
    if plan.size is not None and announced is not None and announced != plan.size:
        raise _changed(f"it announces {announced} bytes, {plan.size} are expected")
    size = plan.size if announced is None else announced
    chunked = "chunked" in answer.headers.get("Transfer-Encoding", "").lower()
    return size, size is not None or chunked


def _strong_etag(answer: Answer) -> str | None:
    """The ETag if it promises equal bytes (RFC 9110, 8.8.3); a weak one does not."""
    etag = answer.headers.get("ETag", "").strip()
    return etag if len(etag) > 2 and etag.startswith('"') and etag.endswith('"') else None


def _changed(how: str) -> DownloadError:
    return DownloadError(
        f"The file on the server is not the same any more: {how}. Look for it anew.", code="CHANGED_ON_SERVER"
    )

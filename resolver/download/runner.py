"""One download from start to end: ask, check, fetch, verify, publish.

Each step may fail and be begun again later, in this process or the next; what is on the disk and in
the row is consistent between any two of them:

1. a file under the final name already: it is the wanted one by its SHA-256, or in the way
2. the first answer: what the server has must be what was asked for, before a byte of it is read
3. the part file is filled (``transfer``); the row knew beforehand of which content its bytes are
4. verified; then the row knows its SHA-256
5. published in one step; a crash before the row says so is step 1 next time
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from ..errors import DownloadError
from ..net.client import HttpClient
from ..net.probe import RemoteFile, probe
from ..store import DownloadRow
from .agreement import agree
from .existing import equals_by_samples
from .journal import Journal
from .model import Job, to_come
from .part import discard_part
from .plan import file_exists
from .publish import publish
from .sidecar import note_part, take_up_part
from .space import device_of, disk_error, fits, require_space
from .threads import in_stoppable_thread, in_thread
from .transfer import Agreed, Filled, PartState, Plan, Transfer
from .verify import check_sha256, check_structure, sha256_of

_UNKNOWN_SIZE_STEP = 256 << 20


class _StartOver(Exception):
    """What has arrived is worth nothing; ``error`` says why, if that happens again."""

    def __init__(self, error: DownloadError) -> None:
        self.error = error


class Runner:
    """``active``: the jobs under way, whose remaining bytes need space as well. ``reserve``: bytes."""

    def __init__(
        self,
        client: HttpClient,
        transfer: Transfer,
        journal: Journal,
        reserve: int,
        active: Callable[[], Iterable[Job]],
    ) -> None:
        self._client = client
        self._transfer = transfer
        self._journal = journal
        self._reserve = reserve
        self._active = active

    async def run(self, job: Job) -> None:
        """Bring ``job`` to ``completed``. While it publishes, ``job.settling`` is set and stays set.

        Raises ``ResolverError`` with the codes listed in ``resolver.download``. What has arrived is
        kept for the next attempt unless it is worth nothing.
        """
        await self._journal.move(job, "active")
        while True:
            try:
                await self._attempt(job)
                return
            except _StartOver as again:
                await self._forget_part(job)
                if job.changes:
                    raise again.error from None
                job.changes += 1
            except OSError as error:
                raise disk_error(error, job.part) from error

    async def _attempt(self, job: Job) -> None:
        target = Path(job.row.path)
        await take_up_part(job)
        if await in_thread(os.path.lexists, target):
            await self._accept_existing(job, target)
            return
        row = job.row
        job.meter.start(row.received)
        plan = Plan(
            url=job.url,
            part=job.part,
            name=job.name,
            size=row.size,
            sha256=row.sha256,
            state=job.part_state,
            mirrors=job.mirrors,
            avoid=job.avoid,
        )
        try:
            filled = await self._transfer(plan, _Progress(job, self._agree_with_space, self._reserve))
        except DownloadError as error:
            if error.code == "CHANGED_ON_SERVER":
                raise _StartOver(error) from None
            raise
        job.settling = True
        await self._finish(job, filled, target)

    async def _agree_with_space(self, job: Job, remote: RemoteFile) -> Agreed:
        await self._agree(job, remote)
        await in_thread(self._require_space, job)
        return Agreed(job.row.size, job.row.sha256)

    async def _agree(self, job: Job, remote: RemoteFile) -> None:
        try:
            agree(job.row, remote, has_part=job.part_state is not None)
        except DownloadError as error:
            if error.code == "CHANGED_ON_SERVER":
                raise _StartOver(error) from None
            raise

    def _require_space(self, job: Job) -> None:
        require_space_beside(job.row, [o.row for o in self._active() if o is not job], self._reserve)

    async def _finish(self, job: Job, filled: Filled, target: Path) -> None:
        row = job.row
        row.received = filled.size
        await self._journal.move(job, "verifying")
        try:
            if row.sha256 is not None:
                check_sha256(row.sha256, filled.sha256)
            else:
                await in_thread(check_structure, job.part, job.name, whole=filled.whole)
        except DownloadError as error:
            # The part from an earlier attempt may be to blame, or one of its sources: fetch it all, once.
            if filled.resumed or error.code == "HASH_MISMATCH":
                job.avoid |= _suspects(filled.urls, job.url)
                job.settling = False
                raise _StartOver(error) from None
            await self._forget_part(job)
            raise
        row.size = filled.size
        if row.sha256 is None:
            row.sha256 = filled.sha256
            await self._journal.write(job)
        try:
            await in_thread(publish, job.part, job.root, job.name)
        except FileExistsError:
            job.settling = False
            await self._accept_existing(job, target)
        else:
            await self._complete(job)

    async def _accept_existing(self, job: Job, target: Path) -> None:
        """The name is taken: by ourselves before a crash, by the same content, or by something else."""
        row = job.row
        if not await in_thread(_same_file, job.part, target):
            if not await in_thread(_may_equal, target, row.size):
                raise file_exists(target)
            await self._journal.move(job, "verifying")
            if row.sha256 is None:
                await self._compare_with_remote(job, target)
            found = await in_stoppable_thread(sha256_of, target)
            if row.sha256 not in (None, found):
                raise file_exists(target)
            row.sha256 = found
        job.settling = True
        row.size = row.received = await in_thread(os.path.getsize, target)
        await self._complete(job)

    async def _compare_with_remote(self, job: Job, target: Path) -> None:
        """Where nobody told a hash, ask the server for one or, failing that, for samples of the content.

        Another process that fetched the very same file meanwhile is the usual reason for one being here.
        """
        remote = await probe(self._client, job.url)
        await self._agree(job, remote)
        if job.row.sha256 is not None:
            return
        try:
            await in_thread(check_structure, target, job.name, whole=remote.size is not None)
        except DownloadError:
            raise file_exists(target) from None
        if not await equals_by_samples(self._client, job.url, target, remote.size):
            raise file_exists(target)

    async def _complete(self, job: Job) -> None:
        await in_thread(discard_part, job.part)
        if job.claim is not None:
            await in_thread(job.claim.release)
        job.part_state = None
        job.row.verified = True
        await self._journal.move(job, "completed")

    async def _forget_part(self, job: Job) -> None:
        await in_thread(discard_part, job.part)
        row = job.row
        job.part_state, row.received = None, 0
        row.size, row.sha256 = row.stated_size, row.stated_sha256
        await self._journal.write(job)


class _Progress:
    """The ``Watcher`` of one transfer."""

    def __init__(self, job: Job, agree: Callable[[Job, RemoteFile], Awaitable[Agreed]], reserve: int) -> None:
        self._job = job
        self._agree = agree
        self._reserve = reserve
        self._looked_at = 0

    async def agree(self, remote: RemoteFile) -> Agreed:
        return await self._agree(self._job, remote)

    async def begins(self, state: PartState, received: int) -> None:
        self._job.row.received = received
        self._job.row.size = state.size
        await note_part(self._job, state)

    def advanced(self, received: int, connections: int = 1) -> None:
        self._job.row.received = received
        self._job.meter.connections = connections
        if self._job.row.size is None and received - self._looked_at >= _UNKNOWN_SIZE_STEP:
            self._looked_at = received
            require_space(self._job.root, 0, self._reserve)


def require_space_beside(row: DownloadRow, others: Iterable[DownloadRow], reserve: int) -> None:
    """Check that what is still to come of ``row`` fits on its disk beside that of ``others`` there.

    Raises ``DownloadError`` (``NO_SPACE``). Blocks.
    """
    root, others = Path(row.root), list(others)
    if fits(root, sum(o.size or 0 for o in (row, *others)), reserve):
        return  # Even if nothing of them had arrived, and all were for this disk.
    device = device_of(root)
    more = [to_come(o) for o in others if o.root == row.root or device_of(Path(o.root)) == device]
    require_space(root, to_come(row) + sum(more), reserve)


def _suspects(used: frozenset[str], first: str) -> frozenset[str]:
    """Which of the URLs that together brought a wrong file are not asked again: the mirrors, if any."""
    return used - {first} or used


def _same_file(part: Path, target: Path) -> bool:
    try:
        return os.path.samefile(part, target)
    except FileNotFoundError:
        return False


def _may_equal(target: Path, size: int | None) -> bool:
    """Whether ``target`` is a file of that size (any size where it is unknown)."""
    return target.is_file() and size in (None, target.stat().st_size)

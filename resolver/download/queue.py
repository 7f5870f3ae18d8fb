"""The queue: what runs when, and every word the user has in it.

One queue runs on one event loop; all its methods are called there. A download is in memory (a ``Job``)
while it is unfinished, else only in the store. Several processes may have queues over one store: each
works on its own downloads, shows all of them, and adopts those of a process that is gone. Others may
have stores of their own and the same model folders: then whoever has the claim on a destination works
on it, and the others wait for the file or, if its process ends, for the claim.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..errors import Conflict, DownloadError, NotFound, ResolverError
from ..host import Host
from ..logs import log_context, where
from ..net.client import HttpClient
from ..schemas import Download, DownloadItem, DownloadStatus, Part
from ..settings import Settings
from ..store import DownloadRow, DuplicateDestination, Store
from . import orphans
from .beside import Beside
from .claims import ELSEWHERE, Claim
from .copies import KnownFiles, LocalFirst
from .crew import Tools
from .filling import Filler, Here
from .hosts import Hosts
from .journal import Journal, OnEvent
from .limiter import BandwidthLimiter
from .model import UNFINISHED, Job, as_download, parts_of
from .owner import Owner
from .plan import duplicate_download, plan_items, wrong_state
from .records import Records
from .retries import RetryPolicy
from .runner import Runner
from .segmented import SegmentedTransfer
from .small_files import SmallFiles
from .space import disk_error
from .threads import in_thread, to_the_end
from .transfer import Transfer

log = logging.getLogger(__name__)

OnCompleted = Callable[[Download], None]
"""Gets a download whose file (``path``) has just appeared. As with ``OnEvent``, it must return at once."""

# ``DownloadQueue.list`` hides the builtin from annotations in its class.
Downloads = list[Download]
Jobs = list[Job]
Rows = list[DownloadRow]
Parts = list[Part]

# So many may have all their connections at one host; then they share.
_DOWNLOADS_PER_HOST = 2
_EVENT_SECONDS = 0.25
_TICKS_PER_SAVE = 8
_LOOK_AGAIN_SECONDS = 0.5
_LOOK_ROUND_SECONDS = 5.0
_ORPHAN_SECONDS = 600.0


class DownloadQueue:
    """``transfer``: how bytes are fetched, by default over as many connections as help.

    ``known_files``: where else than among the downloads to look for a content that is wanted again.
    ``beside_host``: this process has a loop that serves somebody; bytes move in another one (``beside``).
    """

    def __init__(
        self,
        store: Store,
        host: Host,
        client: HttpClient,
        settings: Settings,
        on_event: OnEvent,
        *,
        on_completed: OnCompleted | None = None,
        transfer: Transfer | None = None,
        known_files: KnownFiles | None = None,
        retry_policy: RetryPolicy | None = None,
        beside_host: bool = False,
    ) -> None:
        self._store = store
        self._host = host
        self._client = client
        self._settings = settings
        self._journal = Journal(store, on_event)
        self._on_completed = on_completed
        self._retry_policy = retry_policy or RetryPolicy()
        self._owner = Owner(store.path.parent)
        self._records = Records(store, self._owner, settings.disk_reserve)
        self._jobs: dict[str, Job] = {}
        self._running = False
        self._ticker: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._submitting = asyncio.Lock()
        self._limiter = BandwidthLimiter(settings.bandwidth_limit)
        hosts = Hosts(
            _DOWNLOADS_PER_HOST * settings.connections_per_download, min(10.0, self._retry_policy.most)
        )
        tools = Tools(self._limiter, hosts, client.wires, self._retry_policy)
        self._filler: Filler = Beside(tools) if beside_host else Here(tools)
        fetch = transfer or SegmentedTransfer(
            client,
            self._limiter,
            hosts,
            self._filler,
            connections=settings.connections_per_download,
            silence=settings.download_timeout,
        )
        local_first = LocalFirst(fetch, store, known_files)
        self._small_files = SmallFiles(
            client,
            self._journal,
            self._limiter,
            hosts,
            local_first.sources,
            self._active,
            reserve=settings.disk_reserve,
            silence=settings.download_timeout,
        )
        self._runner = Runner(
            client,
            local_first,
            self._journal,
            settings.disk_reserve,
            self._active,
        )

    # --- life -----------------------------------------------------------------------------------

    @to_the_end
    async def start(self) -> None:
        """Take up what this or a dead process left unfinished; paused downloads stay paused."""
        await in_thread(self._owner.take)
        rows = await in_thread(self._records.own)
        await self._take_up([*rows, *await in_thread(self._records.adopt)])
        self._running = True
        for work in (self._look_round(), self._sweep()):
            task = asyncio.ensure_future(work)
            self._background.add(task)
            task.add_done_callback(self._background.discard)
        self._pump()

    @to_the_end
    async def stop(self) -> None:
        """End all work in a state that ``start`` goes on from, here or in another process."""
        self._running = False
        for task in list(self._background):
            task.cancel()
            await asyncio.wait({task})
        for job in list(self._active()):
            async with job.control:
                await self._interrupt(job)
                if job.row.status in ("active", "verifying"):
                    await self._journal.move(job, "queued")
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.wait({self._ticker})
        self._jobs.clear()
        await self._filler.close()
        await in_thread(self._owner.release)

    # --- what the user asks for -----------------------------------------------------------------

    @to_the_end
    async def submit(self, items: Sequence[DownloadItem]) -> Downloads:
        """Take all items or, if one cannot be taken, none; see ``plan.plan_items`` for the errors."""
        async with self._submitting:
            policy = self._client.policy
            planned = await in_thread(plan_items, self._host, policy, items, self._owner.id)
            rows = [plan.row for plan in planned]
            await in_thread(self._records.add, rows)
        jobs = [Job(plan.row, plan.url, plan.mirrors) for plan in planned]
        for job in jobs:
            self._jobs[job.row.id] = job
            self._journal.tell(job)
        self._pump()
        return [as_download(job.row) for job in jobs]

    async def list(self) -> Downloads:
        """All downloads, also those of other processes: the unfinished ones in order of arrival, then the
        finished ones, the newest first."""
        await self._journal.write_late()
        rows = await in_thread(self._store.downloads)
        return [self._show(row) for row in rows]

    async def get(self, download_id: str) -> Download:
        return self._show(await self._row(download_id))

    def counts(self) -> tuple[int, int]:
        """How many downloads of this process are ``(under way, waiting)``."""
        active = len(self._active())
        return active, sum(job.row.status == "queued" for job in self._jobs.values())

    def set_bandwidth_limit(self, rate: float | None) -> None:
        """Let all downloads together take ``rate`` bytes a second from now on; None is no limit."""
        self._limiter.rate = rate

    async def orphans(self) -> Parts:
        """What has arrived of downloads that nobody goes on with; see ``orphans.orphan_parts``."""
        before = time.time() - _ORPHAN_SECONDS
        return await in_thread(
            lambda: orphans.orphan_parts(self._host, self._records.wanted_parts(), older_than=before)
        )

    @to_the_end
    async def remove_orphan(self, part_id: str) -> None:
        """Remove one of ``orphans``; raises as ``orphans.remove_orphan``."""
        try:
            await in_thread(lambda: orphans.remove_orphan(self._host, self._records.wanted_parts(), part_id))
        except OSError as error:
            raise disk_error(error, Path(error.filename or ".")) from error

    @to_the_end
    async def remove(self, download_id: str) -> None:
        """Drop a finished download from the history; the model it brought stays."""
        row = await self._row(download_id)
        if row.status in UNFINISHED:
            raise wrong_state(row, "removed")
        await in_thread(self._records.discard_part, row)
        await in_thread(self._store.delete_download, download_id)

    @to_the_end
    async def pause(self, download_id: str) -> Download:
        """What has arrived is kept."""
        job = await self._own_job(download_id, "paused")
        async with job.control:
            await self._interrupt(job)
            if job.row.status not in UNFINISHED:
                raise wrong_state(job.row, "paused")
            if job.row.status != "paused":
                await self._journal.move(job, "paused")
        self._pump()
        return as_download(job.row)

    @to_the_end
    async def resume(self, download_id: str) -> Download:
        job = await self._own_job(download_id, "resumed")
        async with job.control:
            if job.row.status != "paused":
                raise wrong_state(job.row, "resumed")
            job.begin_anew()
            await self._journal.move(job, "queued")
        self._pump()
        return as_download(job.row)

    @to_the_end
    async def cancel(self, download_id: str) -> Download:
        """What has arrived is removed. A failed download can be cancelled, too."""
        job = self._jobs.get(download_id) or await self._finished_job(download_id, {"failed"}, "cancelled")
        async with job.control:
            await self._interrupt(job)
            if job.row.status in ("completed", "cancelled"):
                raise wrong_state(job.row, "cancelled")
            await in_thread(self._records.discard_part, job.row)
            job.part_state, job.row.received = None, 0
            await self._journal.move(job, "cancelled")
            self._leave(job)
        self._pump()
        return as_download(job.row)

    @to_the_end
    async def retry(self, download_id: str) -> Download:
        """Queue a failed or cancelled download again; it goes on from what was kept."""
        job = self._jobs.get(download_id)
        if job is not None:
            raise wrong_state(job.row, "retried")
        job = await self._finished_job(download_id, {"failed", "cancelled"}, "retried")
        row = replace(job.row, status="queued", owner=self._owner.id, error_code=None, error_message=None)
        try:
            written = await in_thread(self._store.save_download, row, expected=job.row.status)
        except DuplicateDestination:
            raise duplicate_download(row) from None
        if not written:
            raise wrong_state(await self._row(download_id), "retried")
        job.row = row
        self._jobs[download_id] = job
        self._journal.tell(job)
        self._pump()
        return as_download(row)

    @to_the_end
    async def set_priority(self, download_id: str, priority: int) -> Download:
        """Higher goes first. Counts when the next download starts; nothing under way is stopped for it."""
        job = await self._own_job(download_id, "given a priority")
        async with job.control:
            job.row.priority = priority
            await self._journal.write(job)
            self._journal.tell(job)
        self._pump()
        return as_download(job.row, job.meter)

    async def pause_all(self) -> Downloads:
        return await self._each(self.pause, ("queued", "active", "verifying"))

    async def resume_all(self) -> Downloads:
        return await self._each(self.resume, ("paused",))

    async def cancel_all(self) -> Downloads:
        return await self._each(self.cancel, ("queued", "active", "verifying", "paused"))

    async def retry_all(self) -> Downloads:
        """Those that failed; who cancels a download does not mean "all" to bring it back."""
        return await self._each(self.retry, ("failed",))

    async def _each(
        self, action: Callable[[str], Awaitable[Download]], states: tuple[DownloadStatus, ...]
    ) -> Downloads:
        """Apply ``action`` to all downloads in one of ``states``; those that just left it are passed over."""
        changed = []
        for row in await in_thread(self._store.downloads):
            if row.status in states and (row.id in self._jobs or row.status == "failed"):
                with suppress(Conflict, NotFound):
                    changed.append(await action(row.id))
        return changed

    # --- running --------------------------------------------------------------------------------

    def _active(self) -> Jobs:
        return [job for job in self._jobs.values() if job.task is not None]

    def _pump(self) -> None:
        """Start what may start: highest priority first, then in order of arrival."""
        if not self._running:
            return
        loop = asyncio.get_running_loop()
        active = self._active()
        free = self._settings.max_concurrent_downloads - len(active)
        coming = {job.row.sha256 for job in active} - {None}
        ready = [job for job in self._jobs.values() if job.is_waiting and job.not_before <= loop.time()]
        for job in sorted(ready, key=lambda job: (-job.row.priority, job.row.seq)):
            if free <= 0:
                break
            # What is on its way already is fetched once: this one starts when that one has ended.
            if job.row.sha256 is None or job.row.sha256 not in coming:
                coming.add(job.row.sha256)
                job.task = loop.create_task(self._drive(job), name=f"download {job.row.id}")
                free -= 1
        if self._active() and self._ticker is None:
            self._ticker = loop.create_task(self._tick())

    async def _drive(self, job: Job) -> None:
        """One turn of a download. When cancelled, the status is left to whoever cancels."""
        before = job.row.received
        try:
            try:
                with log_context(download=job.row.id, model=f"{job.row.folder}/{job.row.filename}"):
                    ran = await self._run_claimed(job)
                if not ran:
                    return
            except ResolverError as error:
                await self._after_failure(job, error, progress=job.row.received > before)
            except Exception as error:
                at = where(error)
                log.error("Download %s failed by an unforeseen %s at\n%s", job.row.id, type(error), at)
                unforeseen = ResolverError(f"An internal error: {type(error).__name__}. See the log.")
                await self._after_failure(job, unforeseen, progress=False)
            else:
                self._leave(job)
                self._tell_completed(as_download(job.row))
        finally:
            job.task = None
            job.settling = False
            self._pump()

    async def _run_claimed(self, job: Job) -> bool:
        """Run ``job``, unless another process works on this destination: then it waits for that one."""
        claim = Claim(parts_of(job.row)[0])
        try:
            try:
                if await self._small_files.fetch(job, claim):
                    return True
                is_taken = claim.is_taken or await in_thread(claim.take)
            except OSError as error:
                raise disk_error(error, job.part) from error
            if is_taken:
                job.claim, job.is_alone = claim, claim.is_exclusive
                await self._runner.run(job)
                return True
        finally:
            job.claim = None
            if claim.is_taken:  # not given back on completion
                await in_thread(claim.release)
        job.settling = True
        self._start_later(job, _LOOK_AGAIN_SECONDS)
        if job.row.error_code != ELSEWHERE.code:
            await self._journal.move(job, "queued", ELSEWHERE)
        return False

    def _start_later(self, job: Job, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        job.not_before = loop.time() + seconds
        loop.call_later(seconds, self._pump)

    async def _after_failure(self, job: Job, error: ResolverError, *, progress: bool) -> None:
        job.settling = True
        if error.code == ELSEWHERE.code:  # A process that is on its way out has not let go of the part yet.
            self._start_later(job, _LOOK_AGAIN_SECONDS)
            await self._journal.move(job, "queued", error)
            return
        job.failures = 1 if progress else job.failures + 1
        retry = error if isinstance(error, DownloadError) and error.retryable else None
        if retry and job.failures < self._retry_policy.attempts:
            self._start_later(job, self._retry_policy.delay(job.failures, retry.retry_after))
            await self._journal.move(job, "queued", error)
            return
        await self._journal.move(job, "failed", error)
        self._leave(job)

    def _leave(self, job: Job) -> None:
        self._jobs.pop(job.row.id, None)
        self._journal.leave(job)

    def _tell_completed(self, download: Download) -> None:
        if self._on_completed is None:
            return
        try:
            self._on_completed(download)
        except Exception:
            log.exception("A listener to completed downloads failed")

    async def _interrupt(self, job: Job) -> None:
        """End the task of ``job``, if any; one that is settling is waited for."""
        task = job.task
        if task is None:
            return
        if not job.settling:
            task.cancel()
        await asyncio.wait({task})
        job.task = None  # A task that was cancelled before its first step has not done this itself.

    async def _tick(self) -> None:
        """Tell of progress four times a second, and write it down every two seconds."""
        ticks = 0
        while jobs := self._active():
            await asyncio.sleep(_EVENT_SECONDS)
            for job in jobs:
                if job.row.status == "active" and job.task is not None:
                    job.meter.update(job.row.received)
                    self._journal.tell(job)
            ticks += 1
            if ticks % _TICKS_PER_SAVE == 0:
                await self._journal.write_progress(jobs)
        self._ticker = None

    async def _look_round(self) -> None:
        """Take up what a process leaves unfinished that ends while this one runs."""
        while True:
            await asyncio.sleep(_LOOK_ROUND_SECONDS)
            try:
                await self._take_up(await in_thread(self._records.adopt))
            except Exception:
                log.exception("The downloads of other processes cannot be looked at")
            self._pump()

    async def _sweep(self) -> None:
        try:
            await in_thread(orphans.sweep, self._host)
        except Exception:
            log.exception("What crashed processes left behind cannot be looked at")

    # --- rows -----------------------------------------------------------------------------------

    async def _take_up(self, rows: Rows) -> None:
        for row in rows:
            job = self._jobs[row.id] = Job(row, row.url, row.mirrors)
            if row.status in ("active", "verifying"):
                await self._journal.move(job, "queued")

    async def _row(self, download_id: str) -> DownloadRow:
        await self._journal.write_late()
        job = self._jobs.get(download_id) or self._journal.late(download_id)
        row = job.row if job is not None else await in_thread(self._store.download, download_id)
        if row is None:
            raise NotFound(f"There is no download {download_id!r}.", code="DOWNLOAD_UNKNOWN")
        return row

    async def _own_job(self, download_id: str, done: str) -> Job:
        job = self._jobs.get(download_id)
        if job is None:
            raise wrong_state(await self._row(download_id), done)
        return job

    async def _finished_job(self, download_id: str, states: set[DownloadStatus], done: str) -> Job:
        row = await self._row(download_id)
        if row.status not in states:
            raise wrong_state(row, done)
        return Job(row, row.url, row.mirrors)

    def _show(self, row: DownloadRow) -> Download:
        job = self._jobs.get(row.id) or self._journal.late(row.id)
        return as_download(row) if job is None else as_download(job.row, job.meter)

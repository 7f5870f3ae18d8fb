"""What happens to a download, written down first and then told.

A status is in the store before anybody hears of it, so that what was shown survives a crash. Progress
is only a number for people (the part file itself says what has arrived) and is written now and then.

What several downloads want to be written while the store is busy goes into one transaction: with many
small files that is most of it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..errors import ResolverError
from ..schemas import Download, DownloadStatus
from ..store import DownloadRow, Store
from .model import Job, as_download
from .threads import in_thread, settle

log = logging.getLogger(__name__)

OnEvent = Callable[[Download], None]
"""Gets a download as it is now. Called on the queue's loop; must return at once."""


class Journal:
    def __init__(self, store: Store, on_event: OnEvent) -> None:
        self._store = store
        self._on_event = on_event
        # Finished, but the store does not know it yet.
        self._late: dict[str, Job] = {}
        self._waiting: list[tuple[DownloadRow, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def move(self, job: Job, status: DownloadStatus, error: ResolverError | None = None) -> None:
        """Give ``job`` a status and, with it, the error it failed with or waits for.

        Where the store cannot be written to (a full disk may be the very reason) the download goes on in
        memory; after a crash it is found in an earlier status, which is harmless.
        """
        code, message = (error.code, error.message) if error is not None else (None, None)
        async with job.writing:
            row = replace(job.row, status=status, error_code=code, error_message=message)
            await self._write(job, row)
            job.row.status, job.row.error_code, job.row.error_message = status, code, message
        self.tell(job)

    async def write(self, job: Job) -> None:
        """Write the row as it is, if the store can be written to."""
        async with job.writing:
            await self._write(job, replace(job.row))

    def leave(self, job: Job) -> None:
        """``job`` is finished: from now on the store alone knows it, or, if it does not, ``late``."""
        if job.unwritten:
            self._late[job.row.id] = job

    def late(self, download_id: str) -> Job | None:
        """A finished download that the store does not know as it is."""
        return self._late.get(download_id)

    async def write_late(self) -> None:
        """Try again to write what could not be written."""
        for job in list(self._late.values()):
            await self.write(job)
            if not job.unwritten:
                self._late.pop(job.row.id, None)

    async def _write(self, job: Job, row: DownloadRow) -> None:
        try:
            await self._with_others(row)
            job.unwritten = False
        except sqlite3.Error as failure:
            job.unwritten = True
            log.warning("Download %s (%s) cannot be written to the store: %s", row.id, row.status, failure)

    async def _with_others(self, row: DownloadRow) -> None:
        """Write ``row``, together with all that others want written by then. Raises ``sqlite3.Error``."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, written))
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write_waiting())
        await settle(written)

    async def _write_waiting(self) -> None:
        batch: list[tuple[DownloadRow, asyncio.Future[None]]] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    await in_thread(self._store.save_downloads, [row for row, _ in batch])
                except Exception as failure:
                    if len(batch) == 1:
                        batch[0][1].set_exception(failure)
                        continue
                    # One that cannot be written must not take the others with it.
                    for row, written in batch:
                        try:
                            await in_thread(self._store.save_downloads, [row])
                        except Exception as own_failure:
                            written.set_exception(own_failure)
                        else:
                            written.set_result(None)
                else:
                    for _, written in batch:
                        written.set_result(None)
        finally:
            self._writing = None
            for _, written in (*batch, *self._waiting):
                written.cancel()  # Nothing is left but where the loop itself is ending.

    async def write_progress(self, jobs: Sequence[Job]) -> None:
        progress = [(job.row.id, job.row.received, job.row.size) for job in jobs]
        try:
            await in_thread(self._store.save_progress, progress)
        except sqlite3.Error as failure:
            log.warning("The progress of downloads cannot be written: %s", failure)

    def tell(self, job: Job) -> None:
        """Tell whoever listens how ``job`` stands."""
        try:
            self._on_event(as_download(job.row, job.meter))
        except Exception:
            log.exception("A listener to downloads failed")

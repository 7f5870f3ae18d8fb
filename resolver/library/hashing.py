"""Hashing the library in the background: what has no known hash yet, and nothing twice.

One thread a disk, because two readers of one disk hold each other up; all of them at the lowest priority,
and waiting while downloads or ComfyUI are at work. A file's hash is kept as soon as it is read, so a run
that was ended in any way goes on where it was.
"""

from __future__ import annotations

import logging
import stat
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from ..errors import Conflict
from ..priority import BACKGROUND, lower_priority
from . import Library, LibraryFile, Snapshot
from .hashes import FileHashes, SavedRun, stamp, status_of
from .reading import FileChanged, disk_of, read_sha256, unsettled_for
from .unhashed import Unhashed, count_unhashed, file_key

log = logging.getLogger(__name__)

_TICK = 0.25  # seconds between two looks at the work, and the least between two reports
_STOP_SECONDS = 5.0

State = Literal["idle", "running", "waiting", "paused"]


@dataclass(frozen=True)
class HashingProgress:
    """``state``: ``waiting`` while others are at work; ``idle`` once all is done, or nothing was asked.

    ``done`` of ``total`` files, ``bytes_done`` of ``bytes_total``: of this run, failed ones included.
    ``failed``: files that could not be read, or were being written to. ``folder``: only that one.
    ``unhashed``: what has no known hash, in all folders; ``None`` unless a run is counting.
    """

    state: State = "idle"
    folder: str | None = None
    done: int = 0
    total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    failed: int = 0
    unhashed: Unhashed | None = None


@dataclass(frozen=True)
class _File:
    """One file on a disk; ``paths``: all names the library has for it (links, folders that share a root)."""

    disk: int
    size: int
    paths: tuple[str, ...]


class _Queue:
    """The files of one disk that are still to be read."""

    def __init__(self, files: Iterable[_File]) -> None:
        self._files = deque(files)
        self._ordered_for = 0

    def next(self, preferred: set[int]) -> _File | None:
        """Take the next one, of a preferred size if there is one; otherwise the order stays."""
        if len(preferred) != self._ordered_for:
            self._ordered_for = len(preferred)
            self._files = deque(sorted(self._files, key=lambda file: file.size not in preferred))
        return self._files.popleft() if self._files else None


class _Stopped(Exception):
    """Raised in a reader that is to end."""


class LibraryHashing:
    """One run at a time. Methods return at once but for ``close``; thread-safe.

    ``lock_file``: held during a run, so that two processes do not read the same files. ``busy``: whether
    others need the disk now; asked four times a second. ``on_progress``: told from a thread of ours, at
    most four times a second.
    """

    def __init__(
        self,
        library: Library,
        hashes: FileHashes,
        lock_file: Path,
        *,
        busy: Callable[[], bool],
        on_progress: Callable[[HashingProgress], None],
    ) -> None:
        self._library = library
        self._hashes = hashes
        # Taken by whoever asks and released by the thread that ends.
        self._file_lock = FileLock(lock_file, thread_local=False)
        self._busy = busy
        self._on_progress = on_progress
        self._lock = threading.RLock()
        self._run: _Run | None = None
        self._last = HashingProgress()
        self._closed = False
        self._preferred: set[int] = set()

    def start(
        self, folder: str | None = None, *, paused: bool = False, lasting: bool = True
    ) -> HashingProgress:
        """Begin to hash what has no known hash, in all folders or in one; a paused run goes on.

        ``lasting``: a process that is started after this one ended goes on with it (``go_on``).
        Raises ``Conflict``: ``HASHING_RUNS`` (on another folder, or in another process).
        """
        with self._lock:
            if self._run is not None:
                if folder != self._run.folder:
                    raise Conflict(
                        "The library is being hashed already. Cancel that first, or wait.",
                        code="HASHING_RUNS",
                    )
                return self.resume()
            if self._closed:
                return self._last
            try:
                self._file_lock.acquire(timeout=0)
            except Timeout:
                raise Conflict("Another process is hashing the library now.", code="HASHING_RUNS") from None
            run = self._run = _Run(self._hashes, folder, lasting, self._preferred)
            run.paused = paused
            self._save(run)
            run.thread = threading.Thread(
                target=self._conduct, args=(run,), name="model-resolver-hashing", daemon=True
            )
            run.thread.start()
            return run.progress()

    def go_on(self, *, anyway: bool) -> None:
        """Take up the run that an earlier process left; without one, begin one if ``anyway``."""
        saved = self._hashes.saved_run()
        if saved is None and not anyway:
            return
        try:
            if saved is None:
                self.start(lasting=False)
            else:
                self.start(saved.folder, paused=saved.paused)
        except Conflict as error:
            log.info("%s", error.message)

    def pause(self) -> HashingProgress:
        return self._set_paused(True)

    def resume(self) -> HashingProgress:
        return self._set_paused(False)

    def cancel(self) -> HashingProgress:
        """End the run; the hashes it found are kept."""
        with self._lock:
            run = self._run
            if run is not None:
                run.cancelled = True
                run.stop()
        if run is not None and run.thread is not None:
            run.thread.join(_STOP_SECONDS)
        return self.progress()

    def progress(self) -> HashingProgress:
        with self._lock:
            return self._run.progress() if self._run is not None else self._last

    def unhashed(self) -> Unhashed:
        """What a run over all folders would read, as far as that is known without a look at each file."""
        return count_unhashed(self._library.snapshot().on_disk(), self._hashes)

    def prefer(self, sizes: Iterable[int]) -> None:
        """Read files of these sizes first: one of them may be a model that is being looked for.

        Waits for nothing, so that an event loop may call it.
        """
        self._preferred.update(sizes)

    def wait(self, timeout: float) -> bool:
        """Wait for the run to end, at most so many seconds; whether it has."""
        with self._lock:
            thread = self._run.thread if self._run is not None else None
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def close(self) -> None:
        """Stop reading, in a fraction of a second; a lasting run is for a later process to go on with."""
        with self._lock:
            self._closed = True
            run = self._run
            if run is not None:
                run.stop()
        if run is not None and run.thread is not None:
            run.thread.join(_STOP_SECONDS)

    def _set_paused(self, paused: bool) -> HashingProgress:
        with self._lock:
            if self._run is None:
                return self._last
            self._run.paused = paused
            self._save(self._run)
            self._run.look.set()
            return self._run.progress()

    def _save(self, run: _Run) -> None:
        if run.lasting:
            self._hashes.save_run(SavedRun(run.folder, run.paused))

    def _conduct(self, run: _Run) -> None:
        """The run's own thread: plans, starts the readers, watches, reports."""
        lower_priority(BACKGROUND)
        reported = 0.0
        last = HashingProgress()
        try:
            self._hashes.tidy()
            run.plan(self._library.snapshot())
            readers = run.readers()
            for reader in readers:
                reader.start()
            while any(reader.is_alive() for reader in readers):
                run.give_way(self._busy())
                now = run.progress()
                if now != last and time.monotonic() - reported >= _TICK:
                    self._on_progress(now)
                    reported, last = time.monotonic(), now
                run.look.wait(_TICK)
                run.look.clear()
            for reader in readers:
                reader.join()
        except _Stopped:
            pass
        except Exception:
            log.exception("Hashing the library failed")
        finally:
            self._end(run, reported)

    def _end(self, run: _Run, reported: float) -> None:
        with self._lock:
            closing = self._closed
            try:
                if run.lasting and (run.cancelled or not closing):
                    self._hashes.save_run(None)
            except Exception:
                log.exception("The end of hashing could not be written down")
            run.ended = True
            self._last = run.progress()
            self._run = None
            self._file_lock.release()
        if not closing:
            time.sleep(max(0.0, reported + _TICK - time.monotonic()))
            with self._lock:
                if self._run is None:  # or the end of this run would be told after the next one's beginning
                    self._on_progress(self._last)


class _Run:
    """One run: its files by disk, and how far it is."""

    def __init__(self, hashes: FileHashes, folder: str | None, lasting: bool, preferred: set[int]) -> None:
        self.folder = folder
        self.lasting = lasting
        self.cancelled = False
        self.ended = False
        self.look = threading.Event()  # something changed that the conducting thread must see at once
        self.thread: threading.Thread | None = None
        self._paused = False
        self._busy = False
        self._hashes = hashes
        self._preferred = preferred
        self._lock = threading.Lock()
        self._go = threading.Event()
        self._go.set()
        self._stopped = False
        self._pending: dict[int, _Queue] = {}
        self._reading: dict[int, int] = {}
        self._done = self._total = self._failed = 0
        self._bytes_done = self._bytes_total = self._bytes_failed = 0
        self._aside: Unhashed | None = None  # what is not of this run; None until it is planned

    # --- what others want of it -------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        with self._lock:
            self._paused = paused
            self._settle()

    def give_way(self, busy: bool) -> None:
        with self._lock:
            self._busy = busy
            self._settle()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._settle()
        self.look.set()

    def _settle(self) -> None:
        if self._stopped or not (self._paused or self._busy):
            self._go.set()
        else:
            self._go.clear()

    def progress(self) -> HashingProgress:
        with self._lock:
            state: State = "paused" if self._paused else "waiting" if self._busy else "running"
            return HashingProgress(
                "idle" if self.ended else state,
                self.folder,
                self._done,
                self._total,
                self._bytes_done + sum(self._reading.values()),
                self._bytes_total,
                self._failed,
                self._unhashed(),
            )

    def _unhashed(self) -> Unhashed | None:
        if self._aside is None or self.ended:
            return None
        return Unhashed(
            self._aside.files + self._total - self._done + self._failed,
            self._aside.bytes + self._bytes_total - self._bytes_done + self._bytes_failed,
        )

    # --- the work ---------------------------------------------------------------------------------

    def plan(self, snapshot: Snapshot) -> None:
        """Find out what is to be read: each file once, by whatever names it is listed."""
        files = snapshot.on_disk(self.folder)
        paths = dict.fromkeys(file.path for file in files)
        statuses = {path: status for path in paths if (status := status_of(path)) is not None}
        known = self._hashes.current(statuses)
        names: dict[tuple[int, int | str], list[str]] = defaultdict(list)
        for path, status in statuses.items():
            if self._stopped:
                raise _Stopped
            if stat.S_ISREG(status.st_mode):
                # Some network disks number no files; there every path counts as one.
                names[status.st_dev, status.st_ino or path].append(path)
        disks = {device: disk_of(device) for device, _ in names}
        pending: dict[int, list[_File]] = defaultdict(list)
        for (device, _), same in names.items():
            sha256 = next((known[path] for path in same if path in known), None)
            unknown = [path for path in same if path not in known]
            if sha256 is not None:
                for path in unknown:
                    self._hashes.remember(path, statuses[path], sha256)
            elif unknown:
                disk = disks[device]
                pending[disk].append(_File(disk, statuses[same[0]].st_size, tuple(same)))
        aside = Unhashed() if self.folder is None else self._count_others(files, snapshot)
        with self._lock:
            self._aside = aside
            # The small ones first: most answers for the time.
            self._pending = {
                disk: _Queue(sorted(files, key=lambda file: file.size)) for disk, files in pending.items()
            }
            self._total = sum(map(len, pending.values()))
            self._bytes_total = sum(file.size for files in pending.values() for file in files)

    def _count_others(self, files: Iterable[LibraryFile], snapshot: Snapshot) -> Unhashed:
        own = {file_key(file) for file in files}
        others = (file for file in snapshot.on_disk() if file_key(file) not in own)
        return count_unhashed(others, self._hashes)

    def readers(self) -> list[threading.Thread]:
        return [
            threading.Thread(
                target=self._read_disk, args=(disk,), name=f"model-resolver-hashing-{disk}", daemon=True
            )
            for disk in self._pending
        ]

    def _read_disk(self, disk: int) -> None:
        lower_priority(BACKGROUND)
        try:
            while (file := self._next(disk)) is not None:
                read = self._read(file)
                with self._lock:
                    self._done += 1
                    if not read:
                        self._failed += 1
                        self._bytes_failed += file.size
                    self._bytes_done += file.size
                    self._reading[disk] = 0
        except _Stopped:
            pass
        except Exception:
            # The store, most likely: without it, reading on would be for nothing.
            log.exception("Hashing the library failed")
            self.stop()
        finally:
            with self._lock:
                self._reading.pop(disk, None)
            self.look.set()

    def _next(self, disk: int) -> _File | None:
        self._turn(0)
        with self._lock:
            return self._pending[disk].next(self._preferred)

    def _read(self, file: _File) -> bool:
        """Read one file and keep its hash; whether that was possible."""

        def turn(count: int) -> None:
            with self._lock:
                self._reading[file.disk] = min(self._reading.get(file.disk, 0) + count, file.size)
            self._turn(0)

        path = file.paths[0]
        status = status_of(path)
        if status is None:
            return False
        ready = time.monotonic() + unsettled_for(status)
        while (left := ready - time.monotonic()) > 0:
            self._turn(min(left, 0.1))
        try:
            sha256, status = read_sha256(path, turn)
        except (FileChanged, OSError) as error:
            log.info("%s was not hashed: %s", path, error)
            return False
        for name in file.paths:
            now = status_of(name)
            # Of several names each must still lead to what was read.
            if now is not None and now.st_ino == status.st_ino and stamp(now) == stamp(status):
                self._hashes.remember(name, now, sha256)
        return True

    def _turn(self, seconds: float) -> None:
        """Sleep, wait while others are at work, and end where that was asked."""
        if seconds:
            time.sleep(seconds)
        self._go.wait()
        if self._stopped:
            raise _Stopped

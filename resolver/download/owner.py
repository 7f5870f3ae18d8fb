"""Which process works on which download, when several share one store.

Every queue holds a lock on a file of its own as long as it runs. The system gives the lock back when
the process ends, however it ends; whoever can take the lock of another queue knows that it is gone and
may adopt its downloads. Process ids would not do: they are used again, and differ between containers.
"""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


class Owner:
    """One queue's name and lock. ``directory``: where all queues of one store keep their locks."""

    def __init__(self, directory: Path) -> None:
        self.id = uuid.uuid4().hex[:16]
        self._directory = directory
        self._lock = self._lock_of(self.id)

    def take(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except (OSError, NotImplementedError) as error:
            log.warning(
                "No file can be locked in %s (%s). Run one process at a time.", self._directory, error
            )

    def release(self) -> None:
        self._lock.release()
        self._remove_lock_of(self.id)

    def is_gone(self, other: str) -> bool:
        """Whether no running queue has the id ``other``; its lock file is removed then."""
        lock = self._lock_of(other)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        except (OSError, NotImplementedError):
            return True  # Locks do not work here, so there is one process at a time.
        lock.release()
        self._remove_lock_of(other)
        return True

    def _lock_of(self, owner: str) -> FileLock:
        # Taken in one thread and given back in another.
        return FileLock(self._path_of(owner), thread_local=False)

    def _remove_lock_of(self, owner: str) -> None:
        with suppress(OSError):
            self._path_of(owner).unlink()

    def _path_of(self, owner: str) -> Path:
        return self._directory / f"queue-{owner}.lock"

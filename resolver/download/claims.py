"""Which process works on which destination, when several share model folders but no store.

The lock lies beside the part file, ``<stem>.lock``, so it is found by everybody who could write that
part, on other machines too where the file system locks across the network. The system gives it back
when its holder ends, however that ends; the next one goes on with the part.

A lock file is removed by its holder only. Whoever waited for it may then hold a lock on a file that has
no name any more, while a third one locks a new file of that name; so after locking it is checked that
the locked file is still the one under the name.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import DownloadError
from .part import discard_part, make_helper_directories, remove_helper_directories

log = logging.getLogger(__name__)

_TRIES = 100

ELSEWHERE = DownloadError(
    "Another process downloads this file to the same place. This download waits for it.",
    code="DOWNLOADING_ELSEWHERE",
)
"""Why a download stays queued whose destination another process has claimed."""


class Claim:
    """The right to work on one part file, once taken. Methods block; one thread at a time.

    ``is_taken``: it is ours. ``is_exclusive``: False once it turned out that nothing can be locked there.
    """

    def __init__(self, part: Path) -> None:
        self._part = part
        self._path = part.with_suffix(".lock")
        # Taken in one thread and given back in another.
        self._lock = FileLock(self._path, thread_local=False)
        self.is_taken = False
        self.is_exclusive = True

    def take(self) -> bool:
        """Whether it is ours now; False while another queue holds it.

        Where the file system knows no locks it is always ours, with a warning. Raises ``OSError`` where
        nothing can be written beside the part, and ``UnsafeName`` as ``make_helper_directories``.
        """
        for _ in range(_TRIES):
            try:
                make_helper_directories(self._part)
                named = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
            except (FileNotFoundError, FileExistsError):
                continue  # Another download has just removed the directories, which were empty to it.
            try:
                # As long as it is open here, no other file can get its number.
                self._lock.acquire(timeout=0)
                if self._is_named(named):
                    self.is_taken = True
                    return True
                self._lock.release()
            except Timeout:
                return False
            except (FileNotFoundError, FileExistsError):
                continue
            except (OSError, NotImplementedError) as error:
                log.warning("No file can be locked in %s: %s", self._path.parent, error)
                self.is_exclusive = False
                self.is_taken = True
                return True
            finally:
                os.close(named)
        raise FileNotFoundError(f"{self._path} cannot be made: its directory vanishes again and again")

    def release(self) -> None:
        """Give it back and leave nothing behind; nothing happens if it is not ours."""
        if not self.is_taken:
            return
        self.is_taken = False
        if sys.platform == "win32":
            # An open file cannot be removed there: this fails if another has opened it meanwhile.
            self._lock.release()
            self._remove()
        else:
            self._remove()
            self._lock.release()
        remove_helper_directories(self._part)

    def _is_named(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except OSError:
            return False

    def _remove(self) -> None:
        with suppress(OSError):
            os.unlink(self._path)


def discard_unclaimed(part: Path) -> bool:
    """``discard_part``, unless another queue works on it; whether it was done."""
    claim = Claim(part)
    if not claim.take():
        return False
    try:
        discard_part(part)
    finally:
        claim.release()
    return True

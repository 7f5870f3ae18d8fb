"""The SHA-256 of a file that is still being filled, by a thread that follows what is complete.

What was just written is read back from the system's memory. That costs less than hashing a file
afterwards, and the hash is there when the last byte is.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

from ..priority import BESIDE_THE_HOST, lower_priority
from .part import PartFile

_READ = 1 << 20


class TrailingHash:
    """Hashes ``part`` from its beginning. ``hashed``: how far it is. ``error``: why it ended too early."""

    def __init__(self, part: PartFile, size: int) -> None:
        self._part = part
        self._size = size
        self._front = 0
        self._lock = threading.Lock()
        self._hash = hashlib.sha256()
        self._wake = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="model-resolver hash", daemon=True)
        self.hashed = 0
        self.error: Exception | None = None
        self._on_end: Callable[[], None] = lambda: None

    def start(self, on_end: Callable[[], None]) -> None:
        """``on_end`` is called by the thread when it has nothing more to do."""
        self._on_end = on_end
        self._thread.start()

    def advance(self, front: int) -> None:
        """Bytes before ``front`` are complete. From any thread; what is said late takes nothing back."""
        with self._lock:
            self._front = max(self._front, front)
        self._wake.set()

    @property
    def is_done(self) -> bool:
        return self.hashed == self._size

    @property
    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def stop(self) -> None:
        """End it and wait until it has ended. Blocks for one block at most."""
        self._stop = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        lower_priority(BESIDE_THE_HOST)
        try:
            self._follow()
        except Exception as error:
            self.error = error
        finally:
            self._on_end()

    def _follow(self) -> None:
        buffer = memoryview(bytearray(min(_READ, max(1, self._size))))
        while self.hashed < self._size and not self._stop:
            self._wake.clear()
            ready = self._front - self.hashed
            # Small bites would cost more than they bring forward.
            if ready < _READ and self._front < self._size:
                self._wake.wait()
                continue
            block = buffer[: min(ready, len(buffer))]
            count = self._part.read_at(self.hashed, block)
            if not count:
                raise OSError("the part file is shorter than it was")
            self._hash.update(block[:count])
            self.hashed += count

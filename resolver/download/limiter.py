"""The bandwidth limit, shared by all downloads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable


class BandwidthLimiter:
    """At most ``rate`` bytes a second over all callers, first come, first served; None is no limit.

    ``rate`` may be set anew at any time and counts from the next booking on. Each caller books the time
    its bytes take after all bookings before it, and sleeps until it ends. Thread-safe. ``on_rate`` is told
    of a new rate.
    """

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self.on_rate: Callable[[float | None], None] = lambda rate: None
        self._booked_until = 0.0
        self._lock = threading.Lock()

    @property
    def rate(self) -> float | None:
        return self._rate

    @rate.setter
    def rate(self, rate: float | None) -> None:
        self._rate = rate
        self.on_rate(rate)

    @property
    def chunk(self) -> int | None:
        """How many bytes to take at a time so that several downloads share smoothly; None: any number."""
        rate = self.rate
        return None if rate is None else max(16 * 1024, min(1 << 20, int(rate / 16)))

    def book(self, amount: int) -> float:
        """Seconds to wait until ``amount`` bytes more are within the limit."""
        rate = self.rate
        if rate is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._booked_until = max(self._booked_until, now) + amount / rate
            return self._booked_until - now

    async def take(self, amount: int) -> None:
        """Return once ``amount`` bytes more are within the limit."""
        if (seconds := self.book(amount)) > 0:
            await asyncio.sleep(seconds)

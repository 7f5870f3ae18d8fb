"""The bandwidth limit, shared by all downloads."""

from __future__ import annotations

import asyncio
import time


class BandwidthLimiter:
    """At most ``rate`` bytes a second over all callers, first come, first served; None is no limit.

    Each caller books the time its bytes take after all bookings before it, and sleeps until it ends.
    """

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._booked_until = 0.0

    @property
    def chunk(self) -> int | None:
        """How many bytes to take at a time so that several downloads share smoothly; None: any number."""
        return None if self._rate is None else max(16 * 1024, min(1 << 20, int(self._rate / 8)))

    async def take(self, amount: int) -> None:
        """Return once ``amount`` bytes more are within the limit."""
        if self._rate is None:
            return
        now = time.monotonic()
        self._booked_until = max(self._booked_until, now) + amount / self._rate
        await asyncio.sleep(self._booked_until - now)

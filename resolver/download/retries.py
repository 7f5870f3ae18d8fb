"""How often, and when, what time may heal is tried again."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """``attempts`` in a row without progress end a download. Waiting doubles from ``first`` to ``most`` s."""

    attempts: int = 5
    first: float = 1.0
    most: float = 60.0

    def delay(self, failures: int, asked: float | None) -> float:
        """Seconds to wait after that many failures; never less than the server asked for."""
        backoff = min(self.most, self.first * math.pow(2, failures - 1)) * random.uniform(0.5, 1.0)
        return max(backoff, asked or 0.0)

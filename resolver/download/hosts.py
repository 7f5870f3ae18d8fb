"""How hosts fare, over all downloads: how many connections each has, and which are to be left alone."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

_FAILURES = 6

Rests = dict[str, float]
"""By host, the seconds for which it is to be left alone."""


class Hosts:
    """``most``: connections to one host at a time. A circuit breaker each: a host to which connections
    fail six times in a row, whoever made them, gets none for ``rest`` seconds, then one as a trial.

    Used on one loop only. ``on_rest(host, seconds)`` is called when one is to be left alone, and with 0
    when it is not any more: another process may ask it, too.
    """

    def __init__(self, most: int, rest: float = 10.0) -> None:
        self.most = most
        self.usual_rest = rest
        self._open: dict[str, int] = defaultdict(int)
        self._failures: dict[str, int] = defaultdict(int)
        self._rests: dict[str, float] = {}
        self.on_rest: Callable[[str, float], None] = lambda host, seconds: None

    def may_connect(self, host: str, *, first: bool) -> bool:
        """Whether one more connection may be opened. ``first``: a download's only one is never too many."""
        if self._rests.get(host, 0.0) > time.monotonic():
            return False
        if self._failures[host] >= _FAILURES and self._open[host]:
            return False
        return first or self._open[host] < self.most

    @property
    def are_idle(self) -> bool:
        """Whether there is no connection to any of them."""
        return not any(self._open.values())

    def opened(self, host: str) -> None:
        self._open[host] += 1

    def closed(self, host: str) -> None:
        self._open[host] -= 1
        if self._open[host] <= 0:
            del self._open[host]

    def worked(self, host: str) -> None:
        self._failures.pop(host, None)
        if self._rests.pop(host, None) is not None:
            self.on_rest(host, 0.0)

    def failed(self, host: str, rest: float | None = None) -> None:
        """A connection failed; ``rest``: seconds the host itself asked to be left alone."""
        self._failures[host] += 1
        if self._failures[host] >= _FAILURES:
            rest = max(rest or 0.0, self.usual_rest)
        if rest and rest > self.rest(host):
            self._rests[host] = time.monotonic() + rest
            self.on_rest(host, rest)

    def leave_alone(self, host: str, seconds: float) -> None:
        """What another process found out, as it told ``on_rest``."""
        self._rests[host] = time.monotonic() + seconds

    def rest(self, host: str) -> float:
        """Seconds for which ``host`` is left alone."""
        return max(0.0, self._rests.get(host, 0.0) - time.monotonic())

    def rests(self) -> Rests:
        """All that are left alone just now."""
        return {host: rest for host in self._rests if (rest := self.rest(host))}

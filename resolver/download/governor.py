"""How many connections a file is worth: more as long as more of them bring more. No I/O, no clock."""

from __future__ import annotations

_FEW = 2
_WINDOW_SECONDS = 0.15
# When to try more connections once more: soon, since the first look may deceive, then ever later.
_AGAIN_SECONDS, _LATEST_AGAIN_SECONDS = 3.0, 30.0
# Twice as many connections must bring this much more, or the limit lies elsewhere.
_PAYS = 1.2
# This much more is what so many connections bring where each is held back: then all are worth it.
_EACH_PAYS = 1.6


class Governor:
    """``most``: never more than that. ``wanted``: how many there should be now. ``alone``: whether no other
    file is on its way; several begin with one connection each, since together they may fill the line, or
    the processor, already."""

    def __init__(self, most: int, *, alone: bool = True) -> None:
        self._most = most
        self.wanted = min(_FEW if alone else 1, most)
        self._climbing = True
        self._again = _AGAIN_SECONDS
        self._best = (0.0, self.wanted)
        self._begun: tuple[float, int] | None = None

    def observe(self, now: float, received: int) -> None:
        """``received`` bytes are here at ``now``. Call it some twenty times a second."""
        if self._begun is None or received <= self._begun[1]:
            # The silence before the first byte says nothing of the pace.
            self._begun = now, received
            return
        elapsed = now - self._begun[0]
        if elapsed < (_WINDOW_SECONDS if self._climbing else self._again):
            return
        rate = (received - self._begun[1]) / elapsed
        self._begun = now, received
        if not self._climbing:
            # The line may have become wider: measure, and try once more.
            self._best = rate, self.wanted
            self._climb()
        elif rate >= self._best[0] * _PAYS:
            each_pays = self._best[0] > 0 and rate >= self._best[0] * _EACH_PAYS
            self._best = rate, self.wanted
            self._climb(at_once=each_pays)
        else:
            self.wanted, self._climbing = self._best[1], False
            self._again = min(_LATEST_AGAIN_SECONDS, self._again * 2)

    def retreat(self) -> None:
        """A server asks for less, or connections to it fail."""
        self.wanted = max(1, self.wanted // 2)
        self._climbing, self._begun, self._again = False, None, _LATEST_AGAIN_SECONDS

    def _climb(self, *, at_once: bool = False) -> None:
        self._climbing = self.wanted < self._most
        self.wanted = self._most if at_once else min(self._most, self.wanted * 2)

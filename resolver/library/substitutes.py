"""Finding files of the same roles without reading the roles of all names.

Reading a name takes some 50 µs when it is read for the first time, which is a second for a large library. So
only those names are read that hold the wanted name's rarest word of its own. What that misses: a file whose
name has a role in the midst of that word (``ultra_fp16_sharp`` for ``ultrasharp``).
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

from ..roles import Match, RoleIndex, parse_roles

_END = "\0"  # the one character no name holds
_LEAST = 3
# What separates words, and so may stand anywhere in another spelling of a name.
_SEPARATORS = {code: None for code in range(1, 128) if not chr(code).isalnum() and chr(code) != "+"}


class SubstituteIndex:
    """The names of one folder. Thread-safe."""

    def __init__(self, folder: str, names: Iterable[str]) -> None:
        self._folder = folder
        self._names = list(names)
        self._text = (_END.join(self._names) + _END).lower().translate(_SEPARATORS)
        lengths = [len(name) + 1 for name in self._text.split(_END)]
        self._starts = [0, *accumulate(lengths)]
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._all: RoleIndex | None = None

    def find(self, name: str) -> list[Match]:
        """The files that may stand in for ``name``, best first (see ``RoleIndex.find``)."""
        clue = self._clue(name)
        if clue is None:
            # The name is made of roles alone: whose words are none, is seen by reading them only.
            with self._lock:
                index = self._all = self._all or self._index(self._names)
        else:
            index = self._index(self._holding(clue))
        return index.find(name, self._folder)

    def _clue(self, name: str) -> str | None:
        """The rarest word that all files of the same roles must hold."""
        words = parse_roles(name, self._folder).words
        if words[1:] == (name.rpartition(".")[2].lower(),):
            # A name that tells nothing (``x.safetensors``) is equal to the very same only.
            words = ("".join(words),)
        compact = {word.translate(_SEPARATORS) for word in words}
        clues = sorted(word for word in compact if len(word) >= _LEAST)
        return min(clues, key=self._count, default=None)

    def _count(self, clue: str) -> int:
        # Words that many names share, ``safetensors`` above all, are asked for again and again.
        count = self._counts.get(clue)
        if count is None:
            count = self._counts[clue] = self._text.count(clue)
        return count

    def _holding(self, clue: str) -> list[str]:
        found: list[str] = []
        if not self._count(clue):
            return found
        at = self._text.find(clue)
        while at >= 0:
            number = bisect_right(self._starts, at) - 1
            found.append(self._names[number])
            at = self._text.find(clue, self._starts[number + 1])
        return found

    def _index(self, names: Iterable[str]) -> RoleIndex:
        return RoleIndex((self._folder, name) for name in names)

"""The rows of one queue among those of all that share its store, and the parts that go with them.

Everything here blocks, on the store or the disk, and belongs in a thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..store import DownloadRow, DuplicateDestination, Store
from .claims import discard_unclaimed
from .model import UNFINISHED, parts_of
from .owner import Owner
from .plan import duplicate_download, require_space_for


class Records:
    """``reserve``: bytes that stay free on every disk."""

    def __init__(self, store: Store, owner: Owner, reserve: int) -> None:
        self._store = store
        self._owner = owner
        self._reserve = reserve

    def add(self, rows: Sequence[DownloadRow]) -> None:
        """Write new rows, all or none.

        Raises ``DownloadError`` (``NO_SPACE``), ``Conflict`` (``DUPLICATE_DOWNLOAD``).
        """
        require_space_for(rows, self._store.unfinished_downloads(), self._reserve)
        try:
            self._store.add_downloads(rows)
        except DuplicateDestination:
            taken = {row.destination for row in self._store.unfinished_downloads()}
            raise duplicate_download(next((r for r in rows if r.destination in taken), rows[0])) from None

    def own(self) -> list[DownloadRow]:
        """The unfinished ones of this queue."""
        return [row for row in self._store.unfinished_downloads() if row.owner == self._owner.id]

    def adopt(self) -> list[DownloadRow]:
        """The unfinished ones of queues that are gone; they are this queue's from now on."""
        unfinished = self._store.unfinished_downloads()
        former = {row.owner for row in unfinished} - {self._owner.id}
        gone = {owner for owner in former if self._owner.is_gone(owner)}
        if not gone:
            return []
        for owner in gone:
            self._store.adopt_downloads(owner, self._owner.id)
        # Another queue may have been faster.
        theirs = {row.id for row in unfinished if row.owner in gone}
        return [row for row in self.own() if row.id in theirs]

    def wanted_parts(self) -> set[Path]:
        """The parts that a download goes on with, or may be retried with."""
        states = {*UNFINISHED, "failed"}
        return {part for row in self._store.downloads() if row.status in states for part in parts_of(row)}

    def discard_part(self, row: DownloadRow) -> None:
        """Remove the part of ``row``, unless another download to the same place goes on with it.

        What cannot be removed now is found among the orphans.
        """
        others = {other.destination for other in self._store.unfinished_downloads() if other.id != row.id}
        if row.destination not in others:
            for part in parts_of(row):
                with suppress(OSError):
                    discard_unclaimed(part)

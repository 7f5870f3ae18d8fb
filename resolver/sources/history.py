"""Our own history: where a file of this name was downloaded from before, and which content it had."""

from __future__ import annotations

from collections.abc import Iterator

from ..store import Store
from .catalog import Entry


def history_entries(store: Store) -> Iterator[Entry]:
    """The completed downloads that were verified, the newest first. Blocks."""
    for row in store.downloads():
        if row.status == "completed" and row.verified:
            yield Entry(row.filename, row.folder, row.url, row.sha256)

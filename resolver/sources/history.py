"""Our own history: where a file of this name was downloaded from before, and which content it had."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

from ..store import Store
from . import normalise_url
from .catalog import Entry

log = logging.getLogger(__name__)

_SHA256 = re.compile(r"[0-9a-f]{64}")


def history_entries(store: Store) -> Iterator[Entry]:
    """The completed downloads that were verified, the newest first. Blocks.

    What is damaged in the store costs its own row only.
    """
    for row in store.query(
        "SELECT filename, folder, url, sha256 FROM downloads"
        " WHERE status = 'completed' AND verified = 1 ORDER BY seq DESC"
    ):
        name, folder, url, sha256 = row["filename"], row["folder"], row["url"], row["sha256"]
        address = normalise_url(url) if isinstance(url, str) else None
        if not (address and isinstance(name, str) and isinstance(folder, str) and _is_hash(sha256)):
            log.warning("A row of the history is passed over: it is damaged.")
            continue
        yield Entry(name, folder, address, sha256)


def _is_hash(value: Any) -> bool:
    return value is None or (isinstance(value, str) and _SHA256.fullmatch(value) is not None)

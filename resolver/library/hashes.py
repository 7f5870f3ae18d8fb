"""What is known of the files' content: SHA-256s kept in the store, each for as long as its file is unchanged.

A row holds the file's size, mtime and ctime as they were when it was read. Each answer looks at the file
anew, so a hash is never told of a file that was written to since. (ctime: nobody can set it, so that it
shows a change of the same size whose writer put the mtime back.)
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from ..store import Store

SHORT_HASH = 10
"""Hex digits of Civitai's and A1111's *AutoV2*, the beginning of the SHA-256."""

# A disk that is not plugged in today is no reason to read it all again.
_FORGOTTEN_AFTER = 30 * 86400.0
_SEEN_EVERY = 86400.0
_PAGE = 1000  # rows fetched at once
_MANY = 500  # values in one statement; SQLite of old takes 999

_HASH = re.compile(rf"[0-9a-f]{{{SHORT_HASH}}}|[0-9a-f]{{64}}")


def is_hash(text: str) -> bool:
    """Whether ``text``, in lower case, may be a SHA-256 or an AutoV2."""
    return _HASH.fullmatch(text) is not None


def stamp(status: os.stat_result) -> str:
    """What changes whenever a file's content does."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def matches(kept: str, size: int, modified: float) -> bool:
    """Whether a stamp is of a file of this size (bytes) and mtime (Unix time, seconds)."""
    stamped, mtime_ns, _ = kept.split(" ")
    return int(stamped) == size and abs(int(mtime_ns) / 1e9 - modified) < 1e-6


def status_of(path: str) -> os.stat_result | None:
    """``os.stat``, or ``None`` for a file that cannot be reached."""
    with suppress(OSError, ValueError):
        return os.stat(path)
    return None


class SavedRun(NamedTuple):
    """A run of hashing that the user asked for and that has not ended. ``folder``: only that one."""

    folder: str | None
    paused: bool


class FileHashes:
    """The known hashes. Methods block (a stat for each file they are asked about); thread-safe.

    Paths are as the library lists them; SHA-256s are lower-case hex.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def sha256_of(self, path: str) -> str | None:
        """The SHA-256 of the file as it is now, if known."""
        return self.known([path]).get(path)

    def known(self, paths: Iterable[str]) -> dict[str, str]:
        """``{path: sha256}`` of those whose content is known."""
        found = {}
        for path, (kept, sha256) in self._rows(list(paths)).items():
            status = status_of(path)
            if status is not None and stamp(status) == kept:
                found[path] = sha256
        return found

    def current(self, statuses: Mapping[str, os.stat_result]) -> dict[str, str]:
        """The same for files that were just looked at, which also tells the store that they are there."""
        found = {
            path: sha256
            for path, (kept, sha256) in self._rows(list(statuses)).items()
            if stamp(statuses[path]) == kept
        }
        now = time.time()
        with self._store.transaction() as connection:
            connection.executemany(
                "UPDATE file_hashes SET seen_at = ? WHERE path = ? AND seen_at < ?",
                [(now, os.fsencode(path), now - _SEEN_EVERY) for path in found],
            )
        return found

    def stamps(self) -> dict[str, str]:
        """``{path: stamp}`` of all that was read, as the files were then; looks at none of them."""
        found: dict[str, str] = {}
        last = b""
        # In pieces, since whoever else needs the store waits meanwhile.
        while rows := self._store.query(
            "SELECT path, stamp FROM file_hashes WHERE path > ? ORDER BY path LIMIT ?", [last, _PAGE]
        ):
            found.update((os.fsdecode(path), kept) for path, kept in rows)
            last = rows[-1]["path"]
        return found

    def former(self, paths: Iterable[str]) -> dict[str, str]:
        """``{path: sha256}`` as they were last read, whether or not the files were written to since."""
        return {path: sha256 for path, (_, sha256) in self._rows(list(paths)).items()}

    def paths_with(self, beginning: str) -> list[str]:
        """The files whose SHA-256 begins so (all 64 digits: whose content is this), as they are now."""
        rows = self._store.query(
            "SELECT path, stamp FROM file_hashes WHERE sha256 >= ? AND sha256 < ? ORDER BY path",
            [beginning, beginning + "g"],
        )
        return [
            path
            for path, kept in ((os.fsdecode(row["path"]), row["stamp"]) for row in rows)
            if (status := status_of(path)) is not None and stamp(status) == kept
        ]

    def remember(self, path: str, status: os.stat_result, sha256: str) -> None:
        """Keep the SHA-256 of a file; ``status``: as it was while it was read."""
        self.remember_all([(path, status, sha256)])

    def remember_all(self, files: Iterable[tuple[str, os.stat_result, str]]) -> None:
        """The same of several, in one transaction."""
        now = time.time()
        with self._store.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO file_hashes (path, stamp, sha256, seen_at) VALUES (?, ?, ?, ?)",
                [(os.fsencode(path), stamp(status), sha256, now) for path, status, sha256 in files],
            )

    def tidy(self) -> None:
        """Drop the rows of files that have been gone for a month."""
        rows = self._store.query(
            "SELECT path FROM file_hashes WHERE seen_at < ?", [time.time() - _FORGOTTEN_AFTER]
        )
        gone = [(row["path"],) for row in rows if status_of(os.fsdecode(row["path"])) is None]
        if gone:
            with self._store.transaction() as connection:
                connection.executemany("DELETE FROM file_hashes WHERE path = ?", gone)

    # --- the run under way ------------------------------------------------------------------------

    def save_run(self, run: SavedRun | None) -> None:
        """Keep what the user asked for, so that a later process goes on with it; ``None``: it has ended."""
        with self._store.transaction() as connection:
            connection.execute("DELETE FROM hashing_run")
            if run is not None:
                connection.execute("INSERT INTO hashing_run (folder, paused) VALUES (?, ?)", run)

    def saved_run(self) -> SavedRun | None:
        rows = self._store.query("SELECT folder, paused FROM hashing_run")
        return SavedRun(rows[0]["folder"], bool(rows[0]["paused"])) if rows else None

    def _rows(self, paths: Sequence[str]) -> dict[str, tuple[str, str]]:
        found = {}
        for start in range(0, len(paths), _MANY):
            some = [os.fsencode(path) for path in paths[start : start + _MANY]]
            marks = ", ".join("?" * len(some))
            statement = f"SELECT path, stamp, sha256 FROM file_hashes WHERE path IN ({marks})"
            for row in self._store.query(statement, some):
                found[os.fsdecode(row["path"])] = (row["stamp"], row["sha256"])
        return found

"""The store: one SQLite file for what must outlive the process.

Two processes may share it (ComfyUI and the command line): WAL, a busy timeout, short transactions.
It never holds a secret; the file is private all the same. A file that is damaged, or was written by a
newer version of this program, is set aside under another name and a new one is begun.

A new table is one more entry in ``_MIGRATIONS`` and a few methods; its rows are plain dataclasses.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

from filelock import FileLock

from .errors import ResolverError
from .schemas import DownloadStatus

log = logging.getLogger(__name__)

_BUSY_SECONDS = 10.0

# Entry N brings a store of version N to version N + 1 (``PRAGMA user_version``). Entries never change.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE downloads (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            folder TEXT NOT NULL,
            filename TEXT NOT NULL,
            url TEXT NOT NULL,
            mirrors TEXT NOT NULL,
            root TEXT NOT NULL,
            path TEXT NOT NULL,
            destination TEXT NOT NULL,
            stated_size INTEGER,
            stated_sha256 TEXT,
            status TEXT NOT NULL,
            priority INTEGER NOT NULL,
            size INTEGER,
            sha256 TEXT,
            received INTEGER NOT NULL,
            verified INTEGER NOT NULL,
            part_state TEXT,
            error_code TEXT,
            error_message TEXT,
            owner TEXT NOT NULL,
            created_at REAL NOT NULL
        )
        """,
        # Two unfinished downloads never have one destination, whichever processes they belong to.
        """
        CREATE UNIQUE INDEX downloads_destination ON downloads (destination)
        WHERE status IN ('queued', 'active', 'paused', 'verifying')
        """,
    ),
    (
        "ALTER TABLE downloads ADD COLUMN stem TEXT NOT NULL DEFAULT ''",
        # What the part file was called before it had the destination's name. (Of which content it is
        # stands beside it since then; ``part_state`` is left empty.)
        "UPDATE downloads SET stem = id",
    ),
    (
        # Paths as the system has them, in bytes: they need not be text.
        """
        CREATE TABLE file_hashes (
            path BLOB PRIMARY KEY,
            stamp TEXT NOT NULL,
            sha256 TEXT NOT NULL,
            seen_at REAL NOT NULL
        ) WITHOUT ROWID
        """,
        "CREATE INDEX file_hashes_sha256 ON file_hashes (sha256)",
        "CREATE TABLE hashing_run (folder TEXT, paused INTEGER NOT NULL)",
    ),
    (
        # Answers of servers, by the SHA-256 of the question (resolver/sources/cache.py).
        "CREATE TABLE answers (question TEXT PRIMARY KEY, answer TEXT NOT NULL, written_at REAL NOT NULL)"
        " WITHOUT ROWID",
        # What other workflows on this machine say of models (resolver/sources/examples.py).
        "CREATE TABLE workflow_index (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, entries TEXT NOT NULL)"
        " WITHOUT ROWID",
    ),
    (
        # What the installed templates teach (resolver/digest.py).
        "CREATE TABLE template_digest (version TEXT NOT NULL, content TEXT NOT NULL)",
        "CREATE INDEX downloads_sha256 ON downloads (sha256) WHERE status = 'completed'",
    ),
)

_HISTORY = 1000
"""How many finished downloads are kept, of all owners together."""


class DuplicateDestination(Exception):
    """Another unfinished download has this destination."""


@dataclass
class DownloadRow:
    """One download as it is stored. Sizes in bytes, ``created_at`` a Unix timestamp.

    ``url``, ``mirrors``: without tokens and signatures. ``root``: the folder's root it is written
    below; ``path``: where it ends up, as shown; ``destination``: the same with links followed, for
    comparing; ``stem``: what its part file is called. ``stated_*``: what whoever asked for it says;
    ``size``, ``sha256``: the best we know. ``owner``: the queue that works on
    it. ``seq``: order of arrival, given by the store.
    """

    id: str
    folder: str
    filename: str
    url: str
    mirrors: tuple[str, ...]
    root: str
    path: str
    destination: str
    stem: str
    stated_size: int | None
    stated_sha256: str | None
    owner: str
    created_at: float
    status: DownloadStatus = "queued"
    priority: int = 0
    size: int | None = None
    sha256: str | None = None
    received: int = 0
    verified: bool = False
    error_code: str | None = None
    error_message: str | None = None
    seq: int = 0


_UNFINISHED = "status IN ('queued', 'active', 'paused', 'verifying')"
_FINISHED = "status IN ('completed', 'failed', 'cancelled')"
_COLUMNS = [field.name for field in fields(DownloadRow)]
_INSERT = (
    f"INSERT INTO downloads ({', '.join(_COLUMNS[:-1])}) "
    f"VALUES ({', '.join(':' + name for name in _COLUMNS[:-1])})"
)
_UPDATE = f"UPDATE downloads SET {', '.join(f'{name} = :{name}' for name in _COLUMNS[:-1])} WHERE id = :id"


class Store:
    """The open store. All methods block (a few at most milliseconds) and may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises ``ResolverError`` (``STORE_UNAVAILABLE``) if it cannot."""
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # One process at a time looks whether the file is sound, or two would set it aside in turn.
            with FileLock(f"{path}.lock", timeout=_BUSY_SECONDS):
                self._connection = _open(path)
        except (OSError, sqlite3.Error) as error:
            raise ResolverError(
                f"The store {path} cannot be opened: {error}. Check the permissions of its directory.",
                code="STORE_UNAVAILABLE",
            ) from error

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside happens, or nothing; other threads and processes wait."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # Also after a commit that failed, or none would ever begin again; some end it themselves.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def query(self, statement: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """The rows of a SELECT, for who keeps a table of their own."""
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    # --- downloads ------------------------------------------------------------------------------

    def add_downloads(self, rows: Sequence[DownloadRow]) -> None:
        """Insert all or none, and set their ``seq``. Raises ``DuplicateDestination``.

        The oldest finished ones beyond ``_HISTORY`` are forgotten.
        """
        with self.transaction() as connection, _telling_duplicates():
            for row in rows:
                row.seq = connection.execute(_INSERT, _as_record(row)).lastrowid or 0
            connection.execute(
                f"DELETE FROM downloads WHERE {_FINISHED} AND seq <= (SELECT seq FROM downloads "
                f"WHERE {_FINISHED} ORDER BY seq DESC LIMIT 1 OFFSET ?)",
                (_HISTORY,),
            )

    def save_download(self, row: DownloadRow, *, expected: DownloadStatus | None = None) -> bool:
        """Write ``row``; with ``expected`` only if the stored status is that one. Whether it was written.

        Raises ``DuplicateDestination``.
        """
        condition = " AND status = :expected" if expected else ""
        with self.transaction() as connection, _telling_duplicates():
            cursor = connection.execute(_UPDATE + condition, {**_as_record(row), "expected": expected})
            return cursor.rowcount == 1

    def save_downloads(self, rows: Iterable[DownloadRow]) -> None:
        """Write all of ``rows`` or none, in one transaction. Raises ``DuplicateDestination``."""
        with self.transaction() as connection, _telling_duplicates():
            connection.executemany(_UPDATE, [_as_record(row) for row in rows])

    def save_progress(self, progress: Iterable[tuple[str, int, int | None]]) -> None:
        """Write ``(id, received, size)`` of downloads under way, in one transaction."""
        with self.transaction() as connection:
            connection.executemany(
                "UPDATE downloads SET received = ?, size = ? WHERE id = ?",
                [(received, size, name) for name, received, size in progress],
            )

    def downloads(self) -> list[DownloadRow]:
        """The unfinished ones in order of arrival, then the finished ones, the newest first."""
        with self._lock:
            cursor = self._connection.execute(
                f"SELECT *, {_FINISHED} AS finished FROM downloads "
                f"ORDER BY finished, CASE WHEN {_FINISHED} THEN -seq ELSE seq END"
            )
            return [_as_row(record) for record in cursor]

    def downloads_of(self, sha256: str) -> list[DownloadRow]:
        """The completed ones of that content, the newest first."""
        with self._lock:
            cursor = self._connection.execute(
                "SELECT * FROM downloads WHERE status = 'completed' AND sha256 = ? ORDER BY seq DESC",
                (sha256,),
            )
            return [_as_row(record) for record in cursor]

    def download(self, download_id: str) -> DownloadRow | None:
        with self._lock:
            cursor = self._connection.execute("SELECT * FROM downloads WHERE id = ?", (download_id,))
            record = cursor.fetchone()
        return None if record is None else _as_row(record)

    def unfinished_downloads(self) -> list[DownloadRow]:
        """Those queued, active, paused or verifying, of every owner, in order of arrival."""
        with self._lock:
            cursor = self._connection.execute(f"SELECT * FROM downloads WHERE {_UNFINISHED} ORDER BY seq")
            return [_as_row(record) for record in cursor]

    def adopt_downloads(self, former_owner: str, owner: str) -> None:
        """Hand the unfinished downloads of an owner that is gone to another."""
        with self.transaction() as connection:
            connection.execute(
                f"UPDATE downloads SET owner = ? WHERE owner = ? AND {_UNFINISHED}", (owner, former_owner)
            )

    def delete_download(self, download_id: str) -> None:
        with self.transaction() as connection:
            connection.execute("DELETE FROM downloads WHERE id = ?", (download_id,))


def _as_record(row: DownloadRow) -> dict[str, object]:
    return {**vars(row), "mirrors": json.dumps(row.mirrors)}


def _as_row(record: sqlite3.Row) -> DownloadRow:
    values = {name: record[name] for name in _COLUMNS}
    values["mirrors"] = tuple(json.loads(values["mirrors"]))
    values["verified"] = bool(values["verified"])
    return DownloadRow(**values)


@contextmanager
def _telling_duplicates() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise DuplicateDestination from error


def _open(path: Path) -> sqlite3.Connection:
    """A sound, migrated connection; a file that cannot become one is set aside first."""
    for attempt in range(2):
        # SQLite gives its -wal and -shm files the mode of the database.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with suppress(OSError):
            os.chmod(path, 0o600)
        connection = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            reason = _prepare(connection)
        except sqlite3.OperationalError:
            connection.close()
            raise
        except sqlite3.DatabaseError as error:
            reason = str(error)
        if reason is None:
            return connection
        connection.close()
        if attempt == 0:
            _set_aside(path, reason)
    raise sqlite3.DatabaseError(reason)


def _prepare(connection: sqlite3.Connection) -> str | None:
    """Settings and migrations; the reason why this file cannot serve, if so."""
    connection.row_factory = sqlite3.Row
    sound = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if sound != "ok":
        return str(sound)
    # Some network file systems cannot share memory, which WAL needs; the old journal does there.
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")
    # With WAL a crash of the machine may lose the last commits but never the file's soundness.
    connection.execute("PRAGMA synchronous = NORMAL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(_MIGRATIONS):
        return f"it is of version {version}, made by a newer program"
    for number, statements in enumerate(_MIGRATIONS[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    return None


def _set_aside(path: Path, reason: str) -> None:
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    log.warning("The store %s cannot be used (%s). It is kept as %s and begun anew.", path, reason, aside)
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{aside}{suffix}")

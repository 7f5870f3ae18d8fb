"""What is written down of downloads, whatever befalls the store."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from resolver.store import Store


def test_a_commit_that_fails_does_not_close_the_store_to_all_that_follow(tmp_path: Path) -> None:
    """As on a network file system, which has no WAL, where a reader takes longer than we wait."""
    store = Store(tmp_path / "store.sqlite3")
    store.query("PRAGMA journal_mode = DELETE")
    store.query("PRAGMA busy_timeout = 50")
    reader = sqlite3.connect(store.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM hashing_run").fetchall()
    with pytest.raises(sqlite3.OperationalError, match="locked"), store.transaction() as connection:
        connection.execute("INSERT INTO hashing_run (folder, paused) VALUES ('a', 0)")
    reader.close()
    with store.transaction() as connection:
        connection.execute("INSERT INTO hashing_run (folder, paused) VALUES ('b', 0)")
    assert [row["folder"] for row in store.query("SELECT folder FROM hashing_run")] == ["b"]
    store.close()

"""The store survives crashes, damage and company."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from resolver import store as module
from resolver.errors import ResolverError
from resolver.store import DownloadRow, DuplicateDestination, Store

ROOT = Path(__file__).parent.parent


def row(name: str, **fields: object) -> DownloadRow:
    made = DownloadRow(
        id=name,
        folder="loras",
        filename=f"{name}.safetensors",
        url="https://huggingface.co/o/r/resolve/main/x",
        mirrors=("https://a.example/x",),
        root="/m/loras",
        path=f"/m/loras/{name}.safetensors",
        destination=f"/m/loras/{name}.safetensors",
        stem=name,
        stated_size=None,
        stated_sha256=None,
        owner="me",
        created_at=1.5,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def test_rows_come_back_as_they_were_in_order_of_arrival(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "store.sqlite3")
    rows = [row("b", priority=3, size=7, verified=True), row("a")]
    store.add_downloads(rows)
    store.close()
    again = Store(tmp_path / "deep" / "store.sqlite3")
    assert again.downloads() == rows
    assert [found.seq for found in rows] == [1, 2]
    assert again.download("a") == rows[1]
    assert again.download("c") is None
    again.delete_download("a")
    assert again.downloads() == rows[:1]


def test_progress_and_changes_are_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    made = row("a")
    store.add_downloads([made])
    store.save_progress([("a", 5, 9)])
    assert (store.downloads()[0].received, store.downloads()[0].size) == (5, 9)
    assert store.save_download(replace(made, status="failed", error_code="X"), expected="queued")
    assert not store.save_download(replace(made, status="queued"), expected="queued")
    assert store.downloads()[0].error_code == "X"


def test_two_unfinished_downloads_have_no_common_destination(tmp_path: Path) -> None:
    store, other = Store(tmp_path / "s"), Store(tmp_path / "s")
    store.add_downloads([row("a", status="paused")])
    with pytest.raises(DuplicateDestination):
        other.add_downloads([row("c"), row("b", destination="/m/loras/a.safetensors")])
    assert [found.id for found in store.downloads()] == ["a"], "all or none"
    store.save_download(row("a", status="completed"))
    other.add_downloads([row("b", destination="/m/loras/a.safetensors")])
    with pytest.raises(DuplicateDestination):
        store.save_download(row("a", status="queued"))


def test_the_history_is_bounded_and_unfinished_downloads_are_never_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HISTORY", 3)
    store = Store(tmp_path / "s")
    store.add_downloads([row("waiting")])
    for number, status in enumerate(["completed", "failed", "cancelled", "completed", "failed"]):
        store.add_downloads([row(str(number), status=status)])
    assert [found.id for found in store.downloads()] == ["waiting", "4", "3", "2"]


def test_completed_downloads_are_found_by_their_content(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    for name, fields in {
        "a": {"status": "completed", "sha256": "1"},
        "b": {"status": "completed", "sha256": "2"},
        "c": {"status": "failed", "sha256": "1"},
        "d": {"status": "completed", "sha256": "1"},
    }.items():
        store.add_downloads([row(name, **fields)])
    assert [found.id for found in store.downloads_of("1")] == ["d", "a"]


def test_a_store_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "s") as connection:
        for statement in module._MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute("PRAGMA user_version = 1")
        connection.execute(
            "INSERT INTO downloads (id, folder, filename, url, mirrors, root, path, destination, status, "
            "priority, received, verified, owner, created_at) VALUES ('a', 'loras', 'a', 'u', '[]', '/', "
            "'/a', '/a', 'paused', 0, 7, 0, 'me', 1.0)"
        )
    connection.close()
    (found,) = Store(tmp_path / "s").downloads()
    assert (found.id, found.stem, found.received) == ("a", "a", 7)
    assert list(tmp_path.glob("s.damaged-*")) == []


def test_downloads_change_hands(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    store.add_downloads([row("a", owner="x"), row("b", owner="x", status="failed"), row("c", owner="y")])
    store.adopt_downloads("x", "me")
    assert store.downloads()[-1].owner == "x", "what is finished keeps its owner"
    assert [(r.id, r.owner) for r in store.unfinished_downloads()] == [("a", "me"), ("c", "y")]


def test_the_file_is_private(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    store.add_downloads([row("a")])
    for path in tmp_path.glob("s*"):
        if path.name != "s.lock":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


@pytest.mark.parametrize("damage", ["text", "middle", "directory_of_zeros"])
def test_a_damaged_file_is_set_aside_and_begun_anew(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s"
    store = Store(path)
    store.add_downloads([row(str(number)) for number in range(200)])
    store.close()
    content = path.read_bytes()
    if damage == "text":
        path.write_bytes(b"this is no database" * 1000)
    elif damage == "middle":
        path.write_bytes(content[:4096] + b"\xff" * 8192 + content[12288:])
    else:
        path.write_bytes(bytes(len(content)))
    damaged = path.read_bytes()

    again = Store(path)
    assert again.downloads() == []
    again.add_downloads([row("a")])
    assert "set" in caplog.text or "begun anew" in caplog.text
    (aside,) = [found for found in tmp_path.glob("s.damaged-*") if not found.name.endswith(("wal", "shm"))]
    assert aside.read_bytes() == damaged


def test_a_store_of_a_newer_version_is_kept_aside(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "s") as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    assert Store(tmp_path / "s").downloads() == []
    assert list(tmp_path.glob("s.damaged-*"))


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResolverError, match="permissions") as caught:
        Store(tmp_path / "file" / "s")
    assert caught.value.code == "STORE_UNAVAILABLE"


def test_many_threads_may_write(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.add_downloads([row(str(number))]), range(100)))
    assert len(store.downloads()) == 100
    assert [found.seq for found in store.downloads()] == list(range(1, 101))


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")

    def fail() -> None:
        with store.transaction() as connection:
            connection.execute("DELETE FROM downloads")
            raise KeyError

    store.add_downloads([row("a")])
    with pytest.raises(KeyError):
        fail()
    thread = threading.Thread(target=store.save_progress, args=([("a", 1, None)],))
    thread.start()
    thread.join(5)
    assert store.downloads()[0].received == 1


def test_processes_may_share_it_from_the_first_moment(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from resolver.store import Store; "
        "from tests.test_store import row; store = Store(Path(sys.argv[1]));"
        "[store.add_downloads([row(f'{sys.argv[2]}-{n}')]) for n in range(50)]"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "s")]
    others = [subprocess.Popen([*command, str(number)], cwd=ROOT) for number in range(3)]
    assert [other.wait(30) for other in others] == [0, 0, 0]
    assert len(Store(tmp_path / "s").downloads()) == 150

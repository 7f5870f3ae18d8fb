"""Hashing the library: gently, never twice, and never an old hash for a changed file."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resolver.errors import Conflict
from resolver.host.comfyui import ComfyUIHost
from resolver.library import Library, hashes, hashing, reading
from resolver.library.hashes import FileHashes, status_of
from resolver.library.hashing import HashingProgress, LibraryHashing
from resolver.store import Store
from tests.fakes import FakeHost, folder

BLOCK = 4096


class Bench:
    """A library with real files, a real store, and its hashing."""

    def __init__(self, place: Path) -> None:
        self.models = place / "models"
        self.host = FakeHost(
            place, {name: folder(name, self.models / name) for name in ("loras", "vae", "checkpoints")}
        )
        self.store = Store(place / "store.sqlite3")
        self.hashes = FileHashes(self.store)
        self.library = Library(self.host, self.hashes)
        self.told: list[HashingProgress] = []
        self.hashing = self.another()

    def another(self) -> LibraryHashing:
        """As another process has it, on the same data."""
        return LibraryHashing(
            self.library,
            self.hashes,
            self.host.data_directory / "hashing.lock",
            busy=self.host.busy,
            on_progress=self.told.append,
        )

    def put(self, name: str, content: bytes = b"x") -> str:
        path = self.models / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    def hash_all(self) -> HashingProgress:
        self.hashing.start()
        assert self.hashing.wait(30)
        return self.hashing.progress()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.hashing.close()
    made.store.close()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Files are read in small blocks; each function in the list is called once, after one of them."""
    waiting: list[Callable[[], None]] = []
    monkeypatch.setattr(reading, "_BLOCK", BLOCK)

    def after_a_block(descriptor: int, offset: int, count: int) -> None:
        if waiting:
            waiting.pop(0)()

    monkeypatch.setattr(reading, "_forget", after_a_block)
    return waiting


# --- what is known ------------------------------------------------------------------------------


def test_what_was_hashed_is_known_and_not_read_again(bench: Bench) -> None:
    one, two = bench.put("loras/a.safetensors", b"one"), bench.put("vae/b.safetensors", b"two")
    ended = bench.hash_all()
    assert (ended.state, ended.done, ended.total, ended.bytes_done) == ("idle", 2, 2, 6)
    assert bench.hashes.known([one, two]) == {one: sha256(b"one"), two: sha256(b"two")}
    assert bench.hash_all().total == 0


def edit_in_place(path: Path) -> None:
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"B")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def put_another_in_its_place(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"Bbbb")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize(
    "change", [edit_in_place, put_another_in_its_place, lambda path: path.write_bytes(b"longer"), Path.unlink]
)
def test_a_changed_file_is_never_answered_with_an_old_hash(
    bench: Bench, change: Callable[[Path], object]
) -> None:
    path = bench.put("loras/a.safetensors", b"aaaa")
    bench.hash_all()
    change(Path(path))
    assert bench.hashes.sha256_of(path) is None
    assert bench.library.snapshot().with_content(sha256(b"aaaa")) == []
    if Path(path).exists():
        bench.hash_all()
        assert bench.hashes.sha256_of(path) == sha256(Path(path).read_bytes())


def test_a_file_that_is_written_to_while_it_is_read_has_no_hash(
    bench: Bench, blocks: list[Callable[[], None]]
) -> None:
    path = bench.put("loras/a.safetensors", b"a" * BLOCK * 3)
    blocks.append(lambda: edit_in_place(Path(path)))
    ended = bench.hash_all()
    assert (ended.done, ended.failed, bench.hashes.sha256_of(path)) == (1, 1, None)


def test_content_is_found_by_its_hash_and_by_the_beginning_of_it(bench: Bench) -> None:
    path = bench.put("loras/a.safetensors", b"one")
    bench.put("loras/b.safetensors", b"two")
    bench.hash_all()
    library = bench.library.snapshot()
    assert [file.path for file in library.with_content(sha256(b"one"))] == [path]
    assert bench.library.sha256_of(path) == sha256(b"one")
    assert [file.name for file in library.with_content(sha256(b"two")[:10])] == ["b.safetensors"]
    assert library.with_content("0" * 64) == []


def test_content_that_comfyui_cannot_load_is_on_disk_and_no_more(bench: Bench) -> None:
    """A root before its own has a file of its name, so no workflow can be led to it."""
    bench.host.table["loras"] = folder("loras", bench.models / "loras", bench.models / "other")
    bench.put("loras/a.safetensors", b"one")
    hidden = bench.put("other/a.safetensors", b"two")
    bench.hash_all()
    library = bench.library.snapshot()
    assert library.with_content(sha256(b"two")) == []
    assert [file.path for file in library.with_content(sha256(b"two"), on_disk=True)] == [hidden]


def test_rows_of_files_that_are_gone_are_dropped_after_a_month(bench: Bench) -> None:
    kept, gone, lately = (bench.put(f"loras/{name}.safetensors", name.encode()) for name in "abc")
    bench.hash_all()
    with bench.store.transaction() as connection:
        connection.execute(
            "UPDATE file_hashes SET seen_at = ? WHERE path != ?",
            (time.time() - 40 * 86400, os.fsencode(lately)),
        )
    os.unlink(gone)
    os.unlink(lately)
    bench.hash_all()
    assert bench.hashes.former([kept, gone, lately]).keys() == {kept, lately}, (
        "its disk may only be unplugged"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are always text")
def test_names_that_are_no_text_are_hashed(bench: Bench) -> None:
    path = os.fsdecode(os.fsencode(bench.models / "loras") + b"/\xff.safetensors")
    Path(path).write_bytes(b"odd")
    bench.hash_all()
    assert bench.hashes.sha256_of(path) == sha256(b"odd")


# --- reading ------------------------------------------------------------------------------------


def test_a_file_of_several_names_is_read_once(bench: Bench) -> None:
    path = bench.put("loras/a.safetensors", b"one")
    hard, soft = bench.models / "vae/hard.safetensors", bench.models / "vae/soft.safetensors"
    os.link(path, hard)
    soft.symlink_to(path)
    ended = bench.hash_all()
    assert (ended.total, ended.bytes_total) == (1, 3)
    assert bench.hashes.known([path, str(hard), str(soft)]).keys() == {path, str(hard), str(soft)}
    another = bench.models / "vae/another.safetensors"
    another.symlink_to(path)
    assert bench.hash_all().total == 0
    assert bench.hashes.sha256_of(str(another)) == sha256(b"one")


def test_each_disk_has_one_reader_and_all_disks_are_read_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        bench.put(f"loras/{number}.safetensors", b"l%d" % number)
        bench.put(f"vae/{number}.safetensors", b"v%d" % number)

    def on_two_disks(path: str) -> os.stat_result | None:
        status = status_of(path)
        if status is None:
            return None
        fields = list(status)
        fields[2] = 1 if "/loras/" in path else 2  # st_dev
        return os.stat_result(fields, {"st_mtime_ns": status.st_mtime_ns, "st_ctime_ns": status.st_ctime_ns})

    original = hashing.read_sha256
    both = threading.Barrier(2)
    active: list[str] = []
    seen: list[list[str]] = []

    def watched(path: str, turn: reading.Turn) -> tuple[str, os.stat_result]:
        disk = path.split(os.sep)[-2]
        active.append(disk)
        seen.append(sorted(active))
        both.wait(30)
        try:
            return original(path, turn)
        finally:
            active.remove(disk)

    monkeypatch.setattr(hashing, "status_of", on_two_disks)
    monkeypatch.setattr(hashing, "read_sha256", watched)
    ended = bench.hash_all()
    assert (ended.done, ended.failed) == (10, 0)
    assert ["loras", "vae"] in seen
    assert not [disks for disks in seen if disks.count("loras") > 1 or disks.count("vae") > 1]


def test_partitions_of_one_disk_are_one_disk(tmp_path: Path) -> None:
    """As Linux shows them: /sys/dev/block/8:1 leads to …/sda/sda1, which says that it is a partition."""
    for name, number in (("sda/sda1", "8:1"), ("sda/sda2", "8:2"), ("sda", "8:0"), ("dm-0", "253:0")):
        place = tmp_path / "block" / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "dev").write_text(f"{number}\n")
        if "/" in name:
            (place / "partition").write_text("1\n")
        (tmp_path / number).symlink_to(place)

    def disk(major: int, minor: int) -> int:
        return reading.disk_of(os.makedev(major, minor), str(tmp_path))

    assert disk(8, 1) == disk(8, 2) == disk(8, 0) == os.makedev(8, 0)
    assert (disk(253, 0), disk(0, 42)) == (os.makedev(253, 0), os.makedev(0, 42)), "what is none is its own"


def test_what_is_looked_for_is_read_first_then_the_small(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (400, 300, 200, 100):
        bench.put(f"loras/{size}.safetensors", b"x" * size)
    order: list[str] = []
    original = hashing.read_sha256

    def watched(path: str, turn: reading.Turn) -> tuple[str, os.stat_result]:
        order.append(Path(path).stem)
        bench.hashing.prefer([400])  # while the run is under way
        return original(path, turn)

    monkeypatch.setattr(hashing, "read_sha256", watched)
    bench.hashing.prefer([300])
    bench.hash_all()
    assert order == ["300", "400", "100", "200"]


def test_only_the_folder_that_was_asked_for_is_read(bench: Bench) -> None:
    one, other = bench.put("loras/a.safetensors"), bench.put("vae/b.safetensors", b"y")
    bench.hashing.start("loras")
    assert bench.hashing.wait(30)
    assert bench.hashes.known([one, other]).keys() == {one}
    assert bench.hashing.progress().folder == "loras"


def test_what_a_run_would_read_is_known_before_and_no_file_is_looked_at_for_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bench.put("loras/a.safetensors", b"one")
    bench.put("vae/b.safetensors", b"four")
    os.link(path, bench.models / "vae/again.safetensors")
    bench.library.snapshot()
    with monkeypatch.context() as nobody:
        nobody.setattr(os, "open", None)
        nobody.setattr(hashes, "status_of", None)
        assert bench.hashing.unhashed() == (2, 7)
    bench.hash_all()
    assert bench.hashing.unhashed() == (0, 0)
    bench.put("vae/c.safetensors", b"x" * 10)
    Path(path).write_bytes(b"changed")
    os.utime(bench.models / "loras", (1, 1))  # so that it is listed anew
    assert bench.hashing.unhashed() == (2, 17)


def test_a_run_of_one_folder_tells_what_is_left_in_all(
    bench: Bench, blocks: list[Callable[[], None]]
) -> None:
    bench.put("loras/a.safetensors", b"a" * BLOCK)
    gone = bench.put("loras/gone.safetensors", b"g" * BLOCK * 2)
    bench.put("loras/last.safetensors", b"l" * BLOCK * 3)
    bench.put("vae/b.safetensors", b"y" * 5)
    seen = []

    def at_the_last() -> None:
        seen.append(bench.hashing.progress().unhashed)

    blocks.extend([lambda: os.unlink(gone), at_the_last])
    bench.hashing.start("loras")
    assert bench.hashing.wait(30)
    # The first is read, the second could not be, the third is not done, and the other folder's is none of it.
    assert seen == [(3, BLOCK * 5 + 5)]
    assert bench.hashing.progress().unhashed is None, "files may come and go from now on"
    assert bench.hashing.unhashed() == (1, 5)


def test_what_cannot_be_read_is_counted_and_holds_nothing_up(bench: Bench) -> None:
    path = bench.put("loras/a.safetensors")
    os.mkfifo(bench.models / "loras/pipe.safetensors")
    gone = bench.put("loras/gone.safetensors", b"yy")
    bench.library.snapshot()
    bench.hashing.start(paused=True)
    until(lambda: bench.hashing.progress().total == 2)
    os.unlink(gone)
    bench.hashing.resume()
    assert bench.hashing.wait(30)
    ended = bench.hashing.progress()
    assert (ended.done, ended.total, ended.failed) == (2, 2, 1)
    assert bench.hashes.sha256_of(path) is not None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")
def test_its_threads_have_the_lowest_priority_and_no_other_has(
    bench: Bench, blocks: list[Callable[[], None]]
) -> None:
    bench.put("loras/a.safetensors")
    priorities: list[int] = []
    before = os.getpriority(os.PRIO_PROCESS, 0)
    blocks.append(lambda: priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
    bench.hash_all()
    assert (priorities, os.getpriority(os.PRIO_PROCESS, 0)) == ([19], before)


# --- the user's word ----------------------------------------------------------------------------


def test_nothing_is_read_while_paused_and_all_afterwards(
    bench: Bench, blocks: list[Callable[[], None]]
) -> None:
    path = bench.put("loras/a.safetensors", b"a" * BLOCK * 4)
    blocks.append(lambda: bench.hashing.pause() and None)
    bench.hashing.start()
    until(lambda: bench.hashing.progress().bytes_done == BLOCK)
    assert not bench.hashing.wait(0.5), "it must not go on by itself"
    paused = bench.hashing.progress()
    assert (paused.state, paused.bytes_done, paused.bytes_total) == ("paused", BLOCK, BLOCK * 4)
    assert bench.hashing.start().state == "running", "starting again resumes"
    assert bench.hashing.wait(30)
    assert bench.hashes.sha256_of(path) == sha256(b"a" * BLOCK * 4)


def test_it_waits_while_others_are_at_work(bench: Bench, blocks: list[Callable[[], None]]) -> None:
    path = bench.put("loras/a.safetensors", b"a" * BLOCK * 4)

    def others_begin() -> None:
        bench.host.is_busy = True
        until(lambda: bench.hashing.progress().state == "waiting")

    blocks.append(others_begin)
    bench.hashing.start()
    assert not bench.hashing.wait(0.5), "it must not go on meanwhile"
    until(lambda: bench.hashing.progress().bytes_done == BLOCK)
    assert not bench.hashing.wait(0.5)
    assert (bench.hashing.progress().bytes_done, bench.hashes.sha256_of(path)) == (BLOCK, None)
    bench.host.is_busy = False
    assert bench.hashing.wait(30)
    assert bench.hashes.sha256_of(path) == sha256(b"a" * BLOCK * 4)


def test_comfyui_is_at_work_while_its_queue_holds_a_workflow(
    comfy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = ComfyUIHost()
    assert host.busy() is False, "there is no server to ask"
    prompts = importlib.import_module("prompt_queue").PromptQueue(SimpleNamespace(queue_updated=lambda: None))
    instance = SimpleNamespace(instance=SimpleNamespace(prompt_queue=prompts))
    monkeypatch.setitem(sys.modules, "server", SimpleNamespace(PromptServer=instance))
    assert host.busy() is False
    prompts.put((0, "id", {}, {}, []))
    assert host.busy() is True


def test_cancelling_keeps_what_was_found_and_the_rest_is_read_next_time(
    bench: Bench, blocks: list[Callable[[], None]]
) -> None:
    small, large = bench.put("loras/a.safetensors"), bench.put("loras/b.safetensors", b"b" * BLOCK * 3)
    blocks += [lambda: None, lambda: bench.hashing.pause() and None]
    bench.hashing.start()
    until(lambda: bench.hashing.progress().state == "paused")
    ended = bench.hashing.cancel()
    assert (ended.state, ended.done, ended.total) == ("idle", 1, 2)
    assert bench.hashes.known([small, large]).keys() == {small}
    bench.another().go_on(anyway=False)
    assert bench.hashes.saved_run() is None, "what was cancelled is not gone on with"
    assert bench.hash_all().total == 1


def test_a_run_that_the_end_of_the_process_cut_off_goes_on_in_the_next(
    bench: Bench, blocks: list[Callable[[], None]]
) -> None:
    small, large = bench.put("loras/a.safetensors"), bench.put("loras/b.safetensors", b"b" * BLOCK * 3)
    blocks += [lambda: None, lambda: bench.hashing.pause() and None]
    bench.hashing.start("loras")
    until(lambda: bench.hashing.progress().state == "paused")
    bench.hashing.close()

    later = bench.another()
    later.go_on(anyway=False)
    until(lambda: later.progress().total == 1)
    assert (later.progress().state, later.progress().folder) == ("paused", "loras")
    later.resume()
    assert later.wait(30)
    assert bench.hashes.known([small, large]).keys() == {small, large}
    assert bench.hashes.saved_run() is None


def test_at_the_start_nothing_is_read_unasked_but_where_it_is_set(bench: Bench) -> None:
    path = bench.put("loras/a.safetensors")
    bench.hashing.go_on(anyway=False)
    assert bench.hashing.progress() == HashingProgress()
    bench.hashing.go_on(anyway=True)
    assert bench.hashing.wait(30)
    assert bench.hashes.sha256_of(path) is not None


def test_a_second_run_is_refused_here_and_in_another_process(bench: Bench) -> None:
    bench.put("loras/a.safetensors")
    bench.hashing.start(paused=True)
    for attempt in (lambda: bench.hashing.start("vae"), bench.another().start):
        with pytest.raises(Conflict) as caught:
            attempt()
        assert caught.value.code == "HASHING_RUNS"
    bench.hashing.cancel()
    other = bench.another()
    other.start()
    assert other.wait(30)


def test_the_end_is_told_last(bench: Bench) -> None:
    bench.put("loras/a.safetensors", b"abc")
    bench.hash_all()
    until(lambda: bool(bench.told) and bench.told[-1].state == "idle")
    last = bench.told[-1]
    assert (last.done, last.total, last.bytes_done, last.bytes_total) == (1, 1, 3, 3)

"""The process beside the host's: what moves there arrives, whatever happens to either of the two."""

from __future__ import annotations

import asyncio
import operator
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from resolver.app import CLOSE_SECONDS
from resolver.download import beside, messages
from resolver.download import part as part_module
from resolver.download import queue as queue_module
from resolver.download.part import PartFile, part_path
from resolver.priority import BACKGROUND, BESIDE_THE_HOST
from tests.beside_fixtures import CONTENT, KNOWN, MIB, NAME, gone, right, slow, until, workers
from tests.download_fixtures import item, running
from tests.fault_server import FaultServer, Remote
from tests.leaks import nothing_left_behind

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as running_server:
        yield running_server


@contextmanager
def forked() -> Iterator[None]:
    """A copy of this process that does nothing, and has all files open that this one has."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    try:
        yield
    finally:
        os.close(write)
        os.waitpid(child, 0)
        os.close(read)


async def test_bytes_move_in_one_process_which_ends_with_the_queue(
    tmp_path: Path, server: FaultServer
) -> None:
    async with nothing_left_behind():
        async with running(tmp_path, server.place, beside_host=True) as bench:
            assert workers() == [], "nothing is started before there is something to do"
            urls = [server.put(f"/{number}.safetensors", slow()) for number in range(2)]
            both = await bench.queue.submit(
                [item(url, f"{number}.safetensors", size=len(CONTENT)) for number, url in enumerate(urls)]
            )
            await bench.under_way(both[0], 8 * MIB)
            await bench.under_way(both[1], 8 * MIB)
            (worker,) = workers()
            holds = {Path(file.path).name for file in worker.open_files()}
            assert {path.name for path in bench.parts()} <= holds
            if sys.platform == "linux":
                assert worker.nice() == min(BACKGROUND, psutil.Process().nice() + BESIDE_THE_HOST)
            for download in both:
                assert (await bench.ended(download)).status == "completed"
            assert set(bench.files().values()) == {CONTENT}
            assert workers() == [worker], "it waits for more to do"
        assert not worker.is_running()


async def test_it_leaves_when_there_is_nothing_to_do_and_comes_again(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "_IDLE_SECONDS", 0.3)
    url = server.put("/model.safetensors", Remote(CONTENT))
    async with running(tmp_path, server.place, beside_host=True) as bench:
        seen = set()
        for number in range(2):
            # Without the hash: else it would be copied from the first one.
            download = await bench.fetch(url, f"{number}.safetensors", size=len(CONTENT))
            assert download.status == "completed", download.error
            (worker,) = workers()
            seen.add(worker.pid)
            await gone(worker)
        assert len(seen) == 2


@pytest.mark.parametrize("killed_at", [1, 4 * MIB, 12 * MIB])
async def test_when_it_is_killed_the_download_goes_on_from_what_had_come(
    tmp_path: Path, server: FaultServer, killed_at: int
) -> None:
    remote = slow()
    async with running(tmp_path, server.place, beside_host=True) as bench:
        (download,) = await bench.queue.submit([item(server.put("/model.safetensors", remote), **KNOWN)])
        await bench.under_way(download, killed_at)
        (worker,) = workers()
        worker.kill()
        assert (await bench.ended(download)).status == "completed"
        assert [process.pid for process in workers()] != [worker.pid]
        right(bench)
    codes = {event.error.code for event in bench.events if event.error}
    assert codes == {"FETCHER_LOST"}
    # What a kill may cost: bytes under way, and not yet written down.
    assert remote.served <= len(CONTENT) + 3 * MIB


@pytest.mark.parametrize("reader", ["host", "process"])
async def test_when_it_says_or_is_told_what_cannot_be_read_it_ends(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    """As where the pack was updated under a host that still runs: else the download would wait for ever."""
    async with running(tmp_path, server.place, beside_host=True) as bench:
        (download,) = await bench.queue.submit([item(server.put("/model.safetensors", slow()), **KNOWN)])
        await bench.under_way(download, 6 * MIB)
        (process,) = workers()
        if reader == "process":
            bench.queue._filler._worker.tell(Unreadable())  # type: ignore[attr-defined]
        else:
            with monkeypatch.context() as patch:
                patch.setattr(messages._Unpickler, "load", unreadable)
                await gone(process)
        assert (await bench.ended(download)).status == "completed"
        assert process not in workers()
        right(bench)


class Unreadable:
    def __reduce__(self) -> tuple[Any, ...]:
        return operator.truediv, (1, 0)


def unreadable(reader: Any) -> object:
    raise AttributeError("no such class")


async def test_when_it_is_killed_again_and_again_it_is_said(tmp_path: Path, server: FaultServer) -> None:
    async def act(exchange: Any) -> None:
        for worker in workers():
            worker.kill()
        await Remote(CONTENT)(exchange)

    async with running(tmp_path, server.place, beside_host=True) as bench:
        # The first connection, from this process, is honest; those from the other one kill it.
        asked = 0

        async def first_honest(exchange: Any) -> None:
            nonlocal asked
            asked += 1
            await (act if workers() else Remote(CONTENT))(exchange)

        download = await bench.fetch(server.put("/model.safetensors", first_honest), **KNOWN)
        assert download.status == "failed"
        assert download.error is not None
        assert download.error.code == "FETCHER_LOST"
        assert bench.files() == {}


async def test_a_host_that_is_killed_takes_it_along(tmp_path: Path, server: FaultServer) -> None:
    """And nobody writes to the part any more, which the next process goes on with."""
    remote = slow()
    url = server.put("/model.safetensors", remote)
    script = (
        "import sys; from pathlib import Path; from tests.kill_child import download\n"
        f"download(Path(sys.argv[1]), {server.place!r}, {{'folder': 'loras', 'filename': {NAME!r}, "
        f"'url': {url!r}, 'sha256': {KNOWN['sha256']!r}}}, serves=True)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    host = await asyncio.create_subprocess_exec(*command, cwd=CHECKOUT)
    await remote.until(6 * MIB)
    (worker,) = workers(host.pid)
    host.kill()
    await host.wait()
    await gone(worker)
    served = remote.served
    again = await asyncio.create_subprocess_exec(*command, cwd=CHECKOUT)
    assert await again.wait() == 0
    assert (tmp_path / "models" / "loras" / NAME).read_bytes() == CONTENT
    assert remote.served - served <= len(CONTENT) - 4 * MIB, "what had come was gone on with"


async def test_it_leaves_though_a_process_forked_meanwhile_keeps_its_pipe(
    tmp_path: Path, server: FaultServer
) -> None:
    with ExitStack() as stack:
        async with running(tmp_path, server.place, beside_host=True) as bench:
            await bench.fetch(server.put("/model.safetensors", Remote(CONTENT)), **KNOWN)
            process = bench.queue._filler._worker._process  # type: ignore[attr-defined]
            assert process.poll() is None
            stack.enter_context(forked())
        assert process.returncode == 0, "it had to be killed"


@pytest.mark.parametrize("how", ["pause", "cancel"])
async def test_what_is_paused_or_cancelled_is_not_written_to_any_more(
    tmp_path: Path, server: FaultServer, how: str
) -> None:
    async with running(tmp_path, server.place, beside_host=True) as bench:
        (download,) = await bench.queue.submit([item(server.put("/model.safetensors", slow()), **KNOWN)])
        await bench.under_way(download, 2 * MIB)
        (part,) = bench.parts()
        stopped = await (bench.queue.pause if how == "pause" else bench.queue.cancel)(download.id)
        (worker,) = workers()
        assert [file.path for file in worker.open_files() if part.stem in file.path] == []
        if how == "cancel":
            assert bench.parts() == []
            return
        assert stopped.received >= 2 * MIB
        await bench.queue.resume(download.id)
        assert (await bench.ended(download)).status == "completed"
        right(bench)


async def test_one_that_does_not_stop_is_killed(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the program, which ends, has waited long enough."""
    assert beside._PATIENCE_SECONDS + beside._END_SECONDS < CLOSE_SECONDS
    monkeypatch.setattr(beside, "_PATIENCE_SECONDS", 0.5)
    async with running(tmp_path, server.place, beside_host=True) as bench:
        (download,) = await bench.queue.submit([item(server.put("/model.safetensors", slow()), **KNOWN)])
        await bench.under_way(download, 6 * MIB)
        (worker,) = workers()
        worker.suspend()
        paused = await asyncio.wait_for(bench.queue.pause(download.id), 10)
        assert (paused.status, workers()) == ("paused", [])
        await bench.queue.resume(download.id)
        assert (await bench.ended(download)).status == "completed"
        right(bench)


async def test_a_limit_set_meanwhile_counts_there(tmp_path: Path, server: FaultServer) -> None:
    """One limit for both processes: each booking is made in this one."""
    async with running(tmp_path, server.place, beside_host=True) as bench:
        (download,) = await bench.queue.submit([item(server.put("/model.safetensors", slow()), **KNOWN)])
        await bench.under_way(download, 2 * MIB)
        bench.queue.set_bandwidth_limit(100_000)
        limiter = bench.queue._limiter
        # Each connection books what it has, and waits for seconds then.
        await asyncio.wait_for(until(lambda: limiter._booked_until > time.monotonic() + 1), 10)
        bench.queue.set_bandwidth_limit(None)
        await bench.queue.pause(download.id)
        await bench.queue.resume(download.id)
        assert (await bench.ended(download)).status == "completed"
        right(bench)


async def test_a_part_that_is_removed_while_nobody_has_it_open_is_not_made_up(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had come is zeros in a new one."""
    async with running(tmp_path, server.place, beside_host=True) as bench:
        url = server.put("/model.safetensors", slow())
        (download,) = await bench.queue.submit([item(url, size=len(CONTENT))])
        await bench.under_way(download, 8 * MIB)
        await bench.queue.pause(download.id)

        tell = beside._Worker.tell

        def remove_and_tell(worker: beside._Worker, message: object) -> None:
            if isinstance(message, messages.Begin):
                message.errand.part.unlink()
            tell(worker, message)

        monkeypatch.setattr(beside._Worker, "tell", remove_and_tell)
        await bench.queue.resume(download.id)
        failed = await bench.ended(download)
        assert (failed.status, failed.error and failed.error.code) == ("failed", "DISK_ERROR")
        assert bench.files() == {}
        monkeypatch.undo()
        await bench.queue.retry(download.id)
        assert (await bench.ended(download)).status == "completed"
        right(bench)


def test_a_process_forked_meanwhile_does_not_keep_a_part_locked(tmp_path: Path) -> None:
    path = part_path(tmp_path, "x")
    first = PartFile(path)
    first.open()
    with forked():
        first.close()
        again = PartFile(path)
        again.open()
        again.close()


async def test_one_that_falls_silent_is_killed_and_the_download_goes_on(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "_SILENT_SECONDS", 3.0)
    monkeypatch.setattr(beside, "_LOOK_SECONDS", 0.2)
    async with running(tmp_path, server.place, beside_host=True) as bench:
        (download,) = await bench.queue.submit([item(server.put("/model.safetensors", slow()), **KNOWN)])
        await bench.under_way(download, 6 * MIB)
        (worker,) = workers()
        worker.suspend()
        assert (await bench.ended(download)).status == "completed"
        assert worker.pid not in [process.pid for process in workers()]
        right(bench)


async def test_a_part_that_a_dying_process_holds_is_waited_for_however_long(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_module, "_LOCK_TRIES", 1)
    monkeypatch.setattr(queue_module, "_LOOK_AGAIN_SECONDS", 0.01)
    remote = slow()
    async with running(tmp_path, server.place, beside_host=True) as bench:
        (download,) = await bench.queue.submit([item(server.put("/model.safetensors", remote), **KNOWN)])
        await bench.under_way(download, 6 * MIB)
        await bench.queue.pause(download.id)
        dying = PartFile(bench.part_of(download))
        dying.open()
        before = len(bench.events)
        await bench.queue.resume(download.id)
        # More often than what time may heal is tried.
        await asyncio.wait_for(
            until(lambda: sum(e.error is not None for e in bench.events[before:]) >= 10), 20
        )
        waits = await bench.until(lambda now: now.error is not None, download.id)
        assert waits.error is not None
        assert (waits.status, waits.error.code) == ("queued", "DOWNLOADING_ELSEWHERE")
        dying.close()
        assert (await bench.ended(download)).status == "completed"
        right(bench)
    assert remote.served <= len(CONTENT) + 3 * MIB, "what had come was gone on with"

"""The process beside the host's: what moves there arrives, whatever happens to either of the two."""

from __future__ import annotations

import asyncio
import operator
import os
import subprocess
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
from resolver.download.part import PartFile, part_path
from resolver.priority import BESIDE_THE_HOST
from tests.download_fixtures import Bench, item, model, running, sha256
from tests.fault_server import FaultServer, Remote
from tests.leaks import nothing_left_behind

CHECKOUT = Path(__file__).resolve().parent.parent
MIB = 1 << 20
CONTENT = model(24 * MIB)
NAME = "sub/model.safetensors"
KNOWN = {"size": len(CONTENT), "sha256": sha256(CONTENT)}


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as running_server:
        yield running_server


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the process is told to begin something."""
    event = asyncio.Event()

    class Worker(beside._Worker):
        def tell(self, message: object) -> None:
            super().tell(message)
            if isinstance(message, messages.Begin):
                event.set()

    monkeypatch.setattr(beside, "_Worker", Worker)
    return event


def slow() -> Remote:
    """Some 10 MB/s a connection."""
    return Remote(CONTENT, piece=64 * 1024, pause=0.006)


def workers(of: int | None = None) -> list[psutil.Process]:
    """The processes that fetch for process ``of``, or for this one."""
    return [
        process
        for process in psutil.Process(of).children()
        if "download.worker" in " ".join(process.cmdline())
    ]


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


async def gone(process: psutil.Process) -> None:
    for _ in range(1000):
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{process} still runs")


def right(bench: Bench) -> None:
    assert bench.files() == {NAME: CONTENT}
    assert bench.parts() == []


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
                assert worker.nice() == max(BESIDE_THE_HOST, psutil.Process().nice())
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


@pytest.mark.parametrize("is_there", [False, True])
async def test_what_is_paused_as_it_begins_is_not_waited_for(
    tmp_path: Path, server: FaultServer, begun: asyncio.Event, is_there: bool
) -> None:
    """Then the process is told to cancel what it has just been told to begin, or not heard of yet."""
    async with running(tmp_path, server.place, beside_host=True) as bench:
        url = server.put("/model.safetensors", Remote(CONTENT))
        if is_there:
            await bench.fetch(url, "other.safetensors", size=len(CONTENT))
            begun.clear()
        (download,) = await bench.queue.submit([item(url, size=len(CONTENT))])
        await begun.wait()
        paused = await asyncio.wait_for(bench.queue.pause(download.id), 10)
        assert paused.status == "paused"
        await bench.queue.resume(download.id)
        assert (await bench.ended(download)).status == "completed"
        assert set(bench.files().values()) == {CONTENT}


async def test_what_one_connection_had_brought_is_kept_though_it_never_comes_up(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch, begun: asyncio.Event
) -> None:
    """It is paused, or the host ends, while the process starts that would go on with it in pieces."""
    remote = Remote(CONTENT, ranges=False, piece=64 * 1024, pause=0.005)
    async with running(tmp_path, server.place, beside_host=True) as bench:
        (download,) = await bench.queue.submit([item(server.put("/model.safetensors", remote), **KNOWN)])
        await bench.under_way(download, 8 * MIB)
        kept = (await bench.queue.pause(download.id)).received
        remote.pause, remote.ranges = 0, True
        with monkeypatch.context() as patch:
            patch.setattr(beside, "_BOOT", "import time; time.sleep(60)")
            patch.setattr(beside, "_COME_SECONDS", 0.5)
            await bench.queue.resume(download.id)
            await begun.wait()
            await bench.queue.pause(download.id)
        served = remote.served
        await bench.queue.resume(download.id)
        assert (await bench.ended(download)).status == "completed"
        right(bench)
    assert remote.served - served <= len(CONTENT) - kept + MIB


async def test_a_limit_set_meanwhile_counts_there(tmp_path: Path, server: FaultServer) -> None:
    """One limit for both processes: each booking is made in this one."""
    async with running(tmp_path, server.place, beside_host=True) as bench:
        (download,) = await bench.queue.submit([item(server.put("/model.safetensors", slow()), **KNOWN)])
        await bench.under_way(download, 2 * MIB)
        bench.queue.set_bandwidth_limit(100_000)
        limiter = bench.queue._limiter
        # Each connection books what it has, and waits for seconds then.
        await asyncio.wait_for(_until(lambda: limiter._booked_until > time.monotonic() + 1), 10)
        bench.queue.set_bandwidth_limit(None)
        await bench.queue.pause(download.id)
        await bench.queue.resume(download.id)
        assert (await bench.ended(download)).status == "completed"
        right(bench)


async def test_a_limit_set_while_it_starts_counts_there(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = beside._Worker.start
    async with running(tmp_path, server.place, beside_host=True) as bench:

        def start_and_limit(worker: beside._Worker) -> None:
            start(worker)
            bench.queue.set_bandwidth_limit(100_000)

        monkeypatch.setattr(beside._Worker, "start", start_and_limit)
        (download,) = await bench.queue.submit([item(server.put("/model.safetensors", slow()), **KNOWN)])
        limiter = bench.queue._limiter
        await asyncio.wait_for(_until(lambda: limiter._booked_until > time.monotonic() + 1), 10)
        await bench.queue.cancel(download.id)


async def _until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110  # What is waited for happens in a thread.
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("executable", ["", "/opt/painter/painter", "/nowhere/python3"])
async def test_where_no_process_can_be_started_threads_do_it(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    async with running(tmp_path, server.place, beside_host=True) as bench:
        download = await bench.fetch(server.put("/model.safetensors", Remote(CONTENT)), **KNOWN)
        assert download.status == "completed", download.error
        assert workers() == []
        right(bench)


@pytest.mark.parametrize("boot", ["raise SystemExit(1)", "import time; time.sleep(60)"])
async def test_where_it_does_not_come_up_threads_do_it(
    tmp_path: Path,
    server: FaultServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    boot: str,
) -> None:
    monkeypatch.setattr(beside, "_BOOT", boot)
    monkeypatch.setattr(beside, "_COME_SECONDS", 0.5)
    async with running(tmp_path, server.place, beside_host=True) as bench:
        download = await bench.fetch(server.put("/model.safetensors", Remote(CONTENT)), **KNOWN)
        assert download.status == "completed", download.error
        right(bench)
    assert [record.message for record in caplog.records if "does not start" in record.message]


@pytest.mark.parametrize("name", ["queue", "logging"])
async def test_it_comes_up_whatever_node_packs_put_on_the_path(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The host had loaded the standard library before."""
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / f"{name}.py").write_text("raise SystemExit('not of the standard library')")
    monkeypatch.syspath_prepend(tmp_path / "pack")
    async with running(tmp_path, server.place, beside_host=True) as bench:
        download = await bench.fetch(server.put("/model.safetensors", Remote(CONTENT)), **KNOWN)
        assert download.status == "completed", download.error
        assert len(workers()) == 1
        right(bench)


async def test_a_token_is_not_shown_by_the_system(tmp_path: Path, server: FaultServer) -> None:
    """It goes through the pipe, not into arguments or environment, which others may read."""
    secret = "hf_a-very-secret-token"
    options = {"beside_host": True, "credentials": lambda provider: secret}
    endpoint = f"http://{server.place}"
    async with running(tmp_path, server.place, hf_endpoint=endpoint, **options) as bench:
        url = server.put("/owner/repo/resolve/main/model.safetensors", slow())
        (download,) = await bench.queue.submit([item(url, **KNOWN)])
        await bench.under_way(download, 6 * MIB)
        (worker,) = workers()
        assert secret not in " ".join(worker.cmdline())
        assert secret not in " ".join(worker.environ().values())
        assert (await bench.ended(download)).status == "completed"
    sent = {exchange.headers.get("authorization") for exchange in server.sent("GET")}
    assert sent == {f"Bearer {secret}"}, "the connections of the other process sent it"


def test_it_runs_under_whatever_name_comfyui_gives_the_pack(tmp_path: Path) -> None:
    """And finds what is on the path of this process only."""
    script = f"""
import asyncio, importlib.util, sys
name = "/opt/custom_nodes/Any folder-name_x_v2"
spec = importlib.util.spec_from_file_location(
    name, {str(CHECKOUT / "resolver" / "__init__.py")!r}, submodule_search_locations=[{str(CHECKOUT)!r}]
)
sys.modules[name] = importlib.util.module_from_spec(spec)
sys.path.remove("")
async def main():
    tools = importlib.import_module(name + ".resolver.download.crew").Tools
    module = lambda words: importlib.import_module(f"{{name}}.resolver.{{words}}")
    tools = tools(
        module("download.limiter").BandwidthLimiter(None), module("download.hosts").Hosts(1),
        module("net.wire").WirePool(), module("download.retries").RetryPolicy(),
    )
    beside = module("download.beside").Beside(tools)
    worker = await beside._hire()
    while not worker._is_ready:
        assert worker.is_here, "it ended"
        await asyncio.sleep(0.01)
    await beside.close()
    print("came and went")
asyncio.run(main())
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.stdout, ran.stderr) == ("came and went\n", "")


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

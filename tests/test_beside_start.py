"""How the process beside the host's comes up, or does not, and what it is told then."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from resolver.download import beside, messages
from resolver.download import worker as worker_module
from resolver.download.retries import RetryPolicy
from tests.beside_fixtures import CONTENT, KNOWN, MIB, right, slow, until, workers
from tests.download_fixtures import item, running
from tests.fault_server import Exchange, FaultServer, Remote, answers

CHECKOUT = Path(__file__).resolve().parent.parent


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
        await asyncio.wait_for(until(lambda: limiter._booked_until > time.monotonic() + 1), 10)
        await bench.queue.cancel(download.id)


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
    monkeypatch.setattr(beside, "_LOOK_SECONDS", 0.1)
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


def test_what_hosts_asked_of_this_process_counts_there() -> None:
    """Told at the start, and later; and what they ask of that one is told back."""
    back = io.BytesIO()
    there = worker_module._Worker(messages.Pen(back))
    there._take(messages.SetUp(8, 10.0, {"a.example": 30.0}, RetryPolicy(), None))
    there._take(messages.Rest("b.example", 20.0))
    assert set(there._hosts.rests()) == {"a.example", "b.example"}
    assert 29 < there._hosts.rest("a.example") <= 30
    there._take(messages.Rest("a.example", 0.0))
    there._hosts.failed("c.example", 40.0)
    assert set(there._hosts.rests()) == {"b.example", "c.example"}
    told = list(messages.read_messages(io.BytesIO(back.getvalue())))
    assert told == [messages.Ready(), messages.Rest("c.example", 40.0)]


async def test_what_a_host_asks_of_that_process_counts_here(tmp_path: Path, server: FaultServer) -> None:
    honest, refusing = Remote(CONTENT), answers(429, {"Retry-After": "30"})

    async def act(exchange: Exchange) -> None:
        await (refusing if workers() else honest)(exchange)

    async with running(tmp_path, server.place, beside_host=True) as bench:
        (download,) = await bench.queue.submit([item(server.put("/model.safetensors", act), **KNOWN)])
        hosts = bench.queue._filler._tools.hosts  # type: ignore[attr-defined]
        await asyncio.wait_for(until(lambda: hosts.rest("127.0.0.1") > 20), 20)
        await bench.queue.cancel(download.id)

"""The check for leaks itself, and what downloads hold after they have ended in each way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from resolver.schemas import Download
from tests.download_fixtures import Bench, item, model, running
from tests.fault_server import FaultServer, Remote, answers
from tests.leaks import nothing_left_behind

CONTENT = model(1_000_000)
NAME = "model.safetensors"

End = Callable[..., Awaitable[None]]


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as running_server:
        yield running_server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.leaks._PATIENCE", 0.0)


async def test_an_open_file_is_noticed(tmp_path: Path, impatient: None) -> None:
    with pytest.raises(AssertionError, match=r"1 x file .*/kept"):
        async with nothing_left_behind():
            file = (tmp_path / "kept").open("w")
    file.close()


async def test_a_running_thread_is_noticed(impatient: None) -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="forgotten")
    with pytest.raises(AssertionError, match="thread forgotten"):
        async with nothing_left_behind():
            thread.start()
    end.set()
    thread.join()


async def test_a_running_task_is_noticed(impatient: None) -> None:
    with pytest.raises(AssertionError, match=r"task .*forgotten"):
        async with nothing_left_behind():
            task = asyncio.create_task(asyncio.sleep(60), name="forgotten")
    task.cancel()


async def test_what_is_given_back_in_time_is_no_leak() -> None:
    async with nothing_left_behind():
        threading.Timer(0.1, lambda: None).start()


async def _completed(bench: Bench, server: FaultServer, name: str = NAME) -> None:
    done = await bench.fetch(server.put("/x", Remote(CONTENT)), name)
    assert done.status == "completed"


async def _failed(bench: Bench, server: FaultServer, name: str = NAME) -> None:
    done = await bench.fetch(server.put("/x", answers(404)), name)
    assert done.status == "failed"


async def _begun(bench: Bench, server: FaultServer, name: str) -> Download:
    url = server.put("/x", Remote(CONTENT, piece=4096, pause=0.01))
    (download,) = await bench.queue.submit([item(url, name)])
    return await bench.under_way(download)


async def _paused(bench: Bench, server: FaultServer, name: str = NAME) -> None:
    download = await _begun(bench, server, name)
    assert (await bench.queue.pause(download.id)).status == "paused"


async def _cancelled(bench: Bench, server: FaultServer, name: str = NAME) -> None:
    download = await _begun(bench, server, name)
    assert (await bench.queue.cancel(download.id)).status == "cancelled"


async def _under_way(bench: Bench, server: FaultServer, name: str = NAME) -> None:
    await _begun(bench, server, name)


@pytest.mark.parametrize("end", [_completed, _failed, _paused, _cancelled, _under_way])
async def test_a_queue_that_was_stopped_holds_nothing(tmp_path: Path, server: FaultServer, end: End) -> None:
    async with nothing_left_behind(), running(tmp_path, server.place) as bench:
        await end(bench, server)


@pytest.mark.parametrize("end", [_completed, _failed, _cancelled])
async def test_a_queue_that_runs_on_holds_no_more_after_many_downloads(
    tmp_path: Path, server: FaultServer, end: End
) -> None:
    """The first one may open what stays open, such as the store."""
    async with running(tmp_path, server.place) as bench:
        await end(bench, server, "first.safetensors")
        async with nothing_left_behind():
            for number in range(5):
                await end(bench, server, f"{number}.safetensors")

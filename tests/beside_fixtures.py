"""What the tests of the process beside the host share (``test_beside.py``, ``test_beside_start.py``)."""

from __future__ import annotations

import asyncio
from typing import Any

import psutil

from tests.download_fixtures import Bench, model, sha256
from tests.fault_server import Remote

MIB = 1 << 20
CONTENT = model(24 * MIB)
NAME = "sub/model.safetensors"
KNOWN = {"size": len(CONTENT), "sha256": sha256(CONTENT)}


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


async def gone(process: psutil.Process) -> None:
    for _ in range(1000):
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{process} still runs")


def right(bench: Bench) -> None:
    assert bench.files() == {NAME: CONTENT}
    assert bench.parts() == []


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110  # What is waited for happens in a thread.
        await asyncio.sleep(0.01)

"""How the connections of one file behave beside the host, the disk and each other."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from resolver.download import crew, piece_log, pieces
from resolver.download.governor import Governor
from resolver.priority import BESIDE_THE_HOST
from tests.download_fixtures import item, model, running
from tests.fault_server import FaultServer, Remote

MIB = 1 << 20
CONTENT = model(24_000_000)
KNOWN = {"size": len(CONTENT)}


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as running_server:
        yield running_server


async def test_what_has_come_is_brought_to_the_disk_on_the_way(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "_SYNC_BYTES", MIB)
    remote = Remote(CONTENT, piece=65_536, pause=0.005)
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.submit([item(server.put("/x", remote), **KNOWN)])
        await bench.under_way(download, 8 * MIB)
        await bench.queue.pause(download.id)
        (part,) = bench.parts()
        monkeypatch.setattr(piece_log, "boot_id", lambda: "the machine went down and came up again")
        kept = piece_log.read_log(part, len(CONTENT)) or []
    assert sum(end - first for first, end in kept) >= 4 * MIB


async def test_threads_that_fetch_and_hash_give_way_to_the_hosts_loop(
    tmp_path: Path, server: FaultServer
) -> None:
    remote = Remote(CONTENT, piece=65_536, pause=0.005)
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.submit([item(server.put("/x", remote), **KNOWN)])
        await bench.under_way(download, MIB)
        niceness = {
            thread.name: os.getpriority(os.PRIO_PROCESS, thread.native_id)
            for thread in threading.enumerate()
            if thread.name in ("model-resolver fetch", "model-resolver hash") and thread.native_id
        }
        await bench.queue.cancel(download.id)
    assert niceness == dict.fromkeys(("model-resolver fetch", "model-resolver hash"), BESIDE_THE_HOST)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == 0, "the loop's own is as it was"


async def test_connections_that_do_not_pay_leave(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six at first, then two are held to be enough."""

    class Moody(Governor):
        def __init__(self, most: int) -> None:
            super().__init__(most)
            self.wanted = 6

        def observe(self, now: float, received: int) -> None:
            self.wanted = 6 if received < 4 * MIB else 2

    monkeypatch.setattr(crew, "Governor", Moody)
    monkeypatch.setattr(pieces, "_LEAST_PIECE", MIB // 2)  # They leave between two pieces.
    remote = Remote(CONTENT, piece=65_536, pause=0.01)
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.submit([item(server.put("/x", remote), **KNOWN)])
        await bench.until(lambda now: now.connections == 6, download.id)
        two = await bench.until(lambda now: now.connections == 2, download.id)
        ended = await bench.ended(download)
    assert ended.status == "completed"
    assert two.received < len(CONTENT) * 3 // 4, "not only because there is nothing left to do"

"""How the connections of one file behave beside the host, the disk and each other."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resolver.download import crew, piece_log, pieces
from resolver.download.governor import Governor
from resolver.download.hosts import Hosts
from resolver.download.limiter import BandwidthLimiter
from resolver.download.origins import Content
from resolver.download.part import PartFile
from resolver.download.retries import RetryPolicy
from resolver.download.trailing import TrailingHash
from resolver.errors import Conflict
from resolver.net.wire import Wire, WirePool
from resolver.priority import BESIDE_THE_HOST
from tests.download_fixtures import Bench, item, model, running, sha256
from tests.fault_server import Exchange, Failing, FaultServer, Remote, breaks_after

MIB = 1 << 20
CONTENT = model(24_000_000)
OTHER = model(24_000_000, seed="other")
KNOWN = {"size": len(CONTENT)}
HASHED = {**KNOWN, "sha256": sha256(CONTENT)}
NAME = "sub/model.safetensors"


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
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
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
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own, "the loop's own is as it was"


async def test_connections_that_do_not_pay_leave(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six at first, then two are held to be enough."""

    class Moody(Governor):
        def __init__(self, most: int, *, alone: bool = True) -> None:
            super().__init__(most, alone=alone)
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


async def test_whoever_is_cancelled_while_a_thread_ends_is_cancelled() -> None:
    """Else a pause or a cancel at that moment would wait for the end of the download."""
    for turns in range(6):
        waiting = _crew()
        task = asyncio.ensure_future(waiting._next())
        await asyncio.sleep(0.01)
        waiting._event.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.cancel():
            with pytest.raises(asyncio.CancelledError):
                await task


def _crew() -> crew.Crew:
    nobody: Any = SimpleNamespace()
    return crew.Crew(
        crew.Tools(BandwidthLimiter(None), Hosts(1), WirePool(), RetryPolicy()),
        nobody,
        name="x",
        content=Content(1, None, None),
        origins=[],
        most=1,
        silence=1.0,
        on_progress=lambda received, connections: None,
    )


def test_a_front_that_is_told_late_takes_nothing_back(tmp_path: Path) -> None:
    """Two threads may finish their pieces in one order and say so in the other."""
    part = PartFile(tmp_path / ".model-resolver" / ".git" / "x.part")
    part.open()
    part.write(CONTENT)
    trailing = TrailingHash(part, len(CONTENT))
    ended = threading.Event()
    trailing.advance(len(CONTENT))
    trailing.advance(MIB)
    trailing.start(ended.set)
    assert ended.wait(10)
    trailing.stop()
    part.close()
    assert trailing.hexdigest == sha256(CONTENT)


async def test_kept_connections_that_all_die_when_they_are_asked_are_replaced(tmp_path: Path) -> None:
    """As where a router forgot them: they look alive until then."""
    remote = Remote(CONTENT, piece=65_536, pause=0.005)
    is_old: set[Any] = set()

    async def act(exchange: Exchange) -> None:
        if exchange.writer in is_old:
            exchange.drop()
        else:
            await remote(exchange)

    async with FaultServer(keep_alive=True) as keeping, running(tmp_path, keeping.place) as bench:
        url = keeping.put("/x", act)
        assert (await bench.fetch(url, "a.safetensors", **KNOWN)).status == "completed"
        kept = [wire for _, wire in bench.client.wires._kept]
        assert len(kept) >= 3
        is_old.update(exchange.writer for exchange in keeping.requests)
        second = await bench.fetch(url, "b.safetensors", **KNOWN)
        assert (second.status, second.error) == ("completed", None)


class SlowSync:
    """The part's sync begins and waits; then it does its work, or raises ``error``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: OSError | None = None) -> None:
        self.may_end = threading.Event()
        self._error = error
        self._real = PartFile.sync
        monkeypatch.setattr(crew, "_SYNC_BYTES", MIB)
        monkeypatch.setattr(PartFile, "sync", lambda part: self(part))

    def __call__(self, part: PartFile) -> None:
        assert self.may_end.wait(60)
        if self._error is not None:
            raise self._error
        self._real(part)


async def test_a_pause_while_the_disk_is_slow_waits_until_nobody_touches_the_part(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sync = SlowSync(monkeypatch)
    async with running(tmp_path, server.place) as bench:
        url = server.put("/x", Remote(CONTENT, piece=65_536, pause=0.002))
        (download,) = await bench.queue.submit([item(url, **KNOWN)])
        await bench.under_way(download, len(CONTENT))
        await asyncio.sleep(0.3)  # All is here and hashed; only the sync is still at work.
        pausing = asyncio.ensure_future(bench.queue.pause(download.id))
        await asyncio.sleep(0.2)
        assert not pausing.done()
        sync.may_end.set()
        assert (await pausing).status == "paused"
        await bench.queue.resume(download.id)
        assert (await bench.ended(download)).status == "completed"
        assert bench.files() == {NAME: CONTENT}
    assert caplog.records == []


async def test_a_pause_while_its_log_is_closed_leaves_the_part_to_others(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing, may_close = threading.Event(), threading.Event()
    close = piece_log.PieceLog.close

    def slowly(log: piece_log.PieceLog) -> None:
        if log._file is not None and log.count:
            closing.set()
            assert may_close.wait(20)
        close(log)

    monkeypatch.setattr(piece_log.PieceLog, "close", slowly)
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.submit([item(server.put("/x", Remote(CONTENT)), **KNOWN)])
        assert await asyncio.to_thread(closing.wait, 20)
        pausing = asyncio.ensure_future(bench.queue.pause(download.id))
        await asyncio.sleep(0.2)
        may_close.set()
        await pausing
        (path,) = bench.parts()
        part = PartFile(path)
        part.open()
        part.close()


async def test_what_a_disk_could_not_write_is_neither_published_nor_trusted(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system tells of it once: a sync that follows would succeed."""
    with monkeypatch.context() as patch:
        sync = SlowSync(patch, OSError(errno.EIO, os.strerror(errno.EIO)))
        remote = Remote(CONTENT, piece=65_536, pause=0.002)
        async with running(tmp_path, server.place) as bench:
            (download,) = await bench.queue.submit([item(server.put("/x", remote), **HASHED)])
            await bench.under_way(download, len(CONTENT))
            await asyncio.sleep(0.3)
            sync.may_end.set()
            failed = await bench.ended(download)
            assert (failed.status, failed.error and failed.error.code) == ("failed", "DISK_ERROR")
            assert bench.files() == {}
    served = remote.served
    async with running(tmp_path, server.place) as bench:
        await bench.queue.retry(download.id)
        assert (await bench.ended(download)).status == "completed"
        assert bench.files() == {NAME: CONTENT}
    assert remote.served - served >= len(CONTENT), "nothing of it counted"


async def test_a_mirror_that_lies_to_the_very_end_is_not_asked_again(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections end after the hash is known."""
    put = WirePool.put

    def slowly(pool: WirePool, wire: Wire) -> None:
        time.sleep(0.3)
        put(pool, wire)

    monkeypatch.setattr(WirePool, "put", slowly)
    async with FaultServer() as other, running(tmp_path, "127.0.0.1") as bench:
        honest, liar = (Remote(content, piece=65_536, pause=0.005) for content in (CONTENT, OTHER))
        url, mirror = server.put("/x", honest), other.put("/m", liar)
        download = await bench.fetch(url, mirrors=[mirror], **HASHED)
        assert (download.status, download.error) == ("completed", None)
        assert bench.files() == {NAME: CONTENT}
        assert liar.served > MIB


async def test_a_mirror_that_sends_more_than_one_byte_to_be_looked_at_is_not_read(
    tmp_path: Path, server: FaultServer
) -> None:
    """All of a file of fifty gigabytes would go into memory."""
    async with FaultServer() as other, running(tmp_path, "127.0.0.1") as bench:
        all_of_it = {"Content-Range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"}
        sent = 0

        async def everything(exchange: Exchange) -> None:
            nonlocal sent
            await exchange.head(206, {**all_of_it, "Content-Length": len(CONTENT)})
            for start in range(0, len(CONTENT), 65_536):
                await exchange.write(CONTENT[start : start + 65_536])
                sent += 65_536
                await asyncio.sleep(0.005)

        url = server.put("/x", Remote(CONTENT, piece=65_536, pause=0.01))
        download = await bench.fetch(url, mirrors=[other.put("/m", everything)], **HASHED)
        assert download.status == "completed"
        assert bench.files() == {NAME: CONTENT}
        assert 0 < sent < 4 * MIB


@pytest.mark.parametrize("seed", range(4))
async def test_paused_and_gone_on_with_at_any_moment_it_ends_right(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr(crew, "_SYNC_BYTES", MIB)
    monkeypatch.setattr(pieces, "_LEAST_PIECE", MIB // 2)
    remote = Remote(CONTENT, piece=65_536, pause=0.002)
    async with running(tmp_path, server.place) as bench:
        faults = [breaks_after(remote, dice.randrange(MIB)) for _ in range(8)]
        url = server.put("/x", Failing(remote, *faults))
        (download,) = await bench.queue.submit([item(url, **HASHED)])
        for _ in range(15):
            await asyncio.sleep(dice.choice([0, 0.001, 0.01, 0.05, 0.1]) * dice.random())
            with suppress(Conflict):  # it has just ended
                await bench.queue.pause(download.id)
                await bench.queue.resume(download.id)
        assert (await bench.ended(download)).status == "completed"
        assert bench.files() == {NAME: CONTENT}
        # A connection that is counted for ever would be one less for all that follow.
        assert not any(hosts_of(bench).values())


def hosts_of(bench: Bench) -> dict[str, int]:
    small_files: Any = bench.queue._small_files
    return dict(small_files._hosts._open)

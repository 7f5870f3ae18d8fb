"""Small files from a place that is known already come in one go, and are checked like any other."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resolver.download import small_files
from resolver.download.claims import Claim
from resolver.download.small_files import SMALL
from resolver.net import client as net_client
from resolver.net import wire
from resolver.schemas import Download
from resolver.store import DownloadRow
from tests.download_fixtures import Bench, item, model, running, sha256
from tests.fault_server import (
    Act,
    Failing,
    FaultServer,
    Remote,
    answers,
    breaks_after,
    chunked,
    claims_range,
    ends_early,
    redirects,
    stalls_after,
    zips,
)

FIRST, CONTENT = model(50_000, seed="first"), model(300_000)
REMOTE = Remote(CONTENT)
HASHED = {"sha256": sha256(CONTENT)}
IN_ONE_GO = ["queued", "active", "completed"]
NAME = "sub/model.safetensors"


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer(keep_alive=True) as running_server:
        yield running_server


@pytest.fixture
async def bench(tmp_path: Path, server: FaultServer) -> AsyncIterator[Bench]:
    """One file has come from ``server`` already."""
    async with running(tmp_path, server.place) as made:
        await know(made, server)
        yield made


async def know(bench: Bench, server: FaultServer) -> None:
    first = await bench.fetch(server.put("/first", Remote(FIRST)), "first.safetensors")
    assert first.status == "completed"
    server.requests.clear()


async def fetch(bench: Bench, server: FaultServer, act: Act, **fields: Any) -> Download:
    return await bench.fetch(server.put("/x", act), **fields)


def right(bench: Bench, download: Download, content: bytes = CONTENT) -> None:
    assert (download.status, download.error) == ("completed", None)
    assert (download.received, download.size, download.verified) == (len(content), len(content), True)
    assert download.sha256 == sha256(content)
    assert bench.files()[NAME] == content
    assert not (bench.loras / ".model-resolver").exists()
    row = bench.store.download(download.id)
    assert row is not None
    assert (row.status, row.sha256, row.verified) == ("completed", sha256(content), True)


def wrong(bench: Bench, download: Download, code: str) -> None:
    assert download.error is not None
    assert (download.status, download.error.code) == ("failed", code)
    assert NAME not in bench.files()


@pytest.mark.parametrize("fields", [{}, HASHED, {"size": len(CONTENT)}, {**HASHED, "size": len(CONTENT)}])
@pytest.mark.parametrize("ranges", [True, False])
async def test_a_second_file_takes_one_request_over_a_connection_that_is_kept(
    bench: Bench, server: FaultServer, fields: dict[str, Any], ranges: bool
) -> None:
    remote = Remote(CONTENT, ranges=ranges)
    download = await fetch(bench, server, remote, **fields)
    right(bench, download)
    assert bench.statuses(download) == IN_ONE_GO
    assert [exchange.method for exchange in server.requests] == ["GET"]
    connections = server.connections
    more = await bench.fetch(server.put("/y", Remote(model(70_000))), "more.safetensors")
    assert bench.statuses(more) == IN_ONE_GO
    assert server.connections == connections
    assert [done.id for done in bench.completed][-2:] == [download.id, more.id]


async def test_a_connection_that_was_kept_is_closed_though_nothing_else_comes(
    bench: Bench, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_files, "KEEP_SECONDS", -0.8)
    monkeypatch.setattr(wire, "KEEP_SECONDS", 0.1)
    right(bench, await fetch(bench, server, REMOTE))
    assert len(bench.client.wires._kept) == 1
    await asyncio.sleep(0.5)
    assert bench.client.wires._kept == []


async def test_a_connection_that_the_server_closed_meanwhile_is_replaced(
    bench: Bench, server: FaultServer
) -> None:
    await bench.fetch(server.put("/y", Remote(model(70_000))), "more.safetensors")
    failing = Failing(REMOTE, breaks_before_the_answer)
    download = await fetch(bench, server, failing)
    right(bench, download)
    assert bench.statuses(download) == IN_ONE_GO


async def breaks_before_the_answer(exchange: Any) -> None:
    exchange.drop()


async def test_a_large_file_is_left_to_many_connections(bench: Bench, server: FaultServer) -> None:
    large = model(SMALL + 1_000_000)
    download = await fetch(bench, server, Remote(large))
    right(bench, download, large)
    assert "verifying" in bench.statuses(download)


async def test_nothing_is_taken_for_known_after_a_while(
    bench: Bench, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(net_client, "_PLACE_SECONDS", -1.0)
    bench.client._places.clear()
    await know_again(bench, server)
    assert bench.client.known_target(server.url("/x")) is None
    download = await fetch(bench, server, REMOTE)
    right(bench, download)
    assert "verifying" in bench.statuses(download)


async def know_again(bench: Bench, server: FaultServer) -> None:
    await bench.fetch(server.url("/first"), "first again.safetensors")


async def test_what_is_not_allowed_is_not_known_either(bench: Bench, server: FaultServer) -> None:
    assert bench.client.known_target(server.url("/x")) is not None
    assert bench.client.known_target(f"http://127.0.0.1:{server.port + 1}/x") is None
    assert bench.client.known_target("http://169.254.169.254/x") is None
    assert bench.client.known_target("file:///etc/passwd") is None


async def test_a_token_is_decided_for_every_file_and_never_follows_a_redirect(tmp_path: Path) -> None:
    token = "hf_before"
    async with (
        FaultServer(keep_alive=True) as hub,
        FaultServer(keep_alive=True) as storage,
        running(
            tmp_path, hub.place, storage.place, hf_endpoint=hub.url(""), credentials=lambda _: token
        ) as bench,
    ):
        await know(bench, hub)
        token = "hf_after"
        right(bench, await fetch(bench, hub, REMOTE))
        assert hub.requests[-1].headers["authorization"] == "Bearer hf_after"
        elsewhere = redirects(storage.put("/s", Remote(model(80_000))))
        second = await bench.fetch(hub.put("/r", elsewhere), "second.safetensors")
        assert second.status == "completed"
        assert [e for e in storage.requests if "authorization" in e.headers] == []


UNUSUAL: dict[str, Act] = {
    "redirect": redirects("/moved"),
    "breaks at once": breaks_after(REMOTE, 0),
    "breaks half way": breaks_after(REMOTE, 150_000),
    "ends early": ends_early(REMOTE, 1000),
    "chunked": chunked(REMOTE),
    "wrong range": claims_range(REMOTE, f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}", CONTENT[5:]),
    "no answer of HTTP": lambda exchange: exchange.write(b"SSH-2.0-OpenSSH\r\n\r\n"),
    "too busy": answers(429, {"Retry-After": "0"}),
    "unwell": answers(503),
    "another file for once": Remote(model(300_000, seed="other")),
}


@pytest.mark.parametrize("act", UNUSUAL.values(), ids=UNUSUAL)
async def test_what_is_unusual_is_done_the_careful_way(bench: Bench, server: FaultServer, act: Act) -> None:
    server.put("/moved", REMOTE)
    right(bench, await fetch(bench, server, Failing(REMOTE, act), **HASHED))


async def test_what_has_arrived_before_a_break_is_not_fetched_again(
    bench: Bench, server: FaultServer
) -> None:
    broken = Failing(REMOTE, breaks_after(REMOTE, 150_000))
    right(bench, await fetch(bench, server, broken, **HASHED))
    assert [exchange.offset for exchange in server.sent("GET")] == [0, 150_000]


@pytest.mark.parametrize(
    ("act", "fields", "code"),
    [
        (answers(404), {}, "NOT_FOUND"),
        (answers(401), {}, "UNAUTHORIZED"),
        (answers(200, {"Content-Type": "text/html"}, b"<html>"), {}, "NOT_A_MODEL"),
        (answers(200, {}, b"<html>Log in" + bytes(1000)), {}, "NOT_A_MODEL"),
        (Remote(CONTENT[:-1] + b""), {}, "FILE_DAMAGED"),
        (Remote(model(300_000, seed="other")), HASHED, "HASH_MISMATCH"),
        (Remote(CONTENT), {"size": 5}, "SIZE_MISMATCH"),
        (zips(REMOTE), HASHED, "ENCODING_REFUSED"),
    ],
)
async def test_what_is_not_the_file_never_gets_its_name(
    bench: Bench, server: FaultServer, act: Act, fields: dict[str, Any], code: str
) -> None:
    wrong(bench, await fetch(bench, server, act, **fields), code)
    assert bench.parts() == []


async def test_a_mirror_helps_out(bench: Bench, server: FaultServer) -> None:
    mirror = server.put("/mirror", REMOTE)
    right(bench, await fetch(bench, server, answers(404), mirrors=[mirror], **HASHED))


async def test_pause_keeps_what_has_arrived_and_resume_fetches_the_rest(
    bench: Bench, server: FaultServer
) -> None:
    url = server.put("/x", Failing(REMOTE, stalls_after(REMOTE, 200_000)))
    (download,) = await bench.queue.submit([item(url, **HASHED)])
    await bench.under_way(download, 200_000)
    assert (await bench.queue.pause(download.id)).received == 200_000
    assert [part.stat().st_size for part in bench.parts()] == [200_000]
    await bench.queue.resume(download.id)
    right(bench, await bench.ended(download))
    assert [exchange.offset for exchange in server.sent("GET")] == [0, 200_000]


async def test_cancel_leaves_nothing(bench: Bench, server: FaultServer) -> None:
    (download,) = await bench.queue.submit([item(server.put("/x", stalls_after(REMOTE, 200_000)))])
    await bench.under_way(download, 200_000)
    assert (await bench.queue.cancel(download.id)).status == "cancelled"
    assert list(bench.files()) == ["first.safetensors"]
    assert not (bench.loras / ".model-resolver").exists()


async def test_a_silent_server_is_hung_up_on(tmp_path: Path, server: FaultServer) -> None:
    async with running(tmp_path, server.place, download_timeout=0.3) as bench:
        await know(bench, server)
        right(bench, await fetch(bench, server, Failing(REMOTE, stalls_after(REMOTE, 100_000)), **HASHED))


async def test_a_part_that_nothing_is_said_of_counts_as_nothing(bench: Bench, server: FaultServer) -> None:
    """As a process leaves it that is killed while a small file arrives."""
    url = server.put("/x", Failing(REMOTE, stalls_after(REMOTE, 100_000)))
    (download,) = await bench.queue.submit([item(url)])
    await bench.under_way(download, 100_000)
    part = bench.part_of(download)
    assert [path.suffix for path in sorted(part.parent.iterdir())] == [".lock", ".part"]
    await bench.queue.pause(download.id)
    part.with_suffix(".json").unlink()
    part.write_bytes(b"x" * 100_000)
    await bench.queue.resume(download.id)
    right(bench, await bench.ended(download))


async def test_a_destination_that_another_process_works_on_is_waited_for(
    bench: Bench, server: FaultServer
) -> None:
    url = server.put("/x", REMOTE)
    (held,) = await bench.queue.submit([item(url, priority=1)])
    right(bench, await bench.ended(held))
    os.unlink(bench.loras / NAME)
    claim = Claim(bench.part_of(held))
    assert claim.take()
    (download,) = await bench.queue.submit([item(url)])
    waiting = await bench.until(lambda now: now.error is not None, download.id)
    assert waiting.error is not None
    assert (waiting.status, waiting.error.code) == ("queued", "DOWNLOADING_ELSEWHERE")
    assert "active" not in bench.statuses(download)
    claim.release()
    right(bench, await bench.ended(download))


async def test_a_name_that_is_taken_meanwhile_is_not_overwritten(bench: Bench, server: FaultServer) -> None:
    async def slow(exchange: Any) -> None:
        (bench.loras / NAME).parent.mkdir(exist_ok=True)
        (bench.loras / NAME).write_bytes(b"the user's own")
        await REMOTE(exchange)

    download = await fetch(bench, server, slow, **HASHED)
    assert download.error is not None
    assert download.error.code == "FILE_EXISTS"
    assert bench.files()[NAME] == b"the user's own"


async def test_a_content_that_is_here_is_not_fetched(bench: Bench, server: FaultServer) -> None:
    download = await fetch(bench, server, REMOTE, sha256=sha256(FIRST))
    right(bench, download, FIRST)
    assert server.sent("GET") == []


async def test_what_does_not_fit_is_not_begun(bench: Bench, server: FaultServer) -> None:
    bench.queue._small_files._reserve = 1 << 60
    wrong(bench, await fetch(bench, server, REMOTE), "NO_SPACE")
    assert bench.parts() == []


async def test_many_small_files_are_all_right(tmp_path: Path, server: FaultServer) -> None:
    async with running(tmp_path, server.place, max_concurrent_downloads=8) as bench:
        await know(bench, server)
        contents = {f"{number}.safetensors": model(60_000, seed=str(number)) for number in range(40)}
        items = [item(server.put(f"/{n}", Remote(c)), n) for n, c in contents.items()]
        for download in await bench.queue.submit(items):
            assert (await bench.ended(download)).status == "completed"
        assert bench.files() == {"first.safetensors": FIRST, **contents}


# --- the journal ----------------------------------------------------------------------------------


async def test_what_several_downloads_write_at_a_time_goes_into_few_transactions(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, server.place, max_concurrent_downloads=8) as bench:
        written: list[int] = []
        save = bench.store.save_downloads
        monkeypatch.setattr(bench.store, "save_downloads", counting(save, written))
        items = [
            item(server.put(f"/{n}", Remote(model(60_000, seed=str(n)))), f"{n}.safetensors")
            for n in range(8)
        ]
        for download in await bench.queue.submit(items):
            assert (await bench.ended(download)).status == "completed"
        assert sum(written) > len(written)


def counting(
    save: Callable[[list[DownloadRow]], None], written: list[int]
) -> Callable[[list[DownloadRow]], None]:
    def count(rows: list[DownloadRow]) -> None:
        written.append(len(rows))
        save(rows)

    return count


async def test_a_row_that_cannot_be_written_does_not_take_others_with_it(
    bench: Bench, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = []
    for name in ("a", "b", "c"):
        (download,) = await bench.queue.submit(
            [item(server.put(f"/{name}", stalls_after(REMOTE, 10)), f"{name}.safetensors")]
        )
        await bench.under_way(download, 1)
        jobs.append(bench.queue._jobs[download.id])
    save = bench.store.save_downloads

    def refuse(rows: list[DownloadRow]) -> None:
        if any(row.filename == "b.safetensors" for row in rows):
            raise sqlite3.OperationalError("disk I/O error")
        save(rows)

    monkeypatch.setattr(bench.store, "save_downloads", refuse)
    for job in jobs:
        job.row = replace(job.row, priority=7)
    await asyncio.gather(*(bench.queue._journal.write(job) for job in jobs))
    stored = [bench.store.download(job.row.id) for job in jobs]
    assert [row.priority for row in stored if row is not None] == [7, 0, 7]
    assert [job.unwritten for job in jobs] == [False, True, False]

"""A file over many connections: whatever servers do to some of them, the right file, or none and why."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from resolver.download.model import to_come
from resolver.download.piece_log import log_path
from resolver.download.retries import RetryPolicy
from resolver.schemas import Download
from tests import download_fixtures
from tests.download_fixtures import Bench, item, model, sha256
from tests.fault_server import (
    Act,
    Exchange,
    Failing,
    FaultServer,
    Remote,
    always,
    answers,
    breaks_after,
    claims_range,
    dribbles,
    ends_early,
    goes_on_behind_its_end,
    ignores_if_range,
    multipart,
    part_with,
    redirects,
    stalls_after,
    whole,
    zips,
)

MB = 1 << 20
CONTENT = model(14_000_000)
OTHER = model(14_000_000, seed="other")
NAME = "sub/model.safetensors"
KNOWN = {"size": len(CONTENT)}
HASHED = {**KNOWN, "sha256": sha256(CONTENT)}
REMOTE = Remote(CONTENT)


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as running_server:
        yield running_server


@pytest.fixture(autouse=True)
async def nothing_is_leaked() -> AsyncIterator[None]:
    await asyncio.to_thread(lambda: None)  # The pool's own thread stays.
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("model-resolver")] == []
    assert len(os.listdir("/proc/self/fd")) <= before


def running(base: Path, *places: str, **fields: Any) -> AbstractAsyncContextManager[Bench]:
    """As ComfyUI has it, where a process beside it moves the bytes, unless ``beside_host`` is False."""
    return download_fixtures.running(base, *places, **{"beside_host": True, **fields})


async def fetch(base: Path, server: FaultServer, act: Act, **fields: Any) -> tuple[Bench, Download]:
    options = {name: fields.pop(name) for name in ("download_timeout", "beside_host") if name in fields}
    async with running(base, "127.0.0.1", **options) as bench:
        download = await bench.fetch(server.put("/model.safetensors", act), **fields)
    return bench, download


def right(bench: Bench, download: Download, content: bytes = CONTENT) -> None:
    assert (download.status, download.error) == ("completed", None)
    assert bench.files() == {NAME: content}
    assert download.sha256 == sha256(content)
    assert not (bench.loras / ".model-resolver").exists()


def wrong(bench: Bench, download: Download, code: str) -> None:
    assert download.error is not None
    assert (download.status, download.error.code) == ("failed", code), download.error
    assert bench.files() == {}


def spans(server: FaultServer) -> list[tuple[int, int]]:
    """The ranges that were asked for, without that of the first look."""
    asked = [exchange.headers.get("range", "bytes=0-0")[6:].split("-") for exchange in server.sent("GET")]
    return [(int(first), int(last)) for first, last in asked]


async def test_a_large_file_comes_over_several_connections_and_each_byte_once(
    tmp_path: Path, server: FaultServer
) -> None:
    remote = Remote(CONTENT, piece=65_536, pause=0.01)
    bench, download = await fetch(tmp_path, server, remote, **KNOWN)
    right(bench, download)
    asked = spans(server)
    assert len(asked) >= 4
    assert {exchange.headers["if-range"] for exchange in server.sent("GET")} == {remote.etag}
    assert max(event.connections for event in bench.events) > 1
    assert bench.events[-1].connections == 0


async def test_one_connection_if_no_more_are_allowed(tmp_path: Path, server: FaultServer) -> None:
    open_now = most = 0

    async def act(exchange: Exchange) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await REMOTE(exchange)
        open_now -= 1

    async with running(tmp_path, server.place, connections_per_download=1) as bench:
        download = await bench.fetch(server.put("/model.safetensors", act), **KNOWN)
    right(bench, download)
    assert most == 1


HEALED: dict[str, list[Act]] = {
    "connections break": [breaks_after(REMOTE, 300_000)] * 5,
    "connections break at once": [breaks_after(REMOTE, 0)] * 2,
    "the body is too short": [ends_early(REMOTE, 1000)] * 3,
    "the body is too long": [goes_on_behind_its_end(REMOTE)] * 3,
    "other bytes than asked for": [
        claims_range(REMOTE, f"bytes {4 * MB}-{8 * MB - 1}/{len(CONTENT)}", CONTENT[4 * MB : 8 * MB])
    ]
    * 3,
    "a nonsensical range": [part_with(REMOTE, {"Content-Range": "half"})],
    "no range at all": [part_with(REMOTE, {"Content-Range": ""})],
    "a length that lies": [part_with(REMOTE, {"Content-Length": "123"})],
    "several parts in one": [multipart(REMOTE)],
    "compressed": [part_with(REMOTE, {"Content-Encoding": "gzip"})],
    "200 in the middle": [whole(REMOTE)],
    "a page with 200": [answers(200, {"Content-Type": "text/html", "ETag": '"version-1"'}, b"<html>Log in")]
    * 2,
    "429": [answers(429, {"Retry-After": "0"})] * 2,
    "503": [answers(503, {"Retry-After": "0"})] * 2,
    "403 half-way": [REMOTE, answers(403)],
    "404 for a moment": [answers(404)],
    "410 half-way": [REMOTE, answers(410)],
    "a redirect in the middle": [redirects("https://evil.example/")],
    "a redirect into the network": [redirects("http://169.254.169.254/")],
    "a head without end": [answers(206, {f"X-{n}": "x" * 1000 for n in range(99)})],
    "not HTTP": [lambda exchange: exchange.write(b"220 ready\r\n\r\n")],
}


@pytest.mark.parametrize("beside_host", [True, False], ids=["process", "threads"])
@pytest.mark.parametrize("fault", HEALED)
async def test_what_heals(tmp_path: Path, server: FaultServer, fault: str, beside_host: bool) -> None:
    act = Failing(REMOTE, *HEALED[fault])
    bench, download = await fetch(tmp_path, server, act, beside_host=beside_host, **KNOWN)
    right(bench, download)


async def test_a_silent_connection_is_overtaken_by_others(tmp_path: Path, server: FaultServer) -> None:
    act = Failing(REMOTE, stalls_after(REMOTE, 100_000), stalls_after(REMOTE, 0))
    bench, download = await fetch(tmp_path, server, act, download_timeout=60, **KNOWN)
    right(bench, download)


async def test_a_dribbling_connection_is_overtaken_by_others(tmp_path: Path, server: FaultServer) -> None:
    bench, download = await fetch(tmp_path, server, Failing(REMOTE, dribbles(REMOTE)), **KNOWN)
    right(bench, download)


async def test_when_all_fall_silent_new_connections_are_made(tmp_path: Path, server: FaultServer) -> None:
    act = Failing(REMOTE, *[stalls_after(REMOTE, 50_000)] * 24)
    bench, download = await fetch(tmp_path, server, act, download_timeout=0.5, **KNOWN)
    right(bench, download)


async def test_a_small_file_that_dribbles_gets_help(tmp_path: Path, server: FaultServer) -> None:
    small = model(300_000)
    remote = Remote(small)
    bench, download = await fetch(tmp_path, server, Failing(remote, dribbles(remote)))
    right(bench, download, small)


async def test_ranges_that_are_only_promised_cost_one_more_request(
    tmp_path: Path, server: FaultServer
) -> None:
    bench, download = await fetch(tmp_path, server, always(whole(REMOTE), probe=REMOTE), **KNOWN)
    right(bench, download)
    assert "range" not in server.sent("GET")[-1].headers


async def test_without_ranges_one_connection_brings_it(tmp_path: Path, server: FaultServer) -> None:
    bench, download = await fetch(tmp_path, server, Remote(CONTENT, ranges=False), **KNOWN)
    right(bench, download)
    assert len([exchange for exchange in server.requests if exchange.method == "GET"]) == 1


async def test_connections_that_all_break_early_bring_it_nevertheless(
    tmp_path: Path, server: FaultServer
) -> None:
    act = Failing(REMOTE, *[breaks_after(REMOTE, 200_000)] * 400)
    bench, download = await fetch(tmp_path, server, act, **KNOWN)
    right(bench, download)
    assert act.faults, "the honest one was not needed"


async def test_connections_that_break_after_a_few_bytes_are_not_made_as_fast_as_they_break(
    tmp_path: Path, server: FaultServer
) -> None:
    async with running(tmp_path, server.place, retry_policy=RetryPolicy(first=0.5, most=1.0)) as bench:
        url = server.put("/x", always(breaks_after(REMOTE, 100), probe=REMOTE))
        (download,) = await bench.queue.submit([item(url, **KNOWN)])
        await bench.under_way(download)
        await asyncio.sleep(2.5)
        assert len(server.sent("GET")) < 30
        assert (await bench.queue.cancel(download.id)).status == "cancelled"


@pytest.mark.parametrize("known", [KNOWN, HASHED], ids=["size", "hash"])
@pytest.mark.parametrize("told", [True, False], ids=["if-range", "etag"])
async def test_a_file_that_changes_between_pieces_is_never_spliced(
    tmp_path: Path, server: FaultServer, known: dict[str, Any], told: bool
) -> None:
    old, new = Remote(OTHER, etag='"old"'), Remote(CONTENT)
    stale = old if told else ignores_if_range(old)
    looks = 0

    async def act(exchange: Exchange) -> None:
        """The old file for every part, until somebody looks at the file anew."""
        nonlocal looks
        looking = exchange.headers.get("range") in (None, "bytes=0-0")
        looks += looking
        await (new if looking or looks > 1 else stale)(exchange)

    bench, download = await fetch(tmp_path, server, act, **known)
    right(bench, download)
    assert looks == 2


async def test_a_change_that_hides_behind_its_etag_is_found_by_the_hash(
    tmp_path: Path, server: FaultServer
) -> None:
    bench, download = await fetch(tmp_path, server, Failing(REMOTE, Remote(OTHER)), **HASHED)
    right(bench, download)


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
async def test_a_file_replaced_by_another_of_its_length_is_never_pieced_together_of_both(
    tmp_path: Path, server: FaultServer, etag: str | None
) -> None:
    before, after = (Remote(content, etag=etag, piece=65_536, pause=0.002) for content in (OTHER, CONTENT))
    act = Failing(after, before, before, before)
    bench, download = await fetch(tmp_path, server, act, **KNOWN)
    right(bench, download, OTHER)
    assert len(server.sent("GET")) == 1, "beside the first look: one answer for all of it"


async def test_without_a_strong_validator_or_hash_nothing_is_pieced_together_again(
    tmp_path: Path, server: FaultServer
) -> None:
    remote = Remote(CONTENT, etag='W/"1"', piece=65_536, pause=0.01)
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.submit([item(server.put("/x", remote), **KNOWN)])
        await bench.under_way(download, 1_000_000)
        await bench.queue.pause(download.id)
        remote.pause, asked = 0, len(server.requests)
        await bench.queue.resume(download.id)
        right(bench, await bench.ended(download))
    again = [exchange.headers.get("range") for exchange in server.requests[asked:]]
    assert again == ["bytes=0-0", None], "a look, and one answer for all of it"


HOPELESS: dict[str, tuple[Act, dict[str, Any], str]] = {
    "404": (always(answers(404), probe=REMOTE), KNOWN, "NOT_FOUND"),
    "403": (always(answers(403), probe=REMOTE), KNOWN, "UNAUTHORIZED"),
    "503 for ever": (always(answers(503, {"Retry-After": "0"}), probe=REMOTE), KNOWN, "SERVER_ERROR"),
    "429 for ever": (always(answers(429, {"Retry-After": "0"}), probe=REMOTE), KNOWN, "RATE_LIMITED"),
    "drops at once": (always(breaks_after(REMOTE, 0), probe=REMOTE), KNOWN, "NETWORK"),
    "compressed": (always(zips(REMOTE), probe=REMOTE), KNOWN, "ENCODING_REFUSED"),
    "other bytes": (Remote(OTHER), HASHED, "HASH_MISMATCH"),
}


@pytest.mark.parametrize("fault", HOPELESS)
async def test_what_does_not_heal(tmp_path: Path, server: FaultServer, fault: str) -> None:
    act, known, code = HOPELESS[fault]
    bench, download = await fetch(tmp_path, server, act, **known)
    wrong(bench, download, code)


async def test_an_expired_url_is_renewed_for_all_connections(tmp_path: Path, server: FaultServer) -> None:
    """The first one expires after two parts of the file."""
    remote, served = Remote(CONTENT, piece=65_536, pause=0.002), 0

    async def old(exchange: Exchange) -> None:
        nonlocal served
        served += 1
        await (remote if served <= 3 else answers(403))(exchange)

    server.put("/old", old)
    server.put("/new", remote)
    signed = 0

    async def page(exchange: Exchange) -> None:
        nonlocal signed
        signed += 1
        where = "/old" if signed == 1 else "/new"
        await exchange.answer(302, {"Location": f"{where}?X-Amz-Signature={signed}"})

    bench, download = await fetch(tmp_path, server, page, **KNOWN)
    right(bench, download)
    assert signed == 2
    assert server.sent("GET", "/new")


# --- pausing, stopping, going on ------------------------------------------------------------------


async def test_pause_ends_every_connection_and_resume_fetches_only_what_is_missing(
    tmp_path: Path, server: FaultServer
) -> None:
    remote = Remote(CONTENT, piece=65_536, pause=0.01)
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.submit([item(server.put("/x", remote), **KNOWN)])
        await bench.under_way(download, 2_000_000)
        paused = await bench.queue.pause(download.id)
        assert (paused.status, paused.connections) == ("paused", 0)
        names = [thread.name for thread in threading.enumerate()]
        assert not any(name.startswith("model-resolver fetch") for name in names)
        (part,) = bench.loras.glob(".model-resolver/.git/*.part")
        before = part.read_bytes()
        assert log_path(part).exists()
        await asyncio.sleep(0.1)
        assert part.read_bytes() == before, "nobody writes any more"
        remote.pause, asked = 0, len(spans(server))
        await bench.queue.resume(download.id)
        right(bench, await bench.ended(download))
    again = sum(last + 1 - first for first, last in spans(server)[asked:])
    assert again <= len(CONTENT) - paused.received + 1, "one byte to see whether it is the same"


async def test_space_that_is_set_aside_is_not_counted_twice(tmp_path: Path, server: FaultServer) -> None:
    remote = Remote(CONTENT, piece=65_536, pause=0.01)
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.submit([item(server.put("/x", remote), **KNOWN)])
        await bench.under_way(download, 1_000_000)
        row = bench.store.download(download.id)
        assert row is not None
        (part,) = bench.loras.glob(".model-resolver/.git/*.part")
        assert part.stat().st_blocks * 512 >= len(CONTENT)
        assert to_come(row) == 0
        await bench.queue.cancel(download.id)
        assert to_come(row) == len(CONTENT)


async def test_cancel_leaves_nothing(tmp_path: Path, server: FaultServer) -> None:
    remote = Remote(CONTENT, piece=65_536, pause=0.01)
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.submit([item(server.put("/x", remote), **KNOWN)])
        await bench.under_way(download, 1_000_000)
        await bench.queue.cancel(download.id)
        assert not (bench.loras / ".model-resolver").exists()


async def test_a_part_of_which_the_log_is_lost_is_begun_anew(tmp_path: Path, server: FaultServer) -> None:
    remote = Remote(CONTENT, piece=65_536, pause=0.01)
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.submit([item(server.put("/x", remote), **KNOWN)])
        await bench.under_way(download, 1_000_000)
        await bench.queue.pause(download.id)
        (part,) = bench.loras.glob(".model-resolver/.git/*.part")
        log_path(part).unlink()
        remote.pause = 0
        await bench.queue.resume(download.id)
        right(bench, await bench.ended(download))


async def test_a_beginning_that_one_connection_left_is_gone_on_from(
    tmp_path: Path, server: FaultServer
) -> None:
    """The first try comes from a server without ranges; meanwhile it has learned them."""
    remote = Remote(CONTENT, ranges=False, piece=65_536, pause=0.005)
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.submit([item(server.put("/x", remote), **KNOWN)])
        await bench.under_way(download, 2_000_000)
        paused = await bench.queue.pause(download.id)
        kept = paused.received
        remote.pause, remote.ranges = 0, True
        await bench.queue.resume(download.id)
        right(bench, await bench.ended(download))
    assert min(first for first, _ in spans(server)[1:] if first) >= kept


# --- mirrors --------------------------------------------------------------------------------------


async def test_mirrors_of_a_known_hash_share_the_work(tmp_path: Path, server: FaultServer) -> None:
    async with FaultServer() as other:
        slow = Remote(CONTENT, piece=65_536, pause=0.02)
        mirror = other.put("/m", Remote(CONTENT, etag='"of another server"'))
        bench, download = await fetch(tmp_path, server, slow, mirrors=[mirror], **HASHED)
        right(bench, download)
        assert other.sent("GET")


async def test_a_mirror_that_is_far_slower_drops_out(tmp_path: Path, server: FaultServer) -> None:
    async with FaultServer() as other:
        slow = Remote(CONTENT, piece=2048, pause=0.02)
        mirror = other.put("/m", slow)
        begun = asyncio.get_running_loop().time()
        fast = Remote(CONTENT, piece=65_536, pause=0.01)
        bench, download = await fetch(tmp_path, server, fast, mirrors=[mirror], **HASHED)
        right(bench, download)
        assert slow.served > 2048, "it had its chance"
        assert asyncio.get_running_loop().time() - begun < 8, "alone it takes two seconds, with it fifteen"


async def test_a_mirror_of_which_nothing_proves_the_content_is_not_mixed_in(
    tmp_path: Path, server: FaultServer
) -> None:
    async with FaultServer() as other:
        mirror = other.put("/m", Remote(OTHER, etag='"of another server"'))
        bench, download = await fetch(tmp_path, server, REMOTE, mirrors=[mirror], **KNOWN)
        right(bench, download)
        assert other.sent("GET") == []


@pytest.mark.parametrize("act", [answers(404), answers(401), answers(503), breaks_after(REMOTE, 0)])
@pytest.mark.parametrize("broken", ["first", "mirror"])
async def test_one_of_two_is_enough(tmp_path: Path, server: FaultServer, act: Act, broken: str) -> None:
    async with FaultServer() as other:
        first, second = (act, REMOTE) if broken == "first" else (REMOTE, act)
        bench, download = await fetch(tmp_path, server, first, mirrors=[other.put("/m", second)], **HASHED)
        right(bench, download)


async def test_a_source_that_vanishes_half_way_is_replaced_by_its_mirror(
    tmp_path: Path, server: FaultServer
) -> None:
    async with FaultServer() as other:
        first = always(answers(404), probe=REMOTE)
        assert isinstance(first, Failing)
        first.faults.insert(0, REMOTE)
        bench, download = await fetch(tmp_path, server, first, mirrors=[other.put("/m", REMOTE)], **HASHED)
        right(bench, download)


async def test_a_mirror_with_other_bytes_is_dropped_and_the_file_fetched_again(
    tmp_path: Path, server: FaultServer
) -> None:
    async with FaultServer() as other:
        slow, lying = Remote(CONTENT, piece=65_536, pause=0.02), Remote(OTHER)
        bench, download = await fetch(tmp_path, server, slow, mirrors=[other.put("/m", lying)], **HASHED)
        right(bench, download)
        assert lying.served > 1, "it took part with more than the byte of the first look"
        assert slow.served > len(CONTENT), "what both brought was thrown away"
        asked = len(other.requests)
        assert [exchange.headers["range"] for exchange in other.requests].count("bytes=0-0") == 1
        assert asked > 1, "and after that it was not asked again"


async def test_a_source_with_other_bytes_is_replaced_by_its_mirror(
    tmp_path: Path, server: FaultServer
) -> None:
    async with FaultServer() as other:
        small, bad = model(300_000), model(300_000, seed="bad")
        mirror = other.put("/m", Remote(small))
        stated = {"sha256": sha256(small), "mirrors": [mirror]}
        bench, download = await fetch(tmp_path, server, Remote(bad), **stated)
        right(bench, download, small)


async def test_the_limit_counts_for_many_connections_too(tmp_path: Path, server: FaultServer) -> None:
    async with running(tmp_path, server.place, bandwidth_limit=7_000_000) as bench:
        begun = asyncio.get_running_loop().time()
        download = await bench.fetch(server.put("/x", REMOTE), **KNOWN)
        right(bench, download)
        assert asyncio.get_running_loop().time() - begun >= 1.5

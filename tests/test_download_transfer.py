"""Whatever the server does: the right file under its name, or none and a clear code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from resolver.schemas import Download
from tests.download_fixtures import Bench, model, running, sha256
from tests.fault_server import (
    Act,
    Exchange,
    Failing,
    FaultServer,
    Remote,
    always,
    answers,
    breaks_after,
    chunked,
    claims_range,
    closes_without_length,
    in_turn,
    redirects,
    stalls_after,
    zips,
)

CONTENT = model()
HALF = len(CONTENT) // 2
NAME = "sub/model.safetensors"


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as running_server:
        yield running_server


def right(bench: Bench, download: Download, content: bytes = CONTENT) -> None:
    """The file is there, and nothing else is."""
    assert (download.status, download.error) == ("completed", None)
    assert bench.files() == {NAME: content}
    assert bench.parts() == []
    assert not (bench.loras / ".model-resolver").exists()
    assert download.verified
    assert download.sha256 == sha256(content)
    assert download.size == download.received == len(content)
    assert download.path == str(bench.loras / NAME)
    assert [done.id for done in bench.completed] == [download.id]


def wrong(bench: Bench, download: Download, code: str, *, part: bool = False) -> None:
    """No file, and the code; ``part``: whether what arrived is kept."""
    assert download.error is not None
    assert (download.status, download.error.code) == ("failed", code), download.error
    assert bench.files() == {}
    assert bool(bench.parts()) == part
    assert bench.completed == []


async def outcome(
    base: Path, server: FaultServer, act: Act, **fields: Any
) -> tuple[Bench, Download, list[int]]:
    """Fetch once from ``act``; also the offsets that were asked for."""
    settings = {name: fields.pop(name) for name in ("download_timeout", "retry_policy") if name in fields}
    async with running(base, server.place, **settings) as bench:
        download = await bench.fetch(server.put("/model.safetensors", act), **fields)
    return bench, download, [exchange.offset for exchange in server.sent("GET")]


# --- faults that time or another request heals ----------------------------------------------------

REMOTE = Remote(CONTENT)
HEALED: dict[str, tuple[Act, list[int]]] = {
    "nothing happens": (Remote(CONTENT), [0]),
    "chunked": (chunked(REMOTE), [0]),
    "broken half-way": (Failing(REMOTE, breaks_after(REMOTE, HALF)), [0, HALF]),
    "broken twice": (
        Failing(REMOTE, breaks_after(REMOTE, 1000), breaks_after(REMOTE, 1000)),
        [0, 1000, 2000],
    ),
    "503 once": (Failing(REMOTE, answers(503)), [0, 0]),
    "500 at the first question": (in_turn([answers(500), REMOTE]), [0, 0]),
    "429 once": (Failing(REMOTE, answers(429, {"Retry-After": "0"})), [0, 0]),
    "ranges are ignored": (
        Failing(Remote(CONTENT, ranges=False), breaks_after(REMOTE, HALF)),
        [0, HALF],
    ),
    "a weak ETag proves nothing": (
        Failing(Remote(CONTENT, etag='W/"1"'), breaks_after(Remote(CONTENT, etag='W/"1"'), HALF)),
        [0, 0],
    ),
    "no ETag proves nothing": (
        Failing(Remote(CONTENT, etag=None), breaks_after(Remote(CONTENT, etag=None), HALF)),
        [0, 0],
    ),
    "416": (Failing(REMOTE, breaks_after(REMOTE, HALF), answers(416)), [0, HALF, 0]),
    "Content-Range of other bytes": (
        Failing(
            REMOTE,
            breaks_after(REMOTE, HALF),
            claims_range(REMOTE, f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}", CONTENT),
        ),
        [0, HALF, 0],
    ),
    "Content-Range of a longer file": (
        Failing(
            REMOTE,
            breaks_after(REMOTE, HALF),
            claims_range(REMOTE, f"bytes {HALF}-{len(CONTENT)}/{len(CONTENT) + 1}", CONTENT[HALF:] + b"x"),
        ),
        [0, HALF, 0],
    ),
    "Content-Range without a total": (
        Failing(
            REMOTE,
            breaks_after(REMOTE, HALF),
            claims_range(REMOTE, f"bytes {HALF}-{len(CONTENT) - 1}/*", CONTENT[HALF:]),
        ),
        [0, HALF, 0],
    ),
    "Content-Range that is nonsense": (
        Failing(REMOTE, breaks_after(REMOTE, HALF), claims_range(REMOTE, "half", CONTENT[HALF:])),
        [0, HALF, 0],
    ),
    "Content-Range that its own length denies": (
        Failing(
            REMOTE,
            breaks_after(REMOTE, HALF),
            claims_range(REMOTE, f"bytes {HALF}-{len(CONTENT) - 1}/{len(CONTENT)}", CONTENT[HALF:-1]),
        ),
        [0, HALF, 0],
    ),
    "no length, but the probe told it": (Failing(REMOTE, closes_without_length(REMOTE)), [0]),
    "no length, cut off, but the probe told it": (
        Failing(REMOTE, closes_without_length(REMOTE, HALF)),
        [0, HALF],
    ),
    "chunked and too short once": (Failing(REMOTE, chunked(REMOTE, HALF)), [0, HALF]),
}


@pytest.mark.parametrize("fault", HEALED)
async def test_what_heals(tmp_path: Path, server: FaultServer, fault: str) -> None:
    act, offsets = HEALED[fault]
    bench, download, asked = await outcome(tmp_path, server, act)
    right(bench, download)
    assert asked == offsets


async def test_a_stall_is_ended_and_gone_on_from(tmp_path: Path, server: FaultServer) -> None:
    act = Failing(REMOTE, stalls_after(REMOTE, HALF))
    bench, download, asked = await outcome(tmp_path, server, act, download_timeout=0.3)
    right(bench, download)
    assert asked == [0, HALF]


async def test_without_a_validator_a_known_hash_lets_it_go_on(tmp_path: Path, server: FaultServer) -> None:
    remote = Remote(CONTENT, etag='W/"1"')
    act = Failing(remote, breaks_after(remote, HALF))
    bench, download, asked = await outcome(tmp_path, server, act, sha256=sha256(CONTENT))
    right(bench, download)
    assert asked == [0, HALF]
    assert "if-range" not in server.sent("GET")[1].headers


async def test_going_on_is_bound_to_the_same_content(tmp_path: Path, server: FaultServer) -> None:
    await outcome(tmp_path, server, Failing(REMOTE, breaks_after(REMOTE, HALF)))
    assert server.sent("GET")[1].headers["if-range"] == REMOTE.etag


async def test_an_expired_signature_is_renewed_half_way(tmp_path: Path, server: FaultServer) -> None:
    remote = Remote(CONTENT)
    server.put("/old", Failing(remote, breaks_after(remote, HALF), answers(403)))
    server.put("/new", remote)
    old, new = (redirects(f"/{name}?X-Amz-Signature=1") for name in ("old", "new"))
    act = Failing(old, old, old, new)
    bench, download, _ = await outcome(tmp_path, server, act)
    right(bench, download)
    assert [x.offset for x in server.sent("GET", "/new")] == [HALF]


# --- another content ------------------------------------------------------------------------------

OTHER = model(seed="other")
SHORTER = model(size=len(CONTENT) - 512)


@pytest.mark.parametrize("new", [OTHER, SHORTER], ids=["same size", "other size"])
@pytest.mark.parametrize("ranges", [True, False])
async def test_a_changed_file_is_never_spliced(
    tmp_path: Path, server: FaultServer, new: bytes, ranges: bool
) -> None:
    old = Remote(CONTENT)
    changed = Remote(new, etag='"version-2"', ranges=ranges)
    act = in_turn([breaks_after(old, HALF), changed])
    bench, download, asked = await outcome(tmp_path, server, act)
    right(bench, download, new)
    assert asked[:2] == [0, HALF]


async def test_a_changed_file_that_hides_behind_its_etag_is_found_by_its_hash(
    tmp_path: Path, server: FaultServer
) -> None:
    old, changed = Remote(CONTENT), Remote(OTHER)
    act = in_turn([breaks_after(old, HALF), changed])
    bench, download, asked = await outcome(tmp_path, server, act, sha256=sha256(OTHER))
    right(bench, download, OTHER)
    assert asked == [0, HALF, 0]


async def test_a_server_that_ignores_if_range_is_found_by_the_etag(
    tmp_path: Path, server: FaultServer
) -> None:
    old, changed = Remote(CONTENT), Remote(OTHER, etag='"version-2"')
    spliced = claims_range(changed, f"bytes {HALF}-{len(OTHER) - 1}/{len(OTHER)}", OTHER[HALF:])
    act = Failing(changed, breaks_after(old, HALF), spliced)
    bench, download, asked = await outcome(tmp_path, server, act)
    right(bench, download, OTHER)
    assert asked == [0, HALF, 0]


async def test_a_file_that_keeps_changing_is_given_up(tmp_path: Path, server: FaultServer) -> None:
    turn = 0

    async def act(exchange: Exchange) -> None:
        nonlocal turn
        turn += 1
        remote = Remote(model(size=len(CONTENT) + 512 * turn), etag=f'"{turn}"')
        await (breaks_after(remote, HALF) if exchange.method == "GET" else remote)(exchange)

    bench, download, _ = await outcome(tmp_path, server, act)
    wrong(bench, download, "CHANGED_ON_SERVER")


async def test_the_hash_the_hub_tells_is_what_counts(tmp_path: Path, server: FaultServer) -> None:
    linked = {"X-Linked-Etag": f'"{sha256(CONTENT)}"', "X-Linked-Size": str(len(CONTENT))}
    server.put("/o/r/resolve/main/m.safetensors", redirects("/storage", 302, linked))
    async with FaultServer() as storage:
        server.put("/o/r/resolve/main/m.safetensors", redirects(storage.url("/s"), 302, linked))
        storage.put("/s", Remote(CONTENT, etag='"the-xet-hash"'))
        options = {"hf_endpoint": server.url(""), "hf_token": "hf_secret"}
        async with running(tmp_path, server.place, storage.place, **options) as bench:
            url = "https://huggingface.co/o/r/resolve/main/m.safetensors"
            download = await bench.fetch(url, sha256=sha256(CONTENT).upper())
            right(bench, download)
            assert download.url == url
            assert all("authorization" not in x.headers for x in storage.requests)
            assert {x.headers["authorization"] for x in server.requests} == {"Bearer hf_secret"}

            storage.put("/s", Remote(OTHER))
            (bench.loras / NAME).unlink()
            failed = await bench.fetch(url)
            assert failed.error is not None
            assert failed.error.code == "HASH_MISMATCH"
            assert bench.files() == {}
            assert bench.parts() == []


async def test_another_hash_at_the_hub_is_told_before_a_byte_is_written(
    tmp_path: Path, server: FaultServer
) -> None:
    linked = {"X-Linked-Etag": f'"{sha256(OTHER)}"', "X-Linked-Size": str(len(OTHER))}
    async with (
        FaultServer() as storage,
        running(tmp_path, server.place, storage.place, hf_endpoint=server.url("")) as bench,
    ):
        location = storage.put("/s", Remote(OTHER))
        server.put("/o/r/resolve/main/m.safetensors", redirects(location, 302, linked))
        url = "https://huggingface.co/o/r/resolve/main/m.safetensors"
        download = await bench.fetch(url, sha256=sha256(CONTENT))
        wrong(bench, download, "HASH_MISMATCH")
        assert download.error is not None
        assert sha256(OTHER) in download.error.message
        assert sha256(CONTENT) in download.error.message
        assert all(event.received == 0 for event in bench.events)
        assert len(storage.requests) == 1


# --- faults that nothing heals --------------------------------------------------------------------

CORRUPT = bytearray(CONTENT)
CORRUPT[len(CORRUPT) // 2] ^= 1
PAGE = b"<!DOCTYPE html><title>Log in</title>" + b" " * 1000
STATED = {"sha256": sha256(CONTENT)}

HOPELESS: dict[str, tuple[Act, dict[str, Any], str]] = {
    "one bit is wrong": (Remote(bytes(CORRUPT)), STATED, "HASH_MISMATCH"),
    "short, and agrees with itself": (Remote(CONTENT[:HALF]), {}, "FILE_DAMAGED"),
    "short, with the hash known": (Remote(CONTENT[:HALF]), STATED, "HASH_MISMATCH"),
    "short, with the size known": (Remote(CONTENT[:HALF]), {"size": len(CONTENT)}, "SIZE_MISMATCH"),
    "long, with the size known": (Remote(CONTENT), {"size": HALF}, "SIZE_MISMATCH"),
    "cut off without a length": (closes_without_length(REMOTE, HALF), {}, "FILE_DAMAGED"),
    "chunked and always too short": (
        always(chunked(REMOTE, HALF), probe=REMOTE),
        STATED,
        "TRUNCATED",
    ),
    "more than announced": (
        always(chunked(Remote(CONTENT + b"x")), probe=REMOTE),
        {},
        "CHANGED_ON_SERVER",
    ),
    "one byte too long": (Remote(CONTENT + b"x"), {}, "FILE_DAMAGED"),
    "compressed": (always(zips(REMOTE), probe=REMOTE), {}, "ENCODING_REFUSED"),
    "a login page": (Remote(PAGE, content_type="text/html; charset=utf-8"), {}, "NOT_A_MODEL"),
    "a login page only for the file": (
        always(Remote(PAGE, content_type="text/html"), probe=REMOTE),
        {},
        "NOT_A_MODEL",
    ),
    "a login page in disguise": (Remote(PAGE), {}, "NOT_A_MODEL"),
    "a message": (Remote(b'{"error": "no"}', content_type="application/json"), {}, "NOT_A_MODEL"),
    "nothing at all": (Remote(b"x"), {}, "FILE_DAMAGED"),
    "an empty file": (answers(200), {}, "FILE_DAMAGED"),
    "204": (always(answers(204), probe=REMOTE), {}, "SERVER_REFUSED"),
    "206 unasked": (
        always(claims_range(REMOTE, f"bytes 0-9/{len(CONTENT)}", CONTENT[:10]), probe=REMOTE),
        {},
        "SERVER_REFUSED",
    ),
    "401": (answers(401), {}, "UNAUTHORIZED"),
    "403": (answers(403), {}, "UNAUTHORIZED"),
    "404": (answers(404), {}, "NOT_FOUND"),
    "410": (answers(410), {}, "NOT_FOUND"),
    "404 after the probe": (always(answers(404), probe=REMOTE), {}, "NOT_FOUND"),
    "416": (always(answers(416), probe=REMOTE), {}, "SERVER_REFUSED"),
    "429 for ever": (always(answers(429, {"Retry-After": "0"}), probe=REMOTE), {}, "RATE_LIMITED"),
    "503 for ever": (answers(503), {}, "SERVER_ERROR"),
    "drops at once": (breaks_after(REMOTE, 0), {}, "NETWORK"),
    "a redirect loop": (redirects("/model.safetensors"), {}, "REDIRECT_REFUSED"),
    "a redirect to another host": (redirects("https://evil.example/x"), {}, "REDIRECT_REFUSED"),
    "a redirect into the network": (redirects("http://169.254.169.254/x"), {}, "REDIRECT_REFUSED"),
    "a redirect to a file": (redirects("file:///etc/passwd"), {}, "REDIRECT_REFUSED"),
}


@pytest.mark.parametrize("fault", HOPELESS)
async def test_what_does_not_heal(tmp_path: Path, server: FaultServer, fault: str) -> None:
    act, stated, code = HOPELESS[fault]
    bench, download, _ = await outcome(tmp_path, server, act, **stated)
    # Half a file of which the other half may still come is kept.
    wrong(bench, download, code, part=code in ("TRUNCATED", "RATE_LIMITED") and "short" in fault)


async def test_without_any_length_only_a_format_that_shows_its_end_passes(
    tmp_path: Path, server: FaultServer
) -> None:
    bench, download, _ = await outcome(tmp_path / "1", server, closes_without_length(REMOTE))
    right(bench, download)
    gguf = Remote(b"GGUF" + bytes(1000))
    async with running(tmp_path / "2", server.place) as bench:
        url = server.put("/x.gguf", closes_without_length(gguf))
        download = await bench.fetch(url, "x.gguf")
        wrong(bench, download, "SIZE_UNKNOWN")
        download = await bench.fetch(url, "x.gguf", size=len(gguf.content))
        assert download.status == "completed"


async def test_attempts_without_progress_end(tmp_path: Path, server: FaultServer) -> None:
    act = always(breaks_after(REMOTE, 0), probe=REMOTE)
    bench, download, asked = await outcome(tmp_path, server, act)
    wrong(bench, download, "NETWORK")
    assert asked == [0] * 4


async def test_progress_renews_the_attempts(tmp_path: Path, server: FaultServer) -> None:
    act = Failing(REMOTE, *[breaks_after(REMOTE, 10_000)] * 12)
    bench, download, asked = await outcome(tmp_path, server, act)
    right(bench, download)
    assert asked == [10_000 * number for number in range(13)]


async def test_a_server_that_asks_to_wait_is_waited_for(tmp_path: Path, server: FaultServer) -> None:
    act = Failing(REMOTE, answers(503, {"Retry-After": "1"}))
    begun = time.monotonic()
    bench, download, _ = await outcome(tmp_path, server, act)
    right(bench, download)
    assert time.monotonic() - begun >= 1
    waiting = [event for event in bench.events if event.status == "queued" and event.error]
    assert [event.error and event.error.code for event in waiting] == ["SERVER_ERROR"]


async def test_what_a_server_asks_of_one_download_holds_for_all(tmp_path: Path, server: FaultServer) -> None:
    """Else each of many would ask, and be refused, in turn."""
    act, asked = Failing(REMOTE, answers(429, {"Retry-After": "1"})), []

    async def counted(exchange: Exchange) -> None:
        asked.append(time.monotonic())
        await act(exchange)

    act.faults.insert(0, REMOTE)
    async with running(tmp_path, server.place, max_concurrent_downloads=1) as bench:
        url = server.put("/x", counted)
        ends = await asyncio.gather(*(bench.fetch(url, f"{number}.safetensors") for number in range(5)))
    assert [end.status for end in ends] == ["completed"] * 5
    assert asked[2] - asked[1] >= 1


async def test_the_bandwidth_limit_is_for_all_together(tmp_path: Path, server: FaultServer) -> None:
    content = model(300_000)
    async with running(tmp_path, server.place, bandwidth_limit=600_000) as bench:
        begun = time.monotonic()
        urls = [server.put(f"/{number}", Remote(content)) for number in range(2)]
        ends = await asyncio.gather(*(bench.fetch(url, f"{n}.safetensors") for n, url in enumerate(urls)))
        seconds = time.monotonic() - begun
    assert [end.status for end in ends] == ["completed"] * 2
    assert seconds >= 0.9, "one second for 600 kB of both together, less what comes at once"


async def test_a_url_with_a_token_is_fetched_with_it_and_shown_without(
    tmp_path: Path, server: FaultServer
) -> None:
    url = server.put("/model.safetensors", Remote(CONTENT)) + "?type=Model&token=secret"
    async with running(tmp_path, server.place) as bench:
        download = await bench.fetch(url, mirrors=[server.url("/m?token=secret")])
        right(bench, download)
        assert download.url == server.url("/model.safetensors?type=Model")
        assert all("secret" not in repr(event) for event in bench.events)
        rows = bench.store.downloads()
        assert "secret" not in repr(rows)
    assert [x.target for x in server.sent("GET")] == ["/model.safetensors?type=Model&token=secret"]
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir())
    assert b"secret" not in stored

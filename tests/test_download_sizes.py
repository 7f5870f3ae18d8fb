"""Files of every awkward length, from servers of every kind, and names as long as names can be."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.download_fixtures import item, model, running, sha256
from tests.fault_server import (
    Act,
    FaultServer,
    Remote,
    chunked,
    closes_without_length,
    speaks_http_1_0,
    tells_no_total,
)

MIB = 1 << 20
PIECE = 4 * MIB  # What one request brings, and the least that is handed out at once.
SIZES = [1, 2, 65_536, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1, 3 * PIECE]
BYTES = random.Random(4).randbytes(max(SIZES))
SERVERS: dict[str, Callable[[Remote], Act]] = {
    "honest": lambda remote: remote,
    "HTTP/1.0": speaks_http_1_0,
    "without ranges": lambda remote: Remote(remote.content, ranges=False),
    "without a validator": lambda remote: Remote(remote.content, etag=None),
    "chunked": chunked,
}


@pytest.fixture(params=[False, True], ids=["closing", "keeping"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[FaultServer]:
    async with FaultServer(keep_alive=request.param) as running_server:
        yield running_server


@pytest.mark.parametrize("kind", SERVERS)
async def test_every_length_comes_right(tmp_path: Path, server: FaultServer, kind: str) -> None:
    if kind == "HTTP/1.0":
        server.keep_alive = False
    async with running(tmp_path, server.place, max_concurrent_downloads=2) as bench:
        wanted = {}
        for size in SIZES:
            content = BYTES[:size]
            url = server.put(f"/{size}", SERVERS[kind](Remote(content)))
            known: list[dict[str, Any]] = [{}, {"size": size}, {"sha256": sha256(content), "size": size}]
            for number, fields in enumerate(known):
                name = f"{size}-{number}.onnx"
                (download,) = await bench.queue.submit([item(url, name, **fields)])
                wanted[name] = (download, content)
        for name, (download, content) in wanted.items():
            ended = await bench.ended(download)
            assert (name, ended.status, ended.error) == (name, "completed", None)
            assert (ended.received, ended.size, ended.sha256) == (len(content), len(content), sha256(content))
        assert {name: content for name, (_, content) in wanted.items()} == bench.files()


@pytest.mark.parametrize("length", ["0", "chunked", "none"])
async def test_an_empty_file_is_one_only_where_its_hash_says_so(tmp_path: Path, length: str) -> None:
    empty = Remote(b"")
    act: Act = {"0": empty, "chunked": chunked(empty), "none": closes_without_length(empty)}[length]
    async with FaultServer() as server, running(tmp_path, server.place) as bench:
        url = server.put("/x", act)
        right = await bench.fetch(url, "right.onnx", sha256=sha256(b""), size=0)
        assert (right.status, right.error, right.received) == ("completed", None, 0)
        again = await bench.fetch(url, "again.onnx", sha256=sha256(b""))
        assert (again.status, again.error, again.received) == ("completed", None, 0)
        wrong = await bench.fetch(url, "wrong.onnx")
        assert (wrong.status, wrong.error and wrong.error.code) == ("failed", "FILE_DAMAGED")
        assert bench.files() == {"right.onnx": b"", "again.onnx": b""}


async def test_parts_of_a_file_of_unknown_length_are_no_reason_to_give_up(tmp_path: Path) -> None:
    content = model(9_000_000)
    async with FaultServer() as server, running(tmp_path, server.place) as bench:
        url = server.put("/x", tells_no_total(Remote(content)))
        for fields in ({}, {"size": len(content)}, {"sha256": sha256(content)}):
            name = f"{len(bench.completed)}.safetensors"
            download = await bench.fetch(url, name, **fields)
            assert (download.status, download.error) == ("completed", None)
            assert bench.files()[name] == content


async def test_a_name_may_be_as_long_as_the_file_system_lets_it_be(tmp_path: Path) -> None:
    name = "ü" * 121 + "x.safetensors"
    assert len(name.encode()) == 255
    async with FaultServer() as server, running(tmp_path, server.place) as bench:
        content = model(300_000)
        download = await bench.fetch(server.put("/x", Remote(content)), name)
        assert (download.status, download.error) == ("completed", None)
        assert bench.files() == {name: content}

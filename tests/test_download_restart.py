"""A crash at any instant leaves the old state or the new one, and at most a part that goes on."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from resolver.download.fetcher import BUFFER
from resolver.download.piece_log import read_log
from resolver.errors import Conflict
from tests.download_fixtures import item, model, running, sha256
from tests.fault_server import FaultServer, Remote

ROOT = Path(__file__).parent.parent
CONTENT = model(2_000_000)
HALF = len(CONTENT) // 2
NAME = "sub/model.safetensors"

# A process with one queue. Arguments: base directory, place, items as JSON.
CHILD = """
import asyncio, json, os, sys
from pathlib import Path
from tests.download_fixtures import item, running

async def main(base, place, items):
    async with running(Path(base), place) as bench:
        await bench.queue.submit([item(**fields) for fields in json.loads(items)])
        print("ready", flush=True)
        ended = [await bench.ended(download) for download in await bench.queue.list()]
        print(json.dumps([[d.status, d.error and d.error.code] for d in ended]), flush=True)

{crash}
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as running_server:
        yield running_server


async def child(
    base: Path, server: FaultServer, *items: dict[str, Any], crash: str = ""
) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD.replace("{crash}", crash), str(base), server.place, json.dumps(items),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    await process.wait()


def parts_below(base: Path) -> list[Path]:
    return list(base.glob("models/loras/.model-resolver/.git/*.part"))


async def part_of(base: Path, count: int) -> Path:
    """The part file once it has ``count`` bytes."""
    for _ in range(2000):
        for part in parts_below(base):
            if part.stat().st_size >= count:
                return part
        await asyncio.sleep(0.005)
    raise AssertionError("nothing arrives")


def invariant(base: Path) -> None:
    """Right now there is the whole file under its name, or none."""
    file = base / "models" / "loras" / NAME
    assert not file.exists() or file.read_bytes() == CONTENT


def slow(**fields: Any) -> Remote:
    return Remote(CONTENT, piece=16_384, pause=0.01, **fields)


@pytest.mark.parametrize("known", ["etag", "sha256"])
async def test_after_kill_9_it_goes_on_and_nothing_is_fetched_again(
    tmp_path: Path, server: FaultServer, known: str
) -> None:
    remote = slow(etag='"1"' if known == "etag" else None)
    fields = {"url": server.put("/x", remote), **({"sha256": sha256(CONTENT)} if known == "sha256" else {})}
    process = await child(tmp_path, server, fields)
    part = await part_of(tmp_path, HALF)
    await kill(process)
    kept = part.stat().st_size
    assert HALF <= kept < len(CONTENT)
    assert part.read_bytes() == CONTENT[:kept]
    invariant(tmp_path)

    remote.pause, served = 0, remote.served
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.list()
        assert download.status in ("queued", "active")
        done = await bench.ended(download)
        assert (done.status, bench.files()) == ("completed", {NAME: CONTENT})
        assert bench.parts() == []
    assert server.sent("GET")[-1].headers["range"] == f"bytes={kept}-"
    # What the server sent to the dead process counts as well.
    assert remote.served - served <= len(CONTENT) - kept + 2 * remote.piece


LARGE = model(14_000_000)


async def test_after_kill_9_of_many_connections_hardly_anything_is_fetched_again(
    tmp_path: Path, server: FaultServer
) -> None:
    remote = Remote(LARGE, piece=65_536, pause=0.02)
    fields = {"url": server.put("/x", remote), "size": len(LARGE)}
    process = await child(tmp_path, server, fields)
    await remote.until(len(LARGE) // 2)
    await kill(process)
    served = remote.served
    (part,) = parts_below(tmp_path)
    kept = read_log(part, len(LARGE))
    assert kept is not None
    content = part.read_bytes()
    assert all(content[first:end] == LARGE[first:end] for first, end in kept)

    remote.pause = 0
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.list()
        done = await bench.ended(download)
        assert (done.status, bench.files()) == ("completed", {NAME: LARGE})
        assert bench.parts() == []
    connections = len([x for x in server.sent("GET") if x.offset < len(LARGE)])
    # A buffer each, and what the server had handed to the system for a process that was gone.
    assert served - sum(end - first for first, end in kept) <= connections * (BUFFER + 3 * remote.piece)


CRASHES = {
    "before the name is given": "os.link = lambda *a, **k: os._exit(9)",
    "between name and removal of the part": (
        "unlink = os.unlink\n"
        "os.unlink = lambda p, **k: os._exit(9) if str(p).endswith('.part') else unlink(p, **k)"
    ),
    "before it is written down": (
        "from resolver.download.runner import Runner\n"
        "async def crash(*a): os._exit(9)\n"
        "Runner._complete = crash"
    ),
    "before the hash is written down": (
        "from resolver.download import runner\nrunner.check_structure = lambda *a, **k: os._exit(9)"
    ),
}


@pytest.mark.parametrize("instant", CRASHES)
async def test_a_crash_while_publishing_is_made_good(
    tmp_path: Path, server: FaultServer, instant: str
) -> None:
    process = await child(
        tmp_path, server, {"url": server.put("/x", Remote(CONTENT))}, crash=CRASHES[instant]
    )
    assert await process.wait() == 9
    invariant(tmp_path)
    asked = len(server.sent("GET"))
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.list()
        done = await bench.ended(download)
        assert (done.status, done.verified, done.error) == ("completed", True, None)
        assert bench.files() == {NAME: CONTENT}
        assert not (bench.loras / ".model-resolver").exists()
    assert len(server.sent("GET")) == asked, "nothing is fetched again"


async def test_a_page_whose_check_was_interrupted_is_not_published_later(
    tmp_path: Path, server: FaultServer
) -> None:
    page = Remote(b"<html>" + bytes(1000))
    crash = CRASHES["before the hash is written down"]
    process = await child(tmp_path, server, {"url": server.put("/x", page)}, crash=crash)
    assert await process.wait() == 9
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.list()
        done = await bench.ended(download)
        assert done.error is not None
        assert done.error.code == "NOT_A_MODEL"
        assert bench.files() == {}


async def test_killed_again_and_again_at_any_instant(tmp_path: Path, server: FaultServer) -> None:
    dice = random.Random(1)
    remote = Remote(CONTENT, piece=16_384, pause=0.003)
    url = server.put("/x", remote)
    async with running(tmp_path, server.place) as bench:
        # Made here and left behind, so that every child has something to adopt.
        await bench.queue.submit([item(url)])
    for _ in range(6):
        process = await child(tmp_path, server)
        await asyncio.sleep(dice.uniform(0, 0.1))
        await kill(process)
        invariant(tmp_path)
    remote.pause = 0
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.list()
        assert (await bench.ended(download)).status == "completed"
        assert bench.files() == {NAME: CONTENT}
        assert bench.parts() == []


async def test_stop_and_start_go_on_as_well(tmp_path: Path, server: FaultServer) -> None:
    remote = slow()
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.submit([item(server.put("/x", remote))])
        (paused,) = await bench.queue.submit([item(server.put("/y", slow()), "y.safetensors")])
        await bench.queue.pause(paused.id)
        await bench.under_way(download, 100_000)
        part = bench.part_of(download)
    assert bench.events[-1].status == "queued"
    kept = part.stat().st_size
    remote.pause = 0
    async with running(tmp_path, server.place) as bench:
        assert (await bench.ended(download)).status == "completed"
        assert (await bench.queue.get(paused.id)).status == "paused"
    assert [x.offset for x in server.sent("GET", "/x")] == [0, kept]
    assert list((tmp_path / "data").glob("queue-*.lock")) == []


async def interrupted(base: Path, server: FaultServer, **fields: Any) -> Path:
    """A download left behind half-way; its part file."""
    remote = slow()
    async with running(base, server.place) as bench:
        (download,) = await bench.queue.submit([item(server.put("/x", remote), **fields)])
        await bench.under_way(download, 100_000)
        part = bench.part_of(download)
    server.put("/x", Remote(CONTENT))
    return part


async def resumed_from(base: Path, server: FaultServer) -> list[int]:
    """Let what was left behind end well; the offsets of the requests after the first one."""
    async with running(base, server.place) as bench:
        (download,) = await bench.queue.list()
        assert (await bench.ended(download)).status == "completed"
        assert bench.files() == {NAME: CONTENT}
    return [x.offset for x in server.sent("GET")][1:]


def reboot(part: Path) -> None:
    """Pretend that what is left behind was written before the machine was restarted."""
    sidecar = part.with_suffix(".json")
    known = json.loads(sidecar.read_text())
    known["state"]["boot"] = "another boot"
    sidecar.write_text(json.dumps(known))


async def test_after_a_restart_of_the_machine_bytes_without_a_known_hash_do_not_count(
    tmp_path: Path, server: FaultServer
) -> None:
    reboot(await interrupted(tmp_path, server))
    assert await resumed_from(tmp_path, server) == [0]


async def test_after_a_restart_of_the_machine_a_known_hash_will_tell(
    tmp_path: Path, server: FaultServer
) -> None:
    part = await interrupted(tmp_path, server, sha256=sha256(CONTENT))
    kept = part.stat().st_size
    reboot(part)
    assert await resumed_from(tmp_path, server) == [kept]


async def test_bytes_that_went_bad_on_the_disk_are_found_and_fetched_again(
    tmp_path: Path, server: FaultServer
) -> None:
    part = await interrupted(tmp_path, server, sha256=sha256(CONTENT))
    kept = part.stat().st_size
    part.write_bytes(bytes(kept))
    assert await resumed_from(tmp_path, server) == [kept, 0]


async def test_a_part_longer_than_the_file_is_dropped(tmp_path: Path, server: FaultServer) -> None:
    part = await interrupted(tmp_path, server, sha256=sha256(CONTENT))
    part.write_bytes(CONTENT + b"more")
    assert await resumed_from(tmp_path, server) == [0]


async def test_a_part_that_is_gone_is_fetched_again(tmp_path: Path, server: FaultServer) -> None:
    part = await interrupted(tmp_path, server)
    part.unlink()
    assert await resumed_from(tmp_path, server) == [0]


async def test_a_url_whose_own_token_is_gone_says_what_to_do(tmp_path: Path, server: FaultServer) -> None:
    async def locked(exchange: Any) -> None:
        if "token=secret" in exchange.target:
            await slow()(exchange)
        else:
            await exchange.answer(401)

    async with running(tmp_path, server.place, civitai_endpoint=server.url("")) as bench:
        server.put("/api/download/models/1", locked)
        url = "https://civitai.com/api/download/models/1?token=secret"
        (download,) = await bench.queue.submit([item(url)])
        await bench.under_way(download)
    async with running(tmp_path, server.place, civitai_endpoint=server.url("")) as bench:
        failed = await bench.ended(download)
        assert failed.error is not None
        assert failed.error.code == "UNAUTHORIZED"
        assert "CMR_CIVITAI_API_KEY" in failed.error.message


# --- several processes ----------------------------------------------------------------------------


async def test_what_another_process_works_on_is_seen_but_left_alone(
    tmp_path: Path, server: FaultServer
) -> None:
    remote = slow()
    process = await child(tmp_path, server, {"url": server.put("/x", remote)})
    await part_of(tmp_path, 100_000)
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.list()
        assert download.status == "active"
        with pytest.raises(Conflict, match="another process"):
            await bench.queue.pause(download.id)
        with pytest.raises(Conflict) as caught:
            await bench.queue.submit([item(server.url("/x"))])
        assert caught.value.code == "DUPLICATE_DOWNLOAD"
        assert bench.queue.counts() == (0, 0)
        remote.pause = 0
        assert await process.wait() == 0
        assert (await bench.queue.get(download.id)).status == "completed"
    assert len(server.sent("GET")) == 1
    invariant(tmp_path)


@pytest.mark.parametrize("same", [True, False])
async def test_two_processes_without_a_common_store_publish_one_right_file(
    tmp_path: Path, server: FaultServer, same: bool
) -> None:
    """The second one has a store of its own, but the same model folders."""
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "models").mkdir()
    (other / "models").symlink_to(tmp_path / "models")
    contents = [CONTENT, CONTENT if same else model(len(CONTENT), seed="other")]
    remotes = [Remote(content, piece=8192, pause=0.1) for content in contents]
    urls = [server.put(f"/{number}", remote) for number, remote in enumerate(remotes)]
    processes = [
        await child(base, server, {"url": url}) for base, url in zip((tmp_path, other), urls, strict=True)
    ]
    for remote in remotes:
        remote.pause = 0
    ends = [json.loads((await process.communicate())[0])[0] for process in processes]
    file = (tmp_path / "models" / "loras" / NAME).read_bytes()
    if same:
        assert ends == [["completed", None]] * 2
        assert file == CONTENT
    else:
        assert sorted(ends) == [["completed", None], ["failed", "FILE_EXISTS"]]
        assert file == contents[ends.index(["completed", None])]

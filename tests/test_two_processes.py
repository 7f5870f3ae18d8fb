"""Two programs with stores of their own share model folders: each file is fetched once, whoever dies."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from resolver.download import claims as claims_module
from resolver.download import queue as queue_module
from resolver.download.claims import Claim
from resolver.download.part import part_path
from tests.download_fixtures import Bench, item, model, running, sha256
from tests.fault_server import FaultServer, Remote

CHECKOUT = Path(__file__).parent.parent
CONTENT = model(2_000_000)
NAME = "sub/model.safetensors"
SAMPLES = 4 * 65_536

# A process with one queue. Arguments: base directory, place, items as JSON. It begins when told to.
CHILD = """
import asyncio, json, sys
from pathlib import Path
from tests.download_fixtures import item, running

async def main(base, place, items):
    async with running(Path(base), place) as bench:
        await bench.queue.submit([item(**fields) for fields in json.loads(items)])
        print("ready", flush=True)
        ended = [await bench.ended(download) for download in await bench.queue.list()]
        print(json.dumps({d.filename: [d.status, d.error and d.error.code] for d in ended}), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as running_server:
        yield running_server


@pytest.fixture
def bases(tmp_path: Path) -> tuple[Path, Path]:
    """Two base directories, each with a user and a store of its own, over one ``models``."""
    made = tmp_path / "one", tmp_path / "two"
    (tmp_path / "models").mkdir()
    for base in made:
        base.mkdir()
        (base / "models").symlink_to(tmp_path / "models")
    return made


async def started(base: Path, server: FaultServer, *items: dict[str, Any]) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(base), server.place, json.dumps(items),
        cwd=CHECKOUT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    await process.wait()


def slow(content: bytes = CONTENT, **fields: Any) -> Remote:
    return Remote(content, piece=16_384, pause=0.01, **fields)


async def waiting(bench: Bench) -> None:
    """Until the only download waits for another process."""
    (download,) = await bench.queue.list()
    told = await bench.until(lambda now: now.error is not None, download.id)
    assert told.error is not None
    assert (told.status, told.error.code) == ("queued", "DOWNLOADING_ELSEWHERE")


async def enough(remote: Remote, count: int = len(CONTENT) // 2) -> None:
    for _ in range(2000):
        if remote.served >= count:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("nothing is fetched")


@pytest.mark.parametrize("known", [True, False], ids=["with a hash", "without"])
async def test_two_that_race_for_twenty_files_fetch_each_once(
    bases: tuple[Path, Path], tmp_path: Path, server: FaultServer, known: bool
) -> None:
    contents = {f"{number}.safetensors": model(600_000, seed=str(number)) for number in range(20)}
    # Nothing is answered before both have submitted, or the later one would be told that a file exists.
    both = asyncio.Event()
    remotes = {name: Remote(content, piece=65_536, pause=0.01) for name, content in contents.items()}

    def held(remote: Remote) -> Any:
        async def act(exchange: Any) -> None:
            await both.wait()
            await remote(exchange)

        return act

    items = [
        {
            "url": server.put(f"/{name}", held(remotes[name])),
            "filename": name,
            **({"sha256": sha256(content)} if known else {}),
        }
        for name, content in contents.items()
    ]
    processes = [await started(base, server, *items) for base in bases]
    both.set()
    for process in processes:
        ended = json.loads((await process.communicate())[0])
        assert ended == {name: ["completed", None] for name in contents}
    loras = tmp_path / "models" / "loras"
    assert {path.name: path.read_bytes() for path in loras.iterdir()} == contents, "and nothing else"
    for name, remote in remotes.items():
        assert len(contents[name]) <= remote.served <= len(contents[name]) + (0 if known else SAMPLES)


async def test_two_command_lines_fetch_one_file_once(
    bases: tuple[Path, Path], tmp_path: Path, server: FaultServer
) -> None:
    remote = slow()
    url = server.put("/x.safetensors", remote)

    async def command(base: Path) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "resolver", "download", url, "--folder", "loras", "--sha256",
            sha256(CONTENT), "--comfyui-root", str(base), "--json",
            cwd=CHECKOUT, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "CMR_ALLOWED_HOSTS": server.place, "CMR_DISK_RESERVE": "0"},
        )  # fmt: skip

    first = await command(bases[0])
    await enough(remote, 1)
    second = await command(bases[1])
    for process in (first, second):
        output, _ = await process.communicate()
        assert process.returncode == 0
        assert json.loads(output.splitlines()[-1])["download"]["status"] == "completed"
    assert remote.served == len(CONTENT)
    assert (tmp_path / "models" / "loras" / "x.safetensors").read_bytes() == CONTENT


@pytest.mark.parametrize("known", ["etag", "sha256"])
async def test_who_waits_takes_over_from_an_owner_that_is_killed(
    bases: tuple[Path, Path], server: FaultServer, known: str
) -> None:
    remote = slow(etag='"1"' if known == "etag" else None)
    fields = {"url": server.put("/x", remote), **({"sha256": sha256(CONTENT)} if known == "sha256" else {})}
    owner = await started(bases[0], server, fields)
    await enough(remote)
    async with running(bases[1], server.place) as bench:
        (download,) = await bench.queue.submit([item(**fields)])
        await waiting(bench)
        await kill(owner)
        kept = bench.part_of(download).stat().st_size
        done = await bench.ended(download)
        assert (done.status, bench.files()) == ("completed", {NAME: CONTENT})
        assert list(bench.loras.iterdir()) == [bench.loras / "sub"], "nothing is left behind"
    assert kept > len(CONTENT) // 4
    # What the server sent into the dead process's connection counts as well.
    assert remote.served <= len(CONTENT) * 1.3


async def test_the_running_program_takes_up_what_a_killed_one_left_in_their_common_store(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "_LOOK_ROUND_SECONDS", 0.1)
    remote = slow()
    owner = await started(tmp_path, server, {"url": server.put("/x", remote)})
    async with running(tmp_path, server.place) as bench:
        await enough(remote)
        assert bench.queue.counts() == (0, 0), "it is left alone"
        await kill(owner)
        (download,) = await bench.queue.list()
        done = await bench.ended(download)
        assert (done.status, bench.files()) == ("completed", {NAME: CONTENT})
    assert remote.served <= len(CONTENT) * 1.3


async def test_a_waiting_download_takes_nobodys_place_and_obeys(
    bases: tuple[Path, Path], server: FaultServer
) -> None:
    remote = slow()
    async with (
        running(bases[0], server.place) as one,
        running(bases[1], server.place, max_concurrent_downloads=1) as two,
    ):
        (theirs,) = await one.queue.submit([item(server.put("/x", remote))])
        await one.under_way(theirs)
        (ours,) = await two.queue.submit([item(server.url("/x"), priority=9)])
        await waiting(two)
        other = await two.fetch(server.put("/y", Remote(CONTENT)), "y.safetensors")
        assert other.status == "completed"
        assert (await two.queue.pause(ours.id)).status == "paused"
        assert (await two.queue.resume(ours.id)).status == "queued"
        part = one.part_of(theirs)
        assert (await two.queue.cancel(ours.id)).status == "cancelled"
        assert part.exists(), "the part is theirs"
        assert (await one.ended(theirs)).status == "completed"
        assert remote.served == len(CONTENT)


async def interrupted(base: Path, server: FaultServer, path: str, content: bytes, **fields: Any) -> Path:
    async with running(base, server.place) as bench:
        (download,) = await bench.queue.submit([item(server.put(path, slow(content)), **fields)])
        await bench.under_way(download, 200_000)
        return bench.part_of(download)


async def test_what_another_program_left_is_gone_on_with(
    bases: tuple[Path, Path], server: FaultServer
) -> None:
    part = await interrupted(bases[0], server, "/x", CONTENT)
    assert part.stat().st_size >= 200_000
    remote = Remote(CONTENT)
    async with running(bases[1], server.place) as bench:
        assert (await bench.fetch(server.put("/x", remote))).status == "completed"
        assert bench.files() == {NAME: CONTENT}
    assert remote.served <= len(CONTENT) - 200_000


@pytest.mark.parametrize("stated", [True, False])
async def test_a_part_of_something_else_is_begun_anew(
    bases: tuple[Path, Path], server: FaultServer, stated: bool
) -> None:
    """Also where the other server names its content alike and it is as long."""
    await interrupted(bases[0], server, "/x", CONTENT)
    other = model(len(CONTENT), seed="other")
    remote = Remote(other)
    fields = {"sha256": sha256(other)} if stated else {}
    async with running(bases[1], server.place) as bench:
        assert (await bench.fetch(server.put("/y", remote), **fields)).status == "completed"
        assert bench.files() == {NAME: other}
    assert remote.served == len(other)


async def test_a_mirror_of_a_known_content_goes_on_with_its_part(
    bases: tuple[Path, Path], server: FaultServer
) -> None:
    await interrupted(bases[0], server, "/x", CONTENT, sha256=sha256(CONTENT))
    remote = Remote(CONTENT, etag=None)
    async with running(bases[1], server.place) as bench:
        done = await bench.fetch(server.put("/mirror", remote), sha256=sha256(CONTENT))
        assert (done.status, bench.files()) == ("completed", {NAME: CONTENT})
    assert remote.served <= len(CONTENT) - 200_000


async def test_where_nothing_can_be_locked_each_has_a_part_of_its_own(
    bases: tuple[Path, Path], server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(FileLock):
        def acquire(self, *_: Any, **__: Any) -> Any:
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claims_module, "FileLock", Refusing)
    remotes = [slow(model(2_000_000, seed=str(number))) for number in range(2)]
    urls = [server.put(f"/{number}", remote) for number, remote in enumerate(remotes)]
    async with running(bases[0], server.place) as one:
        (first,) = await one.queue.submit([item(urls[0])])
        await one.under_way(first)
        other = running(bases[1], server.place)
        two = await other.__aenter__()
        (second,) = await two.queue.submit([item(urls[1])])
        await two.under_way(second)
        assert len(two.parts()) == 2
        for remote in remotes:
            remote.pause = 0
        ends = [await one.ended(first), await two.ended(second)]
        assert sorted(end.status for end in ends) == ["completed", "failed"]
        winner = remotes[[end.status for end in ends].index("completed")]
        assert one.files() == {NAME: winner.content}
        await other.__aexit__(None, None, None)


# Takes and gives back one claim again and again. A marker made in between must not be there yet.
CLAIMER = """
import os, sys
from pathlib import Path
from resolver.download.claims import Claim

part, taken = Path(sys.argv[1]), 0
marker = part.parents[2] / "marker"
while taken < 200:
    claim = Claim(part)
    if claim.take():
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        marker.unlink()
        claim.release()
        taken += 1
"""


async def test_a_claim_is_one_processs_at_a_time_and_leaves_nothing_behind(tmp_path: Path) -> None:
    root = tmp_path / "loras"
    root.mkdir()
    claimers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLAIMER, str(part_path(root, "a")), cwd=CHECKOUT
        )
        for _ in range(4)
    ]
    assert [await claimer.wait() for claimer in claimers] == [0] * 4
    assert list(root.iterdir()) == []


def test_a_claim_whose_lock_file_was_removed_is_not_believed(tmp_path: Path) -> None:
    """What a process sees that opened the lock file just before its holder removed it."""
    part = part_path(tmp_path, "a")
    first, second = Claim(part), Claim(part)
    acquire = FileLock.acquire
    calls = []

    def late(lock: FileLock, *args: Any, **kwargs: Any) -> Any:
        calls.append(lock)
        made = acquire(lock, *args, **kwargs)
        if len(calls) == 1:
            part.with_suffix(".lock").unlink()
            assert second.take(), "it locks a new file of that name"
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileLock, "acquire", late)
        assert not first.take()
    second.release()
    assert first.take()
    first.release()
    assert list(tmp_path.iterdir()) == []

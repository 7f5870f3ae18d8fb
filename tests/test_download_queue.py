"""What runs when, and every word the user has in it."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from resolver.download import DownloadQueue, RetryPolicy
from resolver.download.part import part_path
from resolver.download.transfer import Filled, Plan, Watcher
from resolver.errors import BadInput, Conflict, DownloadError, NotFound, ResolverError, UnsafeName, UrlRefused
from resolver.host import FolderSpec
from resolver.net.client import HttpClient
from resolver.schemas import Download, DownloadItem
from resolver.settings import Settings
from resolver.store import Store
from tests.download_fixtures import Bench, item, model, running, sha256
from tests.fakes import FakeHost, folder
from tests.fault_server import Failing, FaultServer, Remote, answers, breaks_after

CONTENT = model()
HALF = len(CONTENT) // 2
NAME = "sub/model.safetensors"


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as running_server:
        yield running_server


@pytest.fixture
async def bench(tmp_path: Path, server: FaultServer) -> AsyncIterator[Bench]:
    async with running(tmp_path, server.place) as made:
        yield made


def slow(content: bytes = CONTENT) -> Remote:
    """About two seconds for the whole."""
    return Remote(content, piece=4096, pause=0.02)


async def submit(bench: Bench, *items: DownloadItem) -> list[Download]:
    return await bench.queue.submit(items)


async def until_status(queue: DownloadQueue, download: Download, *statuses: str) -> str:
    for _ in range(500):
        now = await queue.get(download.id)
        if now.status in statuses:
            return now.status
        await asyncio.sleep(0.01)
    raise AssertionError(now)


def fill(disk: Path) -> Path:
    """A file that leaves no byte free."""
    ballast = disk / "ballast"
    with suppress(OSError), open(ballast, "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return ballast


async def refused(bench: Bench, *items: DownloadItem) -> ResolverError:
    with pytest.raises(ResolverError) as caught:
        await bench.queue.submit(items)
    return caught.value


# --- pause, resume, cancel, retry, remove ---------------------------------------------------------


async def test_a_download_from_start_to_end(bench: Bench, server: FaultServer) -> None:
    download = await bench.fetch(server.put("/x", Remote(CONTENT)))
    assert bench.statuses(download) == ["queued", "active", "verifying", "completed"]
    assert bench.files() == {NAME: CONTENT}
    assert await bench.queue.list() == [download]
    assert bench.queue.counts() == (0, 0)


async def test_pause_keeps_what_has_arrived_and_resume_goes_on(bench: Bench, server: FaultServer) -> None:
    remote = slow()
    (download,) = await submit(bench, item(server.put("/x", remote)))
    await bench.under_way(download, 20_000)
    paused = await bench.queue.pause(download.id)
    assert (paused.status, paused.speed) == ("paused", 0)
    (part,) = bench.parts()
    assert part.stat().st_size == paused.received >= 20_000
    assert (await bench.queue.pause(download.id)).status == "paused"
    served = remote.served
    await asyncio.sleep(0.1)
    assert remote.served - served <= remote.piece, "nothing more is fetched"
    assert bench.files() == {}

    remote.pause = 0
    assert (await bench.queue.resume(download.id)).status == "queued"
    done = await bench.ended(download)
    assert (done.status, bench.files()) == ("completed", {NAME: CONTENT})
    assert [x.offset for x in server.sent("GET")] == [0, paused.received]


async def test_cancel_removes_what_has_arrived(bench: Bench, server: FaultServer) -> None:
    (download,) = await submit(bench, item(server.put("/x", slow())))
    await bench.under_way(download)
    cancelled = await bench.queue.cancel(download.id)
    assert (cancelled.status, cancelled.received) == ("cancelled", 0)
    assert list(bench.loras.iterdir()) == []
    with pytest.raises(Conflict) as caught:
        await bench.queue.cancel(download.id)
    assert caught.value.code == "WRONG_STATE"


async def test_retry_brings_back_what_failed_or_was_cancelled(bench: Bench, server: FaultServer) -> None:
    remote = Remote(CONTENT)
    url = server.put("/x", Failing(remote, breaks_after(remote, HALF), answers(404)))
    failed = await bench.fetch(url)
    assert failed.error is not None
    assert failed.error.code == "NOT_FOUND"
    assert bench.parts(), "what has arrived is kept"
    retried = await bench.queue.retry(failed.id)
    assert (retried.status, retried.error) == ("queued", None)
    done = await bench.ended(failed)
    assert done.status == "completed"
    assert [x.offset for x in server.sent("GET")][-1] == HALF

    (other,) = await submit(bench, item(server.put("/y", slow()), "y.safetensors"))
    await bench.queue.cancel(other.id)
    server.put("/y", Remote(CONTENT))
    await bench.queue.retry(other.id)
    brought = await bench.ended(other)
    assert (brought.status, brought.error) == ("completed", None)


async def test_a_failed_download_can_be_cancelled_and_loses_its_part(
    bench: Bench, server: FaultServer
) -> None:
    remote = Remote(CONTENT)
    failed = await bench.fetch(server.put("/x", Failing(remote, breaks_after(remote, HALF), answers(404))))
    assert (await bench.queue.cancel(failed.id)).status == "cancelled"
    assert bench.parts() == []


async def test_only_finished_downloads_are_removed_and_their_models_stay(
    bench: Bench, server: FaultServer
) -> None:
    done = await bench.fetch(server.put("/x", Remote(CONTENT)))
    await bench.queue.remove(done.id)
    assert await bench.queue.list() == []
    assert bench.files() == {NAME: CONTENT}
    (download,) = await submit(bench, item(server.put("/y", slow()), "y.safetensors"))
    with pytest.raises(Conflict):
        await bench.queue.remove(download.id)
    remote = Remote(CONTENT)
    broken = server.put("/z", Failing(remote, breaks_after(remote, HALF), answers(404)))
    failed = await bench.fetch(broken, "z.safetensors")
    await bench.queue.remove(failed.id)
    assert [part.stem for part in bench.parts()] == [download.id]


async def test_wrong_commands_are_told(bench: Bench, server: FaultServer) -> None:
    for command in (bench.queue.get, bench.queue.pause, bench.queue.retry, bench.queue.remove):
        with pytest.raises(NotFound) as unknown:
            await command("nothing")
        assert unknown.value.code == "DOWNLOAD_UNKNOWN"
    done = await bench.fetch(server.put("/x", Remote(CONTENT)))
    commands = (bench.queue.pause, bench.queue.resume, bench.queue.cancel, bench.queue.retry)
    for command in commands:
        with pytest.raises(Conflict) as wrong:
            await command(done.id)
        assert wrong.value.code == "WRONG_STATE"


async def test_all_at_once(bench: Bench, server: FaultServer) -> None:
    failed = await bench.fetch(server.put("/no", answers(404)), "no.safetensors")
    remotes = [slow() for _ in range(5)]
    made = await submit(
        bench, *(item(server.put(f"/{n}", r), f"{n}.safetensors") for n, r in enumerate(remotes))
    )
    await bench.under_way(made[0])
    assert {d.status for d in await bench.queue.pause_all()} == {"paused"}
    assert bench.queue.counts() == (0, 0)
    assert len(await bench.queue.resume_all()) == 5
    cancelled = await bench.queue.cancel_all()
    assert [d.id for d in cancelled] == [d.id for d in made]
    server.put("/no", Remote(CONTENT))
    assert [d.id for d in await bench.queue.retry_all()] == [failed.id]
    assert (await bench.ended(failed)).status == "completed"
    assert list(bench.files()) == ["no.safetensors"]


async def test_a_command_is_carried_out_even_if_whoever_asked_hangs_up(
    bench: Bench, server: FaultServer
) -> None:
    (download,) = await submit(bench, item(server.put("/x", slow())))
    await bench.under_way(download)
    asking = asyncio.create_task(bench.queue.pause(download.id))
    await asyncio.sleep(0)
    asking.cancel()
    await bench.until(lambda now: now.status == "paused", download.id)
    (row,) = bench.store.downloads()
    assert row.status == "paused"


async def test_commands_in_a_hurry_leave_nothing_behind(bench: Bench, server: FaultServer) -> None:
    (download,) = await submit(bench, item(server.put("/x", slow())))
    queue = bench.queue
    for turn in range(30):
        await asyncio.gather(queue.pause(download.id), queue.resume(download.id), return_exceptions=True)
        await asyncio.sleep(0.001 * turn)
    server.put("/x", Remote(CONTENT))
    await asyncio.gather(queue.pause(download.id), return_exceptions=True)
    await queue.resume(download.id)
    done = await bench.ended(download)
    assert (done.status, bench.files()) == ("completed", {NAME: CONTENT})
    assert bench.queue.counts() == (0, 0)


@pytest.mark.parametrize("seed", range(4))
async def test_a_storm_of_commands_ends_well(bench: Bench, server: FaultServer, seed: int) -> None:
    dice = random.Random(seed)
    remote = Remote(CONTENT, piece=32_768, pause=0.002)
    urls = [server.put(f"/{n}", Failing(remote, breaks_after(remote, HALF))) for n in range(5)]
    made = await submit(bench, *(item(url, f"{n}.safetensors") for n, url in enumerate(urls)))
    queue = bench.queue

    async def user() -> None:
        for _ in range(40):
            command = dice.choice([queue.pause, queue.resume, queue.cancel, queue.retry, queue.resume])
            with suppress(Conflict):
                await command(dice.choice(made).id)
            await asyncio.sleep(dice.choice([0, 0, 0.001, 0.01]))

    await asyncio.gather(*(user() for _ in range(3)))
    remote.pause = 0
    for download in await queue.list():
        if download.status == "paused":
            await queue.resume(download.id)
        elif download.status in ("cancelled", "failed"):
            await queue.retry(download.id)
    for download in made:
        ended = await bench.ended(download)
        assert (ended.status, ended.error) == ("completed", None)
    assert bench.files() == {f"{n}.safetensors": CONTENT for n in range(5)}
    assert bench.parts() == []
    assert queue.counts() == (0, 0)
    assert sorted(done.id for done in bench.completed) == sorted(download.id for download in made)


# --- order ----------------------------------------------------------------------------------------


async def test_three_at_a_time_then_priority_then_arrival(tmp_path: Path, server: FaultServer) -> None:
    async with running(tmp_path, server.place, max_concurrent_downloads=1) as bench:
        blocker = slow()
        (first,) = await submit(bench, item(server.put("/first", blocker), "first.safetensors"))
        await bench.under_way(first)
        made = await submit(
            bench,
            *(
                item(server.put(f"/{name}", Remote(CONTENT)), f"{name}.safetensors", priority=priority)
                for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5))
            ),
        )
        await bench.queue.set_priority(made[2].id, 9)
        assert bench.queue.counts() == (1, 4)
        blocker.pause = 0
        for download in made:
            assert (await bench.ended(download)).status == "completed"
    assert [done.filename[0] for done in bench.completed] == ["f", "c", "b", "d", "a"]


async def test_no_more_than_allowed_run_at_the_same_time(tmp_path: Path, server: FaultServer) -> None:
    async with running(tmp_path, server.place) as bench:
        urls = [server.put(f"/{number}", Remote(CONTENT, pause=0.01)) for number in range(8)]
        made = await submit(bench, *(item(url, f"{n}.safetensors") for n, url in enumerate(urls)))
        most = 0
        while any(d.status not in ("completed", "failed") for d in await bench.queue.list()):
            most = max(most, bench.queue.counts()[0])
            await asyncio.sleep(0.002)
        assert most == 3
        assert len(bench.files()) == len(made)


async def test_who_waits_for_a_retry_takes_nobodys_place(tmp_path: Path, server: FaultServer) -> None:
    patient = RetryPolicy(attempts=3, first=30, most=60)
    options = {"max_concurrent_downloads": 1, "retry_policy": patient}
    async with running(tmp_path, server.place, **options) as bench:
        (waiting,) = await submit(bench, item(server.put("/x", answers(503)), "x.safetensors", priority=9))
        told = await bench.until(lambda now: now.error is not None, waiting.id)
        assert told.status == "queued"
        assert (await bench.fetch(server.put("/y", Remote(CONTENT)), "y.safetensors")).status == "completed"
        # Asked for by the user, it does not wait any longer.
        server.put("/x", Remote(CONTENT))
        await bench.queue.pause(waiting.id)
        await bench.queue.resume(waiting.id)
        assert (await bench.ended(waiting)).status == "completed"


def test_waiting_grows_and_is_never_shorter_than_asked() -> None:
    policy = RetryPolicy()
    for failures, longest in ((1, 1), (2, 2), (3, 4), (20, 60)):
        assert longest / 2 <= policy.delay(failures, None) <= longest
    assert policy.delay(1, 120) == 120


# --- what is told ---------------------------------------------------------------------------------


async def test_progress_is_told_four_times_a_second_with_speed_and_time_left(
    bench: Bench, server: FaultServer
) -> None:
    remote = Remote(CONTENT, piece=8192, pause=0.03)
    download = await bench.fetch(server.put("/x", remote))
    told = [event for event in bench.events if event.status == "active"]
    assert 3 <= len(told) <= 9
    assert [event.received for event in told] == sorted(event.received for event in told)
    middle = told[len(told) // 2]
    assert middle.size == len(CONTENT)
    assert 100_000 < middle.speed < 400_000
    assert middle.eta is not None
    assert 0 < middle.eta < 5
    assert bench.events[-1] == download
    assert download.speed == 0


async def test_a_listener_that_fails_does_no_harm(tmp_path: Path, server: FaultServer) -> None:
    def fail(_: object) -> None:
        raise RuntimeError

    async with running(tmp_path, server.place) as bench:
        queue = DownloadQueue(bench.store, bench.host, bench.client, bench.settings, fail, on_completed=fail)
        await queue.start()
        (download,) = await queue.submit([item(server.put("/x", Remote(CONTENT)))])
        await until_status(queue, download, "completed")
        await queue.stop()


# --- what is refused at once ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "kind", "code"),
    [
        ({"filename": "../x.safetensors"}, UnsafeName, "NAME_UNSAFE"),
        ({"filename": "/etc/x.safetensors"}, UnsafeName, "NAME_UNSAFE"),
        ({"filename": "C:\\x.safetensors"}, UnsafeName, "NAME_UNSAFE"),
        ({"filename": "a\0.safetensors"}, UnsafeName, "NAME_UNSAFE"),
        ({"filename": ".git/x.safetensors"}, UnsafeName, "NAME_UNSAFE"),
        ({"filename": "out/x.safetensors"}, UnsafeName, "NAME_UNSAFE"),
        ({"folder": "nothing"}, BadInput, "FOLDER_UNKNOWN"),
        ({"folder": "custom_nodes"}, BadInput, "FOLDER_UNKNOWN"),
        ({"filename": "x.py", "folder": "anything"}, BadInput, "EXTENSION_NOT_ALLOWED"),
        ({"filename": "x.exe"}, BadInput, "EXTENSION_NOT_ALLOWED"),
        ({"filename": "safetensors"}, BadInput, "EXTENSION_NOT_ALLOWED"),
        ({"url": "https://evil.example/x"}, UrlRefused, "URL_HOST_NOT_ALLOWED"),
        ({"url": "http://169.254.169.254/x"}, UrlRefused, "URL_HOST_NOT_ALLOWED"),
        ({"url": "ftp://huggingface.co/x"}, UrlRefused, "URL_SCHEME"),
        ({"url": "https://u:p@huggingface.co/x"}, UrlRefused, "URL_CREDENTIALS"),
        ({"mirrors": ["https://evil.example/x"]}, UrlRefused, "URL_HOST_NOT_ALLOWED"),
        ({"filename": "here.safetensors"}, Conflict, "FILE_EXISTS"),
        ({"filename": "dangling.safetensors"}, Conflict, "FILE_EXISTS"),
        ({"filename": "second.safetensors"}, Conflict, "FILE_EXISTS"),
        ({"folder": "into_output"}, Conflict, "FOLDER_NOT_WRITABLE"),
        ({"filename": "linked/x.safetensors", "folder": "outside"}, UnsafeName, "NAME_UNSAFE"),
    ],
)
async def test_an_item_is_refused_and_none_is_taken(
    bench: Bench, tmp_path: Path, fields: dict[str, Any], kind: type[ResolverError], code: str
) -> None:
    (bench.loras / "here.safetensors").write_bytes(b"the user's")
    (bench.loras / "dangling.safetensors").symlink_to(tmp_path / "nowhere")
    (tmp_path / "elsewhere").mkdir()
    (bench.loras / "out").symlink_to(tmp_path / "elsewhere")
    second = tmp_path / "second"
    second.mkdir()
    (second / "second.safetensors").write_bytes(b"in another root")
    outside = folder("outside", tmp_path / "models" / "outside")
    (outside.roots[0] / "linked").symlink_to("/tmp")
    bench.host.table |= {
        "loras": folder("loras", bench.loras, second),
        "into_output": folder("into_output", tmp_path / "output" / "loras"),
        "outside": outside,
        "custom_nodes": folder("custom_nodes", tmp_path / "custom_nodes", extensions=frozenset()),
    }
    good = item("https://huggingface.co/o/r/resolve/main/x", "good.safetensors")
    bad = item(
        **{"url": "https://huggingface.co/o/r/resolve/main/x", "filename": "bad.safetensors", **fields}
    )
    error = await refused(bench, good, bad)
    assert isinstance(error, kind)
    assert error.code == code
    assert [(found["index"], found["code"]) for found in error.details["items"]] == [(1, code)]
    assert await bench.queue.list() == []
    assert bench.parts() == []
    assert (bench.loras / "here.safetensors").read_bytes() == b"the user's"


async def test_all_wrong_items_are_told_at_once(bench: Bench) -> None:
    error = await refused(bench, item("ftp://x/y", "a.safetensors"), item("https://evil.example/", "../b"))
    assert [found["code"] for found in error.details["items"]] == ["URL_SCHEME", "NAME_UNSAFE"]


async def test_model_files_of_any_kind_are_taken(bench: Bench, tmp_path: Path) -> None:
    special = FolderSpec("special", (tmp_path / "models" / "special",), frozenset({".engine2"}))
    bench.host.table["special"] = special
    url = "https://huggingface.co/o/r/resolve/main/x"
    await bench.queue.stop()
    names = [("loras", "a.gguf"), ("loras", "b.onnx"), ("anything", "c.JSON"), ("special", "d.engine2")]
    made = await submit(bench, *(item(url, name, folder=where) for where, name in names))
    assert made[0].path == str(bench.loras / "a.gguf")


async def test_one_destination_is_one_download(bench: Bench, server: FaultServer) -> None:
    url = server.put("/x", slow())
    twice = await refused(bench, item(url), item(url))
    assert twice.code == "DUPLICATE_DOWNLOAD"
    (first,) = await submit(bench, item(url))
    again = await refused(bench, item(url, "other.safetensors"), item(url, "sub\\model.safetensors"))
    assert again.code == "DUPLICATE_DOWNLOAD"
    assert len(await bench.queue.list()) == 1
    await bench.queue.cancel(first.id)
    (second,) = await submit(bench, item(url))
    with pytest.raises(Conflict) as caught:
        await bench.queue.retry(first.id)
    assert caught.value.code == "DUPLICATE_DOWNLOAD"
    assert (await bench.queue.get(second.id)).status in ("queued", "active")


async def test_one_destination_through_two_folders_is_one_download(bench: Bench, server: FaultServer) -> None:
    linked = bench.host.root / "models" / "alias"
    linked.symlink_to(bench.loras)
    bench.host.table["alias"] = folder("alias", linked)
    url = server.put("/x", slow())
    await submit(bench, item(url))
    assert (await refused(bench, item(url, folder="alias"))).code == "DUPLICATE_DOWNLOAD"


# --- files that are there already -----------------------------------------------------------------


async def test_the_very_file_that_is_wanted_is_taken_as_it_is(bench: Bench, server: FaultServer) -> None:
    (bench.loras / "sub").mkdir()
    (bench.loras / NAME).write_bytes(CONTENT)
    download = await bench.fetch(server.url("/nothing"), sha256=sha256(CONTENT), size=len(CONTENT))
    assert (download.status, download.verified, download.size) == ("completed", True, len(CONTENT))
    assert server.requests == []


async def test_another_file_in_its_place_is_told_and_stays(bench: Bench, server: FaultServer) -> None:
    (bench.loras / "sub").mkdir()
    (bench.loras / NAME).write_bytes(b"x" * len(CONTENT))
    url = server.put("/x", Remote(CONTENT))
    assert (await refused(bench, item(url, sha256=sha256(CONTENT), size=1))).code == "FILE_EXISTS"
    download = await bench.fetch(url, sha256=sha256(CONTENT))
    assert download.error is not None
    assert download.error.code == "FILE_EXISTS"
    assert (bench.loras / NAME).read_bytes() == b"x" * len(CONTENT)


@pytest.mark.parametrize("same", [True, False])
async def test_a_file_that_appears_meanwhile_is_not_overwritten(
    bench: Bench, server: FaultServer, same: bool
) -> None:
    content = CONTENT if same else b"y" * len(CONTENT)
    remote = slow()
    (download,) = await submit(bench, item(server.put("/x", remote)))
    await bench.under_way(download)
    remote.pause = 0
    (bench.loras / "sub").mkdir()
    (bench.loras / NAME).write_bytes(content)
    done = await bench.ended(download)
    assert bench.files() == {NAME: content}
    if same:
        assert (done.status, bench.parts()) == ("completed", [])
        return
    assert done.error is not None
    assert done.error.code == "FILE_EXISTS"
    assert bench.parts(), "what has arrived is kept"
    (bench.loras / NAME).unlink()
    await bench.queue.retry(download.id)
    assert (await bench.ended(download)).status == "completed"
    assert bench.files() == {NAME: CONTENT}
    assert len(server.sent("GET")) == 1, "and used"


async def test_a_link_put_in_the_way_meanwhile_is_refused(
    bench: Bench, server: FaultServer, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    remote = slow()
    (download,) = await submit(bench, item(server.put("/x", remote)))
    await bench.under_way(download)
    (bench.loras / "sub").symlink_to(outside)
    remote.pause = 0
    done = await bench.ended(download)
    assert done.error is not None
    assert done.error.code == "NAME_UNSAFE"
    assert list(outside.iterdir()) == []


# --- space ----------------------------------------------------------------------------------------

TERA = 1 << 40


async def test_what_does_not_fit_is_refused_with_what_is_missing(bench: Bench, server: FaultServer) -> None:
    url = server.put("/x", slow())
    error = await refused(bench, item(url, size=900 * TERA))
    assert (error.code, error.status) == ("NO_SPACE", 507)
    assert error.details["missing"] > 100 * TERA
    assert "GiB more" in error.message


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        # Without the right to mount, the system's own smallest shared memory file system must do.
        pytest.fail("this test needs the right to mount a tmpfs: " + mounted.stderr.decode())
    yield path
    subprocess.run(["umount", str(path)], check=True)


def on_disk(bench: Bench, disk: Path) -> None:
    bench.host.table["small"] = folder("small", disk / "small")


async def test_space_is_counted_per_disk_over_all_that_is_still_to_come(
    bench: Bench, server: FaultServer, small_disk: Path
) -> None:
    on_disk(bench, small_disk)
    url = server.put("/x", slow())
    half = [item(url, f"{n}.safetensors", folder="small", size=900_000) for n in range(3)]
    assert (await refused(bench, *half)).code == "NO_SPACE", "together"
    assert await bench.queue.list() == []
    await bench.queue.stop()
    await submit(bench, *half[:2])
    assert (await refused(bench, half[2])).code == "NO_SPACE", "with what is queued"
    assert len(await submit(bench, item(url, "other-disk.safetensors", size=900_000))) == 1


async def test_an_unknown_size_is_checked_once_it_is_known(
    bench: Bench, server: FaultServer, small_disk: Path
) -> None:
    on_disk(bench, small_disk)
    download = await bench.fetch(server.put("/x", Remote(bytes(5_000_000))), "x.safetensors", folder="small")
    assert download.error is not None
    assert download.error.code == "NO_SPACE"
    assert server.sent("GET") == []


async def test_a_disk_that_fills_up_fails_clearly_and_goes_on_once_there_is_space(
    tmp_path: Path, server: FaultServer, small_disk: Path
) -> None:
    content = model(1_200_000)
    remote = Remote(content, piece=16_384, pause=0.005)
    async with running(tmp_path, server.place) as bench:
        on_disk(bench, small_disk)
        (download,) = await submit(bench, item(server.put("/x", remote), "x.safetensors", folder="small"))
        await bench.under_way(download)
        ballast = fill(small_disk)
        failed = await bench.ended(download)
        assert failed.error is not None
        assert failed.error.code == "NO_SPACE"
        part = part_path(small_disk / "small", download.id)
        kept = part.stat().st_size
        assert part.read_bytes() == content[:kept]
        ballast.unlink()
        await bench.queue.retry(download.id)
        assert (await bench.ended(download)).status == "completed"
        assert (small_disk / "small" / "x.safetensors").read_bytes() == content
        assert server.sent("GET")[-1].offset == kept > 0


async def test_a_folder_that_became_unwritable_is_told(bench: Bench, server: FaultServer) -> None:
    (bench.loras / ".model-resolver").write_text("a file where a directory should be")
    download = await bench.fetch(server.put("/x", Remote(CONTENT)))
    assert download.error is not None
    assert download.error.code in ("DISK_ERROR", "NOT_WRITABLE")


async def test_a_store_on_a_full_disk_stops_nothing(
    tmp_path: Path, server: FaultServer, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = FakeHost(tmp_path, {"loras": folder("loras", tmp_path / "models" / "loras")})
    store = Store(small_disk / "store.sqlite3")
    client = HttpClient(Settings(allowed_hosts=(server.place,)))
    queue = DownloadQueue(
        store, host, client, Settings(disk_reserve=0), lambda _: None, retry_policy=RetryPolicy(1)
    )
    await queue.start()
    remote = slow()
    (download,) = await queue.submit([item(server.put("/x", remote))])
    await until_status(queue, download, "active")
    await asyncio.sleep(0.2)
    assert remote.served
    ballast = fill(small_disk)
    remote.pause = 0
    assert await until_status(queue, download, "completed", "failed") == "completed"
    assert "cannot be written" in caplog.text
    assert queue.counts() == (0, 0)
    assert store.downloads()[0].status == "active", "it does not know yet"
    ballast.unlink()
    assert [shown.status for shown in await queue.list()] == ["completed"]
    assert store.downloads()[0].status == "completed"
    await queue.stop()
    await client.close()
    store.close()


# --- the seam -------------------------------------------------------------------------------------


async def test_an_unforeseen_error_ends_one_download_and_tells_no_secret(
    tmp_path: Path, server: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def __init__(self, client: HttpClient) -> None:
            pass

        async def __call__(self, plan: Plan, watcher: Watcher) -> Filled:
            raise RuntimeError("?token=secret")

    async with running(tmp_path, server.place, transfer=Broken) as bench:
        download = await bench.fetch(server.put("/x", Remote(CONTENT)))
        assert download.error is not None
        assert download.error.code == "INTERNAL"
        assert "secret" not in download.error.message
        assert "RuntimeError" in caplog.text
        assert "secret" not in caplog.text.replace('RuntimeError("?token=secret")', "the line of code")


async def test_retries_are_for_what_time_may_heal(tmp_path: Path, server: FaultServer) -> None:
    calls: list[Plan] = []

    class Flaky:
        def __init__(self, client: HttpClient) -> None:
            pass

        async def __call__(self, plan: Plan, watcher: Watcher) -> Filled:
            calls.append(plan)
            raise DownloadError("no", code="NETWORK", retryable=len(calls) < 3)

    async with running(tmp_path, server.place, transfer=Flaky) as bench:
        await bench.fetch(server.put("/x", Remote(CONTENT)))
    assert len(calls) == 3
    assert server.url("/x") not in repr(calls[0]), "it might hold a token"

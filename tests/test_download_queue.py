"""What runs when, and every word the user has in it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from resolver.download.queue import DownloadQueue
from resolver.download.retries import RetryPolicy
from resolver.download.transfer import Filled, Plan, Watcher
from resolver.errors import Conflict, DownloadError, NotFound
from resolver.net.client import HttpClient
from resolver.schemas import Download, DownloadItem
from tests.download_fixtures import Bench, item, model, running, sha256, until_status
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
    assert bench.part_of(download) in bench.parts()


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


async def test_the_bandwidth_limit_may_change_while_downloads_run(
    tmp_path: Path, server: FaultServer
) -> None:
    content = model(4_000_000)
    async with running(tmp_path, server.place, bandwidth_limit=65_536) as bench:
        (download,) = await submit(bench, item(server.put("/x", Remote(content))))
        await bench.under_way(download)
        # At the first rate it takes a minute, which is longer than anything here waits.
        bench.queue.set_bandwidth_limit(None)
        assert (await bench.ended(download)).status == "completed"
        assert bench.files() == {NAME: content}


async def test_a_clock_that_is_set_wrong_delays_nothing(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(1)
    monkeypatch.setattr(time, "time", lambda: dice.uniform(0, 4e9))
    remote = Remote(CONTENT, piece=16_384, pause=0.01)
    faults = [breaks_after(remote, HALF), answers(503, {"Retry-After": "0"})]
    async with running(tmp_path, server.place, bandwidth_limit=4_000_000) as bench:
        assert (await bench.fetch(server.put("/x", Failing(remote, *faults)))).status == "completed"
        assert bench.files() == {NAME: CONTENT}
        told = [event for event in bench.events if event.eta is not None]
        assert all(event.eta is not None and event.eta < 60 for event in told)


# --- the history ----------------------------------------------------------------------------------


async def test_what_is_unfinished_is_listed_first_and_what_is_finished_newest_first(
    bench: Bench, server: FaultServer
) -> None:
    for name in ("a", "b", "c"):
        await bench.fetch(server.put(f"/{name}", Remote(CONTENT)), f"{name}.safetensors")
    await submit(bench, *(item(server.put(f"/{name}", slow()), f"{name}.safetensors") for name in ("x", "y")))
    listed = [download.filename[0] for download in await bench.queue.list()]
    assert listed == ["x", "y", "c", "b", "a"]


async def test_few_commits_are_made_for_a_file(bench: Bench, server: FaultServer) -> None:
    """The store must not be what limits many small files."""
    statements: list[str] = []
    with bench.store.transaction() as connection:
        connection.set_trace_callback(statements.append)
    items = [
        item(server.put(f"/{number}", Remote(content)), f"{number}.safetensors", sha256=sha256(content))
        for number, content in enumerate(model(5000, seed=str(number)) for number in range(30))
    ]
    for download in await submit(bench, *items):
        assert (await bench.ended(download)).status == "completed"
    commits = statements.count("COMMIT")
    print(f"{commits} commits for {len(items)} files")
    # One for all to arrive, three for each, and now and then one for the progress of all.
    assert commits <= 3 * len(items) + 5


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


async def test_mirrors_are_handed_to_the_transfer_and_kept_over_a_restart(
    tmp_path: Path, server: FaultServer
) -> None:
    plans: list[Plan] = []

    class Noting:
        def __init__(self, client: HttpClient) -> None:
            pass

        async def __call__(self, plan: Plan, watcher: Watcher) -> Filled:
            plans.append(plan)
            raise DownloadError("no", code="NETWORK")

    mirrors = [server.url("/a?token=secret"), server.url("/b")]
    async with running(tmp_path, server.place, transfer=Noting) as bench:
        failed = await bench.fetch(server.url("/x"), mirrors=mirrors)
    async with running(tmp_path, server.place, transfer=Noting) as bench:
        await bench.queue.retry(failed.id)
        await bench.ended(failed)
        row = bench.store.download(failed.id)
    assert list(plans[0].mirrors) == mirrors
    assert row is not None
    # The store holds no secret, so the second time there is none.
    assert plans[1].mirrors == row.mirrors
    assert len(row.mirrors) == 2
    assert "secret" not in repr(row)


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

"""The same content is fetched once."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.download_fixtures import Bench, item, model, running, sha256
from tests.fault_server import FaultServer, Remote, answers

CONTENT = model()
KNOWN = {"sha256": sha256(CONTENT)}


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as running_server:
        yield running_server


@pytest.fixture
async def bench(tmp_path: Path, server: FaultServer) -> AsyncIterator[Bench]:
    async with running(tmp_path, server.place) as made:
        yield made


async def both(bench: Bench, *urls: str) -> list[str]:
    """Ask for the content under two names at once; how they end."""
    made = await bench.queue.submit(
        [item(url, f"{number}.safetensors", **KNOWN) for number, url in enumerate(urls)]
    )
    ended = [await bench.ended(download) for download in made]
    assert all(download.verified for download in ended if download.status == "completed")
    return [download.status for download in ended]


async def test_a_content_wanted_at_two_places_is_fetched_once(bench: Bench, server: FaultServer) -> None:
    remotes = [Remote(CONTENT, pause=0.01), Remote(CONTENT, pause=0.01)]
    urls = [server.put(f"/{number}", remote) for number, remote in enumerate(remotes)]
    assert await both(bench, *urls) == ["completed", "completed"]
    assert bench.files() == {"0.safetensors": CONTENT, "1.safetensors": CONTENT}
    assert [remote.served for remote in remotes] == [len(CONTENT), 0]
    assert (bench.loras / "0.safetensors").samefile(bench.loras / "1.safetensors"), "without more space"
    assert sorted(path.name for path in bench.loras.iterdir()) == sorted(bench.files())


async def test_if_the_first_fails_the_second_is_fetched(bench: Bench, server: FaultServer) -> None:
    remote = Remote(CONTENT)
    statuses = await both(bench, server.put("/no", answers(404)), server.put("/x", remote))
    assert statuses == ["failed", "completed"]
    assert bench.files() == {"1.safetensors": CONTENT}


async def test_one_that_is_paused_keeps_no_other_waiting(bench: Bench, server: FaultServer) -> None:
    (first,) = await bench.queue.submit(
        [item(server.put("/0", Remote(CONTENT, pause=0.05)), "0.sft", **KNOWN)]
    )
    await bench.under_way(first)
    (second,) = await bench.queue.submit([item(server.put("/1", Remote(CONTENT)), "1.sft", **KNOWN)])
    assert (await bench.queue.get(second.id)).status == "queued"
    await bench.queue.pause(first.id)
    assert (await bench.ended(second)).status == "completed"
    await bench.queue.resume(first.id)
    assert (await bench.ended(first)).status == "completed"
    assert len(server.sent("GET", "/0")) == 1, "the rest came from the disk"
    assert bench.files() == {"0.sft": CONTENT, "1.sft": CONTENT}


@pytest.mark.parametrize("stated", [True, False], ids=["stated", "told by the server"])
async def test_what_came_earlier_is_not_fetched_again(
    tmp_path: Path, server: FaultServer, stated: bool
) -> None:
    told = {} if stated else {"X-Linked-Etag": f'"{sha256(CONTENT)}"', "X-Linked-Size": str(len(CONTENT))}
    fields = KNOWN if stated else {}
    async with running(tmp_path, server.place, hf_endpoint=server.url("")) as bench:
        for number in range(2):
            path = f"/o/r{number}/resolve/main/x.safetensors"
            server.put(path, Remote(CONTENT, headers=told))
            url = server.url(path)
            assert (await bench.fetch(url, f"{number}.safetensors", **fields)).status == "completed"
        assert bench.files() == {"0.safetensors": CONTENT, "1.safetensors": CONTENT}
        assert (bench.loras / "0.safetensors").samefile(bench.loras / "1.safetensors")
    # Where no hash was stated the server had to be asked, which is a GET of the first bytes.
    assert len(server.sent("GET")) == (1 if stated else 2)


async def test_what_was_changed_since_it_came_is_not_used(bench: Bench, server: FaultServer) -> None:
    url = server.put("/x", Remote(CONTENT))
    await bench.fetch(url, "0.safetensors", **KNOWN)
    changed = bytes(len(CONTENT))
    (bench.loras / "0.safetensors").write_bytes(changed)
    assert (await bench.fetch(url, "1.safetensors", **KNOWN)).status == "completed"
    assert bench.files() == {"0.safetensors": changed, "1.safetensors": CONTENT}
    assert len(server.sent("GET")) == 2


def no_links(patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    patch.setattr(os, "link", refuse)


def no_copy_in_the_kernel(patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    patch.setattr(os, "copy_file_range", refuse)


@pytest.mark.parametrize("in_kernel", [True, False])
async def test_where_there_are_no_links_it_is_copied(
    bench: Bench, server: FaultServer, monkeypatch: pytest.MonkeyPatch, in_kernel: bool
) -> None:
    no_links(monkeypatch)
    if not in_kernel:
        no_copy_in_the_kernel(monkeypatch)
    url = server.put("/x", Remote(CONTENT))
    assert await both(bench, url, url) == ["completed", "completed"]
    assert bench.files() == {"0.safetensors": CONTENT, "1.safetensors": CONTENT}
    assert not (bench.loras / "0.safetensors").samefile(bench.loras / "1.safetensors")
    assert len(server.sent("GET")) == 1


@pytest.mark.parametrize("same", [True, False], ids=["as it was hashed", "changed since"])
async def test_a_file_of_the_users_own_is_copied_so_that_both_stay_independent(
    tmp_path: Path, server: FaultServer, same: bool
) -> None:
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(CONTENT if same else bytes(len(CONTENT)))

    def known_files(content: str) -> list[str]:
        assert content == KNOWN["sha256"]
        return [str(path) for path in (tmp_path / "gone", tmp_path, mine)]

    async with running(tmp_path, server.place, known_files=known_files) as bench:
        done = await bench.fetch(server.put("/x", Remote(CONTENT)), **KNOWN)
        assert (done.status, done.received) == ("completed", len(CONTENT))
        assert bench.files() == {"sub/model.safetensors": CONTENT}
        assert bench.parts() == []
    assert len(server.sent("GET")) == (0 if same else 1)
    assert mine.stat().st_nlink == 1

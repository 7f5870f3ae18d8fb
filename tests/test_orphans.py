"""Parts that nobody goes on with are shown, and removed when the user says so."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from resolver.download.claims import Claim
from resolver.download.part import part_path
from resolver.errors import Conflict, NotFound
from resolver.http.table import PREFIX
from tests.comfy_host.driver import ComfyHostProcess
from tests.download_fixtures import Bench, item, model, running
from tests.fakes import folder
from tests.fault_server import Failing, FaultServer, Remote, answers, breaks_after

CHECKOUT = Path(__file__).resolve().parent.parent
CONTENT = model()
HOUR = 3600


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as running_server:
        yield running_server


@pytest.fixture
async def bench(tmp_path: Path, server: FaultServer) -> AsyncIterator[Bench]:
    async with running(tmp_path, server.place) as made:
        yield made


def left_behind(root: Path, stem: str, *, size: int = 1000, age: float = HOUR) -> Path:
    part = part_path(root, stem)
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(bytes(size))
    long_ago = time.time() - age
    os.utime(part, (long_ago, long_ago))
    return part


def aged(part: Path) -> Path:
    os.utime(part, (time.time() - HOUR, time.time() - HOUR))
    return part


async def test_what_nobody_goes_on_with_is_listed_the_largest_first(bench: Bench, tmp_path: Path) -> None:
    second = tmp_path / "second"
    bench.host.table["loras"] = folder("loras", bench.loras, second)
    bench.host.table["alias"] = folder("alias", bench.loras)
    small = left_behind(bench.loras, "a", size=10)
    large = left_behind(second, "b", size=20)
    left_behind(bench.loras, "young", age=60)
    found = await bench.queue.orphans()
    assert [(part.path, part.size, part.folder, part.filename) for part in found] == [
        (str(large), 20, "loras", None),
        (str(small), 10, "alias", None),
    ]
    assert abs(found[0].modified - (time.time() - HOUR)) < 60


async def test_it_is_removed_on_request_with_all_that_lies_beside_it(bench: Bench) -> None:
    part = left_behind(bench.loras, "a")
    for ending in (".json", ".pieces"):
        part.with_suffix(ending).write_text("{}")
    other = left_behind(bench.loras, "b")
    (found,) = [found for found in await bench.queue.orphans() if found.path == str(part)]
    await bench.queue.remove_orphan(found.id)
    assert list(part.parent.iterdir()) == [other]
    with pytest.raises(NotFound) as caught:
        await bench.queue.remove_orphan(found.id)
    assert caught.value.code == "PART_UNKNOWN"


async def test_parts_of_unfinished_and_failed_downloads_are_not_orphans(
    bench: Bench, server: FaultServer
) -> None:
    (paused,) = await bench.queue.submit(
        [item(server.put("/x", Remote(CONTENT, pause=0.05)), "x.safetensors")]
    )
    await bench.under_way(paused)
    await bench.queue.pause(paused.id)
    remote = Remote(CONTENT)
    broken = Failing(remote, breaks_after(remote, len(CONTENT) // 2), answers(404))
    failed = await bench.fetch(server.put("/y", broken), "y.safetensors")
    assert len([aged(part) for part in bench.parts()]) == 2
    assert await bench.queue.orphans() == []
    # Forgotten, its part goes as well; one of another program's would stay and be found.
    await bench.queue.remove(failed.id)
    assert bench.parts() == [bench.part_of(paused)]


async def test_what_another_program_works_on_is_not_offered_and_not_removed(bench: Bench) -> None:
    part = left_behind(bench.loras, "a")
    (found,) = await bench.queue.orphans()
    claim = Claim(part)
    assert claim.take()
    assert await bench.queue.orphans() == []
    with pytest.raises(Conflict) as caught:
        await bench.queue.remove_orphan(found.id)
    assert caught.value.code == "PART_IN_USE"
    assert part.exists()
    claim.release()
    await bench.queue.remove_orphan(found.id)
    assert not part.exists()


async def test_the_name_of_the_model_is_told_where_it_is_known(tmp_path: Path, server: FaultServer) -> None:
    async with running(tmp_path, server.place) as bench:
        (download,) = await bench.queue.submit([item(server.put("/x", Remote(CONTENT, pause=0.05)))])
        await bench.under_way(download)
        part = bench.part_of(download)
    for path in (tmp_path / "data").iterdir():
        path.unlink()  # the program is installed anew, and knows nothing of it
    aged(part)
    async with running(tmp_path, server.place) as bench:
        (found,) = await bench.queue.orphans()
        assert (found.folder, found.filename) == ("loras", "sub/model.safetensors")


async def test_a_linked_helper_directory_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.part").write_bytes(b"not ours")
    aged(outside / "a.part")
    (bench.loras / ".model-resolver").mkdir()
    (bench.loras / ".model-resolver" / ".git").symlink_to(outside)
    assert await bench.queue.orphans() == []


async def test_locks_and_notes_without_a_part_are_swept_away_at_start(
    tmp_path: Path, server: FaultServer
) -> None:
    loras = tmp_path / "models" / "loras"
    part = left_behind(loras, "kept")
    part.with_suffix(".json").write_text("{}")
    for name in ("gone.lock", "gone.json", "gone.pieces", "kept.lock"):
        (part.parent / name).write_text("{}")
    async with running(tmp_path, server.place) as bench:
        for _ in range(200):
            if not (part.parent / "gone.json").exists() and not (part.parent / "gone.lock").exists():
                break
            await bench.queue.list()
        names = sorted(path.name for path in part.parent.iterdir())
    assert [name for name in names if name.startswith("gone")] == []
    assert {"kept.part", "kept.json"} <= set(names)


def test_they_are_listed_and_removed_over_http(tmp_path: Path) -> None:
    with ComfyHostProcess(tmp_path, packs={"resolver": CHECKOUT}) as host:
        assert host.get(f"{PREFIX}/parts") == (200, {"parts": []})
        part = left_behind(host.model_path("loras/x").parent, "a", size=5)
        status, answer = host.get(f"{PREFIX}/parts")
        (found,) = answer["parts"]
        assert status == 200
        assert set(found) == {"id", "folder", "filename", "path", "size", "modified"}
        assert (found["folder"], found["filename"], found["path"]) == ("loras", None, str(part))
        assert host.get(f"{PREFIX}/downloads") == (200, {"downloads": []})
        assert delete(host, found["id"]) == (204, None)
        assert not part.exists()
        status, error = delete(host, found["id"])
        assert (status, error["error"]["code"]) == (404, "PART_UNKNOWN")


def delete(host: ComfyHostProcess, name: str) -> tuple[int, Any]:
    request = urllib.request.Request(f"{host.url}{PREFIX}/parts/{name}", method="DELETE")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or "null")
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)

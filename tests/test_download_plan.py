"""What is refused before it starts, what is there already, and what fits on the disk."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from resolver.download import place
from resolver.download.queue import DownloadQueue
from resolver.download.retries import RetryPolicy
from resolver.errors import BadInput, Conflict, ResolverError, UnsafeName, UrlRefused
from resolver.host import FolderSpec
from resolver.names import ModelName, resolve_inside
from resolver.net.client import HttpClient
from resolver.schemas import Download, DownloadItem
from resolver.settings import Settings
from resolver.store import Store
from tests.download_fixtures import Bench, item, model, running, sha256, until_status
from tests.fakes import FakeHost, folder
from tests.fault_server import FaultServer, Remote

CONTENT = model()
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


def fill(disk: Path) -> Path:
    """A file that leaves no byte free."""
    ballast = disk / "ballast"
    with suppress(OSError), open(ballast, "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return ballast


def place_of(root: Path, name: str) -> place.Place:
    return place.place_of(resolve_inside(root, ModelName(name)))


async def refused(bench: Bench, *items: DownloadItem) -> ResolverError:
    with pytest.raises(ResolverError) as caught:
        await bench.queue.submit(items)
    return caught.value


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


async def test_former_names_of_folders_and_shared_roots_are_one_destination(
    bench: Bench, server: FaultServer, tmp_path: Path
) -> None:
    models = folder("diffusion_models", tmp_path / "models" / "diffusion_models")
    bench.host.table |= {"diffusion_models": models, "shared": folder("shared", *models.roots)}
    url = server.put("/x", slow())
    await submit(bench, item(url, folder="unet"))
    for other in ("diffusion_models", "shared"):
        assert (await refused(bench, item(url, folder=other))).code == "DUPLICATE_DOWNLOAD"


async def test_names_that_differ_in_case_are_one_destination_where_the_disk_folds_case(
    bench: Bench, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.put("/x", slow())
    assert len(await submit(bench, item(url, "a.safetensors"), item(url, "A.safetensors"))) == 2
    monkeypatch.setattr(place, "folds_case", lambda directory: True)
    await submit(bench, item(url, "Stra\u00dfe.safetensors"))
    assert (await refused(bench, item(url, "STRASSE.safetensors"))).code == "DUPLICATE_DOWNLOAD"
    assert place_of(bench.loras, "B") == place_of(bench.loras, "b")


def test_whether_a_disk_folds_case_is_seen_without_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "123" / "models"
    assert not place.folds_case(below / "not" / "yet")
    below.mkdir(parents=True)
    (below.parent / "MODELS").mkdir()
    assert not place.folds_case(below.parent), "two directories"
    (below / "x").write_bytes(b"")
    assert not place.folds_case(below)
    lstat = os.lstat

    def folding(path: Path) -> os.stat_result:
        return lstat(path.with_name(path.name.lower()))

    monkeypatch.setattr(os, "lstat", folding)
    folds = place.folds_case(below)
    monkeypatch.undo()
    assert folds
    assert sorted(path.name for path in below.iterdir()) == ["x"]


def test_a_place_is_called_the_same_wherever_the_root_is_mounted(tmp_path: Path) -> None:
    elsewhere = tmp_path / "mounted"
    (tmp_path / "loras" / "real").mkdir(parents=True)
    (tmp_path / "loras" / "sub").symlink_to("real")
    elsewhere.symlink_to(tmp_path / "loras")
    (tmp_path / "copy").mkdir()
    stems = {
        place_of(root, name).stem
        for root, name in (
            (tmp_path / "loras", "real/x"),
            (tmp_path / "loras", "sub/x"),
            (elsewhere, "sub/x"),
            (tmp_path / "copy", "real/x"),
        )
    }
    assert len(stems) == 1


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


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("big", [True, False], ids=["sampled", "small"])
async def test_a_file_that_appears_before_the_start_is_compared_with_the_servers(
    bench: Bench, server: FaultServer, same: bool, big: bool
) -> None:
    """Where no hash is known: it is not fetched to find out, and never taken for its size and header."""
    content = model(2_000_000 if big else 100_000)
    remote = Remote(content)
    found = bytearray(content)
    if not same:
        found[-1] ^= 1
    await bench.queue.stop()
    (download,) = await submit(bench, item(server.put("/x", remote)))
    (bench.loras / "sub").mkdir()
    (bench.loras / NAME).write_bytes(found)
    await bench.queue.start()
    done = await bench.ended(download)
    assert bench.files() == {NAME: bytes(found)}
    assert remote.served <= min(len(content), 4 * 65_536)
    if same:
        assert (done.status, done.verified, done.sha256) == ("completed", True, sha256(content))
    else:
        assert done.error is not None
        assert done.error.code == "FILE_EXISTS"


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


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


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
    assert list((small_disk / "small").iterdir()) == [], "nothing is written"


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
        part = bench.part_of(download)
        kept = part.stat().st_size
        assert part.read_bytes() == content[:kept]
        ballast.unlink()
        await bench.queue.retry(download.id)
        assert (await bench.ended(download)).status == "completed"
        assert (small_disk / "small" / "x.safetensors").read_bytes() == content
        assert server.sent("GET")[-1].offset == kept > 0


async def test_a_disk_that_became_read_only_keeps_the_part(
    tmp_path: Path, server: FaultServer, small_disk: Path
) -> None:
    remote = slow()
    async with running(tmp_path, server.place) as bench:
        on_disk(bench, small_disk)
        (download,) = await submit(bench, item(server.put("/x", remote), "x.safetensors", folder="small"))
        await bench.under_way(download, 50_000)
        await bench.queue.pause(download.id)
        part, remote.pause = bench.part_of(download), 0
        remount(small_disk, "ro")
        await bench.queue.resume(download.id)
        failed = await bench.ended(download)
        assert failed.error is not None
        assert failed.error.code == "NOT_WRITABLE"
        remount(small_disk, "rw")
        assert part.exists()
        await bench.queue.retry(download.id)
        assert (await bench.ended(download)).status == "completed"
        assert (small_disk / "small" / "x.safetensors").read_bytes() == CONTENT


async def test_a_folder_that_is_removed_meanwhile_is_told_and_made_again_on_retry(
    bench: Bench, server: FaultServer
) -> None:
    remote = slow()
    (download,) = await submit(bench, item(server.put("/x", remote)))
    await bench.under_way(download, 50_000)
    shutil.rmtree(bench.loras)
    remote.pause = 0
    failed = await bench.ended(download)
    assert failed.error is not None
    assert failed.error.code == "DISK_ERROR"
    assert not bench.loras.exists()
    await bench.queue.retry(download.id)
    assert (await bench.ended(download)).status == "completed"
    assert bench.files() == {NAME: CONTENT}


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

"""A disk that is full, out of names, or read-only at any point: a clear error, nothing lost, nothing wrong.

The disk is a small one of its own (tmpfs). Where this process may not mount one, the calls that write
are made to fail as a full disk makes them fail.
"""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from resolver.errors import ResolverError
from resolver.host import FolderSpec
from resolver.schemas import Download
from tests.download_fixtures import Bench, item, model, running, sha256
from tests.fault_server import Exchange, FaultServer, Remote
from tests.leaks import nothing_left_behind

MIB = 1 << 20
CONTENT = model(4_000_000)
NAME = "sub/model.safetensors"
# What arrived and could not be written, in all connections together.
LOST_AT_MOST = MIB


class Disk(Protocol):
    path: Path

    def fill(self) -> None:
        """Leave not a byte free."""

    def use_up_names(self) -> None:
        """Let no file or directory be made, though there is space."""

    def relieve(self) -> None:
        """Undo both."""

    def forbid(self, forbidden: bool) -> None:
        """Make it read-only, or writable again."""


class MountedDisk:
    """A tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"
        # A download may fail while the disk is still being filled.
        self._changing = threading.Lock()

    def fill(self) -> None:
        with self._changing, suppress(OSError), open(self._ballast, "ab", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def use_up_names(self) -> None:
        with self._changing, suppress(OSError):
            for number in range(1_000_000):
                (self.path / f"ballast-{number}").touch()

    def relieve(self) -> None:
        with self._changing:
            for ballast in self.path.glob("ballast*"):
                ballast.unlink()

    def forbid(self, forbidden: bool) -> None:
        mode = "ro" if forbidden else "rw"
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.path)], check=True)


class PretendedDisk:
    """A directory for which the calls of ``os`` fail as on a full or read-only disk."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self._full = self._nameless = self._forbidden = False
        self._access = os.access
        for name in ("write", "writev", "pwrite", "pwritev", "posix_fallocate", "ftruncate"):
            monkeypatch.setattr(os, name, self._failing(getattr(os, name)))
        for name in ("open", "mkdir"):
            monkeypatch.setattr(os, name, self._failing(getattr(os, name)))
        monkeypatch.setattr(os, "access", self._may)

    def _failing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            reason = self._refusal(call.__name__, *args, **kwargs)
            if reason is not None:
                raise OSError(reason, os.strerror(reason))
            return call(*args, **kwargs)

        return wrapper

    def _refusal(self, call: str, *args: Any, **kwargs: Any) -> int | None:
        if not (self._full or self._nameless or self._forbidden) or not self._is_here(*args, **kwargs):
            return None
        makes = call == "mkdir" or (call == "open" and args[1] & os.O_CREAT and not os.path.exists(args[0]))
        changes = call != "open" or args[1] & (os.O_WRONLY | os.O_RDWR)
        if self._forbidden and (makes or changes):
            return errno.EROFS
        if (self._nameless and makes) or (self._full and call not in ("open", "mkdir", "ftruncate")):
            return errno.ENOSPC
        return None

    def _is_here(self, first: Any, *_: Any, dir_fd: int | None = None, **__: Any) -> bool:
        where = first if dir_fd is None else dir_fd
        place = os.readlink(f"/proc/self/fd/{where}") if isinstance(where, int) else os.fspath(where)
        return str(place).startswith(str(self.path))

    def _may(self, path: Any, mode: int, **kwargs: Any) -> bool:
        refused = self._forbidden and mode & os.W_OK and self._is_here(path)
        return not refused and self._access(path, mode, **kwargs)

    def fill(self) -> None:
        self._full = True

    def use_up_names(self) -> None:
        self._nameless = True

    def relieve(self) -> None:
        self._full = self._nameless = False

    def forbid(self, forbidden: bool) -> None:
        self._forbidden = forbidden


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """8 MiB, 64 names."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=64", "none", str(path)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if mounted:
        yield MountedDisk(path)
        subprocess.run(["umount", str(path)], check=True)
    else:
        yield PretendedDisk(path, monkeypatch)


@dataclass
class Eventful(Remote):
    """``happens`` is called once, when ``at`` bytes of the body have been sent over all connections."""

    at: int = 0
    happens: Callable[[], None] | None = None
    piece: int = 16 * 1024
    pause: float = 0.001

    async def body(self, exchange: Exchange, data: bytes) -> None:
        for start in range(0, len(data), self.piece):
            if self.happens is not None and self.served >= self.at:
                happens, self.happens = self.happens, None
                await asyncio.to_thread(happens)
            await super().body(exchange, data[start : start + self.piece])


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as running_server:
        yield running_server


def add_folder(bench: Bench, disk: Disk) -> None:
    bench.host.table["small"] = FolderSpec("small", (disk.path / "small",), frozenset({".safetensors"}))


async def begin(bench: Bench, disk: Disk, url: str, **fields: Any) -> Download:
    """Submit a download to a folder on ``disk``."""
    add_folder(bench, disk)
    (download,) = await bench.queue.submit([item(url, NAME, folder="small", **fields)])
    return download


def require_nothing_shown(disk: Disk) -> None:
    shown = [p for p in (disk.path / "small").rglob("*") if p.is_file() and ".git" not in p.parts]
    assert shown == []


def require_right(disk: Disk) -> None:
    assert (disk.path / "small" / NAME).read_bytes() == CONTENT
    assert not (disk.path / "small" / ".model-resolver").exists(), "no part is left"


POINTS = [0, 1, *(len(CONTENT) * eighth // 8 for eighth in range(1, 8)), len(CONTENT) - 1]


@pytest.mark.parametrize("known", ["etag", "sha256"])
@pytest.mark.parametrize("at", POINTS)
async def test_a_disk_may_fill_up_at_any_byte(
    tmp_path: Path, server: FaultServer, disk: Disk, at: int, known: str
) -> None:
    remote = Eventful(CONTENT, etag='"1"' if known == "etag" else None, at=at, happens=disk.fill)
    fields = {"sha256": sha256(CONTENT)} if known == "sha256" else {}
    async with nothing_left_behind(), running(tmp_path, server.place) as bench:
        download = await begin(bench, disk, server.put("/x", remote), **fields)
        ended = await bench.ended(download)
        if ended.status != "completed":  # A program that has reserved the space may not notice.
            assert ended.error is not None
            assert ended.error.code == "NO_SPACE"
            require_nothing_shown(disk)
            disk.relieve()
            await bench.queue.retry(download.id)
            assert (await bench.ended(download)).status == "completed"
        require_right(disk)
        assert remote.served <= len(CONTENT) + LOST_AT_MOST, "what had arrived is used"


@pytest.mark.parametrize("at", [0, len(CONTENT) // 2, len(CONTENT) - 1])
async def test_the_programs_own_records_may_lie_on_the_disk_that_fills_up(
    server: FaultServer, disk: Disk, at: int
) -> None:
    remote = Eventful(CONTENT, at=at, happens=disk.fill)
    async with nothing_left_behind(), running(disk.path, server.place) as bench:
        download = await begin(bench, disk, server.put("/x", remote))
        ended = await bench.ended(download)
        if ended.status != "completed":
            assert ended.error is not None
            assert ended.error.code in ("NO_SPACE", "STORE_UNAVAILABLE")
            require_nothing_shown(disk)
            disk.relieve()
            await bench.queue.retry(download.id)
            assert (await bench.ended(download)).status == "completed"
        require_right(disk)
        disk.relieve()
        assert [(shown.id, shown.status) for shown in await bench.queue.list()] == [
            (download.id, "completed")
        ]


async def test_a_process_that_ends_on_a_full_disk_leaves_what_the_next_one_goes_on_with(
    tmp_path: Path, server: FaultServer, disk: Disk
) -> None:
    remote = Eventful(CONTENT, at=len(CONTENT) // 2, happens=disk.fill)
    async with running(tmp_path, server.place) as bench:
        download = await begin(bench, disk, server.put("/x", remote))
        await bench.until(lambda now: now.status in ("failed", "completed"), download.id)
    require_nothing_shown(disk)
    async with running(tmp_path, server.place) as bench:
        add_folder(bench, disk)
        await bench.queue.retry(download.id)
        again = await bench.ended(download)
        assert again.error is not None
        assert again.error.code == "NO_SPACE", "it is still full"
        disk.relieve()
        await bench.queue.retry(download.id)
        assert (await bench.ended(download)).status == "completed"
    require_right(disk)
    assert remote.served <= len(CONTENT) + LOST_AT_MOST


async def test_a_disk_without_names_for_the_last_directory_keeps_the_verified_part(
    tmp_path: Path, server: FaultServer, disk: Disk
) -> None:
    """``sub/`` is made when the file is published."""
    remote = Eventful(CONTENT, at=len(CONTENT) // 2, happens=disk.use_up_names)
    async with nothing_left_behind(), running(tmp_path, server.place) as bench:
        download = await begin(bench, disk, server.put("/x", remote))
        failed = await bench.ended(download)
        assert failed.error is not None
        assert failed.error.code == "NO_SPACE"
        require_nothing_shown(disk)
        disk.relieve()
        await bench.queue.retry(download.id)
        assert (await bench.ended(download)).status == "completed"
    require_right(disk)
    assert remote.served == len(CONTENT), "not a byte is fetched again"


async def test_a_read_only_folder_is_refused_before_anything_is_asked(
    tmp_path: Path, server: FaultServer, disk: Disk
) -> None:
    url = server.put("/x", Remote(CONTENT))
    disk.forbid(True)
    try:
        async with running(tmp_path, server.place) as bench:
            with pytest.raises(ResolverError) as caught:
                await begin(bench, disk, url)
    finally:
        disk.forbid(False)
    assert caught.value.code == "FOLDER_NOT_WRITABLE"
    assert server.requests == []


async def test_a_folder_that_becomes_read_only_is_told_and_the_part_goes_on_later(
    tmp_path: Path, server: FaultServer, disk: Disk
) -> None:
    remote = Eventful(CONTENT)
    async with nothing_left_behind(), running(tmp_path, server.place) as bench:
        download = await begin(bench, disk, server.put("/x", remote))
        await bench.under_way(download, MIB)
        await bench.queue.pause(download.id)
        disk.forbid(True)
        try:
            await bench.queue.resume(download.id)
            failed = await bench.ended(download)
        finally:
            disk.forbid(False)
        assert failed.error is not None
        assert failed.error.code == "NOT_WRITABLE"
        require_nothing_shown(disk)
        await bench.queue.retry(download.id)
        assert (await bench.ended(download)).status == "completed"
    require_right(disk)
    assert remote.served <= len(CONTENT) + LOST_AT_MOST

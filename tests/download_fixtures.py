"""A queue with everything real round it: a store, model folders, a client, servers on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from demo.safetensors import make_safetensors
from resolver.download.model import parts_of
from resolver.download.queue import DownloadQueue
from resolver.download.retries import RetryPolicy
from resolver.download.transfer import Transfer
from resolver.net.client import Credentials, HttpClient
from resolver.schemas import Download, DownloadItem
from resolver.settings import Settings
from resolver.store import Store
from tests.fakes import FakeHost, folder

IMPATIENT = RetryPolicy(attempts=4, first=0.01, most=0.02)
ENDED = ("completed", "failed", "cancelled")


@lru_cache
def model(size: int = 400_000, seed: str = "model") -> bytes:
    """A real .safetensors file."""
    return make_safetensors(seed, size)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def item(url: str, filename: str = "sub/model.safetensors", **fields: Any) -> DownloadItem:
    return DownloadItem(folder=fields.pop("folder", "loras"), filename=filename, url=url, **fields)


class Bench:
    """``loras`` is the folder's root. ``events``: all downloads that were told of, in order."""

    def __init__(self, base: Path, settings: Settings, options: dict[str, Any]) -> None:
        self.loras = base / "models" / "loras"
        self.host = FakeHost(
            base,
            {
                "loras": folder("loras", self.loras),
                "anything": folder("anything", base / "models" / "anything", extensions=frozenset()),
            },
        )
        self.settings = settings
        self.events: list[Download] = []
        self.completed: list[Download] = []
        self._changed = asyncio.Event()
        self.store = Store(self.host.data_directory / "store.sqlite3")
        credentials: Credentials | None = options.pop("credentials", None)
        self.client = HttpClient(settings, credentials=credentials)
        transfer: Callable[[HttpClient], Transfer] | None = options.pop("transfer", None)
        self.queue = DownloadQueue(
            self.store,
            self.host,
            self.client,
            settings,
            self._hear,
            on_completed=self.completed.append,
            transfer=transfer(self.client) if transfer else None,
            known_files=options.pop("known_files", None),
            retry_policy=options.pop("retry_policy", IMPATIENT),
            beside_host=options.pop("beside_host", False),
        )

    def _hear(self, download: Download) -> None:
        self.events.append(download)
        self._changed.set()

    async def until(self, condition: Callable[[Download], bool], download_id: str) -> Download:
        """The download once it fulfils ``condition``."""

        async def wait() -> Download:
            while True:
                self._changed.clear()
                now = await self.queue.get(download_id)
                if condition(now):
                    return now
                await self._changed.wait()

        return await asyncio.wait_for(wait(), 60)

    async def ended(self, download: Download) -> Download:
        return await self.until(lambda now: now.status in ENDED, download.id)

    async def fetch(self, *args: Any, **fields: Any) -> Download:
        """Submit one item and wait for its end."""
        (download,) = await self.queue.submit([item(*args, **fields)])
        return await self.ended(download)

    async def under_way(self, download: Download, received: int = 1) -> Download:
        return await self.until(lambda now: now.status == "active" and now.received >= received, download.id)

    def files(self) -> dict[str, bytes]:
        """What ComfyUI lists in ``loras``, by name: everything that is not below ``.git``."""
        return {path.relative_to(self.loras).as_posix(): path.read_bytes() for path in _listed(self.loras)}

    def parts(self) -> list[Path]:
        return sorted(self.loras.glob(".model-resolver/.git/*.part"))

    def part_of(self, download: Download) -> Path:
        row = self.store.download(download.id)
        assert row is not None
        return parts_of(row)[0]

    def statuses(self, download: Download) -> list[str]:
        """The statuses told of, each once in a row."""
        told: list[str] = []
        for event in self.events:
            if event.id == download.id and told[-1:] != [event.status]:
                told.append(event.status)
        return told


def _listed(root: Path) -> list[Path]:
    found = []
    for directory, below, names in os.walk(root, followlinks=True):
        below[:] = [name for name in below if name != ".git"]
        found += [Path(directory, name) for name in names]
    return sorted(found)


async def until_status(queue: DownloadQueue, download: Download, *statuses: str) -> str:
    for _ in range(500):
        now = await queue.get(download.id)
        if now.status in statuses:
            return now.status
        await asyncio.sleep(0.01)
    raise AssertionError(now)


@asynccontextmanager
async def running(base: Path, *places: str, **fields: Any) -> AsyncIterator[Bench]:
    """A started queue. ``places``: allowed hosts. Other fields are settings or options of ``Bench``."""
    names = ("credentials", "transfer", "known_files", "retry_policy", "beside_host")
    options: dict[str, Any] = {name: fields.pop(name) for name in names if name in fields}
    settings = Settings(**{"allowed_hosts": places, "download_timeout": 5.0, "disk_reserve": 0, **fields})
    bench = Bench(base, settings, options)
    try:
        await bench.queue.start()
        yield bench
    finally:
        await bench.queue.stop()
        await bench.client.close()
        bench.store.close()

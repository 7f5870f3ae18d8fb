"""``kill -9`` at random moments, again and again: never a wrong file, in the end the right one.

Real processes, seeded moments: in the first milliseconds, after some bytes, once the last byte is out, and
as soon as the name is there. 8 downloads with at least 7 kills each, in half of which the bytes move in a
process of their own, as in ComfyUI.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from resolver.store import Store
from tests.download_fixtures import model, sha256
from tests.fault_server import Exchange, FaultServer, Remote
from tests.kill_child import download

MIB = 1 << 20
CONTENT = model(24 * MIB)
NAME = "sub/model.safetensors"
KILLS_UNDER_WAY = 7
# Bytes a run may get before it is killed: all of them together leave some of the file to the last.
MOST_BYTES = len(CONTENT) // (KILLS_UNDER_WAY + 1)
MOST_SECONDS = 0.1
# What a kill may cost: bytes on their way in up to eight connections, and not yet written down.
COST = MIB

# A fork of one process that has imported everything starts in milliseconds and is as good to kill.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", "tests.kill_child", "resolver.download", "resolver.http.service"])


@dataclass
class Slow(Remote):
    """``rate``: bytes a second over all connections, however many there are."""

    rate: float = 24e6
    piece: int = 32 * 1024
    _free_at: float = field(default=0.0, init=False)

    async def body(self, exchange: Exchange, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        for start in range(0, len(data), self.piece):
            piece = data[start : start + self.piece]
            self._free_at = max(self._free_at, loop.time()) + len(piece) / self.rate
            await asyncio.sleep(self._free_at - loop.time())
            await exchange.write(piece)
            self.served += len(piece)


Moment = Callable[[float, int], bool]
"""Whether it has come, by the seconds a process has lived and the bytes it was sent."""


def after(most: float) -> Moment:
    return lambda seconds, sent: seconds >= most


def at_byte(most: int) -> Moment:
    return lambda seconds, sent: sent > most


def after_the_last_byte(remote: Slow, grace: float) -> Moment:
    """``grace`` seconds after the server has sent the whole file, over all lives together."""
    since: list[float] = []

    def has_come(seconds: float, sent: int) -> bool:
        if remote.served >= len(CONTENT) and not since:
            since.append(seconds)
        return bool(since) and seconds - since[0] >= grace

    return has_come


class Downloading:
    """One download over many lives of its process. ``kills``: how many of them were cut short.

    ``serves``: the bytes move in a process beside it, which is to end by itself then.
    """

    def __init__(
        self, root: Path, server: FaultServer, remote: Slow, fields: dict[str, Any], *, serves: bool
    ) -> None:
        self.root, self.remote, self.kills = root, remote, 0
        self.file = root / "models" / "loras" / NAME
        self._arguments = (root, server.place, fields)
        self._serves = serves

    async def live(self, moment: Moment) -> bool:
        """Let the process run until ``moment`` and kill it; False if it ended before."""
        process = FORKS.Process(target=download, args=self._arguments, kwargs={"serves": self._serves})
        process.start()
        loop = asyncio.get_running_loop()
        began, served = loop.time(), self.remote.served
        # What is waited for happens in another process.
        while process.is_alive() and not moment(  # noqa: ASYNC110
            loop.time() - began, self.remote.served - served
        ):
            await asyncio.sleep(0.001)
        return await self._kill(process)

    async def to_the_end(self) -> None:
        assert not await self.live(lambda seconds, sent: False)

    async def _kill(self, process: BaseProcess) -> bool:
        process.kill()
        await asyncio.to_thread(process.join)
        code = process.exitcode
        process.close()
        self.require_all_or_nothing()
        assert code in (0, -9), "neither killed nor complete"
        self.kills += code == -9
        return code == -9

    def require_all_or_nothing(self) -> None:
        """The whole file lies under its name, or nothing; and nothing else that ComfyUI would list."""
        loras = self.root / "models" / "loras"
        shown = [path for path in loras.rglob("*") if path.is_file() and ".git" not in path.parts]
        assert shown in ([], [self.file])
        assert not shown or self.file.read_bytes() == CONTENT


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as running:
        yield running


@pytest.mark.parametrize("seed", range(8))
async def test_killed_at_any_moment_it_ends_with_the_right_file(
    tmp_path: Path, server: FaultServer, seed: int
) -> None:
    chance = random.Random(seed)
    # Even seeds know the content by its hash, odd ones only by the server's ETag.
    remote = Slow(CONTENT, etag=None if seed % 2 == 0 else '"1"')
    fields = {"folder": "loras", "filename": NAME, "url": server.put("/x.safetensors", remote)}
    if seed % 2 == 0:
        fields["sha256"] = sha256(CONTENT)
    downloading = Downloading(tmp_path, server, remote, fields, serves=seed % 4 >= 2)

    for _ in range(KILLS_UNDER_WAY):
        early, later = after(chance.uniform(0, MOST_SECONDS)), at_byte(chance.randrange(MOST_BYTES))
        assert await downloading.live(early if chance.random() < 0.3 else later)
    at_the_end = (
        after_the_last_byte(remote, chance.uniform(0, MOST_SECONDS)),
        lambda seconds, sent: downloading.file.exists(),
    )
    for moment in at_the_end:
        if not await downloading.live(moment):
            break
    else:
        await downloading.to_the_end()

    assert downloading.kills >= KILLS_UNDER_WAY
    assert downloading.file.read_bytes() == CONTENT
    assert not (tmp_path / "models" / "loras" / ".model-resolver").exists(), "no part is left"
    store = Store(tmp_path / "user" / "__model_resolver" / "store.sqlite3")
    (row,) = store.downloads()
    store.close()
    assert (row.status, row.verified) == ("completed", True)
    assert remote.served <= len(CONTENT) + downloading.kills * COST

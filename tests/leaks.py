"""Whether work gives back what it took: threads, file descriptors, tasks of the running loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_PATIENCE = 5.0


@dataclass(frozen=True)
class Held:
    """What this process holds at one moment. ``files``: what descriptors lead to, and how many do."""

    threads: frozenset[threading.Thread]
    files: Counter[str]
    tasks: frozenset[asyncio.Task[object]]

    @classmethod
    def now(cls) -> Held:
        # The loop keeps the workers of its own pool until it ends.
        threads = {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}
        return cls(frozenset(threads), _open_files(), frozenset(asyncio.all_tasks()))

    def more_than(self, before: Held) -> list[str]:
        """What is held now and was not ``before``, in words."""
        return [
            *(f"thread {thread.name}" for thread in self.threads - before.threads),
            *(f"{count} x file {name}" for name, count in (self.files - before.files).items()),
            *(f"task {task!r}" for task in self.tasks - before.tasks),
        ]


@asynccontextmanager
async def nothing_left_behind() -> AsyncIterator[None]:
    """Fails if, a moment after the block, more is held than before it; names what.

    Only for Linux, as the names of descriptors are.
    """
    before = Held.now()
    yield
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE
    # Closed sockets and ended threads take a moment, and nobody tells.
    while (left := Held.now().more_than(before)) and loop.time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    assert not left, f"left behind: {'; '.join(sorted(left))}"


def _open_files() -> Counter[str]:
    names = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue  # The one that listed the directory.
    return Counter(names)

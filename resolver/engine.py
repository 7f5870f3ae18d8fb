"""The engine's own event loop, in a thread of its own.

Downloads, probes and sources run here, so that the loop that serves ComfyUI is never held; routes on
that loop await what runs here, and the command line waits for it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_END = object()


class Engine:
    """A running event loop in a daemon thread. ``start`` and ``stop`` may each be called once."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="model-resolver", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Cancel what still runs, wait for it to end, and close the loop."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start ``work`` on the engine's loop, from any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await ``work`` from another event loop; if the waiter is cancelled, so is the work."""
        return await asyncio.wrap_future(self.submit(work))

    async def stream(self, items: Callable[[], AsyncIterator[T]]) -> AsyncGenerator[T, None]:
        """Iterate on the caller's loop over what ``items()`` yields on the engine's loop."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Any] = asyncio.Queue()

        def put(item: Any) -> None:
            loop.call_soon_threadsafe(arrived.put_nowait, item)

        async def pump() -> None:
            try:
                async for item in items():
                    put(item)
            finally:
                put(_END)

        pumping = asyncio.wrap_future(self.submit(pump()))
        try:
            while (item := await arrived.get()) is not _END:
                yield item
            await pumping
        finally:
            pumping.cancel()

    def iterate(self, items: Callable[[], AsyncIterator[T]], tick: float = 0.25) -> Iterator[T | None]:
        """Iterate in a thread without a loop over what ``items()`` yields on the engine's loop.

        ``None`` comes every ``tick`` seconds in which nothing else does, so that the caller can look
        whether to go on; leaving the iteration ends the work.
        """
        arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()

        async def pump() -> None:
            try:
                async for item in items():
                    arrived.put(item)
            finally:
                arrived.put(_END)

        pumping = self.submit(pump())
        try:
            while True:
                try:
                    item = arrived.get(timeout=tick)
                except queue.Empty:
                    yield None
                    continue
                if item is _END:
                    break
                yield item
            pumping.result()
        finally:
            pumping.cancel()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            pending = asyncio.all_tasks(self.loop)
            for task in pending:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

"""The hub: two listeners on 127.0.0.1, the API host and the storage host, over one world."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from .huggingface import HuggingFaceApi
from .options import HubOptions
from .request_log import RequestLog
from .storage import Storage
from .world import World

_ADDRESS = "127.0.0.1"


class Hub:
    """Serves a world until it is stopped. ``options`` are the fields of ``HubOptions``.

    ``endpoint`` and ``storage`` are the two hosts' addresses (``http://127.0.0.1:port``) while it
    runs; ``log`` has what they were asked. One hub starts once; the same world may be served by
    several.
    """

    def __init__(self, world: World, **options: Any) -> None:
        self.world = world
        self.options = HubOptions(**options)
        self.log = RequestLog()
        self.endpoint = ""
        self.storage = ""
        self._runners: list[web.AppRunner] = []

    async def start(self) -> None:
        """Listens on both ports when it returns. Raises OSError if ``options.port`` is taken."""
        api_socket = socket.create_server((_ADDRESS, self.options.port))
        storage_socket = socket.create_server((_ADDRESS, 0))
        self.endpoint, self.storage = _url(api_socket), _url(storage_socket)
        storage = Storage(self.storage, self.options)
        api = HuggingFaceApi(self.world, storage, self.options)
        api_app = web.Application(middlewares=[self._latency, api.refusals])
        api_app.add_routes(api.routes())
        self.log.watch(api_app, "api", api.file_of)
        storage_app = web.Application(middlewares=[self._latency])
        storage_app.add_routes(storage.routes())
        self.log.watch(storage_app, "storage", storage.file_of)
        for app, listener in ((api_app, api_socket), (storage_app, storage_socket)):
            # Nobody waits for transfers under way: stopping a throttled hub would take as long as
            # they do.
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            self._runners.append(runner)
            await runner.setup()
            await web.SockSite(runner, listener).start()

    async def stop(self) -> None:
        """Closes both ports and every connection."""
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    def environment(self) -> dict[str, str]:
        """The variables with which our program takes this hub for Hugging Face."""
        hosts = ",".join(url.removeprefix("http://") for url in (self.endpoint, self.storage))
        return {"CMR_HF_ENDPOINT": self.endpoint, "CMR_ALLOWED_HOSTS": hosts}

    @web.middleware
    async def _latency(self, request: web.Request, handler: Any) -> web.StreamResponse:
        await asyncio.sleep(self.options.latency)
        response: web.StreamResponse = await handler(request)
        return response


@contextmanager
def running_hub(world: World, **options: Any) -> Iterator[Hub]:
    """A hub that runs in a thread of its own while the ``with`` block does, for synchronous callers."""
    hub = Hub(world, **options)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="demo-hub", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(hub.start(), loop).result()
        yield hub
    finally:
        asyncio.run_coroutine_threadsafe(hub.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _url(listener: socket.socket) -> str:
    address, port = listener.getsockname()
    return f"http://{address}:{port}"

"""The hubs: listeners on 127.0.0.1, one for each API and one for storage, over one world."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware

from .civitai.api import CivitaiApi
from .faults import Faults
from .huggingface.api import HuggingFaceApi
from .modelscope import ModelScopeApi
from .options import HubOptions
from .request_log import Host, RequestLog, Subject
from .storage import Storage
from .world import World

_ADDRESS = "127.0.0.1"


class Hub:
    """Serves a world until it is stopped. ``options`` are the fields of ``HubOptions``.

    ``endpoint`` (Hugging Face), ``civitai``, ``modelscope`` and ``storage``, which serves the files of
    all three, are the hosts' addresses (``http://127.0.0.1:port``) while it runs; ``log`` has what
    they were asked. One hub starts once; the same world may be served by several.
    """

    def __init__(self, world: World, **options: Any) -> None:
        self.world = world
        self.options = HubOptions(**options)
        self.log = RequestLog()
        self.endpoint = ""
        self.civitai = ""
        self.modelscope = ""
        self.storage = ""
        self._runners: list[web.AppRunner] = []

    async def start(self) -> None:
        """Listens on all ports when it returns. Raises OSError if ``options.port`` is taken."""
        hub_socket = socket.create_server((_ADDRESS, self.options.port))
        civitai_socket, modelscope_socket, storage_socket = (
            socket.create_server((_ADDRESS, 0)) for _ in range(3)
        )
        self.endpoint, self.civitai = _url(hub_socket), _url(civitai_socket)
        self.modelscope, self.storage = _url(modelscope_socket), _url(storage_socket)
        storage = Storage(self.storage, self.options)
        hosts: tuple[tuple[Host, _Api, socket.socket], ...] = (
            ("api", HuggingFaceApi(self.world, storage, self.options), hub_socket),
            ("civitai", CivitaiApi(self.world, storage, self.options), civitai_socket),
            ("modelscope", ModelScopeApi(self.world, storage, self.options), modelscope_socket),
            ("storage", storage, storage_socket),
        )
        for host, api, listener in hosts:
            app = web.Application()
            unanswered = self.log.watch(app, host, api.subject_of)
            faults = Faults(self.options, unanswered).middleware()
            app.middlewares.extend([faults, *api.middlewares()])
            app.add_routes(api.routes())
            # Nobody waits for transfers under way: stopping a throttled hub would take as long as
            # they do.
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            self._runners.append(runner)
            await runner.setup()
            await web.SockSite(runner, listener).start()

    async def stop(self) -> None:
        """Closes all ports and every connection."""
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    def environment(self) -> dict[str, str]:
        """The variables with which our program takes these hubs for Hugging Face and Civitai."""
        hosts = ",".join(url.removeprefix("http://") for url in (self.endpoint, self.civitai, self.storage))
        return {
            "CMR_HF_ENDPOINT": self.endpoint,
            "CMR_CIVITAI_ENDPOINT": self.civitai,
            "CMR_ALLOWED_HOSTS": hosts,
        }


class _Api(Protocol):
    """What each host's module brings."""

    def routes(self) -> list[web.RouteDef]: ...

    def middlewares(self) -> list[Middleware]: ...

    def subject_of(self, request: web.Request) -> Subject: ...


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

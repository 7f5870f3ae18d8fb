"""Registers the routes on ComfyUI's own server, and starts the engine once ComfyUI is up.

Nothing heavy is imported here: the engine's modules load in a thread, after ComfyUI has started.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from .resolver.http.table import PREFIX, ROUTES, Route

if TYPE_CHECKING:
    from aiohttp import web

    from .resolver.app import Resolver
    from .resolver.http.service import Service

log = logging.getLogger("model-resolver")

_lock = threading.Lock()
_resolver: Resolver | None = None
_service: Service | None = None


def register() -> None:
    """Add the routes to ComfyUI's server; nothing where there is none (a test, a tool that reads nodes)."""
    try:
        from server import PromptServer  # type: ignore[import-not-found]
    except ImportError:
        return
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    for route in ROUTES:
        server.routes.route(route.method, PREFIX + route.path)(partial(_handle, route))
    server.app.on_startup.append(_start)
    server.app.on_shutdown.append(_stop)


def get_resolver() -> Resolver:
    """The one Resolver of this ComfyUI, made on first use. Blocks; raises ``ResolverError``."""
    global _resolver
    with _lock:
        if _resolver is None:
            from .resolver.app import Resolver
            from .resolver.host.comfyui import ComfyUIHost
            from .resolver.settings import load_settings

            host = ComfyUIHost()
            settings = load_settings(user_directory=host.user_directory, dotenv=host.root / ".env")
            resolver = Resolver(settings, host, serves=True)
            resolver.start()
            _resolver = resolver
        return _resolver


async def _handle(route: Route, request: web.Request) -> web.StreamResponse:
    service = _service or await asyncio.to_thread(_get_service)
    return await service.handler(route)(request)


def _get_service() -> Service:
    global _service
    from .resolver.http.service import Service

    _service = Service(get_resolver, with_token=False)
    return _service


async def _start(app: Any) -> None:
    # Only now are all node packs loaded. Unfinished downloads go on without anybody asking.
    threading.Thread(target=_warm, name="model-resolver-start", daemon=True).start()


def _warm() -> None:
    try:
        resolver = get_resolver()
        resolver.knowledge()
        resolver.go_on_hashing()
    except Exception as error:
        # ComfyUI must run all the same; the sidebar shows what is wrong.
        log.error("Model Resolver could not start: %s", error)


async def _stop(app: Any) -> None:
    if _resolver is not None:
        await asyncio.to_thread(_resolver.close)

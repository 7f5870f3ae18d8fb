"""The standalone server: the same routes and events, and the page."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path
from typing import Any

from aiohttp import web

from ..app import Resolver
from ..errors import ResolverError, SettingsError
from ..fetch import ENDED
from ..logs import log_context
from .answers import error_answer
from .guard import check_request, is_loopback, runpod_hosts
from .service import Service
from .table import PREFIX, Route

log = logging.getLogger(__name__)

_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"


def application(resolver: Resolver) -> web.Application:
    """The application that serves ``resolver``."""
    app = web.Application(middlewares=[_headers])

    async def end_events(_: web.Application) -> None:
        resolver.engine.loop.call_soon_threadsafe(resolver.events.close)

    # Otherwise an open page would hold the server up until its patience ends.
    app.on_shutdown.append(end_events)
    routes = web.RouteTableDef()
    service = Service(lambda: resolver, with_token=True)
    service.add_to(routes)
    # Where those look who watch over servers.
    routes.get("/health")(service.handler(Route("GET", "/health", "health")))
    app.add_routes(routes)
    if resolver.settings.enable_ui:
        web_files, locales = _directory("web"), _directory("locales")

        async def page(request: web.Request) -> web.StreamResponse:
            return web.FileResponse(web_files / "index.html")

        async def i18n(request: web.Request) -> web.StreamResponse:
            return web.json_response(await asyncio.to_thread(read_locales, locales))

        app.router.add_get("/", _guarded(resolver, page))
        app.router.add_get("/i18n", _guarded(resolver, i18n))
        app.router.add_static(f"{PREFIX}/web", web_files)
    return app


async def serve(resolver: Resolver, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; ``ready`` is told the address once it answers.

    Raises ``SettingsError`` (``TOKEN_MISSING``) for an address others can reach while no token is set.
    """
    settings = resolver.settings
    if not is_loopback(settings.api_host) and settings.api_token is None:
        raise SettingsError(
            f"CMR_API_HOST={settings.api_host} lets other machines in. Set CMR_API_TOKEN to a secret of your "
            "own, which callers must then send, or use 127.0.0.1.",
            code="TOKEN_MISSING",
        )
    runner = web.AppRunner(application(resolver), shutdown_timeout=5.0, access_log=None)
    await runner.setup()
    logging_ends: asyncio.Future[None] | None = None
    try:
        site = web.TCPSite(runner, settings.api_host, settings.api_port)
        try:
            await site.start()
        except OSError as error:
            raise ResolverError(
                f"Port {settings.api_port} of {settings.api_host} cannot be used: {error.strerror}.",
                code="PORT_UNAVAILABLE",
            ) from None
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, stop.set)
            except NotImplementedError:
                # Windows' loop has no signal handlers; there Ctrl-C raises KeyboardInterrupt.
                break
        logging_ends = asyncio.ensure_future(_log_ends(resolver))
        ready(f"http://{_in_url(settings.api_host)}:{runner.addresses[0][1]}")
        await stop.wait()
    finally:
        if logging_ends is not None:
            logging_ends.cancel()
            await asyncio.gather(logging_ends, return_exceptions=True)
        await runner.cleanup()


async def _log_ends(resolver: Resolver) -> None:
    """Log how each download ended: who asked for it may not be there any more."""
    async for name, data in resolver.engine.stream(resolver.events.listen):
        if name != "download" or data["status"] not in ENDED:
            continue
        model, error = f"{data['folder']}/{data['filename']}", data["error"]
        with log_context(download=data["id"], model=model):
            if data["status"] == "failed" and error:
                reason = f"failed: {error['code']}: {error['message']}"
                log.warning("The download of %s ended: %s", model, reason)
            else:
                log.info("The download of %s ended: %s", model, data["status"])


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def read_locales(directory: Path) -> dict[str, Any]:
    """``{language: {…}}`` in the shape of ComfyUI's ``GET /i18n``: ``main.json`` at the top of each."""
    return {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(directory.glob("*/main.json"))
    }


def _guarded(
    resolver: Resolver, act: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The page answers to trusted names only; it holds no data, so it asks for no token itself."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            trusted = (*resolver.settings.trusted_hosts, *runpod_hosts())
            check_request(request.method, request.headers, trusted_hosts=trusted, navigation=True)
        except ResolverError as error:
            return error_answer(error)
        return await act(request)

    return handle


@web.middleware
async def _headers(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    response = await handler(request)
    if not response.prepared:
        response.headers.setdefault("Content-Security-Policy", _POLICY)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Cache-Control", "no-cache")
    return response


def _directory(name: str) -> Path:
    """``web`` or ``locales``: beside the package in a checkout, inside it when installed by pip."""
    package = Path(str(resources.files(__package__.rpartition(".")[0])))
    beside = package.parent / name
    return beside if beside.is_dir() else package / f"_{name}"

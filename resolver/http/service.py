"""Binds the routes to a ``Resolver``: guard, errors, and making the Resolver when first needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ..app import Resolver
from ..errors import BadInput, ResolverError
from .answers import error_answer
from .guard import check_request, runpod_hosts
from .handlers import HANDLERS
from .table import PREFIX, ROUTES, Route

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Service:
    """The routes of one server.

    ``provide`` makes (once) or returns the Resolver; it blocks and may raise ``ResolverError``, for
    example over a bad setting: then every request is answered with that error, and the host lives on.
    ``with_token``: ask for ``CMR_API_TOKEN`` where it is set (standalone; ComfyUI's page has no token).
    """

    def __init__(self, provide: Callable[[], Resolver], *, with_token: bool) -> None:
        self._provide = provide
        self._with_token = with_token

    def add_to(self, routes: web.RouteTableDef) -> None:
        for route in ROUTES:
            routes.route(route.method, PREFIX + route.path)(self.handler(route))

    def handler(self, route: Route) -> Handler:
        act = HANDLERS[route.handler]

        async def handle(request: web.Request) -> web.StreamResponse:
            response: web.StreamResponse | None = None
            log.debug("%s %s", request.method, request.path)
            try:
                resolver = await self._checked(request)
                response = await act(resolver, request)
            except ResolverError as error:
                response = error_answer(error)
            except (HttpProcessingError, web.RequestPayloadError) as error:
                response = error_answer(BadInput(f"The body is unreadable: {error}", code="BODY_UNREADABLE"))
            except (web.HTTPException, ConnectionResetError, asyncio.CancelledError):
                raise
            except Exception:
                log.exception("%s %s failed", request.method, request.path)
                response = error_answer(
                    ResolverError("Something failed inside the server; its log says what.")
                )
            return response

        return handle

    async def _checked(self, request: web.Request) -> Resolver:
        """The Resolver, for a request that may be served."""
        try:
            resolver = await asyncio.to_thread(self._provide)
        except ResolverError:
            # What is wrong is told only to those who would be served if it were not.
            check_request(request.method, request.headers, trusted_hosts=runpod_hosts())
            raise
        settings = resolver.settings
        secret = settings.api_token if self._with_token else None
        check_request(
            request.method,
            request.headers,
            trusted_hosts=(*settings.trusted_hosts, *runpod_hosts()),
            token=secret.get_secret_value() if secret else None,
        )
        return resolver

"""What goes wrong on the way: slow, refused, broken, cut or dishonest answers, route by route."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

if TYPE_CHECKING:
    from .options import HubOptions

_Value = TypeVar("_Value")

_FOREVER = 3600.0


@dataclass(frozen=True)
class Fault:
    """What happens instead of, or to, a route's answers.

    ``status``: an error of this status. ``hang``: no answer at all. ``disconnect``: the connection
    ends without one. ``malformed``: half the answer, as if it were whole. ``truncated``: half the
    answer, then the connection ends. ``html``: a page, with status 200. ``times``: only the first so
    many requests; None for all. ``about``: only requests with this in their path or query.
    """

    kind: Literal["status", "hang", "disconnect", "malformed", "truncated", "html"]
    status: int = 503
    times: int | None = None
    about: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def route_name(request: web.Request) -> str:
    """``huggingface.search``, …; empty for a path that no route has."""
    return request.match_info.route.name or ""


class Faults:
    """A middleware for every host of a hub. ``unanswered`` is told of requests that get no answer."""

    def __init__(self, options: HubOptions, unanswered: Callable[[web.Request], None]) -> None:
        self._options = options
        self._unanswered = unanswered
        self._happened: Counter[str] = Counter()

    def middleware(self) -> Middleware:
        @web.middleware
        async def apply(request: web.Request, handler: Handler) -> web.StreamResponse:
            route = route_name(request)
            _, latency = _fitting(self._options.latencies, route) or ("", self._options.latency)
            await asyncio.sleep(latency)
            fault = self._due(request, route)
            return await (handler(request) if fault is None else self._happen(fault, request, handler))

        return apply

    def _due(self, request: web.Request, route: str) -> Fault | None:
        found = _fitting(self._options.faults, route)
        if found is None or found[1].about not in request.path_qs:
            return None
        pattern, fault = found
        self._happened[pattern] += 1
        return fault if fault.times is None or self._happened[pattern] <= fault.times else None

    async def _happen(self, fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
        if fault.kind == "status":
            return web.json_response({"error": "on demand"}, status=fault.status, headers=fault.headers)
        if fault.kind == "html":
            return web.Response(text="<!doctype html><title>One moment</title>", content_type="text/html")
        if fault.kind in ("hang", "disconnect"):
            self._unanswered(request)
            if fault.kind == "hang":
                await asyncio.sleep(_FOREVER)
            elif request.transport is not None:
                request.transport.abort()
            return web.Response()
        whole = await handler(request)
        body = whole.body if isinstance(whole, web.Response) else None
        if not isinstance(body, bytes):
            raise TypeError(f"{route_name(request)} streams its answer: see drop_after_bytes")
        half = body[: len(body) // 2]
        if fault.kind == "malformed":
            return web.Response(status=whole.status, body=half, content_type=whole.content_type)
        response = web.StreamResponse(status=whole.status)
        response.content_type = whole.content_type
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(half)
        if request.transport is not None:
            request.transport.close()  # what is buffered still goes out
        return response


def _fitting(by_pattern: Mapping[str, _Value], route: str) -> tuple[str, _Value] | None:
    return next((item for item in by_pattern.items() if fnmatchcase(route, item[0])), None)

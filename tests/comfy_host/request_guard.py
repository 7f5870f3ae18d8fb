"""Who may call the server: the middlewares every request goes through.

They mimic core 0.28.1, gaps included, because the extension is tested against those gaps: see
``origin_check`` for what is let through.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


@web.middleware
async def no_store_for_code(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Scripts and style sheets are never cached: an updated pack is seen at the next page load."""
    response = await handler(request)
    file = request.path.rsplit("/", 1)[-1]
    index = file.startswith("index") and file.endswith(".json")
    if file.endswith((".js", ".css")) or index:
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def cross_origin_headers(allowed_origin: str) -> Any:
    """`--enable-cors-header`: every answer allows that origin, and nothing is refused any more."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = web.Response() if request.method == "OPTIONS" else await handler(request)
        response.headers["Access-Control-Allow-Origin"] = allowed_origin
        response.headers["Access-Control-Allow-Methods"] = "POST, GET, DELETE, PUT, OPTIONS, PATCH"
        response.headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization"
        response.headers["Access-Control-Allow-Credentials"] = "true"
        return response

    return middleware


@web.middleware
async def origin_check(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a request from another site to a loopback host.

    Let through, as in core: a Host that is not loopback, whatever the Origin (another machine of
    the LAN, or a name that an attacker's DNS points here); `Origin: null`; no Origin and no
    Sec-Fetch-Site at all.
    """
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return web.Response(status=403)
    if _is_foreign(request.headers.get("Host"), request.headers.get("Origin")):
        logging.warning(
            "Host %s, Origin %s: refused", request.headers["Host"], request.headers["Origin"]
        )
        return web.Response(status=403)
    if request.method == "OPTIONS":
        return web.Response()
    return await handler(request)


def _is_foreign(host: str | None, origin: str | None) -> bool:
    if host is None or origin is None:
        return False
    ours, theirs = urlsplit("//" + host.lower()), urlsplit(origin.lower())
    if not is_loopback(ours.hostname):
        return False
    # A port counts only where both sides name one: some browsers leave it out.
    with_port = ours.port is not None and theirs.port is not None
    here = ours.netloc if with_port else ours.hostname
    there = theirs.netloc if with_port else theirs.hostname
    return bool(here) and bool(there) and here != there


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address leads to this machine only."""
    if not host:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(a).is_loopback for a in found)

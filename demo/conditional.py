"""Answers that a client may keep: an ``ETag`` with each, and 304 for one it still has.

RFC 9110, sections 8.8.3 and 13.1.2. Both sites' frameworks do so for all JSON they send.
"""

from __future__ import annotations

import hashlib

from aiohttp import web
from aiohttp.typedefs import Handler


@web.middleware
async def conditional(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A weak tag of what the answer says; HEAD and errors have none."""
    response = await handler(request)
    body = response.body if isinstance(response, web.Response) else None
    if request.method != "GET" or response.status != 200 or not isinstance(body, bytes):
        return response
    if response.content_type != "application/json":
        return response
    tag = f'W/"{hashlib.sha1(body).hexdigest()}"'
    if tag in (part.strip() for part in request.headers.get("If-None-Match", "").split(",")):
        return web.Response(status=304, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return response

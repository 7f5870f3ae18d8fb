"""Answers with a reason, as Civitai gives them: https://developer.civitai.com/site/guide/errors."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler


class Refusal(Exception):
    """``{"error": …}``, and whatever else is to be said."""

    def __init__(self, status: int, error: str, **more: str) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error, **more}


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns a ``Refusal`` raised by a handler into its answer."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return web.json_response(refusal.body, status=refusal.status)

"""Prompts for ComfyUI: who queues them, and what may be asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ..app import Resolver
from ..errors import BadInput, ResolverError, WorkflowError
from ..workflow.read import MAX_BYTES
from .bodies import json_object

Queue = Callable[[web.Request], Awaitable[web.StreamResponse]]

_MOST_SECONDS = 86_400.0


async def comfyui_queue(resolver: Resolver, request: web.Request) -> Queue:
    """What answers ``POST /prompt`` on the server that ``request`` came to. Call it before the body is read.

    Node packs may have put their own in its place, and find the request as it came: the headers, and the
    body, which ``web.Request.read`` keeps. Raises ``ResolverError`` (501 ``NO_COMFYUI``) where there is no
    ComfyUI.
    """
    if resolver.host.name == "comfyui":
        found = await request.app.router.resolve(request.clone(method="POST", rel_url="/prompt"))
        if found.http_exception is None:
            return _unless_gone(found.handler)
    raise ResolverError(
        "There is no ComfyUI behind this server to queue the prompt on. Send it to the same route of a "
        "ComfyUI that has this extension, or have the models fetched here (resolve, then downloads) and "
        "send it to ComfyUI's own /prompt.",
        code="NO_COMFYUI",
        status=501,
    )


def parse_wait(text: str | None) -> float | None:
    """How many seconds to wait for downloads; None: for as long as they take."""
    if text in (None, "", "true"):
        return None
    if text == "false":
        return 0.0
    try:
        seconds = float(text or "")
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _MOST_SECONDS:
        raise BadInput(
            f"'wait' must be true, false, or seconds from 0 to {_MOST_SECONDS:.0f}.", code="QUERY_INVALID"
        )
    return seconds


async def read_prompt(request: web.Request) -> dict[str, Any]:
    """The body; it stays readable for ComfyUI's own handler."""
    try:
        if (request.content_length or 0) > MAX_BYTES:
            raise web.HTTPRequestEntityTooLarge(MAX_BYTES, request.content_length or 0)
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise WorkflowError(
            f"The request has more than {MAX_BYTES} bytes.", code="WORKFLOW_TOO_LARGE", status=413
        ) from None
    return await asyncio.to_thread(json_object, body)


def _unless_gone(queue: Queue) -> Queue:
    async def queued(request: web.Request) -> web.StreamResponse:
        # Who has hung up meanwhile will ask again; nobody would get to know the first prompt's id.
        if request.transport is None or request.transport.is_closing():
            raise ResolverError("The client has gone.", code="CLIENT_GONE", status=499)
        return await queue(request)

    return queued

"""Lists in pages: ``limit``, an opaque ``cursor``, and the ``Link`` header that leads on.

https://huggingface.co/docs/hub/en/api and RFC 8288.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any, TypeVar

from aiohttp import web

from .refusal import Refusal

_Item = TypeVar("_Item")


def page_of(
    request: web.Request, items: Sequence[_Item], size: int
) -> tuple[Sequence[_Item], dict[str, str]]:
    """The page that the request asks for, of at most ``size`` items, and the headers to send with it."""
    limit = request.query.get("limit", "")
    if limit:
        if not limit.isdecimal() or int(limit) == 0:
            raise Refusal(400, '"limit" must be a positive number')
        size = min(size, int(limit))
    begin = _offset(request.query["cursor"]) if "cursor" in request.query else 0
    end = begin + size
    if end >= len(items):
        return items[begin:], {}
    following = request.url.update_query(cursor=_cursor(end))
    return items[begin:end], {"Link": f'<{following}>; rel="next"'}


def flag(request: web.Request, name: str) -> bool:
    """Whether a parameter of the query is on."""
    return is_on(request.query.get(name, ""))


def is_on(value: Any) -> bool:
    return str(value).lower() in ("1", "true")


def many(request: web.Request, name: str) -> list[str]:
    """A parameter that may be repeated, with or without ``[]`` after its name, or hold commas."""
    values = [*request.query.getall(name, []), *request.query.getall(f"{name}[]", [])]
    return [part for value in values for part in value.split(",") if part]


def _cursor(offset: int) -> str:
    return base64.urlsafe_b64encode(json.dumps({"offset": offset}).encode()).decode()


def _offset(cursor: str) -> int:
    try:
        return int(json.loads(base64.urlsafe_b64decode(cursor))["offset"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise Refusal(400, "Invalid cursor") from None

"""JSON of web APIs: one request, a limit on its size, and errors with stable codes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from ..errors import DownloadError
from .client import HttpClient, error_from_exception
from .faults import error_from_response
from .probe import content_type

MAX_BYTES = 16 << 20
"""Of one answer. The largest real ones (a page of repositories with all their files) have about 3 MB."""

_SECONDS = 20.0


@dataclass(frozen=True)
class ApiAnswer:
    """``value``: the JSON, None for 404. ``next_url``: the next page (``Link: rel="next"``, RFC 8288).

    ``unchanged``: the answer of the given ETag still holds (304); there is no value then.
    """

    value: Any
    etag: str | None = None
    next_url: str | None = None
    unchanged: bool = False


async def request_json(
    client: HttpClient, url: str, *, etag: str | None = None, body: Any = None
) -> ApiAnswer:
    """GET ``url``, or POST ``body`` as JSON to it. A login that belongs to the host is sent along.

    Raises ``UrlRefused``, and ``DownloadError``: as in ``faults``, and ``API_ANSWER`` for what is not JSON
    or too large.
    """
    checked = client.policy.fetch_url(url)
    try:
        return await asyncio.wait_for(_request(client, url, etag, body), _SECONDS)
    except asyncio.TimeoutError as error:
        raise error_from_exception(error, checked) from None


async def _request(client: HttpClient, url: str, etag: str | None, body: Any) -> ApiAnswer:
    headers = {"Accept": "application/json"}
    if etag is not None:
        headers["If-None-Match"] = etag
    method = "GET" if body is None else "POST"
    content = None if body is None else json.dumps(body).encode()
    async with client.open(url, method=method, headers=headers, body=content) as answer:
        if answer.status == 304 and etag is not None:
            return ApiAnswer(None, etag=etag, unchanged=True)
        if answer.status == 404:
            return ApiAnswer(None)
        if answer.status != 200:
            raise error_from_response(answer)
        kind, host = content_type(answer), answer.url.host
        if kind != "application/json":
            raise _unusable(host, f"it sent {kind or 'something'}, not JSON")
        text = await _body(answer.response.content, host)
        etag, next_url = answer.headers.get("ETag"), _next_url(answer.headers)
    try:
        return ApiAnswer(await asyncio.to_thread(json.loads, text), etag, next_url)
    except ValueError:
        raise _unusable(host, "its answer is not the JSON it says it is") from None
    except RecursionError:
        raise _unusable(host, "its answer is nested too deeply") from None


async def _body(content: aiohttp.StreamReader, host: str) -> bytes:
    read = bytearray()
    async for chunk in content.iter_any():
        read += chunk
        if len(read) > MAX_BYTES:
            raise _unusable(host, f"its answer has more than {MAX_BYTES} bytes")
    return bytes(read)


def _next_url(headers: Mapping[str, str]) -> str | None:
    for part in headers.get("Link", "").split(","):
        address, _, parameters = part.partition(";")
        if 'rel="next"' in parameters.replace(" ", ""):
            return address.strip().strip("<>")
    return None


def _unusable(host: str, why: str) -> DownloadError:
    return DownloadError(f"{host} gave no usable answer: {why}.", code="API_ANSWER")

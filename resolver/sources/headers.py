"""The header of a ``.safetensors`` file on a server, read by range: what is in it before it is fetched.

Format: https://github.com/huggingface/safetensors#format (8 bytes, the header's length as an unsigned
little-endian number, then that much JSON). The first 64 KiB hold most headers; the rest of a longer one is
asked for once. Whatever is odd (a page, a server without ranges, a length beyond all measure) is no error:
it only means that nothing is known of what is inside.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import DownloadError, UrlRefused
from ..net.client import HttpClient
from ..net.probe import content_range
from . import Contents
from .asking import Answered, Asker, Budget
from .tensors import contents_of

MAX_HEADER = 1 << 20
"""Bytes of JSON. A header of real models has some hundred KiB at most."""

_FIRST = 1 << 16
_SECONDS = 10.0
_FORMAT = 1  # of what is remembered
_KEEP = 30 * 86400.0  # seconds; what a hash names never changes

Fetch = Callable[[int, int], Awaitable[bytes | None]]
"""The bytes from ``first`` up to, not with, ``end``, or fewer if the file ends; None for no answer."""


class HeaderReader:
    """Reads what ranking wants to know of doubtful files. Runs on the engine's loop."""

    def __init__(self, client: HttpClient, asker: Asker) -> None:
        self._client = client
        self._asker = asker

    async def __call__(self, url: str, sha256: str | None, budget: Budget) -> Contents | None:
        """What is in the file at ``url``; None if that cannot be told, whatever the server does."""

        async def send(etag: str | None) -> Answered:
            del etag
            contents = await asyncio.wait_for(read_contents(self._ranges(url)), _SECONDS)
            return Answered(None if contents is None else [sorted(part) for part in contents.parts])

        try:
            # Storage that does not answer says nothing of the site's API.
            host = f"files of {self._client.policy.fetch_url(url).host}"
            question = f"header {_FORMAT} {sha256 or url}"
            said = await self._asker.ask(host, question, send, budget, keep=_KEEP)
        except (DownloadError, UrlRefused, asyncio.TimeoutError):
            return None
        return Contents(*map(frozenset, said)) if said else None

    def _ranges(self, url: str) -> Fetch:
        async def fetch(first: int, end: int) -> bytes | None:
            headers = {"Range": f"bytes={first}-{end - 1}"}
            async with self._client.open(url, headers=headers) as answer:
                limits = content_range(answer)
                if answer.status != 206 or answer.encoding or limits is None or limits[0] != first:
                    return None
                read = bytearray()
                async for chunk in answer.response.content.iter_any():
                    read += chunk
                    if len(read) >= end - first:
                        break
                return bytes(read[: end - first])

        return fetch


async def read_contents(fetch: Fetch) -> Contents | None:
    """What the header that ``fetch`` gives tells; None if it is no header. Raises what ``fetch`` raises."""
    start = await fetch(0, _FIRST)
    if start is None or len(start) < 10:
        return None
    end = 8 + int.from_bytes(start[:8], "little")
    # All headers begin with this, pages and archives with something else.
    if start[8:9] != b"{" or not 10 <= end <= 8 + MAX_HEADER:
        return None
    if end > len(start):
        rest = await fetch(len(start), end) if len(start) == _FIRST else None
        start += rest or b""
    if len(start) < end:
        return None
    return await asyncio.to_thread(_parsed, start[8:end])


def _parsed(text: bytes) -> Contents | None:
    try:
        header: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return contents_of(header) if isinstance(header, dict) else None

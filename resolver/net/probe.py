"""What a URL holds, before a byte of it is fetched: one request, at most three.

Hugging Face says all about a file in the answer to a HEAD of its ``resolve`` URL, in the very redirect
that leads to storage; storage itself would refuse the HEAD (its URL is signed for GET) and its ETag is
not the SHA-256. Civitai's storage refuses a HEAD, too, so Civitai is asked for the first byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from .faults import error_from_response
from .heads import Head

if TYPE_CHECKING:
    from .client import HttpClient

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_RANGE = re.compile(r"bytes\s+(\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
# Parsers of aiohttp and of the standard library fail on malformed headers, which servers do send.
_EXTENDED_NAME = re.compile(r"(?:^|[;\s])filename\*=utf-8'[^']*'([^;\s]+)", re.IGNORECASE)
_QUOTED_NAME = re.compile(r'(?:^|[;\s])filename="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_PLAIN_NAME = re.compile(r'(?:^|[;\s])filename=([^;\s"]+)', re.IGNORECASE)
_REFUSED_HEAD = range(400, 500)


@dataclass(frozen=True)
class RemoteFile:
    """What the server says of a file. Everything but ``url`` may be unknown.

    ``sha256``: lower case hex. ``etag``: as sent, with quotes. ``commit``: the Git commit the file is
    of. ``content_type``: without parameters. ``url``: where it answered; may be signed.
    """

    size: int | None
    sha256: str | None
    etag: str | None
    filename: str | None
    commit: str | None
    accepts_ranges: bool
    content_type: str | None
    url: str = field(repr=False)


async def probe(client: HttpClient, url: str) -> RemoteFile:
    """Ask what ``url`` holds. Raises ``UrlRefused``, and ``DownloadError`` as in ``faults``."""
    start = client.policy.fetch_url(url)
    provider = client.policy.provider(start)
    if provider == "huggingface" and "/resolve/" in urlsplit(start.url).path:
        async with client.open(url, method="HEAD", follow="same_origin") as answer:
            if answer.status != 200 and not answer.is_redirect:
                raise error_from_response(answer)
            if not answer.is_redirect or "X-Linked-Size" in answer.headers:
                return remote_file(answer)
    elif provider != "civitai":
        async with client.open(url, method="HEAD") as answer:
            if answer.status == 200:
                return remote_file(answer)
            if answer.status not in _REFUSED_HEAD or answer.status == 429:
                raise error_from_response(answer)
    async with client.open(url, headers={"Range": "bytes=0-0"}) as answer:
        if answer.status not in (200, 206):
            raise error_from_response(answer)
        return remote_file(answer)


def content_range(head: Head) -> tuple[int, int, int | None] | None:
    """``(first, last, total)`` of ``Content-Range``; total is None for ``*``. None where it is malformed."""
    match = _CONTENT_RANGE.fullmatch(head.headers.get("Content-Range", "").strip())
    if match is None:
        return None
    return int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])


def content_type(head: Head) -> str | None:
    """``Text/HTML; charset=utf-8`` -> ``text/html``."""
    return head.headers.get("Content-Type", "").partition(";")[0].strip().lower() or None


def _file_name(disposition: str) -> str | None:
    """``attachment; filename*=UTF-8''a%20b.safetensors; filename="x"`` -> ``a b.safetensors`` (RFC 6266)."""
    if match := _EXTENDED_NAME.search(disposition):
        return unquote(match[1]) or None
    if match := _QUOTED_NAME.search(disposition):
        return re.sub(r"\\(.)", r"\1", match[1]) or None
    if match := _PLAIN_NAME.search(disposition):
        return match[1]
    return None


def remote_file(answer: Head) -> RemoteFile:
    """What the head of ``answer`` says of the file, and Hugging Face's own words before it."""
    headers = answer.headers
    said = headers if answer.provider == "huggingface" else answer.hub
    linked_size = said.get("X-Linked-Size", "")
    linked_etag = said.get("X-Linked-Etag", "").removeprefix("W/").strip('"').lower()
    sha256 = linked_etag if _SHA256.fullmatch(linked_etag) else None
    if linked_size.isascii() and linked_size.isdigit():
        size: int | None = int(linked_size)
    elif answer.status == 206:
        limits = content_range(answer)
        size = limits[2] if limits else None
    elif not answer.encoding and not answer.is_redirect:
        size = answer.content_length
    else:
        size = None
    return RemoteFile(
        size=size,
        sha256=sha256,
        etag=said.get("X-Linked-Etag", headers.get("ETag")),
        filename=_file_name(headers.get("Content-Disposition", "")),
        commit=said.get("X-Repo-Commit"),
        accepts_ranges=answer.status == 206 or headers.get("Accept-Ranges", "").lower() == "bytes",
        # The text of a redirect is not the file.
        content_type=None if answer.is_redirect else content_type(answer),
        url=answer.url.url,
    )

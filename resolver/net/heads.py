"""The head of an answer, whoever received it: aiohttp (``client``) or a thread (``wire``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .urls import CheckedUrl, Provider

REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Head:
    """Status and headers; names of headers are found in any case.

    ``url``: the hop that answered. ``start``: the first one. ``provider``: whose origin ``url`` is, if
    it is one's. ``token_sent``: whether this hop was sent a token. ``hub``: the headers with which Hugging
    Face sent us to its storage, empty if it did not; they say more of the file than those of storage.
    """

    status: int
    headers: Mapping[str, str]
    url: CheckedUrl
    start: CheckedUrl
    provider: Provider | None
    token_sent: bool
    hub: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_redirect(self) -> bool:
        return self.status in REDIRECTS

    @property
    def content_length(self) -> int | None:
        """Bytes of the body as announced; a HEAD's count as well."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    @property
    def encoding(self) -> str:
        """How the body is encoded; empty if it is the file as it is."""
        encoding = self.headers.get("Content-Encoding", "").strip().lower()
        return "" if encoding == "identity" else encoding

    @property
    def strong_etag(self) -> str | None:
        """The ETag if it promises equal bytes (RFC 9110, 8.8.3); a weak one does not."""
        etag = self.headers.get("ETag", "").strip()
        return etag if len(etag) > 2 and etag.startswith('"') and etag.endswith('"') else None

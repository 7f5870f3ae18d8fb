"""The HTTP client: follows redirects by hand, so that every hop is checked and gets its own headers.

A token is decided anew for every hop from that hop's own origin and never copied along. Texts of
aiohttp's exceptions may show whole URLs, so none of them leaves this room: they become
``DownloadError`` here (see ``faults``).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from .. import __version__
from ..errors import UrlRefused
from ..settings import HUGGING_FACE, Settings
from .addresses import parse_host
from .dns import PublicResolver
from .faults import error_from_exception, redirect_refused
from .policy import CheckedUrl, Provider, UrlPolicy

Credentials = Callable[[Provider], str | None]
"""Asked before every request, so that a token set at run time counts from then on."""

Follow = Literal["all", "same_origin"]

USER_AGENT = f"comfyui-model-resolver/{__version__}"

_MAX_REDIRECTS = 8
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONNECT_SECONDS = 30.0
_READ_BUFFER = 1 << 20
_OURS = frozenset({"authorization", "proxy-authorization", "cookie", "host", "user-agent"})


def credentials_from(settings: Settings) -> Credentials:
    """The tokens the settings hold; for Hugging Face, else the one its own tools are logged in with."""

    def lookup(provider: Provider) -> str | None:
        secret = settings.hf_token if provider == "huggingface" else settings.civitai_api_key
        if secret is not None:
            return secret.get_secret_value()
        # Nobody meant that one for a mirror.
        if provider == "huggingface" and settings.hf_endpoint == HUGGING_FACE:
            return _logged_in_token()
        return None

    return lookup


def _logged_in_token() -> str | None:
    """What ``hf auth login`` left on this machine. The package is heavy, so it loads on first use."""
    try:
        from huggingface_hub import get_token
    except ImportError:
        return None
    return get_token()


@dataclass(frozen=True)
class Answer:
    """What came back in the end. The body is read from ``response.content`` while the context is open.

    ``url``: the hop that answered. ``start``: the first one. ``provider``: whose origin ``url`` is, if
    it is one's. ``token_sent``: whether this hop was sent a token.
    """

    response: aiohttp.ClientResponse
    url: CheckedUrl
    start: CheckedUrl
    provider: Provider | None
    token_sent: bool

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self.response.headers

    @property
    def is_redirect(self) -> bool:
        return self.status in _REDIRECTS

    @property
    def content_length(self) -> int | None:
        """Bytes of the body as announced; a HEAD's count as well."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() else None


class HttpClient:
    """One aiohttp session on the loop it is first used on.

    ``credentials``: where tokens come from, by default the settings. ``resolver``: looks names up
    instead of the system, for tests; the policy filters its answers all the same.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        credentials: Credentials | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self.policy = UrlPolicy(settings)
        self._credentials = credentials or credentials_from(settings)
        self._resolver = resolver
        self._proxies = {"http": settings.http_proxy, "https": settings.https_proxy}
        self._silence = settings.download_timeout
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def open(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        follow: Follow = "all",
    ) -> AsyncIterator[Answer]:
        """Send a request and yield the answer, whatever its status.

        ``follow``: with ``same_origin`` a redirect to another origin is itself the answer. A URL of
        Hugging Face or Civitai is fetched from the endpoint the settings name.

        Raises ``UrlRefused`` for ``url`` itself, and ``DownloadError``: ``REDIRECT_REFUSED``,
        ``NETWORK`` (also while the body is read), ``TLS_FAILED``.
        """
        if headers and _OURS.intersection(name.lower() for name in headers):
            raise ValueError("these headers are the client's own business")
        start = hop = self.policy.fetch_url(url)
        seen: set[str] = set()
        response: aiohttp.ClientResponse | None = None
        try:
            while True:
                seen.add(hop.url)
                provider = self.policy.provider(hop)
                token = self._credentials(provider) if provider else None
                response = await self._send(method, hop, headers or {}, token)
                target = self._redirect_target(response, hop)
                if target is None or (follow == "same_origin" and target.origin != hop.origin):
                    break
                if target.url in seen or len(seen) > _MAX_REDIRECTS:
                    raise redirect_refused(hop, "it redirects in a circle, or too often")
                response.release()
                hop = target
            yield Answer(response, hop, start, provider, token is not None)
        except UrlRefused as refused:
            if hop is start:
                raise
            raise redirect_refused(hop, refused.message) from None
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            raise error_from_exception(error, hop) from None
        finally:
            if response is not None:
                response.release()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _send(
        self, method: str, url: CheckedUrl, headers: Mapping[str, str], token: str | None
    ) -> aiohttp.ClientResponse:
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        return await self._open_session().request(
            method,
            # As it stands: encoding it anew could break a signature.
            URL(url.url, encoded=True),
            headers=sent,
            allow_redirects=False,
            proxy=self._proxy(url),
        )

    def _proxy(self, url: CheckedUrl) -> str | None:
        """No proxy stands between us and our own machine."""
        _, address = parse_host(url.host)
        if url.host == "localhost" or (address is not None and address.is_loopback):
            return None
        return self._proxies[url.scheme]

    def _redirect_target(self, response: aiohttp.ClientResponse, hop: CheckedUrl) -> CheckedUrl | None:
        location = response.headers.get("Location")
        if response.status not in _REDIRECTS or not location:
            return None
        try:
            target = self.policy.check(urljoin(hop.url, location), redirected_by=hop)
        except (UrlRefused, ValueError) as error:
            reason = error.message if isinstance(error, UrlRefused) else "its target is not a URL"
            raise redirect_refused(hop, reason) from None
        if hop.scheme == "https" and target.scheme == "http":
            raise redirect_refused(hop, "it leads from https to http")
        return target

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            proxies = {urlsplit(proxy).hostname or "" for proxy in self._proxies.values() if proxy}
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    # The queue decides how much happens at a time, not the pool.
                    limit=0,
                    resolver=PublicResolver(self.policy, exempt=proxies, inner=self._resolver),
                    # Made now, not at aiohttp's import, so that SSL_CERT_FILE counts.
                    ssl=ssl.create_default_context(),
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=_CONNECT_SECONDS, sock_read=self._silence
                ),
                auto_decompress=False,
                trust_env=False,
                read_bufsize=_READ_BUFFER,
            )
        return self._session

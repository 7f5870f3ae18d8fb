"""The HTTP client: follows redirects by hand, so that every hop is checked and gets its own headers.

A token is decided anew for every hop from that hop's own origin and never copied along. Texts of
aiohttp's exceptions may show whole URLs, so none of them leaves this room: they become
``DownloadError`` here (whose codes are those of ``faults``).
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from .. import __version__
from ..errors import DownloadError, UrlRefused
from ..settings import HUGGING_FACE, Settings
from .connecting import Address
from .dns import PublicResolver
from .faults import redirect_refused
from .heads import REDIRECTS, Head
from .login import LoggedIn
from .policy import UrlPolicy
from .proxies import Proxies
from .urls import CheckedUrl, Provider
from .wire import Target, WirePool

Credentials = Callable[[Provider], str | None]
"""Asked before every request, so that a token set at run time counts from then on. Must not block."""

Follow = Literal["all", "same_origin"]

USER_AGENT = f"comfyui-model-resolver/{__version__}"

_MAX_REDIRECTS = 8
_CONNECT_SECONDS = 30.0
_READ_BUFFER = 1 << 20
# As long as aiohttp remembers what names lead to.
_PLACE_SECONDS = 10.0
_OURS = frozenset({"authorization", "proxy-authorization", "cookie", "host", "user-agent"})


def credentials_from(settings: Settings, logged_in: LoggedIn | None = None) -> Credentials:
    """The tokens the settings hold; for Hugging Face, else the one its own tools are logged in with.

    Blocks, as it looks for that one. What it returns never does.
    """
    # Nobody meant the login for a mirror.
    login = (logged_in or LoggedIn()) if settings.hf_endpoint == HUGGING_FACE else None
    if login is not None and settings.hf_token is None:
        login.look()

    def lookup(provider: Provider) -> str | None:
        secret = settings.hf_token if provider == "huggingface" else settings.civitai_api_key
        if secret is not None:
            return secret.get_secret_value()
        return login.token() if provider == "huggingface" and login is not None else None

    return lookup


@dataclass(frozen=True)
class Answer(Head):
    """What came back in the end. The body is read from ``response.content`` while the context is open."""

    response: aiohttp.ClientResponse = field(kw_only=True)

    def left_over(self) -> bytes:
        """What had arrived of a body that broke off and nobody has read: aiohttp tells of the break first."""
        content = self.response.content
        if content.exception() is not None:
            content.set_exception(None)  # type: ignore[arg-type]  # No other way leads to what it holds.
        return content.read_nowait()


class HttpClient:
    """One aiohttp session (and one for each SOCKS proxy) on the loop it is first used on.

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
        self._proxies = Proxies(settings)
        self._silence = settings.download_timeout
        # By SOCKS proxy; aiohttp does the others itself.
        self._sessions: dict[str | None, aiohttp.ClientSession] = {}
        self._names = PublicResolver(self.policy, exempt=self._proxies.hosts, inner=resolver)
        self._tls: ssl.SSLContext | None = None
        self.wires = WirePool()
        self._places: dict[tuple[object, ...], tuple[float, Target]] = {}

    @asynccontextmanager
    async def open(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        follow: Follow = "all",
        body: bytes | None = None,
    ) -> AsyncIterator[Answer]:
        """Send a request and yield the answer, whatever its status. ``body``: JSON.

        ``follow``: with ``same_origin`` a redirect to another origin is itself the answer. A URL of
        Hugging Face or Civitai is fetched from the endpoint the settings name.

        Raises ``UrlRefused`` for ``url`` itself, and ``DownloadError``: ``REDIRECT_REFUSED``,
        ``NETWORK`` (also while the body is read), ``TLS_FAILED``.
        """
        if headers and _OURS.intersection(name.lower() for name in headers):
            raise ValueError("these headers are the client's own business")
        start = hop = self.policy.fetch_url(url)
        seen: set[str] = set()
        hub: Mapping[str, str] = {}
        response: aiohttp.ClientResponse | None = None
        try:
            while True:
                seen.add(hop.url)
                provider = self.policy.provider(hop)
                token = self._credentials(provider) if provider else None
                response = await self._send(method, hop, headers or {}, token, body)
                target = self._redirect_target(response, hop)
                if target is None or (follow == "same_origin" and target.origin != hop.origin):
                    break
                if target.url in seen or len(seen) > _MAX_REDIRECTS:
                    raise redirect_refused(hop, "it redirects in a circle, or too often")
                if provider == "huggingface":
                    hub = response.headers
                response.release()
                hop = target
            yield Answer(
                status=response.status,
                headers=response.headers,
                url=hop,
                start=start,
                provider=provider,
                token_sent=token is not None,
                response=response,
                hub=hub,
            )
        except UrlRefused as refused:
            if hop is start:
                raise
            raise redirect_refused(hop, refused.message) from None
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            raise error_from_exception(error, hop) from None
        finally:
            if response is not None:
                response.release()

    def account(self, provider: Provider) -> str:
        """Tells logins apart without saying anything of their tokens; empty without one.

        What a server answers depends on who asks, so remembered answers are kept apart by this.
        """
        token = self._credentials(provider)
        return hashlib.sha256(token.encode()).hexdigest()[:12] if token else ""

    async def target(self, answer: Answer) -> Target:
        """Where ``answer`` came from, for more connections to the same place: names looked up, token decided.

        Raises ``DownloadError`` (``NETWORK``) and ``UrlRefused``.
        """
        url = answer.url
        token = self._credentials(answer.provider) if answer.provider and answer.token_sent else None
        proxy = self._proxies.of(url)
        host, port = (url.host, url.port) if proxy is None else self._proxies.place(proxy)
        try:
            addresses = await self._addresses(host, port)
            beyond: tuple[str, ...] = ()
            if proxy is not None and Proxies.is_socks(proxy):
                beyond = await self._beyond(proxy, url.host, url.port)
        except OSError as error:
            raise error_from_exception(error, url) from None
        return Target(
            url=url,
            start=answer.start,
            provider=answer.provider,
            addresses=addresses,
            headers=_headers(token),
            tls=self._tls_context() if url.scheme == "https" else None,
            proxy=proxy,
            beyond=beyond,
        )

    async def note_place(self, answer: Answer) -> None:
        """Remember for a moment that a file came without detours from where ``answer`` came from.

        Whoever asks for another file of the same place meanwhile gets a ``known_target``.
        """
        place = self._place(answer.url)
        if answer.url != answer.start or self._known(place) is not None:
            return
        until = time.monotonic() + _PLACE_SECONDS
        target = await self.target(answer)
        if target.can_be_wired:
            self._places[place] = until, target

    def forget_place(self, target: Target) -> None:
        """What comes from there is not what ``note_place`` made one expect."""
        self._places.pop(self._place(target.url), None)

    def known_target(self, url: str) -> Target | None:
        """Where ``url`` lies, if that is known without asking: checked, with a token decided anew.

        The answer may still be a redirect; only ``open`` follows it.
        """
        try:
            start = self.policy.fetch_url(url)
        except UrlRefused:
            return None
        known = self._known(self._place(start))
        if known is None:
            return None
        provider = self.policy.provider(start)
        token = self._credentials(provider) if provider else None
        return replace(known, url=start, start=start, provider=provider, headers=_headers(token))

    def _place(self, url: CheckedUrl) -> tuple[object, ...]:
        return (*url.origin, self._proxies.of(url))

    def _known(self, place: tuple[object, ...]) -> Target | None:
        until, target = self._places.get(place, (0.0, None))
        return target if time.monotonic() < until else None

    async def _addresses(self, host: str, port: int) -> tuple[Address, ...]:
        try:
            # Passed the policy as part of the URL.
            address = ip_address(host)
        except ValueError:
            found = await self._names.resolve(host, port)
            return tuple(
                (socket.AddressFamily(entry["family"]), (entry["host"], entry["port"])) for entry in found
            )
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        return ((family, (str(address), port)),)

    async def _beyond(self, proxy: str, host: str, port: int) -> tuple[str, ...]:
        """What to ask a SOCKS proxy for. Raises as ``PublicResolver`` does."""
        if Proxies.looks_names_up(proxy):
            return (host,)
        return tuple(str(address[0]) for _, address in await self._addresses(host, port))

    def _tls_context(self) -> ssl.SSLContext:
        # Made now, not at aiohttp's import, so that SSL_CERT_FILE counts.
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    async def close(self) -> None:
        self.wires.close()
        while self._sessions:
            await self._sessions.popitem()[1].close()

    async def _send(
        self, method: str, url: CheckedUrl, headers: Mapping[str, str], token: str | None, body: bytes | None
    ) -> aiohttp.ClientResponse:
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        proxy = self._proxies.of(url)
        socks = proxy if Proxies.is_socks(proxy) else None
        return await self._open_session(socks).request(
            method,
            # As it stands: encoding it anew could break a signature.
            URL(url.url, encoded=True),
            headers=sent,
            data=body,
            allow_redirects=False,
            proxy=None if socks else proxy,
        )

    def _redirect_target(self, response: aiohttp.ClientResponse, hop: CheckedUrl) -> CheckedUrl | None:
        location = response.headers.get("Location")
        if response.status not in REDIRECTS or not location:
            return None
        try:
            target = self.policy.check(urljoin(hop.url, location), redirected_by=hop)
        except (UrlRefused, ValueError) as error:
            reason = error.message if isinstance(error, UrlRefused) else "its target is not a URL"
            raise redirect_refused(hop, reason) from None
        if hop.scheme == "https" and target.scheme == "http":
            raise redirect_refused(hop, "it leads from https to http")
        return target

    def _open_session(self, socks: str | None) -> aiohttp.ClientSession:
        if socks not in self._sessions:
            self._sessions[socks] = aiohttp.ClientSession(
                connector=self._connector(socks),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=_CONNECT_SECONDS, sock_read=self._silence
                ),
                auto_decompress=False,
                trust_env=False,
                read_bufsize=_READ_BUFFER,
            )
        return self._sessions[socks]

    def _connector(self, socks: str | None) -> aiohttp.TCPConnector:
        # No limit: the queue decides how much happens at a time, not the pool.
        if socks is None:
            return aiohttp.TCPConnector(limit=0, resolver=self._names, ssl=self._tls_context())
        from .socks import SocksConnector

        return SocksConnector(socks, partial(self._beyond, socks), limit=0, ssl=self._tls_context())


def error_from_exception(error: Exception, url: CheckedUrl) -> DownloadError:
    """The error that aiohttp's exception stands for, without the URLs its text may hold."""
    if isinstance(error, (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError, ssl.SSLError)):
        return DownloadError(
            f"The certificate of {url.host} could not be verified. Behind a proxy that inspects traffic, set "
            "SSL_CERT_FILE to its certificate.",
            code="TLS_FAILED",
        )
    if isinstance(error, asyncio.TimeoutError):
        why = "it did not answer in time, or fell silent"
    elif isinstance(error, aiohttp.ClientConnectorError):
        why = f"no connection ({error.os_error.strerror or type(error.os_error).__name__})"
    elif isinstance(error, (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError)):
        why = "the proxy did not connect"
    else:
        why = "the connection broke"
    return DownloadError(f"Cannot read from {url.host}: {why}.", code="NETWORK", retryable=True)


def _headers(token: str | None) -> dict[str, str]:
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
    return headers if token is None else {**headers, "Authorization": f"Bearer {token}"}

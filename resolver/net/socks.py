"""Connections through a SOCKS5 proxy (RFC 1928, RFC 1929), for aiohttp and for ``Wire``.

Loaded only where the settings name such a proxy: the packages below are the extra ``socks``. Their
exceptions stay in this room; what leaves it are ``OSError`` with words of our own.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl as tls
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp_socks import ProxyConnector
from python_socks import ProxyError, ProxyType
from python_socks.sync import Proxy

from .proxies import Proxies

Beyond = Callable[[str, int], Awaitable[tuple[str, ...]]]
"""What to ask the proxy for, for a host and port: addresses that passed the policy, or the name itself."""

_REPLIES = {
    2: "does not allow it",
    3: "cannot reach that network",
    4: "cannot reach that host",
    5: "was refused there",
    6: "had no answer from there",
    8: "does not know this kind of address",
}


class NoConnection(aiohttp.ClientConnectorError):
    """As aiohttp tells of a connection that was not made, without its key, which would hold the host."""

    def __init__(self, error: OSError) -> None:
        super().__init__(cast(Any, None), error)

    def __str__(self) -> str:
        return str(self.os_error.strerror)


class NoTls(NoConnection, aiohttp.ClientSSLError):
    """A connection that was made, to a server whose TLS is not good enough."""


class SocksConnector(ProxyConnector):
    """Connects through ``proxy``; TLS is with the server behind it, whose certificate must be the name's.

    The library would send the proxy the name, or look it up past the policy. ``options``: as for
    aiohttp's ``TCPConnector``.
    """

    def __init__(self, proxy: str, beyond: Beyond, **options: Any) -> None:
        host, port = Proxies.place(proxy)
        username, password = login(proxy)
        super().__init__(host, port, ProxyType.SOCKS5, username, password, rdns=True, **options)
        self._beyond = beyond

    async def _connect_via_proxy(
        self, host: str, port: int, ssl: tls.SSLContext | None = None, timeout: float | None = None
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        """Raises ``NoConnection``, ``NoTls``, ``UrlRefused``."""
        try:
            transport, protocol = await self._through(host, port, timeout)
            if ssl is None:
                return transport, protocol
            secured = await asyncio.get_running_loop().start_tls(
                transport, protocol, ssl, server_hostname=host, ssl_handshake_timeout=timeout
            )
        except tls.SSLError as error:
            raise NoTls(error) from None
        except OSError as error:
            raise NoConnection(error) from None
        if secured is None:
            raise NoConnection(OSError(errno.ECONNRESET, "it was closed"))
        protocol.connection_made(secured)
        return secured, protocol

    async def _through(
        self, host: str, port: int, timeout: float | None
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        failure = OSError(errno.EHOSTUNREACH, "it has no address")
        for place in await self._beyond(host, port):
            try:
                return await super()._connect_via_proxy(place, port, None, timeout)
            except (ProxyError, OSError, EOFError, ValueError) as error:
                failure = _failure(error)
        raise failure


def connect_through(stream: socket.socket, proxy: str, place: str, port: int) -> None:
    """Have the proxy at the other end of ``stream`` connect to ``place``.

    Waits as long as the socket does. Raises ``OSError``; ``stream`` is closed then.
    """
    username, password = login(proxy)
    forward = cast(Any, _Connected(stream))
    through = Proxy(ProxyType.SOCKS5, *Proxies.place(proxy), username, password, rdns=True, forward=forward)
    try:
        through.connect(place, port)
    except (ProxyError, OSError, ValueError) as error:
        raise _failure(error) from None


def login(proxy: str) -> tuple[str | None, str | None]:
    """User name and password in a proxy's URL."""
    parts = urlsplit(proxy)
    if parts.username is None:
        return None, None
    return unquote(parts.username), unquote(parts.password or "")


class _Connected:
    """Where the library would connect to the proxy: that is done already, in a way that can be hung up."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def connect(self, **_: object) -> socket.socket:
        return self._stream


def _failure(error: Exception) -> OSError:
    if isinstance(error, ProxyError) and error.error_code is not None:
        return OSError(errno.ECONNREFUSED, f"the proxy {_REPLIES.get(error.error_code, 'failed')}")
    # The one library's streams end with the first, those of asyncio in the other with the second.
    if isinstance(error, (ProxyError, EOFError)):
        return OSError(
            errno.EACCES, "the proxy does not speak SOCKS5, or not with this user name and password"
        )
    if isinstance(error, TimeoutError):
        return OSError(errno.ETIMEDOUT, "the proxy did not answer in time")
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return OSError(error.errno, f"the proxy: {os.strerror(error.errno).lower()}")
    return OSError(errno.ECONNREFUSED, "the proxy cannot be reached")

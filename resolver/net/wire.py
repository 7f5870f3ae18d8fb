"""One connection that fetches ranges of a file, for a thread of its own.

``HttpClient`` finds out where a file lies and whether we may go there; a ``Target`` is what it found,
with the addresses that passed the policy. A ``Wire`` connects to those and to nothing else, follows no
redirect, and reads into a buffer that is used again and again: nothing is copied, and every wait and
every decryption leaves the interpreter to other threads.

The sockets block without a timeout, which saves a system call per read. Whoever watches over a wire
calls ``hang_up``, from any thread, and the read under way ends.
"""

from __future__ import annotations

import base64
import http.client
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from typing import cast
from urllib.parse import unquote, urlsplit

from ..errors import DownloadError
from .connecting import CONNECT_SECONDS, Address, first_connection
from .heads import Head
from .proxies import Proxies
from .urls import CheckedUrl, Provider

_MOST_HEAD = 64 << 10
_MOST_FIELDS = 100
KEEP_SECONDS = 15.0


@dataclass(frozen=True)
class Target:
    """Where a file lies, resolved and checked: everything a connection needs to ask for it.

    ``url``: the last hop. ``start``: the first one. ``addresses``: to connect to; the proxy's, if there
    is one. ``headers``: to send, a token among them where this very origin is to have it. ``beyond``: what a
    SOCKS proxy is asked for, one after the other; empty for all others.
    """

    url: CheckedUrl
    start: CheckedUrl
    provider: Provider | None
    addresses: tuple[Address, ...]
    headers: Mapping[str, str] = field(repr=False)
    tls: ssl.SSLContext | None = field(repr=False)
    proxy: str | None = field(repr=False)
    beyond: tuple[str, ...] = ()

    @property
    def can_be_wired(self) -> bool:
        """Whether a ``Wire`` can get there. Python's sockets cannot speak TLS inside the TLS of a proxy."""
        return self.proxy is None or not self.proxy.startswith("https://")

    @property
    def http_proxy(self) -> str | None:
        """A proxy that is spoken to in HTTP. One of SOCKS is forgotten once the connection stands."""
        return None if Proxies.is_socks(self.proxy) else self.proxy

    @property
    def way(self) -> tuple[object, ...]:
        """Equal for targets that can use each other's connections."""
        return (*self.url.origin, self.proxy, self.addresses, self.beyond)


class Broken(Exception):
    """The connection broke, was refused, or was hung up. The text says how, without URLs."""


class Wire:
    """One connection, kept open from one range to the next. One thread uses it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.is_fresh = True
        self._socket: socket.socket | None = None
        self._hung_up = False
        self._rest = memoryview(b"")
        self._left = 0
        self._may_stay = False

    def ask(self, first: int, last: int, if_range: str | None) -> Head:
        """Send a request for bytes ``first`` to ``last`` and read the head of the answer.

        Connects where need be. Raises ``Broken``, and ``DownloadError`` (``TLS_FAILED``).
        """
        if self._socket is None:
            self._connect()
        sent = {**self.target.headers, "Range": f"bytes={first}-{last}"}
        if if_range is not None:
            sent["If-Range"] = if_range
        proxy = self.target.http_proxy
        if proxy is not None and self.target.url.scheme == "http":
            sent.update(_proxy_login(proxy))
        with _breaking():
            self._stream.sendall(_request(self._request_target(), self._host(), sent))
            head = self._read_head()
        self._left = head.content_length or 0
        # A body without a length would be taken for the next answer.
        self._may_stay = (
            head.content_length is not None
            and "Transfer-Encoding" not in head.headers
            and "close" not in head.headers.get("Connection", "").lower()
        )
        return head

    def recv_into(self, view: memoryview) -> int:
        """Bytes of the body, at most as many as ``view`` has room for; 0 at its end.

        Raises ``Broken`` where the body ends early.
        """
        left = self._left
        if not left:
            return 0
        if self._rest:
            count = min(len(self._rest), len(view), left)
            view[:count] = self._rest[:count]
            self._rest = self._rest[count:]
        else:
            # Sixty thousand times a gigabyte under TLS, which hands out one record of 16 KiB at a time.
            stream = self._socket
            try:
                count = stream.recv_into(view, min(left, len(view))) if stream else 0
            except (OSError, ValueError) as error:
                raise Broken(_why(error)) from None
            if not count:
                raise Broken("it ended early")
        self._left = left - count
        return count

    @property
    def can_stay(self) -> bool:
        """Whether another range may be asked for on it: the last body was read to its end."""
        read = self._may_stay and not self._left and not self._rest
        return self._socket is not None and not self._hung_up and read

    def hang_up(self) -> None:
        """End whatever goes on. From any thread."""
        self._hung_up = True
        stream = self._socket
        if stream is not None:
            with suppress(OSError, ValueError):
                # Not SSLSocket's own, which would forget its TLS layer under a thread that reads.
                socket.socket.shutdown(stream, socket.SHUT_RDWR)

    def close(self) -> None:
        stream, self._socket = self._socket, None
        if stream is not None:
            with suppress(OSError):
                stream.close()

    def is_alive(self) -> bool:
        """Whether a kept connection is still silent and open, as far as one can see without asking."""
        if self._socket is None:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            return not selector.select(0)

    @property
    def _stream(self) -> socket.socket:
        if self._socket is None or self._hung_up:
            raise Broken("it was hung up")
        return self._socket

    def _connect(self) -> None:
        """Ready to be asked. What cannot be used once it is connected gives way to what is left."""
        ways = list(product(self.target.addresses, self.target.beyond or (None,)))
        failure: Broken | None = None
        while True:
            addresses = dict.fromkeys(address for address, _ in ways)
            try:
                address, self._socket = first_connection(addresses, lambda: self._hung_up)
            except OSError as error:
                # What is behind a connection tells more than that there is no other one.
                raise failure or Broken(error.strerror) from None
            way = next(way for way in ways if way[0] == address)
            ways.remove(way)
            try:
                if self._hung_up:
                    raise Broken("it was hung up")
                with _breaking():
                    self._prepare(self._socket, way[1])
                return
            except Broken as error:
                self.close()
                failure = error

    def _prepare(self, stream: socket.socket, beyond: str | None) -> None:
        """Through the proxy, if any, and into TLS, if any. ``beyond``: what to ask one of SOCKS for."""
        url, proxy = self.target.url, self.target.http_proxy
        stream.settimeout(CONNECT_SECONDS)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.target.proxy is not None and beyond is not None:
            from .socks import connect_through

            try:
                connect_through(stream, self.target.proxy, beyond, url.port)
            except OSError as error:
                raise Broken(error.strerror) from None
        elif proxy is not None and url.scheme == "https":
            place = self._host() if url.port != 443 else f"{self._host()}:443"
            request = _request(place, place, _proxy_login(proxy), method="CONNECT")
            stream.sendall(request)
            head = self._read_head()
            if head.status != 200:
                raise Broken(f"the proxy answered {head.status}")
            self._rest = memoryview(b"")
        if self.target.tls is not None:
            try:
                # In two steps, so that a handshake can be hung up.
                secured = self.target.tls.wrap_socket(
                    stream, server_hostname=url.host, do_handshake_on_connect=False
                )
                stream = self._socket = secured
                secured.do_handshake()
            except ssl.SSLCertVerificationError:
                raise DownloadError(
                    f"The certificate of {url.host} could not be verified. Behind a proxy that inspects "
                    "traffic, set SSL_CERT_FILE to its certificate.",
                    code="TLS_FAILED",
                ) from None
        stream.settimeout(None)

    def _host(self) -> str:
        """As in the ``Host`` header."""
        return urlsplit(self.target.url.url).netloc

    def _request_target(self) -> str:
        url = self.target.url.url
        if self.target.http_proxy is not None and self.target.url.scheme == "http":
            return url
        parts = urlsplit(url)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    def _read_head(self) -> Head:
        """Up to the empty line; what comes behind it stays in ``_rest``. Informational answers pass by."""
        data = bytes(self._rest)
        while True:
            while (end := data.find(b"\r\n\r\n")) < 0:
                if len(data) > _MOST_HEAD:
                    raise Broken("its answer has a head without end")
                block = self._stream.recv(_MOST_HEAD)
                if not block:
                    raise Broken("it closed the connection")
                data += block
            head = self._parse(data[: end + 4])
            data = data[end + 4 :]
            if head.status >= 200:
                self._rest = memoryview(data)
                return head

    def _parse(self, data: bytes) -> Head:
        line, _, rest = data.partition(b"\r\n")
        version, _, tail = line.partition(b" ")
        # Its parser takes longer than all the rest of a small file.
        headers = http.client.HTTPMessage()
        try:
            status = int(tail[:3])
            for field_line in rest[:-4].split(b"\r\n") if len(rest) > 4 else ():
                name, colon, value = field_line.decode("latin-1").partition(":")
                if not colon or not name or name != name.strip():
                    raise ValueError("a line that is no field")
                headers[name] = value.strip()
            if len(headers) > _MOST_FIELDS:
                raise ValueError("too many fields")
        except ValueError:
            raise Broken("its answer is not HTTP") from None
        if not version.startswith(b"HTTP/1.") or not 100 <= status <= 599:
            raise Broken("its answer is not HTTP")
        return Head(
            status=status,
            headers=cast("Mapping[str, str]", headers),
            url=self.target.url,
            start=self.target.start,
            provider=self.target.provider,
            token_sent="Authorization" in self.target.headers,
        )


class WirePool:
    """Open connections that nobody uses just now, for the next file from the same place. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[tuple[float, Wire]] = []
        self._closed = False

    def get(self, target: Target) -> Wire:
        """A kept connection that can be used for ``target``, or one that will connect when it is asked."""
        while (kept := self._pop(target)) is not None:
            if kept.is_alive():
                kept.target = target
                kept.is_fresh = False
                return kept
            kept.close()
        return Wire(target)

    def put(self, wire: Wire) -> None:
        """Keep ``wire`` if it can be used again, else close it."""
        self.prune()
        with self._lock:
            if wire.can_stay and not self._closed:
                self._kept.append((time.monotonic(), wire))
                return
        wire.close()

    def prune(self) -> None:
        """Close what nobody has used for a while."""
        now = time.monotonic()
        with self._lock:
            old = [wire for since, wire in self._kept if now - since > KEEP_SECONDS]
            self._kept = [(since, wire) for since, wire in self._kept if now - since <= KEEP_SECONDS]
        for wire in old:
            wire.close()

    def close(self) -> None:
        with self._lock:
            kept, self._kept, self._closed = self._kept, [], True
        for _, wire in kept:
            wire.close()

    def _pop(self, target: Target) -> Wire | None:
        with self._lock:
            for index, (_, wire) in enumerate(self._kept):
                if wire.target.way == target.way:
                    del self._kept[index]
                    return wire
        return None


class _breaking:
    """Turns what sockets raise into ``Broken``."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, ValueError)):
            raise Broken(_why(error)) from None


def _request(target: str, host: str, headers: Mapping[str, str], *, method: str = "GET") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{n}: {v}" for n, v in headers.items())]
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def _proxy_login(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return "the connection broke"
    return (error.strerror or type(error).__name__).lower()

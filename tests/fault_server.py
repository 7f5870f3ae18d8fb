"""A server that does to its clients what servers, proxies and attackers do. Real sockets, no framework:
a framework would not let us lie.

A route is one coroutine, an ``Act``: it is handed an ``Exchange`` and answers as it likes. ``Remote`` is
the honest one; ``faults`` below turn it into a dishonest one for its first requests.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

REASONS = {200: "OK", 206: "Partial Content", 302: "Found", 404: "Not Found"}


@dataclass
class Exchange:
    """One request and the way to answer it. Header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    writer: asyncio.StreamWriter = field(repr=False)
    keep_alive: bool = False

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def offset(self) -> int:
        """Where the asked-for range begins; 0 without one."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        return int(match[1]) if match else 0

    async def head(self, status: int, headers: Mapping[str, Any]) -> None:
        connection = "keep-alive" if self.keep_alive else "close"
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Something')}", f"Connection: {connection}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        await self.write("\r\n".join((*lines, "", "")).encode())

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, status: int, headers: Mapping[str, Any] | None = None, body: bytes = b"") -> None:
        """A whole answer; the body is left out for a HEAD."""
        await self.head(status, {"Content-Length": len(body), **(headers or {})})
        if self.method != "HEAD":
            await self.write(body)

    def drop(self) -> None:
        """Break the connection without a word."""
        self.writer.transport.abort()


Act = Callable[[Exchange], Awaitable[None]]


class FaultServer:
    """``async with FaultServer() as server``; ``server.routes["/path"] = act``.

    ``keep_alive``: more than one request may come over a connection. ``connections``: how many were made.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, keep_alive: bool = False) -> None:
        self.connections = 0
        self.keep_alive = keep_alive
        self.routes: dict[str, Act] = {}
        self.requests: list[Exchange] = []
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._exchanges: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def place(self) -> str:
        """As in CMR_ALLOWED_HOSTS."""
        return f"127.0.0.1:{self.port}"

    def url(self, path: str, *, host: str = "127.0.0.1") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def put(self, path: str, act: Act) -> str:
        """Route ``path`` to ``act`` and return its URL."""
        self.routes[path] = act
        return self.url(path)

    def sent(self, method: str, path: str | None = None) -> list[Exchange]:
        """The requests of that method that came, without those for one byte (a probe)."""
        return [
            exchange
            for exchange in self.requests
            if exchange.method == method
            and path in (None, exchange.path)
            and exchange.headers.get("range") != "bytes=0-0"
        ]

    async def __aenter__(self) -> FaultServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for exchange in self._exchanges:
            exchange.cancel()
        await asyncio.gather(*self._exchanges, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._exchanges.add(task)
        try:
            self.connections += 1
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                    first, *lines = head.strip().split("\r\n")
                    method, target, _ = first.split(" ")
                    headers = {
                        n.strip().lower(): v.strip() for n, _, v in (li.partition(":") for li in lines)
                    }
                    exchange = Exchange(method, target, headers, writer, self.keep_alive)
                    self.requests.append(exchange)
                    await self.routes.get(exchange.path, not_found)(exchange)
                    if not self.keep_alive:
                        break
        finally:
            self._exchanges.discard(task)
            writer.close()


async def not_found(exchange: Exchange) -> None:
    await exchange.answer(404)


@dataclass
class Remote:
    """An honest file. ``pause``: seconds between pieces of ``piece`` bytes. ``headers``: in every answer."""

    content: bytes
    etag: str | None = '"version-1"'
    ranges: bool = True
    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    piece: int = 64 * 1024
    pause: float = 0.0
    served: int = 0

    def describe(self) -> dict[str, Any]:
        headers: dict[str, Any] = {"Content-Type": self.content_type, **self.headers}
        if self.etag is not None:
            headers["ETag"] = self.etag
        if self.ranges:
            headers["Accept-Ranges"] = "bytes"
        return headers

    async def until(self, count: int) -> None:
        """Return once ``count`` bytes have been sent."""
        for _ in range(4000):
            if self.served >= count:
                return
            await asyncio.sleep(0.005)
        raise AssertionError("nobody fetches")

    async def __call__(self, exchange: Exchange) -> None:
        first, last = self.limits(exchange)
        if first > last and self._honoured(exchange) is not None:
            await exchange.answer(416, {"Content-Range": f"bytes */{len(self.content)}"})
            return
        await self.begin(exchange, first, last)
        if exchange.method != "HEAD":
            await self.body(exchange, self.content[first : last + 1])

    def limits(self, exchange: Exchange) -> tuple[int, int]:
        """First and last byte to send, by ``Range`` and ``If-Range``."""
        last = len(self.content) - 1
        match = self._honoured(exchange)
        if match is None:
            return 0, last
        return int(match[1]), min(last, int(match[2])) if match[2] else last

    def _honoured(self, exchange: Exchange) -> re.Match[str] | None:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", exchange.headers.get("range", ""))
        same = exchange.headers.get("if-range", self.etag) == self.etag
        return match if self.ranges and same else None

    async def begin(self, exchange: Exchange, first: int, last: int) -> None:
        headers = {**self.describe(), "Content-Length": last - first + 1}
        partial = self._honoured(exchange) is not None
        if partial:
            headers["Content-Range"] = f"bytes {first}-{last}/{len(self.content)}"
        await exchange.head(206 if partial else 200, headers)

    async def body(self, exchange: Exchange, data: bytes) -> None:
        for start in range(0, len(data), self.piece):
            await exchange.write(data[start : start + self.piece])
            self.served += len(data[start : start + self.piece])
            if self.pause:
                await asyncio.sleep(self.pause)


@dataclass
class Failing:
    """``then``, but the first GETs that are not probes get the ``faults`` instead, one each."""

    then: Act
    faults: list[Act]

    def __init__(self, then: Act, *faults: Act) -> None:
        self.then, self.faults = then, list(faults)

    async def __call__(self, exchange: Exchange) -> None:
        probing = exchange.method == "HEAD" or exchange.headers.get("range") == "bytes=0-0"
        act = self.then if probing or not self.faults else self.faults.pop(0)
        await act(exchange)


def always(act: Act, *, probe: Act) -> Act:
    """``act`` for every GET, ``probe`` for what asks about the file."""
    return Failing(probe, *[act] * 50)


def breaks_after(remote: Remote, count: int) -> Act:
    """The connection breaks ``count`` bytes into the body."""

    async def act(exchange: Exchange) -> None:
        first, last = remote.limits(exchange)
        await remote.begin(exchange, first, last)
        await remote.body(exchange, remote.content[first : min(first + count, last + 1)])
        await asyncio.sleep(0.1)  # Let what was sent arrive: a reset overtakes it.
        exchange.drop()

    return act


def stalls_after(remote: Remote, count: int) -> Act:
    """Nothing more comes, and the connection stays."""

    async def act(exchange: Exchange) -> None:
        first, last = remote.limits(exchange)
        await remote.begin(exchange, first, last)
        await remote.body(exchange, remote.content[first : first + count])
        await asyncio.sleep(60)

    return act


def closes_without_length(remote: Remote, count: int | None = None) -> Act:
    """No ``Content-Length``, not chunked: the end of the connection is the end of the body."""

    async def act(exchange: Exchange) -> None:
        await exchange.head(200, remote.describe())
        if exchange.method != "HEAD":
            await remote.body(exchange, remote.content[:count])

    return act


def chunked(remote: Remote, count: int | None = None) -> Act:
    """A chunked body that ends properly, after ``count`` bytes."""

    async def act(exchange: Exchange) -> None:
        await exchange.head(200, {**remote.describe(), "Transfer-Encoding": "chunked"})
        data = remote.content[:count]
        if exchange.method != "HEAD":
            for start in range(0, len(data), remote.piece):
                piece = data[start : start + remote.piece]
                await exchange.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await exchange.write(b"0\r\n\r\n")

    return act


def answers(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Act:
    async def act(exchange: Exchange) -> None:
        await exchange.answer(status, headers, body)

    return act


def redirects(location: str, status: int = 302, headers: Mapping[str, str] | None = None) -> Act:
    return answers(status, {"Location": location, **(headers or {})})


def claims_range(remote: Remote, content_range: str, body: bytes) -> Act:
    """A 206 that says ``content_range`` of ``body``."""
    return answers(206, {**remote.describe(), "Content-Range": content_range}, body)


def zips(remote: Remote) -> Act:
    """Compressed although nobody asked for it."""
    return answers(200, {**remote.describe(), "Content-Encoding": "gzip"}, gzip.compress(remote.content))


def in_turn(acts: Iterable[Act]) -> Act:
    """One act after the other, whatever the request; the last one stays."""
    left = list(acts)

    async def act(exchange: Exchange) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(exchange)

    return act


def ends_early(remote: Remote, missing: int) -> Act:
    """The body is shorter than its own length says, and the connection ends as if all were well."""

    async def act(exchange: Exchange) -> None:
        first, last = remote.limits(exchange)
        await remote.begin(exchange, first, last)
        await remote.body(exchange, remote.content[first : last + 1 - missing])

    return act


def goes_on_behind_its_end(remote: Remote) -> Act:
    """More bytes follow than the length says."""

    async def act(exchange: Exchange) -> None:
        first, last = remote.limits(exchange)
        await remote.begin(exchange, first, last)
        await remote.body(exchange, remote.content[first : last + 1] + b"and more" * 100)

    return act


def dribbles(remote: Remote, seconds: float = 0.1) -> Act:
    """A byte now and then."""

    async def act(exchange: Exchange) -> None:
        first, last = remote.limits(exchange)
        await remote.begin(exchange, first, last)
        for at in range(first, last + 1):
            await exchange.write(remote.content[at : at + 1])
            await asyncio.sleep(seconds)

    return act


def whole(remote: Remote) -> Act:
    """All of it with 200, whatever part was asked for."""

    async def act(exchange: Exchange) -> None:
        await exchange.head(200, {**remote.describe(), "Content-Length": len(remote.content)})
        await remote.body(exchange, remote.content)

    return act


def part_with(remote: Remote, headers: Mapping[str, str]) -> Act:
    """The part that was asked for, under other headers."""

    async def act(exchange: Exchange) -> None:
        first, last = remote.limits(exchange)
        said = {
            "Content-Range": f"bytes {first}-{last}/{len(remote.content)}",
            **remote.describe(),
            **headers,
        }
        await exchange.answer(206, said, remote.content[first : last + 1])

    return act


def multipart(remote: Remote) -> Act:
    """The part that was asked for, packed as if several had been (RFC 9110, 14.6)."""

    async def act(exchange: Exchange) -> None:
        first, last = remote.limits(exchange)
        head = f"--x\r\nContent-Range: bytes {first}-{last}/{len(remote.content)}\r\n\r\n".encode()
        body = head + remote.content[first : last + 1] + b"\r\n--x--\r\n"
        await exchange.answer(206, {"Content-Type": "multipart/byteranges; boundary=x"}, body)

    return act


def ignores_if_range(then: Act) -> Act:
    """Whatever validator the client has, it gets the part it asks for."""

    async def act(exchange: Exchange) -> None:
        exchange.headers.pop("if-range", None)
        await then(exchange)

    return act


def speaks_http_1_0(remote: Remote) -> Act:
    """As old servers do: no word of the connection, which is closed after each answer."""

    async def act(exchange: Exchange) -> None:
        first, last = remote.limits(exchange)
        said = {**remote.describe(), "Content-Length": last - first + 1}
        partial = remote.ranges and "range" in exchange.headers
        if partial:
            said["Content-Range"] = f"bytes {first}-{last}/{len(remote.content)}"
        lines = [
            f"HTTP/1.0 {206 if partial else 200} OK",
            *(f"{name}: {value}" for name, value in said.items()),
        ]
        await exchange.write("\r\n".join((*lines, "", "")).encode())
        if exchange.method != "HEAD":
            await remote.body(exchange, remote.content[first : last + 1])

    return act


def tells_no_total(remote: Remote) -> Act:
    """Parts of a file of unknown length (RFC 9110, 14.4); without ``Range`` all of it, until it closes."""

    async def act(exchange: Exchange) -> None:
        if "range" not in exchange.headers:
            await closes_without_length(remote)(exchange)
            return
        first, last = remote.limits(exchange)
        said = {**remote.describe(), "Content-Range": f"bytes {first}-{last}/*"}
        await exchange.answer(206, said, remote.content[first : last + 1])

    return act

"""A SOCKS5 proxy (RFC 1928, RFC 1929) to which everything leads to this machine."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

_NONE, _PASSWORD, _NO_METHOD = 0, 2, 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4


class SocksServer:
    """``async with SocksServer() as socks``; every name leads to 127.0.0.1, addresses to themselves.

    ``login``: user name and password it wants. ``replies``: codes to refuse the next connections with.
    ``asked``: the hosts and ports it was asked for. ``heard``: all that went through it to the servers.
    """

    def __init__(self, login: tuple[str, str] | None = None, replies: tuple[int, ...] = ()) -> None:
        self.replies = list(replies)
        self.asked: list[tuple[str, int]] = []
        self.heard = b""
        self.logins: list[tuple[str, str]] = []
        self._login = login
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def url(self, scheme: str = "socks5", login: str = "") -> str:
        return f"{scheme}://{login}127.0.0.1:{self.port}"

    async def __aenter__(self) -> SocksServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                if await self._greet(reader, writer):
                    await self._connect(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        version, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        wanted = _NONE if self._login is None else _PASSWORD
        if version != 5 or wanted not in methods:
            writer.write(bytes((5, _NO_METHOD)))
            await writer.drain()
            return False
        writer.write(bytes((5, wanted)))
        if self._login is None:
            return True
        assert await reader.readexactly(1) == b"\x01"
        user = await reader.readexactly((await reader.readexactly(1))[0])
        password = await reader.readexactly((await reader.readexactly(1))[0])
        self.logins.append((user.decode(), password.decode()))
        is_right = self.logins[-1] == self._login
        writer.write(bytes((1, 0 if is_right else 1)))
        await writer.drain()
        return is_right

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, command, _, kind = await reader.readexactly(4)
        assert command == 1
        if kind == _NAME:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            family, length = {_IPV4: (socket.AF_INET, 4), _IPV6: (socket.AF_INET6, 16)}[kind]
            host = socket.inet_ntop(family, await reader.readexactly(length))
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append((host, port))
        if self.replies:
            writer.write(bytes((5, self.replies.pop(0), 0, _IPV4, 0, 0, 0, 0, 0, 0)))
            await writer.drain()
            return
        there, back = await asyncio.open_connection("127.0.0.1" if kind == _NAME else host, port)
        writer.write(bytes((5, 0, 0, _IPV4, 127, 0, 0, 1, 0, 80)))
        await asyncio.gather(self._pump(reader, back, is_out=True), self._pump(there, writer, is_out=False))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_out: bool) -> None:
        try:
            with suppress(OSError):
                while data := await source.read(65536):
                    if is_out:
                        self.heard += data
                    sink.write(data)
                    await sink.drain()
        finally:
            sink.close()

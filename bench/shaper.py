"""A TCP proxy that makes loopback like a distant server: a rate for each connection, and a delay.

``python -m bench.shaper LISTEN_PORT TARGET_PORT RATE DELAY``: bytes a second a connection (0: any), and
seconds each way. At most ``WINDOW`` bytes of a connection are under way at a time, as with a usual TCP
window, so a delay limits the rate of a single connection, too: 2 MiB in 40 ms are 52 MB/s.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress

PIECE = 128 * 1024
WINDOW = 2 * 1024 * 1024
# An unused moment of a rate may be made up for: sleepers wake late, and that must not add up.
CREDIT_SECONDS = 0.05


class Direction:
    """Bytes from one socket to another, held back by ``rate`` and ``delay``."""

    def __init__(self, source: socket.socket, sink: socket.socket, rate: int, delay: float) -> None:
        self._source, self._sink = source, sink
        self._rate, self._delay = rate, delay
        self._loop = asyncio.get_running_loop()
        self._on_their_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        # Bytes here cover half of the round trip; the other half, the sender would wait to hear of them.
        self._held, self._room = 0, asyncio.Event()
        self._free_at = 0.0

    async def run(self) -> None:
        sending = asyncio.ensure_future(self._send())
        try:
            with suppress(OSError):
                while data := await self._loop.sock_recv(self._source, PIECE):
                    self._put(data)
                    await self._hold(len(data))
                    while self._held >= WINDOW // 2:
                        self._room.clear()
                        await self._room.wait()
            self._put(b"")
            await sending
        finally:
            sending.cancel()

    def _put(self, data: bytes) -> None:
        self._held += len(data)
        self._on_their_way.put_nowait((self._loop.time() + self._delay, data))

    async def _hold(self, count: int) -> None:
        if not self._rate:
            return
        now = self._loop.time()
        self._free_at = max(self._free_at, now - CREDIT_SECONDS) + count / self._rate
        await asyncio.sleep(self._free_at - now)

    async def _send(self) -> None:
        with suppress(OSError):
            while True:
                due, data = await self._on_their_way.get()
                if (wait := due - self._loop.time()) > 0:
                    await asyncio.sleep(wait)
                if not data:
                    self._sink.shutdown(socket.SHUT_WR)
                    return
                await self._loop.sock_sendall(self._sink, data)
                self._held -= len(data)
                self._room.set()
        # Who should read this is gone; the sender is told, and nothing holds it up any more.
        with suppress(OSError):
            self._source.shutdown(socket.SHUT_RDWR)
        self._held = 0
        self._room.set()


async def main(listen: int, target: int, rate: int, delay: float) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(client: socket.socket) -> None:
        with client, socket.socket() as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                end.setblocking(False)
            # Small buffers, so that what the proxy holds back is held back at once.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 256 * 1024)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
            await asyncio.sleep(2 * delay)  # the handshake
            await loop.sock_connect(server, ("127.0.0.1", target))
            asking, answering = Direction(client, server, 0, delay), Direction(server, client, rate, delay)
            await asyncio.gather(asking.run(), answering.run(), return_exceptions=True)

    with socket.create_server(("127.0.0.1", listen), backlog=256) as listener:
        listener.setblocking(False)
        while True:
            client, _ = await loop.sock_accept(listener)
            task = loop.create_task(serve(client))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))

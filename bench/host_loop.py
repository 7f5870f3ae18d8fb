"""A host like ComfyUI's server, whose event loop is watched while downloads run beside it.

Two views of the same thing: how late the loop wakes a coroutine that asked for it (from inside), and
how long a small route and a websocket message take to be answered (from another process).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from aiohttp import ClientSession, WSMsgType, web

from .report import quantile

_EVERY = 0.001
_QUIET_SECONDS = 2.0
_LONGEST_ANSWER = 64 << 20


class WatchedHost:
    """``async with WatchedHost() as host`` on the loop to watch; first, that loop alone is looked at.

    The machine itself wakes sleepers late now and then, hence the figures before anything runs.
    """

    def __init__(self) -> None:
        self._late: list[float] = []
        self._late_alone: list[float] = []
        self._answers: dict[str, list[float]] = {}
        self._answers_alone: dict[str, list[float]] = {}

    async def __aenter__(self) -> WatchedHost:
        app = web.Application()
        app.router.add_get("/queue", _answer)
        app.router.add_get("/ws", _websocket)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._watching = asyncio.ensure_future(self._watch())
        self._answers_alone = await self._visited(_QUIET_SECONDS)
        self._late_alone, self._late = self._late, []
        self._visitor = await self._send_visitor(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        if self._visitor.returncode is None:
            self._visitor.kill()
            await self._visitor.wait()
        await self._runner.cleanup()

    async def figures(self) -> dict[str, Any]:
        """Milliseconds: ``late`` (of the loop), ``route``, ``websocket``, and the same ``…_alone``."""
        late = list(self._late)
        answers = await self._end_visit()
        return {
            **_summary("late", late),
            **_summary("late_alone", self._late_alone),
            **{key: value for name, times in answers.items() for key, value in _summary(name, times).items()},
            **{
                key: value
                for name, times in self._answers_alone.items()
                for key, value in _summary(f"{name}_alone", times).items()
            },
        }

    async def _watch(self) -> None:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(_EVERY)
            self._late.append(time.perf_counter() - asked - _EVERY)

    async def _send_visitor(self, seconds: float) -> asyncio.subprocess.Process:
        """``seconds``: 0 is until its standard input is closed."""
        port = self._runner.addresses[0][1]
        visitor = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.host_loop", str(port), str(seconds),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LONGEST_ANSWER,
        )  # fmt: skip
        assert visitor.stdout is not None
        assert await visitor.stdout.readline() == b"visiting\n"
        return visitor

    async def _visited(self, seconds: float) -> dict[str, list[float]]:
        self._visitor = await self._send_visitor(seconds)
        return await self._end_visit(close=False)

    async def _end_visit(self, *, close: bool = True) -> dict[str, list[float]]:
        assert self._visitor.stdin is not None
        assert self._visitor.stdout is not None
        if close:
            self._visitor.stdin.close()
        times: dict[str, list[float]] = json.loads(await self._visitor.stdout.readline())
        await self._visitor.wait()
        return times


def _summary(name: str, seconds: list[float]) -> dict[str, float]:
    times = [second * 1000 for second in seconds]
    return {f"{name}_p99": quantile(times, 0.99), f"{name}_max": max(times)}


async def _answer(request: web.Request) -> web.Response:
    return web.json_response({"exec_info": {"queue_remaining": 0}})


async def _websocket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


async def visit(port: int, seconds: float) -> dict[str, list[float]]:
    """Ask the host every 10 ms, by the route and by the websocket in turn; seconds until each answer."""
    times: dict[str, list[float]] = {"route": [], "websocket": []}
    loop = asyncio.get_running_loop()
    closed = loop.run_in_executor(None, sys.stdin.read) if not seconds else asyncio.sleep(seconds)
    until = asyncio.ensure_future(closed)
    base = f"http://127.0.0.1:{port}"
    async with ClientSession() as session, session.ws_connect(f"{base}/ws") as socket:
        print("visiting", flush=True)
        while not until.done():
            asked = time.perf_counter()
            async with session.get(f"{base}/queue") as answer:
                await answer.read()
            times["route"].append(time.perf_counter() - asked)
            await asyncio.sleep(0.005)
            asked = time.perf_counter()
            await socket.send_str("ping")
            await socket.receive_str()
            times["websocket"].append(time.perf_counter() - asked)
            await asyncio.sleep(0.005)
    return times


if __name__ == "__main__":
    print(json.dumps(asyncio.run(visit(int(sys.argv[1]), float(sys.argv[2])))))

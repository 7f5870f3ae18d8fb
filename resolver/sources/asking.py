"""How sources ask servers: answers are remembered, each host is asked at its own pace, within a budget.

A source says *what* it asks (a stable text) and *how* (a coroutine); ``Asker`` decides whether the
question goes out at all. The same question at the same time goes out once.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import DownloadError

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

_AT_ONCE = 6  # questions to one host at the same time
_LONGEST_WAIT = 20.0  # seconds a model waits for a host that asked for patience
_PATIENCE = 10.0  # seconds, where a host asks for patience and does not say how much
_SILENCE = 15.0  # seconds in which a host that could not be reached is not asked again


@dataclass(frozen=True)
class Remembered:
    """An answer. ``value``: JSON, None for "there is no such thing". ``fresh_until``: Unix time.

    ``etag``: the answer's validator, to ask whether it still holds once it is no longer fresh.
    """

    value: Any
    etag: str | None
    fresh_until: float


class Cache(Protocol):
    """Where answers are remembered. What it cannot say or keep is no error: then it is asked again."""

    async def get(self, question: str) -> Remembered | None:
        """The newest answer, fresh or not."""
        ...

    async def put(self, question: str, answer: Remembered) -> None: ...


class NoCache:
    """Remembers nothing (``CMR_ENABLE_CACHE=false``)."""

    async def get(self, question: str) -> Remembered | None:
        return None

    async def put(self, question: str, answer: Remembered) -> None:
        return None


class Budget:
    """What one source may spend on one model: ``requests`` that go out, and ``seconds`` altogether."""

    def __init__(self, requests: int = 60, seconds: float = 25.0) -> None:
        self.requests = requests
        self._ends = time.monotonic() + seconds

    @property
    def seconds(self) -> float:
        """What is left."""
        return self._ends - time.monotonic()

    def spend(self) -> None:
        """Take one request. Raises ``DownloadError`` (``BUDGET_SPENT``) if nothing is left."""
        if self.requests <= 0 or self.seconds <= 0:
            raise DownloadError("The search was ended: it took too many requests.", code="BUDGET_SPENT")
        self.requests -= 1


@dataclass(frozen=True)
class Answered:
    """What a server said. ``unchanged``: that the answer remembered with ``etag`` still holds."""

    value: Any = None
    etag: str | None = None
    unchanged: bool = False


Ask = Callable[[str | None], Awaitable[Answered]]
"""Sends the question; gets the ETag of the remembered answer, if there is one. Raises ``DownloadError``."""


class _Host:
    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(_AT_ONCE)
        self.not_before = 0.0
        self.error: DownloadError | None = None


class Asker:
    """Shared by all sources of a program. Runs on the engine's loop."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._hosts: dict[str, _Host] = defaultdict(_Host)
        self._asking: dict[str, asyncio.Task[Any]] = {}

    async def ask(
        self,
        host: str,
        question: str,
        ask: Ask,
        budget: Budget,
        *,
        keep: float = DAY,
        keep_nothing: float = HOUR,
    ) -> Any:
        """The answer to ``question`` of ``host``, remembered for ``keep`` seconds.

        ``question`` names host, route and everything the answer depends on, a login included.
        ``keep_nothing``: for how long None or an empty answer is remembered.

        Raises ``DownloadError`` as ``ask`` does, ``BUDGET_SPENT``, and ``RATE_LIMITED`` or ``NETWORK`` at
        once for a host that has just said, or shown, that it will not answer.
        """
        known = await self._cache.get(question)
        if known is not None and known.fresh_until > time.time():
            return known.value
        while True:
            running = self._asking.get(question)
            is_ours = running is None
            if running is None:
                running = asyncio.ensure_future(
                    self._send(host, question, ask, budget, known, keep, keep_nothing)
                )
                self._asking[question] = running
                running.add_done_callback(lambda done: self._asked(question, done))
            try:
                # Whoever asked first may lose interest; the others still want to know.
                return await asyncio.shield(running)
            except DownloadError as error:
                # Nor is it their fault that the first had nothing left to spend.
                if is_ours or error.code != "BUDGET_SPENT":
                    raise

    async def _send(
        self,
        host: str,
        question: str,
        ask: Ask,
        budget: Budget,
        known: Remembered | None,
        keep: float,
        keep_nothing: float,
    ) -> Any:
        place = self._hosts[host]
        async with place.turn:
            while True:
                await self._wait(place, budget)
                budget.spend()
                try:
                    said = await ask(known.etag if known else None)
                    break
                except DownloadError as error:
                    self._note(place, error)
                    if error.code != "RATE_LIMITED":
                        raise
        value, etag = (known.value, known.etag) if known and said.unchanged else (said.value, said.etag)
        fresh_until = time.time() + (keep if value not in (None, [], {}) else keep_nothing)
        await self._cache.put(question, Remembered(value, etag, fresh_until))
        return value

    def _asked(self, question: str, done: asyncio.Task[Any]) -> None:
        self._asking.pop(question, None)
        if not done.cancelled():
            done.exception()  # looked at: perhaps nobody waits for it any more

    @staticmethod
    async def _wait(place: _Host, budget: Budget) -> None:
        """Wait as long as the host asked for; where that is too long for this model, say so at once."""
        waiting = place.not_before - time.monotonic()
        if waiting <= 0:
            return
        assert place.error is not None
        if place.error.code != "RATE_LIMITED" or waiting > min(_LONGEST_WAIT, budget.seconds):
            raise place.error
        await asyncio.sleep(waiting)

    @staticmethod
    def _note(place: _Host, error: DownloadError) -> None:
        patience = {"RATE_LIMITED": error.retry_after or _PATIENCE, "NETWORK": _SILENCE}.get(error.code)
        if patience is not None:
            place.error = error
            place.not_before = time.monotonic() + patience

"""The process beside the host's (``beside``), from inside: runs errands until nobody listens any more.

It ends at once when the other side does, however that ends: what it has written down by then is true.
Nothing but the standard library is loaded, so it is there in a tenth of a second.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import threading
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import IO

from ..errors import ResolverError
from ..logs import where
from ..net.wire import WirePool
from ..priority import BESIDE_THE_HOST, lower_priority_of_process
from . import messages
from .crew import RangesIgnored, Tools
from .filling import Errand, Here, Outcome
from .hosts import Hosts
from .limiter import BandwidthLimiter
from .origins import Place

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_about: ContextVar[int | None] = ContextVar("about", default=None)


def main() -> None:
    """Take errands from standard input; what would go to standard output goes to standard error."""
    # Ctrl+C in a terminal reaches it as well; the other side says what is to be done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lower_priority_of_process(BESIDE_THE_HOST)
    with open(os.dup(0), "rb") as inbox, open(os.dup(1), "wb") as outbox, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        with suppress(OSError):  # It may be closed.
            os.dup2(2, 1)
        asyncio.run(_Worker(messages.Pen(outbox)).run(inbox))


class _Worker:
    def __init__(self, pen: messages.Pen) -> None:
        self._pen = pen
        self._here: Here
        self._limiter: _SharedLimiter
        self._hosts: Hosts
        self._tasks: dict[int, asyncio.Task[Outcome | None]] = {}
        self._locating: dict[tuple[int, str], asyncio.Future[Place]] = {}

    async def run(self, inbox: IO[bytes]) -> None:
        handler = _Forwarding(self._pen)
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(inbox, loop), daemon=True).start()
        self._look_for(os.getppid(), loop)
        await loop.create_future()

    def _look_for(self, parent: int, loop: asyncio.AbstractEventLoop) -> None:
        """Each side looks whether the other is there: the pipe stays open where the host has forked."""
        if os.getppid() != parent:
            os._exit(1)
        self._pen.write(messages.Alive())
        loop.call_later(_LOOK_SECONDS, self._look_for, parent, loop)

    def _listen(self, inbox: IO[bytes], loop: asyncio.AbstractEventLoop) -> None:
        """Runs in a thread."""
        for message in messages.read_messages(inbox):
            if isinstance(message, messages.Leave):
                break
            if isinstance(message, messages.Booked):
                self._limiter.booked(message)
            else:
                loop.call_soon_threadsafe(self._take, message)
        os._exit(0)

    def _take(self, message: object) -> None:
        if isinstance(message, messages.SetUp):
            self._set_up(message)
        elif isinstance(message, messages.Begin):
            begun = asyncio.ensure_future(self._run(message.number, message.errand))
            self._tasks[message.number] = begun
            # Not by itself: one that is cancelled before it has begun never runs.
            begun.add_done_callback(partial(self._ended, message.number))
        elif isinstance(message, messages.Cancel):
            if (task := self._tasks.get(message.number)) is not None:
                task.cancel()
        elif isinstance(message, messages.Located):
            located = self._locating.get((message.number, message.url))
            if located is not None and not located.done():
                if message.place is not None:
                    located.set_result(message.place)
                else:
                    located.set_exception(message.error or ResolverError("It was not found."))
        elif isinstance(message, messages.Rest):
            self._hosts.leave_alone(message.host, message.seconds)
        elif isinstance(message, messages.Rate):
            self._limiter.rate = message.rate

    def _set_up(self, said: messages.SetUp) -> None:
        self._hosts = Hosts(said.most_per_host, said.rest)
        for host, seconds in said.rests.items():
            self._hosts.leave_alone(host, seconds)
        self._hosts.on_rest = lambda host, seconds: self._pen.write(messages.Rest(host, seconds))
        self._limiter = _SharedLimiter(said.rate, self._pen)
        self._here = Here(Tools(self._limiter, self._hosts, WirePool(), said.retry_policy))
        self._pen.write(messages.Ready())

    async def _run(self, number: int, errand: Errand) -> Outcome | None:
        _about.set(number)
        told = (-1, -1)

        def progress(received: int, connections: int) -> None:
            nonlocal told
            if (received, connections) != told:
                told = received, connections
                self._pen.write(messages.Progress(number, received, connections))

        async def locate(url: str) -> Place:
            located: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
            self._locating[number, url] = located
            self._pen.write(messages.Locate(number, url))
            try:
                return await located
            finally:
                del self._locating[number, url]

        try:
            return _portable(await self._here.fill(errand, locate, progress))
        except Exception as error:
            log.error("An errand failed by an unforeseen %s at\n%s", type(error), where(error))
            return None

    def _ended(self, number: int, task: asyncio.Task[Outcome | None]) -> None:
        del self._tasks[number]
        self._pen.write(messages.Ended(number, None if task.cancelled() else task.result()))


def _portable(outcome: Outcome) -> Outcome:
    """With an error that the other side can read."""
    error = outcome.error
    if error is None or isinstance(error, (ResolverError, OSError, RangesIgnored)):
        return outcome
    log.error("A download failed by an unforeseen %s at\n%s", type(error), where(error))
    unforeseen = ResolverError(f"An internal error: {type(error).__name__}. See the log.")
    return Outcome(outcome.kept, outcome.used, error=unforeseen)


class _SharedLimiter(BandwidthLimiter):
    """The limit is kept by the other side, which downloads as well."""

    def __init__(self, rate: float | None, pen: messages.Pen) -> None:
        super().__init__(rate)
        self._pen = pen
        self._tickets = itertools.count()
        self._waiting: dict[int, Future[float]] = {}

    def book(self, amount: int) -> float:
        if self.rate is None:
            return 0.0
        booking: Future[float] = Future()
        ticket = next(self._tickets)
        self._waiting[ticket] = booking
        self._pen.write(messages.Book(ticket, amount))
        return booking.result()

    def booked(self, answer: messages.Booked) -> None:
        self._waiting.pop(answer.ticket).set_result(answer.seconds)


class _Forwarding(logging.Handler):
    """Has the other side write our lines, with what they are about."""

    def __init__(self, pen: messages.Pen) -> None:
        super().__init__()
        self._pen = pen
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._pen.write(messages.Said(_about.get(), record.name, record.levelno, self.format(record)))

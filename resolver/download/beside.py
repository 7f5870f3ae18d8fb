"""A process beside the host's that fills part files, and this side of it.

Python runs one thread of a process at a time. Connections at full speed hand that right round tens of
thousands of times a second, and the loop that serves the host would wait for its turn among them, for
tens of milliseconds where the processor is busy as well (``docs/performance.md`` has the figures). In a
process of their own they cost the host nothing but what the system gives them, and they yield there.

It is started when there is something to do for it, and ends after a while without. Only bytes move
there; what is asked for, and whether it may be, is decided here. Where no process can be started, threads
do it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..errors import DownloadError, ResolverError
from ..logs import where
from . import messages
from .crew import Tools
from .filling import Errand, Here, OnProgress, Outcome
from .origins import Locate
from .piece_log import read_log
from .threads import in_thread, settle

log = logging.getLogger(__name__)

_IDLE_SECONDS = 60.0
# Whoever waits for one that is to stop waits no longer than half a minute (``app.Resolver.close``).
_PATIENCE_SECONDS = 20.0
_COME_SECONDS, _END_SECONDS = 30.0, 5.0
# It says every second that it is there.
_SILENT_SECONDS, _LOOK_SECONDS = 60.0, 5.0
# This very package under its very name, which is ComfyUI's choice: pickles tell of classes by name. The
# standard library comes first: directories that node packs put before it may hold a ``queue.py``.
_BOOT = """
import sys
name, directory, *paths = sys.argv[1:]
sys.path[:] = [*filter(None, sys.path), *paths]
import importlib.util, types
words = name.split(".")
for count in range(1, len(words)):
    above = sys.modules[".".join(words[:count])] = types.ModuleType(".".join(words[:count]))
    above.__path__ = []
spec = importlib.util.spec_from_file_location(
    name, directory + "/__init__.py", submodule_search_locations=[directory]
)
sys.modules[name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[name])
importlib.import_module(name + ".download.worker").main()
"""


class _NeverCame(Exception):
    """The process ended before it was ready."""


class Beside:
    """The ``Filler`` of a process that has something better to do. Used on one loop only."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._here = Here(tools)
        self._worker: _Worker | None = None
        self._hiring = asyncio.Lock()
        # In a program that has Python built in, it would be that program that is started once more.
        self._can_hire = Path(sys.executable or "").name.lower().startswith(("python", "pypy"))
        tools.hosts.on_rest = lambda host, seconds: self._tell(messages.Rest(host, seconds))
        tools.limiter.on_rate = lambda rate: self._tell(messages.Rate(rate))

    async def fill(self, errand: Errand, locate: Locate, on_progress: OnProgress) -> Outcome:
        try:
            if (worker := await self._hire()) is not None:
                return await worker.fill(errand, locate, on_progress)
        except _NeverCame:
            log.warning("The process that fetches files does not start; threads of this one do its work")
            self._can_hire = False
        return await self._here.fill(errand, locate, on_progress)

    async def close(self) -> None:
        """End the process, if there is one; its errands have ended before."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.close()

    def _tell(self, message: object) -> None:
        if self._worker is not None:
            self._worker.tell(message)

    async def _hire(self) -> _Worker | None:
        async with self._hiring:
            if self._can_hire and (self._worker is None or not self._worker.is_here):
                worker = _Worker(self._tools)
                try:
                    await in_thread(worker.start)
                except OSError as error:
                    log.warning("No process can be started to fetch files: %s", error.strerror)
                    self._can_hire = False
                finally:
                    if worker.is_here:  # also if it is not waited for any more
                        self._worker = worker
                        worker.set_up()
        return self._worker if self._can_hire else None


@dataclass
class _Pending:
    """An errand under way. ``context``: in which it was given, for the log.

    ``ended``: gets the outcome, or None if there is none, since the process is gone or was told to cancel.
    """

    locate: Locate
    on_progress: OnProgress
    context: Context
    ended: asyncio.Future[Outcome | None]
    locating: set[asyncio.Task[None]] = field(default_factory=set)


class _Worker:
    """The process. ``is_here``: whether it can be given errands."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count()
        self._pending: dict[int, _Pending] = {}
        self._is_ready = False
        self.is_here = False
        self._heard = 0.0
        self._post: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._gone = asyncio.Event()
        self._leaving: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Raises ``OSError``. Blocks."""
        directory = Path(__file__).resolve().parent.parent
        name = __name__.rpartition(".")[0].rpartition(".")[0]
        # Elsewhere it lowers its priority itself.
        flags = getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
        flags |= getattr(subprocess, "CREATE_NO_WINDOW", 0)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, name, str(directory), *map(str, sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            creationflags=flags,
        )
        assert self._process.stdin is not None
        self._heard = time.monotonic()
        self._sender = threading.Thread(
            target=self._send,
            args=(messages.Pen(self._process.stdin),),
            name="model-resolver to beside",
            daemon=True,
        )
        self._sender.start()
        threading.Thread(target=self._listen, name="model-resolver beside", daemon=True).start()
        self.is_here = True

    def set_up(self) -> None:
        """On the loop, as it begins to be told what changes: nothing is lost between the two."""
        hosts, rate = self._tools.hosts, self._tools.limiter.rate
        self.tell(messages.SetUp(hosts.most, hosts.usual_rest, hosts.rests(), self._tools.retry_policy, rate))
        self._look()
        self._stand_by()

    def tell(self, message: object) -> None:
        self._post.put(message)

    def _send(self, pen: messages.Pen) -> None:
        """Runs in a thread: a pipe holds some kilobytes, and nobody reads it before the process is up."""
        while (message := self._post.get()) is not None:
            pen.write(message)
        pen.close()

    async def fill(self, errand: Errand, locate: Locate, on_progress: OnProgress) -> Outcome:
        """As ``Filler.fill``. Raises ``_NeverCame``."""
        number = next(self._numbers)
        pending = _Pending(locate, on_progress, copy_context(), self._loop.create_future())
        self._pending[number] = pending
        if not self.is_here:
            pending.ended.set_result(None)
        self.tell(messages.Begin(number, errand))
        try:
            outcome = await settle(pending.ended, partial(self._cancel, number))
        finally:
            del self._pending[number]
            for task in pending.locating:
                task.cancel()
            await asyncio.gather(*pending.locating, return_exceptions=True)
            self._stand_by()
        if outcome is not None:
            return outcome
        if not self._is_ready:
            raise _NeverCame
        kept = await in_thread(read_log, errand.part, errand.content.size)
        code = self._process.returncode
        how = "failed; see the log" if code is None else f"has ended ({code})"
        error = DownloadError(
            f"The process that fetches files {how}. What had arrived is kept.",
            code="FETCHER_LOST",
            retryable=True,
        )
        return Outcome(kept or [], frozenset(), error=error)

    async def close(self) -> None:
        self._leave()
        gone = asyncio.ensure_future(self._gone.wait())
        if not (await asyncio.wait({gone}, timeout=_END_SECONDS))[0]:
            self._process.kill()
        await gone

    def _look(self) -> None:
        """End it if it does not come up or falls silent."""
        if not self.is_here:
            return
        if time.monotonic() - self._heard > (_SILENT_SECONDS if self._is_ready else _COME_SECONDS):
            log.warning("The process that fetches files does not answer; it is killed")
            self._process.kill()
        else:
            self._loop.call_later(_LOOK_SECONDS, self._look)

    def _stand_by(self) -> None:
        """Leave in a while, unless there is something to do by then."""
        if self._leaving is not None:
            self._leaving.cancel()
        self._leaving = self._loop.call_later(_IDLE_SECONDS, self._leave_if_idle)

    def _leave_if_idle(self) -> None:
        if not self._pending:
            self._leave()

    def _leave(self) -> None:
        self.is_here = False
        if self._leaving is not None:
            self._leaving.cancel()
        self.tell(messages.Leave())
        self.tell(None)

    def _cancel(self, number: int) -> None:
        self.tell(messages.Cancel(number))

        def insist() -> None:
            if number in self._pending:
                log.warning("The process that fetches files does not stop; it is killed")
                self._process.kill()

        self._loop.call_later(_PATIENCE_SECONDS, insist)

    # --- what it says ---------------------------------------------------------------------------

    def _listen(self) -> None:
        """Runs in a thread."""
        process = self._process
        assert process.stdout is not None
        with process.stdout as stream:
            for message in messages.read_messages(stream):
                self._heard = time.monotonic()
                if isinstance(message, messages.Book):
                    seconds = self._tools.limiter.book(message.amount)
                    self.tell(messages.Booked(message.ticket, seconds))
                else:
                    self._later(self._take, message)
        self.tell(None)
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._sender.join()
        self._later(self._end)

    def _later(self, call: Callable[..., None], *args: object) -> None:
        with suppress(RuntimeError):  # The loop has been closed.
            self._loop.call_soon_threadsafe(call, *args)

    def _end(self) -> None:
        self.is_here = False
        for pending in self._pending.values():
            if not pending.ended.done():
                pending.ended.set_result(None)
        self._gone.set()

    def _take(self, message: object) -> None:
        if isinstance(message, messages.Ready):
            self._is_ready = True
        elif isinstance(message, messages.Rest):
            self._tools.hosts.leave_alone(message.host, message.seconds)
        elif isinstance(message, messages.Said):
            about = self._pending.get(message.number) if message.number is not None else None
            say = partial(logging.getLogger(message.logger).log, message.level, "%s", message.text)
            about.context.run(say) if about is not None else say()
        elif isinstance(message, (messages.Progress, messages.Locate, messages.Ended)):
            pending = self._pending.get(message.number)
            if pending is None or pending.ended.done():
                return
            if isinstance(message, messages.Progress):
                pending.on_progress(message.received, message.connections)
            elif isinstance(message, messages.Ended):
                pending.ended.set_result(message.outcome)
            else:
                task = self._loop.create_task(self._locate(pending, message))
                pending.locating.add(task)
                task.add_done_callback(pending.locating.discard)

    async def _locate(self, pending: _Pending, asked: messages.Locate) -> None:
        try:
            place = await pending.locate(asked.url)
        except ResolverError as error:
            self.tell(messages.Located(asked.number, asked.url, error=error))
        except Exception as error:
            log.error("A URL could not be asked by an unforeseen %s at\n%s", type(error), where(error))
            unforeseen = ResolverError(f"An internal error: {type(error).__name__}. See the log.")
            self.tell(messages.Located(asked.number, asked.url, error=unforeseen))
        else:
            self.tell(messages.Located(asked.number, asked.url, place))

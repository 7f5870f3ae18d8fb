"""Blocking work in threads, and commands, that are never left half done."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

Params = ParamSpec("Params")
Result = TypeVar("Result")


class Stopped(Exception):
    """Raised inside a thread whose caller was cancelled."""


class StopSign:
    """Lets long work in a thread end early: it calls ``check`` every few milliseconds."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def stop(self) -> None:
        self._event.set()

    def check(self) -> None:
        """Raises ``Stopped`` once ``stop`` was called."""
        if self._event.is_set():
            raise Stopped


async def settle(task: asyncio.Future[Result], stop: Callable[[], None] | None = None) -> Result:
    """Await ``task``; when cancelled, wait until it has ended all the same and only then give way.

    ``stop`` is called then, so that it ends soon.

    A thread cannot be cancelled. Without this, a cancelled download would close its file, or start
    anew on it, while the old thread still writes.
    """
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if stop is not None:
            stop()
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                continue
        if not task.cancelled():
            task.exception()  # Looked at, so that asyncio does not complain of it.
        raise


async def in_thread(work: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs) -> Result:
    """``asyncio.to_thread`` that has always ended when it returns or raises, cancelled or not."""
    return await settle(asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs)))


async def in_stoppable_thread(
    work: Callable[Concatenate[StopSign, Params], Result], *args: Params.args, **kwargs: Params.kwargs
) -> Result:
    """The same for long work, which gets a ``StopSign`` as its first argument."""
    stop = StopSign()
    return await settle(asyncio.ensure_future(asyncio.to_thread(work, stop, *args, **kwargs)), stop.stop)


def to_the_end(
    work: Callable[Params, Coroutine[Any, Any, Result]],
) -> Callable[Params, Coroutine[Any, Any, Result]]:
    """A coroutine function that, once called, runs to its end even if its caller is cancelled meanwhile.

    For commands that change several things in turn: whoever asked may hang up between two of them.
    """

    @functools.wraps(work)
    async def wrapper(*args: Params.args, **kwargs: Params.kwargs) -> Result:
        return await settle(asyncio.ensure_future(work(*args, **kwargs)))

    return wrapper

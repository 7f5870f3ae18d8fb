"""Who wants to watch: open editors through the host, and listeners of the events route."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from .host import Host

Event = tuple[str, Mapping[str, Any]]


class _Listener:
    """What one listener has not read yet: only the newest state of each subject."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, Event] = OrderedDict()
        self._ready = asyncio.Event()
        self._ended = False

    def put(self, subject: str, event: Event) -> None:
        # A slow listener gets the newest state later, never a backlog of old ones.
        self._waiting.pop(subject, None)
        self._waiting[subject] = event
        self._ready.set()

    def end(self) -> None:
        self._ended = True
        self._ready.set()

    async def get(self) -> Event | None:
        """The next event, or ``None`` once there will be no more."""
        while not self._waiting:
            if self._ended:
                return None
            self._ready.clear()
            await self._ready.wait()
        return self._waiting.popitem(last=False)[1]


class EventHub:
    """Passes events on. ``publish`` and ``listen`` run on the engine's loop."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._listeners: set[_Listener] = set()

    def publish(self, name: str, data: Mapping[str, Any]) -> None:
        """``name``: ``download`` or ``library``; ``data``: JSON, its ``id`` tells subjects apart."""
        self._host.publish(name, data)
        for listener in self._listeners:
            listener.put(f"{name}/{data.get('id', '')}", (name, data))

    def close(self) -> None:
        """End all listening."""
        for listener in self._listeners:
            listener.end()

    async def listen(self) -> AsyncGenerator[Event, None]:
        """All events from now on, until the hub is closed."""
        listener = _Listener()
        self._listeners.add(listener)
        try:
            while (event := await listener.get()) is not None:
                yield event
        finally:
            self._listeners.discard(listener)

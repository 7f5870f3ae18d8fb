"""To which of a host's addresses to talk: the one that answers first ("happy eyeballs", RFC 8305).

A machine may have an address of IPv6 for a host, and no way there, which it notices after minutes.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain, zip_longest
from typing import Any

Address = tuple[socket.AddressFamily, tuple[Any, ...]]
"""Family, and what ``socket.connect`` takes."""

CONNECT_SECONDS = 30.0
# The "Connection Attempt Delay" that RFC 8305, section 5, recommends.
_HEAD_START = 0.25
_LOOK_SECONDS = 0.1
# On Windows, "would block" (10035) means that it is on its way.
_CONNECTING = frozenset({0, errno.EINPROGRESS, errno.EWOULDBLOCK, 10035})


def first_connection(
    addresses: Iterable[Address], is_off: Callable[[], bool]
) -> tuple[Address, socket.socket]:
    """Which of ``addresses`` could be connected to first, and the connection, which does not block yet.

    One attempt begins after the other, as soon as the last one failed or had its head start; each has
    ``CONNECT_SECONDS``, and all but the first to succeed are closed. ``is_off`` is asked now and then, as
    a connection being made cannot be hung up. Raises ``OSError`` with words of our own.
    """
    waiting = deque(_alternating(addresses))
    attempts: dict[socket.socket, tuple[Address, float]] = {}
    failure = OSError(errno.EADDRNOTAVAIL, "it has no address")
    due = 0.0
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or attempts:
                if is_off():
                    raise OSError(errno.ECANCELED, "it was hung up")
                now = time.monotonic()
                if waiting and now >= due:
                    address = waiting.popleft()
                    try:
                        stream = _begin(address)
                    except OSError as error:
                        failure = _no_connection(error.errno)
                        continue
                    attempts[stream] = address, now + CONNECT_SECONDS
                    selector.register(stream, selectors.EVENT_WRITE)
                    due = now + _HEAD_START
                pause = min(_LOOK_SECONDS, due - now) if waiting else _LOOK_SECONDS
                ready = {key.fileobj for key, _ in selector.select(pause)}
                for stream, (address, deadline) in list(attempts.items()):
                    if stream in ready:
                        number = stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    elif now > deadline:
                        number = errno.ETIMEDOUT
                    else:
                        continue
                    if not number:
                        del attempts[stream]
                        return address, stream
                    failure, due = _no_connection(number), now
                    selector.unregister(stream)
                    del attempts[stream]
                    stream.close()
        finally:
            for stream in attempts:
                stream.close()
    raise failure


def _alternating(addresses: Iterable[Address]) -> list[Address]:
    """The families in turn, each in the order in which the system prefers its addresses."""
    families: dict[socket.AddressFamily, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    return [address for address in chain(*zip_longest(*families.values())) if address is not None]


def _begin(address: Address) -> socket.socket:
    """A socket that is about to be connected."""
    family, place = address
    stream = socket.socket(family, socket.SOCK_STREAM)
    try:
        stream.setblocking(False)
        if (number := stream.connect_ex(place)) not in _CONNECTING:
            raise OSError(number, os.strerror(number))
    except BaseException:
        stream.close()
        raise
    return stream


def _no_connection(number: int | None) -> OSError:
    return OSError(number, f"no connection ({os.strerror(number or 0).lower()})")

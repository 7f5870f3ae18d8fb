"""What the host's process and the one beside it tell each other: pickled objects, each behind its length.

Both ends are this package, in one version, joined by two pipes that nobody else has; so pickles are safe.
What cannot be copied is put in place by the other side: an SSL context is made there, from the same
environment.
"""

from __future__ import annotations

import io
import logging
import pickle
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import IO, Any

from ..logs import where
from .filling import Errand, Outcome
from .hosts import Rests
from .origins import Place
from .retries import RetryPolicy

log = logging.getLogger(__name__)

_LENGTH = struct.Struct("<I")
_TLS = "tls"


# --- to the process beside ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Begin:
    """Run this errand."""

    number: int
    errand: Errand


@dataclass(frozen=True)
class Cancel:
    number: int


@dataclass(frozen=True)
class Located:
    """The answer to ``Locate``: a place, or why there is none."""

    number: int
    url: str = field(repr=False)
    place: Place | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Booked:
    """The answer to ``Book``: seconds to wait."""

    ticket: int
    seconds: float


@dataclass(frozen=True)
class Rate:
    """The limit is that many bytes a second from now on; None is no limit."""

    rate: float | None


@dataclass(frozen=True)
class SetUp:
    """Comes first. ``most_per_host``, ``rest``: as ``Hosts`` takes them. ``rests``: of hosts, so far."""

    most_per_host: int
    rest: float
    rests: Rests
    retry_policy: RetryPolicy
    rate: float | None


@dataclass(frozen=True)
class Leave:
    """There is nothing more to do. (The pipe may stay open where the host has forked.)"""


# --- from it --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ready:
    """It runs, and has been set up."""


@dataclass(frozen=True)
class Alive:
    """It still runs. Comes every second."""


@dataclass(frozen=True)
class Progress:
    number: int
    received: int
    connections: int


@dataclass(frozen=True)
class Locate:
    number: int
    url: str = field(repr=False)


@dataclass(frozen=True)
class Ended:
    """``outcome``: None of an errand that was cancelled."""

    number: int
    outcome: Outcome | None


@dataclass(frozen=True)
class Book:
    """That many bytes have come; the limit is one for all processes."""

    ticket: int
    amount: int


@dataclass(frozen=True)
class Said:
    """A line for the log. ``number``: of the errand it is about."""

    number: int | None
    logger: str
    level: int
    text: str


# --- both ways ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rest:
    """A host is to be left alone for that long from now; 0: not any more."""

    host: str
    seconds: float


class Pen:
    """Writes messages, from any thread. What nobody reads any more is lost."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, message: object) -> None:
        body = io.BytesIO()
        _Pickler(body, pickle.HIGHEST_PROTOCOL).dump(message)
        data = body.getbuffer()
        with self._lock, suppress(OSError, ValueError):
            self._stream.write(_LENGTH.pack(len(data)))
            self._stream.write(data)
            self._stream.flush()

    def close(self) -> None:
        with self._lock, suppress(OSError):
            self._stream.close()


def read_messages(stream: IO[bytes]) -> Iterator[object]:
    """Messages until the other side has gone, or says what cannot be understood. Blocks."""
    with suppress(OSError, ValueError):
        while len(head := stream.read(_LENGTH.size)) == _LENGTH.size:
            (length,) = _LENGTH.unpack(head)
            body = stream.read(length)
            if len(body) < length:
                return
            try:
                message = _Unpickler(io.BytesIO(body)).load()
            except Exception as error:
                log.error("A message cannot be read by an unforeseen %s at\n%s", type(error), where(error))
                return
            yield message


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: object) -> str | None:
        return _TLS if isinstance(obj, ssl.SSLContext) else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> ssl.SSLContext:
        return _tls_context()


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()

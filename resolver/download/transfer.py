"""The transfer: one plan in, one filled part file out, progress on the way.

This is a seam. The queue knows only ``Transfer``; ``segmented`` is one way to do it. Whatever fills the
part file must hold to this:

* After every moment, also a crash, what ``PartState`` says of the part file is true of its bytes.
* Bytes of two different contents are never put together: going on needs a strong validator, or a
  known SHA-256 that will tell.
* What is returned has the announced length, and ``Filled.sha256`` is of the bytes as written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from ..net.probe import RemoteFile

Layout = Literal["prefix", "pieces"]


@dataclass(frozen=True)
class PartState:
    """Of which content the bytes in a part file are. Written down before the first of them.

    ``etag``: a strong validator of storage, with quotes, or None. ``size``: of the whole file.
    ``boot``: the run of the machine in which they were written. Bytes that were not yet on the disk
    when a machine went down may come back as zeros; within one run nothing is lost but by a disk.
    ``layout``: ``prefix`` where the part holds the beginning of the file and nothing else; ``pieces``
    where it is as long as the whole file, and a log beside it (``piece_log``) says what is there.
    """

    etag: str | None
    size: int | None
    boot: str
    layout: Layout = "prefix"


@dataclass(frozen=True)
class Plan:
    """One file to fetch. ``size`` and ``sha256`` are what it must have, where known.

    ``url`` and ``mirrors`` may hold tokens of their own. ``name``: what the file is to be called.
    ``state``: what was written down about ``part`` last time, None where there is nothing to go on with.
    ``avoid``: those of the URLs that brought a wrong file; they are asked only if there is no other.
    """

    url: str = field(repr=False)
    part: Path
    name: str
    size: int | None
    sha256: str | None
    state: PartState | None
    mirrors: tuple[str, ...] = field(default=(), repr=False)
    avoid: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def urls(self) -> list[str]:
        """All that may be asked, the best first."""
        urls = list(dict.fromkeys((self.url, *self.mirrors)))
        return [url for url in urls if url not in self.avoid] or urls


@dataclass(frozen=True)
class Agreed:
    """What a file must have, as far as is known: in bytes, and in lower case hex."""

    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class Filled:
    """A filled part file. ``whole``: it is certain that no byte is missing at its end.

    ``resumed``: part of it is from an earlier attempt. ``urls``: where the rest came from.
    """

    size: int
    sha256: str
    whole: bool
    resumed: bool
    urls: frozenset[str] = field(default=frozenset(), repr=False)


class Watcher(Protocol):
    """Who wants to know. All are called on the loop."""

    async def agree(self, remote: RemoteFile) -> Agreed:
        """A server says that it has ``remote``; nothing of it has been read. What the file must have now.

        Raises ``DownloadError`` where that is not what is wanted, and ``NO_SPACE``.
        """
        ...

    async def begins(self, state: PartState, received: int) -> None:
        """``received`` bytes of the content ``state`` are kept and more are about to be written.

        Must have written ``state`` down when it returns.
        """
        ...

    def advanced(self, received: int, connections: int = 1) -> None:
        """That many bytes are in the part file now, and that many connections are open."""
        ...


class Transfer(Protocol):
    """Fills the part file of a plan. May be called again for the same part after any failure.

    Raises ``DownloadError`` as in ``net.faults``, and ``CHANGED_ON_SERVER`` (what the server sends is
    not what the plan says), ``TRUNCATED`` (retryable), ``NOT_A_MODEL``, ``ENCODING_REFUSED``;
    ``UrlRefused``, ``UnsafeName``, and ``OSError`` of the disk. When cancelled it has stopped writing
    by the time it gives way.
    """

    async def __call__(self, plan: Plan, watcher: Watcher) -> Filled: ...

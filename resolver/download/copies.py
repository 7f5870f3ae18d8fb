"""The same content is fetched once: a file of a known SHA-256 that is on a disk already is not fetched again.

A file that this program brought gets a second name (a hard link): at once, and without more space. One
that the user brought is copied, since whoever changes a file in place changes it under all its names,
and the user knows nothing of ours. (Where the file system can, ``copy_file_range`` shares the blocks of
a copy until one of the two is written to.) Either way the result is hashed before it gets its name.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..net.probe import RemoteFile
from ..store import Store
from .part import discard_part, make_helper_directories
from .threads import StopSign, in_stoppable_thread, in_thread
from .transfer import Agreed, Filled, PartState, Plan, Transfer, Watcher
from .verify import sha256_of

log = logging.getLogger(__name__)

_BLOCK = 16 << 20
_CANNOT_COPY_RANGES = frozenset(
    {errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM, errno.ETXTBSY}
)

KnownFiles = Callable[[str], Sequence[str]]
"""SHA-256 -> paths of files of the library that had it when they were hashed. Blocks; called in a thread."""


@dataclass(frozen=True)
class _Source:
    path: Path
    is_ours: bool


class LocalFirst:
    """A ``Transfer`` that takes a file of the planned SHA-256 from the disk, else asks ``transfer``.

    ``known_files``: where else than among the downloads of ``store`` to look.
    """

    def __init__(self, transfer: Transfer, store: Store, known_files: KnownFiles | None = None) -> None:
        self._transfer = transfer
        self._store = store
        self._known_files = known_files

    async def __call__(self, plan: Plan, watcher: Watcher) -> Filled:
        if plan.sha256 is not None:
            sources = await in_thread(self.sources, plan.sha256, plan.size)
            filled = await self._from_disk(sources, plan.sha256, plan, watcher)
            return filled or await self._transfer(plan, watcher)
        try:
            return await self._transfer(plan, _Asking(watcher, self.sources))
        except _IsHere as here:
            filled = await self._from_disk(here.sources, here.sha256, plan, watcher)
            return filled or await self._transfer(plan, watcher)

    async def _from_disk(
        self, sources: Sequence[_Source], sha256: str, plan: Plan, watcher: Watcher
    ) -> Filled | None:
        for source in sources:
            if await self._filled_from(source, sha256, plan, watcher):
                size = await in_thread(os.path.getsize, plan.part)
                watcher.advanced(size)
                return Filled(size, sha256, whole=True, resumed=False)
        return None

    def sources(self, sha256: str, size: int | None) -> list[_Source]:
        """The files on the disk that may have this content. Blocks."""
        sources = [_Source(Path(row.path), True) for row in self._store.downloads_of(sha256)]
        if self._known_files is not None:
            sources += [_Source(Path(path), False) for path in self._known_files(sha256)]
        return [source for source in sources if _is_file_of(source.path, size)]

    async def _filled_from(self, source: _Source, sha256: str, plan: Plan, watcher: Watcher) -> bool:
        """Whether the part file now holds the content, from ``source``. It is gone if not."""
        loop = asyncio.get_running_loop()

        def advanced(received: int) -> None:
            loop.call_soon_threadsafe(watcher.advanced, received)

        try:
            # What had come of it from a server is not needed, and would be written over.
            await in_thread(discard_part, plan.part)
            await in_stoppable_thread(_fill, source, plan.part, advanced)
            if await in_stoppable_thread(sha256_of, plan.part) == sha256:
                return True
            log.info("%s is not what it was when it came; it is not used", source.path)
        except OSError as error:
            log.info("%s cannot be used for %s: %s", source.path, plan.name, error)
        except BaseException:
            await in_thread(discard_part, plan.part)
            raise
        await in_thread(discard_part, plan.part)
        return False


class _IsHere(Exception):
    """The server has told a SHA-256, and there are files here that may have it."""

    def __init__(self, sources: Sequence[_Source], sha256: str) -> None:
        self.sources = sources
        self.sha256 = sha256


class _Asking:
    """The ``Watcher`` of a transfer whose SHA-256 may turn out to be that of a file on the disk."""

    def __init__(self, watcher: Watcher, find: Callable[[str, int | None], Sequence[_Source]]) -> None:
        self._watcher = watcher
        self._find = find

    async def agree(self, remote: RemoteFile) -> Agreed:
        agreed = await self._watcher.agree(remote)
        if agreed.sha256 is not None:
            sources = await in_thread(self._find, agreed.sha256, agreed.size)
            if sources:
                raise _IsHere(sources, agreed.sha256)
        return agreed

    async def begins(self, state: PartState, received: int) -> None:
        await self._watcher.begins(state, received)

    def advanced(self, received: int, connections: int = 1) -> None:
        self._watcher.advanced(received, connections)


def _is_file_of(path: Path, size: int | None) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and size in (None, found.st_size)


def _fill(stop: StopSign, source: _Source, part: Path, advanced: Callable[[int], None]) -> None:
    make_helper_directories(part)
    # A name for a file that cannot be written to could not be synced, nor removed everywhere.
    if source.is_ours and os.access(source.path, os.W_OK):
        with suppress(OSError):  # another file system, or one without hard links
            os.link(os.path.realpath(source.path), part)
            return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with open(source.path, "rb", buffering=0) as original:
        copy = os.open(part, flags, 0o666)
        try:
            done = 0
            for count in _copied(original.fileno(), copy):
                stop.check()
                done += count
                advanced(done)
        finally:
            os.close(copy)


def _copied(original: int, copy: int) -> Iterator[int]:
    """Copy all of it; the numbers of bytes, block by block."""
    in_kernel = getattr(os, "copy_file_range", None)
    while True:
        if in_kernel is not None:
            try:
                count = in_kernel(original, copy, _BLOCK)
            except OSError as error:
                if error.errno not in _CANNOT_COPY_RANGES:
                    raise
                in_kernel = None
                continue
        else:
            block = memoryview(os.read(original, _BLOCK))
            count = len(block)
            while block:
                block = block[os.write(copy, block) :]
        if not count:
            return
        yield count

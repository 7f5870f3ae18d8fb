"""Where the pieces of one file come from: its URL and its mirrors, and which of them may be mixed.

Bytes of different origins are put together only where all state the same SHA-256, or the SHA-256 of the
whole is known, so that the end will tell, or where all show the same strong validator for the same size.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import DownloadError, ResolverError
from ..net.faults import error_from_response
from ..net.heads import Head
from ..net.probe import RemoteFile, content_range, content_type, remote_file
from ..net.wire import Target
from .verify import check_content_type

if TYPE_CHECKING:
    from ..net.client import HttpClient


Place = tuple[Target, str | None]
"""Where a file lies, and its strong validator there."""

Locate = Callable[[str], Awaitable[Place]]
"""Finds the place of a URL; see ``locate``."""


@dataclass(frozen=True)
class Content:
    """What is being fetched. ``etag``: a strong validator as ``net.heads`` has it."""

    size: int
    sha256: str | None
    etag: str | None


@dataclass(eq=False)
class Origin:
    """One URL that the content comes from.

    ``target``: where it lies, once resolved. ``etag``: the validator there. ``workers``: connections to
    it. ``not_before``: clock time until which it is left alone. ``failures``: in a row without a byte.
    ``renewals``: the same of resolving anew. ``received``: bytes it gave. ``last_error``: why it is left
    alone. ``error``: why it is not used any more. ``seconds``: how long connections to it have lived, all
    together. ``is_slow``: each of them brought far less than those to another origin.
    """

    url: str = field(repr=False)
    target: Target | None = None
    etag: str | None = None
    workers: int = 0
    not_before: float = 0.0
    failures: int = 0
    renewals: int = 0
    received: int = 0
    seconds: float = 0.0
    is_slow: bool = False
    ignores_ranges: bool = False
    last_error: DownloadError | None = None
    error: ResolverError | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it can be asked, but for waiting."""
        return self.target is not None and self.error is None

    @property
    def host(self) -> str:
        return self.target.url.host if self.target is not None else "?"


def check_answer(answer: Head, name: str) -> None:
    """Refuse an answer whose headers say that its body is not the file. Raises ``DownloadError``."""
    if answer.encoding:
        raise DownloadError(
            f"{answer.url.host} sends the file {answer.encoding}-encoded although we ask "
            "for it as it is. Use another source.",
            code="ENCODING_REFUSED",
        )
    check_content_type(content_type(answer), name)


async def locate(client: HttpClient, content: Content, name: str, url: str) -> Place:
    """Find out (again) where ``url`` lies, and that it is ``content``, which is to be called ``name``.

    Raises ``DownloadError`` as in ``net.faults``, ``CHANGED_ON_SERVER`` if it has something else, and
    ``UrlRefused``.
    """
    async with client.open(url, headers={"Range": "bytes=0-0"}) as answer:
        if answer.status != 206:
            if answer.status == 200:
                raise DownloadError(
                    f"{answer.url.host} does not send parts of a file.", code="SERVER_REFUSED"
                )
            raise error_from_response(answer)
        check_answer(answer, name)
        limits = content_range(answer)
        remote = remote_file(answer)
        etag = answer.strong_etag
        if limits is None or limits[2] != content.size:
            raise changed("it has another length")
        if not _is_same(remote, etag, content):
            raise changed("it cannot be told whether it is the same")
        if limits[:2] != (0, 0) or answer.content_length != 1:
            raise changed("it sends other bytes than those asked for")
        await answer.response.read()
        target = await client.target(answer)
        if not target.can_be_wired:
            raise DownloadError("A proxy over TLS brings one file at a time.", code="SERVER_REFUSED")
        return target, etag


def _is_same(remote: RemoteFile, etag: str | None, content: Content) -> bool:
    if remote.sha256 is not None and content.sha256 is not None:
        return remote.sha256 == content.sha256
    return content.sha256 is not None or (etag is not None and etag == content.etag)


def changed(how: str) -> DownloadError:
    return DownloadError(
        f"The file on the server is not the same any more: {how}. Look for it anew.", code="CHANGED_ON_SERVER"
    )


def choose(origins: list[Origin], now: float) -> Origin | None:
    """The origin for one more connection: of those that answer, the one with the fewest, if any."""
    ready = [origin for origin in origins if origin.is_ready and origin.not_before <= now]
    # One that failed lately gets one connection until it has proven itself.
    ready = [origin for origin in ready if not (origin.failures and origin.workers)]
    return min(ready, key=lambda origin: (origin.workers, origin.failures), default=None)

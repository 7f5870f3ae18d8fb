"""What a hub was asked, for tests to look at. Written on the hub's loop, readable from any thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from .world import HubFile

Host = Literal["api", "storage"]

HEADERS = ("Authorization", "Range", "If-Range", "User-Agent", "Accept-Encoding")
"""The request headers that are kept."""

FileOf = Callable[[web.Request], "HubFile | None"]
"""Which file a request is about, as its host knows it."""


@dataclass(frozen=True)
class LoggedRequest:
    """One request, once its answer's status was known (its body may still be on the way)."""

    host: Host
    method: str
    path: str
    """Without the query, as it was sent (percent-encoded)."""
    file: str | None
    """The file's path in its repository, where the request was about one: storage URLs do not show it."""
    headers: Mapping[str, str]
    """Those of ``HEADERS`` that the request carried."""
    status: int


class RequestLog:
    """Every request to a hub, in the order of the answers."""

    def __init__(self) -> None:
        self._entries: list[LoggedRequest] = []

    def entries(
        self, host: Host | None = None, *, method: str | None = None, file: str | None = None
    ) -> list[LoggedRequest]:
        """A copy of the log, or of what in it is for this host, method and file (path or file name)."""
        return [
            entry
            for entry in list(self._entries)
            if (host is None or entry.host == host)
            and (method is None or entry.method == method)
            and (file is None or (entry.file is not None and f"/{entry.file}".endswith(f"/{file}")))
        ]

    def watch(self, app: web.Application, host: Host, file_of: FileOf) -> None:
        """Write down every request to ``app``, unknown paths included.

        At the start of the answer rather than its end: a client that has read an answer finds its
        request here.
        """

        async def note(request: web.Request, response: web.StreamResponse) -> None:
            file = file_of(request)
            self._entries.append(
                LoggedRequest(
                    host=host,
                    method=request.method,
                    path=request.rel_url.raw_path,
                    file=file.path if file else None,
                    headers={name: request.headers[name] for name in HEADERS if name in request.headers},
                    status=response.status,
                )
            )

        app.on_response_prepare.append(note)

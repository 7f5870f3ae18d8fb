"""What the hubs were asked, for tests and figures. Written on the hub's loop, readable from any thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from .faults import route_name

Host = Literal["api", "storage", "civitai", "modelscope"]
"""``api`` is Hugging Face's."""

HEADERS = ("Authorization", "Range", "If-Range", "User-Agent", "Accept-Encoding")
"""The request headers that are kept."""


@dataclass(frozen=True)
class Subject:
    """What a request is about, as its host knows it, whether it may have it or not.

    ``repo``: a repository's id as it was asked for, or at Civitai ``models/1``, ``versions/2``.
    """

    repo: str | None = None
    file: str | None = None


SubjectOf = Callable[[web.Request], Subject]


@dataclass(frozen=True)
class LoggedRequest:
    """One request, once its answer's status was known (its body may still be on the way)."""

    host: Host
    route: str
    """The route's name, ``huggingface.resolve``; empty for a path that no route has."""
    method: str
    path: str
    """Without the query, as it was sent (percent-encoded)."""
    query: str
    repo: str | None
    file: str | None
    """The file's path in its repository, where the request was about one: storage URLs do not show it."""
    headers: Mapping[str, str]
    """Those of ``HEADERS`` that the request carried."""
    status: int
    """0 for a request that was left without an answer."""


class RequestLog:
    """Every request to a hub, in the order of the answers."""

    def __init__(self) -> None:
        self._entries: list[LoggedRequest] = []

    def entries(
        self,
        host: Host | None = None,
        *,
        route: str | None = None,
        method: str | None = None,
        file: str | None = None,
    ) -> list[LoggedRequest]:
        """A copy of the log, or of what in it is for this host, route, method and file (path or name)."""
        return [
            entry
            for entry in list(self._entries)
            if (host is None or entry.host == host)
            and (route is None or entry.route == route)
            and (method is None or entry.method == method)
            and (file is None or (entry.file is not None and f"/{entry.file}".endswith(f"/{file}")))
        ]

    def counts(self, by: Literal["host", "route", "repo", "file"] = "route") -> Counter[str]:
        """How many requests there were for each; those that have none (an unknown path) are left out."""
        values = (getattr(entry, by) for entry in list(self._entries))
        return Counter(value for value in values if value)

    def clear(self) -> None:
        """Forget them: what is counted next is counted alone."""
        self._entries.clear()

    def watch(self, app: web.Application, host: Host, subject_of: SubjectOf) -> Callable[[web.Request], None]:
        """Write down every request to ``app``, unknown paths included.

        At the start of the answer rather than its end: a client that has read an answer finds its
        request here. The function it gives notes a request that will not be answered.
        """

        def note(request: web.Request, status: int) -> None:
            subject = subject_of(request)
            self._entries.append(
                LoggedRequest(
                    host=host,
                    route=route_name(request),
                    method=request.method,
                    path=request.rel_url.raw_path,
                    query=request.rel_url.raw_query_string,
                    repo=subject.repo,
                    file=subject.file,
                    headers={name: request.headers[name] for name in HEADERS if name in request.headers},
                    status=status,
                )
            )

        async def answered(request: web.Request, response: web.StreamResponse) -> None:
            note(request, response.status)

        app.on_response_prepare.append(answered)
        return lambda request: note(request, 0)

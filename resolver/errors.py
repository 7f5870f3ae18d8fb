"""Every failure this program reports, as one tree with stable codes.

::

    ResolverError
    ├── BadInput            400  what the caller sent cannot be used
    │   ├── WorkflowError        not a workflow we can read
    │   ├── UnsafeName           a name that would leave its folder
    │   └── UrlRefused           a URL we do not fetch (scheme, host, credentials)
    ├── Refused             403  the caller may not do this (see ``resolver.http.guard``)
    ├── NotFound            404  no such download, folder, …
    ├── Conflict            409  it exists already, or is in the wrong state
    ├── SettingsError       500  a setting is unknown or has a bad value
    └── DownloadError       502  a file could not be fetched; ``retryable`` says if time may heal it

``code`` is part of the contract with other programs: it never changes its meaning.
"""

from __future__ import annotations

from typing import Any


class ResolverError(Exception):
    """Base of all errors meant for the user.

    ``code``: stable, UPPER_SNAKE_CASE. ``message``: one or two sentences that say what to do.
    ``status``: the HTTP status a route answers with. ``details``: JSON-serialisable extras.
    """

    status = 500
    code = "INTERNAL"

    def __init__(
        self, message: str, *, code: str | None = None, status: int | None = None, **details: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        self.details = details

    def as_json(self) -> dict[str, Any]:
        """The body of an error answer: ``{"code", "message", "details"}``."""
        return {"code": self.code, "message": self.message, "details": self.details}


class BadInput(ResolverError):
    status = 400
    code = "BAD_INPUT"


class WorkflowError(BadInput):
    code = "WORKFLOW_INVALID"


class UnsafeName(BadInput):
    code = "NAME_UNSAFE"


class UrlRefused(BadInput):
    code = "URL_REFUSED"


class Refused(ResolverError):
    status = 403
    code = "REFUSED"


class NotFound(ResolverError):
    status = 404
    code = "NOT_FOUND"


class Conflict(ResolverError):
    status = 409
    code = "CONFLICT"


class SettingsError(ResolverError):
    code = "SETTINGS_INVALID"


class DownloadError(ResolverError):
    """A transfer or its verification failed.

    ``retryable``: the same request may succeed later (network, 5xx, 429); the queue retries those
    by itself, with a budget. ``retry_after``: seconds the server asked us to wait, if it did.
    """

    status = 502
    code = "DOWNLOAD_FAILED"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message, code=code, **details)
        self.retryable = retryable
        self.retry_after = retry_after

"""Answers with a reason, as Hugging Face gives them.

The codes (``X-Error-Code``, ``X-Error-Message``) are those that clients tell errors apart by:
https://huggingface.co/docs/huggingface_hub/package_reference/utilities#huggingface_hub.utils.hf_raise_for_status.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler


class Refusal(Exception):
    """An answer with a reason. ``code`` goes into ``X-Error-Code``; without one it is a bare refusal."""

    def __init__(
        self, status: int, message: str, code: str | None = None, *, commit: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.commit = commit

    def response(self) -> web.Response:
        headers = {"X-Error-Message": self.message}
        if self.code:
            headers["X-Error-Code"] = self.code
        if self.commit:
            headers["X-Repo-Commit"] = self.commit
        return web.json_response({"error": self.message}, status=self.status, headers=headers)


class Moved(Exception):
    """The repository has another name: 307 with a relative ``Location``."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location

    def response(self) -> web.Response:
        text = f"Temporary Redirect. Redirecting to {self.location}"
        return web.Response(status=307, headers={"Location": self.location}, text=text)


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns a ``Refusal`` or ``Moved`` raised by a handler into its answer."""
    try:
        return await handler(request)
    except (Refusal, Moved) as answer:
        return answer.response()

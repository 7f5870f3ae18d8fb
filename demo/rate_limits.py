"""How often Hugging Face may be asked: https://huggingface.co/docs/hub/rate-limits.

The headers follow draft-ietf-httpapi-ratelimit-headers-09, which that page names.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from .faults import route_name
from .options import HubOptions

WINDOW = 300
"""Seconds in which requests are counted together."""

_PLENTY = 1_000_000


class RateLimiter:
    """Counts each caller's requests, by token, in two buckets: ``api`` and ``resolvers``."""

    def __init__(self, options: HubOptions, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._window_began = clock()
        self._used: Counter[tuple[str, str]] = Counter()

    def middleware(self) -> Middleware:
        @web.middleware
        async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
            bucket = "resolvers" if route_name(request) == "huggingface.resolve" else "api"
            headers = self.count(bucket, request.headers.get("Authorization", ""))
            if headers is None:
                return web.json_response(
                    {"error": "You have been rate limited."}, status=429, headers=self._headers(bucket, 0)
                )
            response = await handler(request)
            if not response.prepared:
                response.headers.update(headers)
            return response

        return limit

    def count(self, bucket: str, caller: str) -> dict[str, str] | None:
        """The headers that say what is left, or None if nothing was."""
        if self._clock() - self._window_began >= WINDOW:
            self._used.clear()
            self._window_began = self._clock()
        self._used[bucket, caller] += 1
        left = self._quota(bucket) - self._used[bucket, caller]
        return None if left < 0 else self._headers(bucket, left)

    def _headers(self, bucket: str, left: int) -> dict[str, str]:
        ends_in = max(1, round(WINDOW - (self._clock() - self._window_began)))
        return {
            "RateLimit": f'"{bucket}";r={left};t={ends_in}',
            "RateLimit-Policy": f'"fixed window";"{bucket}";q={self._quota(bucket)};w={WINDOW}',
        }

    def _quota(self, bucket: str) -> int:
        return self._options.rate_limits.get(bucket, _PLENTY)

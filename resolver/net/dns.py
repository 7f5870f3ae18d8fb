"""Names that turn out to mean this machine or its own network.

A name may be allowed and yet resolve to a private address, by mistake or on purpose (DNS rebinding:
one answer for the check, another for the connection). So the check sits where the connection is made:
aiohttp connects to nothing but what this resolver answers. Through a proxy it is the proxy that
resolves, and its own rules that hold; only the proxy's own name is looked up here.
"""

from __future__ import annotations

import socket
from collections.abc import Collection
from ipaddress import ip_address
from typing import TYPE_CHECKING

from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver

from ..errors import UrlRefused
from .policy import UrlPolicy

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult


class PublicResolver(AbstractResolver):
    """Answers of ``inner`` (the system's resolver unless a test brings its own) that the policy allows.

    ``exempt``: names that are looked up without the rule, because the user configured them (proxies).
    """

    def __init__(
        self, policy: UrlPolicy, *, exempt: Collection[str] = (), inner: AbstractResolver | None = None
    ) -> None:
        self._policy = policy
        self._exempt = frozenset(exempt)
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises ``OSError`` where there is no answer, ``UrlRefused`` where none is allowed."""
        if self._inner is None:
            # Not before: it belongs to the loop on which it is made.
            self._inner = ThreadedResolver()
        answers = await self._inner.resolve(host, port, family)
        if host in self._exempt:
            return answers
        allowed = [
            answer
            for answer in answers
            if self._policy.may_connect(host, port, ip_address(answer["host"].partition("%")[0]))
        ]
        if answers and not allowed:
            found = answers[0]["host"]
            raise UrlRefused(
                f"The name {host} leads to {found}, an address of this machine or its own network. If that "
                f"is meant, add {found}:{port} to CMR_ALLOWED_HOSTS.",
                code="URL_HOST_NOT_ALLOWED",
                host=host,
                address=found,
            )
        return allowed

    async def close(self) -> None:
        if self._inner is not None:
            await self._inner.close()

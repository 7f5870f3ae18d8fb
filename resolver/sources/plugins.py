"""Sources that other installed packages bring, by the entry point ``comfyui_model_resolver.sources``.

An entry point names a function that takes the ``Tools`` and returns a ``Source`` (docs/sources.md has an
example). A package that fails to load costs its own source only.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any

from pydantic import TypeAdapter

from ..net.api import request_json
from ..net.client import HttpClient
from ..schemas import Evidence
from . import Context, Offer, Source, Wanted
from .asking import DAY, Answered, Asker, Budget

log = logging.getLogger(__name__)

GROUP = "comfyui_model_resolver.sources"

_OFFER = TypeAdapter(Offer)
# Anything else is found out by us, or is the workflow's author's to say.
_MAY_SAY: frozenset[Evidence] = frozenset({"catalog"})


@dataclass(frozen=True)
class Tools:
    """What a source of another package may use. ``offer`` makes an ``Offer``, so it imports nothing of us."""

    client: HttpClient
    asker: Asker
    offer: type[Offer] = Offer

    async def get_json(self, url: str, budget: Budget, *, keep: float = DAY) -> Any:
        """The JSON at ``url``, None for 404; remembered for ``keep`` seconds, paced, within the budget.

        The host must be one that CMR_ALLOWED_HOSTS lists. Raises ``UrlRefused`` and ``DownloadError``.
        """
        host = self.client.policy.check(url).host

        async def send(etag: str | None) -> Answered:
            said = await request_json(self.client, url, etag=etag)
            return Answered(said.value, said.etag, said.unchanged)

        return await self.asker.ask(host, f"plugin {url}", send, budget, keep=keep)


class PluginSource:
    """Another package's source, which is not taken at its word: what is no offer never gets further."""

    def __init__(self, source: Source) -> None:
        """Raises ``TypeError`` if it has no name."""
        self._source = source
        self.name, self.online = source.name, bool(source.online)
        if not (isinstance(self.name, str) and self.name):
            raise TypeError(f"its name is {self.name!r}")

    async def find(self, wanted: Wanted, context: Context, budget: Budget) -> list[Offer]:
        """Raises, beside what the source does, ``TypeError`` or ``ValueError`` if its answer is no offers."""
        return [self._whole(offer) for offer in await self._source.find(wanted, context, budget)]

    def _whole(self, offer: Offer) -> Offer:
        whole = _OFFER.validate_python(vars(offer))
        # It speaks for itself only, not for the server that has the file.
        return replace(
            whole,
            source=self.name,
            checked=False,
            blake3=None,
            autov3=None,
            evidence=whole.evidence & _MAY_SAY,
        )


def plugin_sources(tools: Tools, taken: Collection[str]) -> Iterator[Source]:
    """The sources of installed packages, but for those whose name is ``taken``."""
    names = set(taken)
    for entry_point in entry_points(group=GROUP):
        try:
            source = PluginSource(entry_point.load()(tools))
        except Exception as error:
            # It may be anyone's code.
            log.warning("The source %s cannot be used: %s: %s", entry_point.name, type(error).__name__, error)
            continue
        if source.name in names:
            log.warning("The source %s of %s is left out: the name is taken.", source.name, entry_point.value)
            continue
        names.add(source.name)
        yield source

"""The whole search, from a wanted model to its candidates, against hubs that run here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from demo.hub import Hub
from demo.world import World
from resolver.net.client import HttpClient
from resolver.net.probe import RemoteFile, probe
from resolver.resolution import ResolutionService
from resolver.schemas import Resolution
from resolver.settings import load_settings
from resolver.sources import Context, Wanted
from resolver.sources.asking import Asker, Cache, NoCache
from resolver.sources.civitai import CivitaiSource
from resolver.sources.headers import HeaderReader
from resolver.sources.huggingface import HuggingFaceSource
from resolver.sources.modelscope import ModelScopeMirrors
from resolver.sources.workflow import WorkflowSource


def wanted(name: str, folder: str = "loras", **known: Any) -> Wanted:
    return Wanted(f"{folder}/{name}", folder, name, **known)


class Searching:
    """The parts of the program that search, put together as the program does."""

    def __init__(self, hub: Hub, client: HttpClient, cache: Cache, modelscope: bool) -> None:
        self.hub = hub
        self.client = client
        self.asker = Asker(cache)
        self.headers = HeaderReader(client, self.asker)
        self.mirrors = ModelScopeMirrors(client, self.asker, hub.modelscope)
        sources = (
            WorkflowSource(),
            HuggingFaceSource(client, self.asker, hub.endpoint),
            CivitaiSource(client, self.asker, hub.civitai),
        )
        self.service = ResolutionService(
            sources,
            self._probe,
            client.policy.check,
            inspect=self.headers,
            mirror=self.mirrors if modelscope else None,
        )

    async def find(self, model: Wanted, context: Context | None = None, **asked: Any) -> Resolution:
        found = self.service.resolve([model], context or Context(), **asked)
        [resolution] = [resolution async for resolution in found]
        return resolution

    def routes(self, *routes: str) -> int:
        """How often these routes were asked."""
        return sum(entry.route in routes for entry in self.hub.log.entries())

    async def _probe(self, url: str) -> RemoteFile:
        return await probe(self.client, url)


@asynccontextmanager
async def searching(
    world: World,
    *,
    hf_token: str | None = None,
    civitai_api_key: str | None = None,
    cache: Cache | None = None,
    modelscope: bool = False,
    **options: Any,
) -> AsyncIterator[Searching]:
    """``options``: the hub's."""
    hub = Hub(world, **options)
    await hub.start()
    hosts = (hub.endpoint, hub.civitai, hub.modelscope, hub.storage)
    settings = load_settings(
        {
            "hf_endpoint": hub.endpoint,
            "civitai_endpoint": hub.civitai,
            "modelscope": modelscope,
            "modelscope_endpoint": hub.modelscope,
            "allowed_hosts": ",".join(host.removeprefix("http://") for host in hosts),
            "hf_token": hf_token,
            "civitai_api_key": civitai_api_key,
        }
    ).values
    client = HttpClient(settings)
    try:
        yield Searching(hub, client, cache or NoCache(), modelscope)
    finally:
        await client.close()
        await hub.stop()

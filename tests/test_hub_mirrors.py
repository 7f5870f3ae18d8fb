"""Long lists of the Hub, page by page: from the Hub itself, and through mirrors that pass its answers on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from demo.files import HubFile
from demo.hub import Hub
from demo.options import DEMO_TOKEN
from demo.world import HubRepo, World
from resolver.net.client import HttpClient
from resolver.settings import load_settings
from resolver.sources import Context, Wanted
from resolver.sources.asking import Asker, Budget, NoCache
from resolver.sources.huggingface import HuggingFaceSource

LAST = HubFile("tern.safetensors", 4096, "tern")
# More than a page; the last one by its name is on the second.
REPOS = [HubRepo(f"Kijai/n{number}", (HubFile("a.safetensors", 64, "a"),)) for number in range(1000)]
WORLD = World({repo.id: repo for repo in (*REPOS, HubRepo("Kijai/z", (LAST,), gated="auto"))})


@asynccontextmanager
async def passing_through(hub: str, named: str) -> AsyncIterator[str]:
    """A mirror of the hub whose next pages are at ``named``."""

    async def forward(request: web.Request) -> web.Response:
        kept = ("Authorization", "Accept", "Content-Type")
        sent = {name: request.headers[name] for name in kept if name in request.headers}
        body = await request.read()
        async with session.request(request.method, hub + request.raw_path, headers=sent, data=body) as answer:
            link = answer.headers.get("Link", "").replace(hub, named)
            return web.Response(
                status=answer.status,
                body=await answer.read(),
                content_type=answer.content_type,
                headers={"Link": link} if link else {},
            )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def found_at(endpoint: str) -> list[str]:
    settings = load_settings(
        {"hf_endpoint": endpoint, "allowed_hosts": endpoint.removeprefix("http://"), "hf_token": DEMO_TOKEN}
    ).values
    client = HttpClient(settings)
    try:
        source = HuggingFaceSource(client, Asker(NoCache()), endpoint)
        wanted = Wanted(f"loras/{LAST.name}", "loras", LAST.name)
        offers = await source.find(wanted, Context(), Budget())
    finally:
        await client.close()
    return [offer.url.split("/resolve/")[0] for offer in offers if offer.sha256 == LAST.sha256]


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    running = Hub(WORLD)
    await running.start()
    yield running
    await running.stop()


async def test_what_is_on_the_second_page_is_found(hub: Hub) -> None:
    assert await found_at(hub.endpoint) == ["https://huggingface.co/Kijai/z"]


async def test_a_mirror_that_names_the_hub_itself_is_asked_for_the_next_page(hub: Hub) -> None:
    async with passing_through(hub.endpoint, "https://huggingface.co") as mirror:
        assert await found_at(mirror) == ["https://huggingface.co/Kijai/z"]


async def test_a_next_page_anywhere_else_is_not_asked_for(hub: Hub) -> None:
    async with passing_through(hub.endpoint, hub.civitai) as mirror:
        assert await found_at(mirror) == []
    asked = [entry for entry in hub.log.entries() if entry.host != "api"]
    assert asked == []

"""One small hub and one way to ask it, for the tests of the hubs. Real sockets throughout."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from demo import Hub, World

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "demo" / "workflows" / "text-to-image.json"
REPO = "demo-models/tiny"
PATH = "split_files/vae/tiny_vae.safetensors"
SIZE = 300_001
OPEN = f"https://huggingface.co/{REPO}/resolve/main/{PATH}"
GATED = "https://huggingface.co/demo-models/locked/resolve/main/locked.safetensors"

WORLD = World.for_urls([OPEN, GATED], sizes=SIZE, gated={"demo-models/locked": "auto"})
FILE = WORLD.repos[REPO].files[0]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    url: str, method: str = "GET", token: str | None = None, body: Any = None, **headers: str
) -> Answer:
    """One request of its own connection, redirects not followed; ``If_Range`` for the header ``If-Range``.

    ``body`` is sent as JSON.
    """
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(method, url, headers=sent, json=body, allow_redirects=False) as response,
    ):
        return Answer(response.status, response.headers.copy(), await response.read())


@asynccontextmanager
async def serving(world: World = WORLD, **options: Any) -> AsyncIterator[Hub]:
    hub = Hub(world, **options)
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop()


def at(hub: Hub, url: str) -> str:
    """The URL of huggingface.co on this hub."""
    return url.replace("https://huggingface.co", hub.endpoint)


async def storage_url(hub: Hub) -> str:
    return str((await ask(at(hub, OPEN))).headers["Location"])

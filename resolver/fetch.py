"""Fetching files and waiting for them: what the command line, prompts and the Ensure Models node do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from . import schemas
from .app import Resolver
from .host import canonical_folder
from .names import parse_model_name

ENDED = ("completed", "failed", "cancelled")
_MOST_MIRRORS = 16


def item_for(model: schemas.Model, resolution: schemas.Resolution) -> schemas.DownloadItem | None:
    """What to download for a model without asking: only what was found for certain, and is to be had."""
    if resolution.state != "resolved" or model.folder is None:
        return None
    best = resolution.candidates[0]
    if best.needs is not None:
        return None
    return schemas.DownloadItem(
        folder=model.folder,
        filename=model.name,
        url=best.url,
        mirrors=best.mirrors[:_MOST_MIRRORS],
        sha256=best.sha256 or model.sha256,
        size=best.size,
    )


async def fetch(resolver: Resolver, items: Sequence[schemas.DownloadItem]) -> AsyncIterator[schemas.Download]:
    """Every new state of the downloads for ``items``, until all have ended. Runs on the engine's loop.

    First each download as it is at the beginning, in the order of ``items``. A download for the same
    place that was left unfinished goes on instead of a new one. Raises what ``DownloadQueue.submit`` raises.
    """
    begun = await begin(resolver, items)
    for download in begun:
        yield download
    async for download in follow(resolver, begun):
        yield download


async def follow(
    resolver: Resolver, downloads: Sequence[schemas.Download]
) -> AsyncIterator[schemas.Download]:
    """Every state of these downloads that is newer than the given one, until all have ended."""
    state = {download.id: download for download in downloads}
    events = resolver.events.listen()
    upcoming = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)  # listening has begun before we look what has happened so far
    changed = await resolver.downloads.list()
    try:
        while True:
            for download in changed:
                if download.id in state and download != state[download.id]:
                    state[download.id] = download
                    yield download
            if all(download.status in ENDED for download in state.values()):
                return
            done, _ = await asyncio.wait({upcoming}, timeout=1.0)
            if done:
                name, data = upcoming.result()
                upcoming = asyncio.ensure_future(anext(events))
                changed = [schemas.Download.model_validate(data)] if name == "download" else []
            else:
                # One that another process is fetching sends us no events.
                changed = await resolver.downloads.list()
    finally:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)
        await events.aclose()


async def begin(resolver: Resolver, items: Sequence[schemas.DownloadItem]) -> list[schemas.Download]:
    """The downloads for ``items``, in that order, as ``fetch`` begins or goes on with them."""
    unfinished = {
        (download.folder, download.filename): download
        for download in await resolver.downloads.list()
        if download.status not in ENDED
    }
    new = [item for item in items if _place(item) not in unfinished]
    submitted = await resolver.downloads.submit(new) if new else []
    known = unfinished | {(download.folder, download.filename): download for download in submitted}
    begun = [known[_place(item)] for item in items]
    return [
        await resolver.downloads.resume(download.id) if download.status == "paused" else download
        for download in begun
    ]


def _place(item: schemas.DownloadItem) -> tuple[str, str]:
    """Folder and name as the queue writes them. Raises ``UnsafeName``."""
    return canonical_folder(item.folder), parse_model_name(item.filename)

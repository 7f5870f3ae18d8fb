"""Which models there are, and what each is: search and description."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from aiohttp import web

from ..files import HubFile
from ..options import HubOptions
from ..world import HubRepo, World
from .access import Access
from .paging import flag, many, page_of
from .refusal import Refusal

_PAGE = 1000

_BRIEF = ("likes", "private", "downloads", "tags", "createdAt", "modelId")
_FULL = (*_BRIEF, "author", "sha", "lastModified", "gated", "disabled", "siblings")
_DESCRIPTION = (*_FULL, "cardData", "usedStorage")

_SORTS: dict[str, Callable[[HubRepo], Any]] = {
    "trendingScore": lambda repo: repo.likes,
    "downloads": lambda repo: repo.downloads,
    "likes": lambda repo: repo.likes,
    "createdAt": lambda repo: repo.day,
    "lastModified": lambda repo: repo.day,
}


class Models:
    """Handlers over a world."""

    def __init__(self, world: World, access: Access, options: HubOptions) -> None:
        self._world = world
        self._access = access
        self._options = options

    async def search(self, request: web.Request) -> web.Response:
        """``GET /api/models``: a page of repositories; ``search`` is looked for in their ids alone.

        ``search``, ``author``, ``filter`` (tags, all of them), ``gated``, ``sort``, ``direction``,
        ``limit``, ``full``, ``expand[]``, ``cursor``:
        https://huggingface.co/docs/hub/en/api#get-apimodels and
        https://huggingface.co/docs/huggingface_hub/package_reference/hf_api#huggingface_hub.HfApi.list_models.
        Every word of ``search`` must be in the id, in any case.
        """
        account = self._access.account(request)
        words = request.query.get("search", "").lower().split()
        author = request.query.get("author", "").lower()
        tags = set(many(request, "filter"))
        found = [
            repo
            for repo in self._world.repos.values()
            if self._access.sees(account, repo)
            and all(word in repo.id.lower() for word in words)
            and author in ("", repo.owner.lower())
            and tags <= set(_tags(repo))
            and ("gated" not in request.query or flag(request, "gated") == (repo.gated is not None))
        ]
        sort = request.query.get("sort", "trendingScore")
        if sort not in _SORTS:
            raise Refusal(400, f'"sort" must be one of {", ".join(_SORTS)}')
        found.sort(key=_SORTS[sort], reverse=request.query.get("direction", "-1") != "1")
        page, headers = page_of(request, found, _PAGE)
        fields = many(request, "expand") or (_FULL if flag(request, "full") else _BRIEF)
        described = await asyncio.to_thread(lambda: [self._describe(repo, fields, False) for repo in page])
        return web.json_response(described, headers=headers)

    async def info(self, request: web.Request) -> web.Response:
        """``GET /api/models/{repo}[/revision/{revision}]``: what is in a repository, gated or not.

        ``blobs=true`` adds each file's size, git blob and LFS hash; ``expand[]`` names the fields
        instead. https://huggingface.co/docs/hub/en/api#get-apimodelsrepoid-or-apimodelsrepoidrevisionrevision;
        the fields: https://huggingface.co/docs/huggingface_hub/package_reference/hf_api#huggingface_hub.ModelInfo.
        """
        repo = self._access.repo(request, self._access.account(request))
        self._access.check_revision(repo, request.match_info.get("revision", "main"))
        fields = many(request, "expand") or _DESCRIPTION
        blobs = flag(request, "blobs")
        return web.json_response(await asyncio.to_thread(self._describe, repo, fields, blobs))

    def _describe(self, repo: HubRepo, fields: Iterable[str], blobs: bool) -> dict[str, Any]:
        known: dict[str, Callable[[], Any]] = {
            "modelId": lambda: repo.id,
            "author": lambda: repo.owner,
            "sha": lambda: repo.commit,
            "createdAt": lambda: timestamp(repo.day),
            "lastModified": lambda: timestamp(repo.day),
            "private": lambda: repo.private,
            "disabled": lambda: repo.disabled,
            "gated": lambda: repo.gated or False,
            "downloads": lambda: repo.downloads,
            "likes": lambda: repo.likes,
            "trendingScore": lambda: repo.likes,
            "tags": lambda: _tags(repo),
            "cardData": lambda: {"license": repo.license} if repo.license else {},
            "usedStorage": lambda: sum(self._options.stated_size(file) for file in repo.files),
            "siblings": lambda: [self._sibling(file, blobs) for file in repo.files],
        }
        described = {field: known[field]() for field in fields if field in known}
        return {"_id": repo.commit[:24], "id": repo.id, **described}

    def _sibling(self, file: HubFile, blobs: bool) -> dict[str, Any]:
        sibling: dict[str, Any] = {"rfilename": file.path}
        if blobs:
            size = self._options.stated_size(file)
            sibling |= {"size": size, "blobId": file.blob_id}
            if file.is_lfs:
                sibling["lfs"] = {"sha256": file.sha256, "size": size, "pointerSize": len(file.pointer)}
        return sibling


def timestamp(day: int) -> str:
    moment = datetime(2025, 1, 1, tzinfo=timezone.utc) + timedelta(days=day)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _tags(repo: HubRepo) -> list[str]:
    return [*repo.tags, *([f"license:{repo.license}"] if repo.license else [])]

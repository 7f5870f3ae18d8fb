"""The routes of Civitai's host, by name."""

from __future__ import annotations

import asyncio
from functools import cached_property

from aiohttp import web
from aiohttp.typedefs import Middleware

from ..conditional import conditional
from ..options import HubOptions
from ..request_log import Subject
from ..storage import Storage
from ..world import World
from .access import Access
from .catalog import CivitaiModel, CivitaiVersion
from .describe import describe_model, describe_version
from .download import Downloads
from .refusal import Refusal, refusals
from .search import find_models

_MAX_HASHES = 100
_MAX_HASHES_FOR_IDS = 10_000

_Found = tuple[CivitaiModel, CivitaiVersion]


class CivitaiApi:
    """Handlers over a world; files themselves come from the storage host, by redirect."""

    def __init__(self, world: World, storage: Storage, options: HubOptions) -> None:
        self._models = {model.id: model for model in world.civitai}
        self._versions = {
            version.id: (model, version) for model in world.civitai for version in model.versions
        }
        self._options = options
        self._access = Access(options)
        self._downloads = Downloads(self._versions, storage, self._access)

    def middlewares(self) -> list[Middleware]:
        return [self._access.agents(), conditional, refusals]

    def routes(self) -> list[web.RouteDef]:
        by_hash = "/api/v1/model-versions/by-hash"
        version = "{version:[0-9]+}"
        return [
            web.get("/api/v1/me", self.me, name="civitai.me"),
            web.get("/api/v1/models", self.models, name="civitai.models"),
            web.get("/api/v1/models/{model:[0-9]+}", self.model, name="civitai.model"),
            web.get(f"/api/v1/model-versions/{version}", self.version, name="civitai.version"),
            web.get(f"{by_hash}/{{hash}}", self.by_hash, name="civitai.by-hash"),
            web.post(by_hash, self.by_hashes, name="civitai.by-hashes"),
            web.post(f"{by_hash}/ids", self.ids_by_hashes, name="civitai.ids-by-hashes"),
            web.get(f"/api/download/models/{version}", self._downloads.download, name="civitai.download"),
        ]

    def subject_of(self, request: web.Request) -> Subject:
        for kind in ("model", "version"):
            if kind in request.match_info:
                return Subject(f"{kind}s/{request.match_info[kind]}")
        return Subject()

    async def me(self, request: web.Request) -> web.Response:
        """``GET /api/v1/me``: whose key it is; 401 for none and for a bad one alike.

        https://developer.civitai.com/site/reference/users.
        """
        account = self._access.account(request)
        if account is None:
            raise Refusal(401, "Unauthorized")
        return web.json_response(
            {
                "id": 1,
                "username": account.name,
                "tier": account.tier,
                "status": "active",
                "isMember": account.tier != "free",
                "subscriptions": [],
            }
        )

    async def models(self, request: web.Request) -> web.Response:
        """``GET /api/v1/models``: a page of models.

        ``query``, ``types``, ``baseModels``, ``ids``, ``tag``, ``username``, ``nsfw``, ``sort``,
        ``limit``, ``cursor``, ``page``, ``primaryFileOnly``; ``favorites`` and ``hidden``, of which
        nobody has any, need a key. https://developer.civitai.com/site/reference/models#list-models.
        """
        if {"favorites", "hidden"} & set(request.query):
            if self._access.account(request) is None:
                raise Refusal(401, "Unauthorized")
            return web.json_response({"items": [], "metadata": {}})
        found, metadata = find_models(request, list(self._models.values()), self._access)
        primary_only = request.query.get("primaryFileOnly", "").lower() == "true"
        site = str(request.url.origin())
        items = await asyncio.to_thread(
            lambda: [describe_model(model, site, self._options, primary_only=primary_only) for model in found]
        )
        return web.json_response({"items": items, "metadata": metadata})

    async def model(self, request: web.Request) -> web.Response:
        """``GET /api/v1/models/{id}``: https://developer.civitai.com/site/reference/models#get-a-model."""
        model = self._models.get(int(request.match_info["model"]))
        if model is None or not self._access.shows(model):
            raise Refusal(404, f"No model with id {request.match_info['model']}")
        site = str(request.url.origin())
        return web.json_response(await asyncio.to_thread(describe_model, model, site, self._options))

    async def version(self, request: web.Request) -> web.Response:
        """``GET /api/v1/model-versions/{id}``.

        https://developer.civitai.com/site/reference/model-versions#get-a-model-version.
        """
        found = self._versions.get(int(request.match_info["version"]))
        return await self._answer(request, found if found and self._shows(found) else None)

    async def by_hash(self, request: web.Request) -> web.Response:
        """``GET /api/v1/model-versions/by-hash/{hash}``: any of the recorded kinds, in any case.

        https://developer.civitai.com/site/reference/model-versions#get-a-model-version-by-file-hash.
        """
        index = await asyncio.to_thread(lambda: self._by_any_hash)
        found = index.get(request.match_info["hash"].upper(), [])
        return await self._answer(request, next(filter(self._shows, found), None))

    async def by_hashes(self, request: web.Request) -> web.Response:
        """``POST /api/v1/model-versions/by-hash``: the versions of up to 100 SHA-256 hashes.

        https://developer.civitai.com/site/reference/model-versions#bulk-lookup-by-hash.
        """
        found = await self._lookup(request, _MAX_HASHES)
        versions = {version.id: (model, version) for _, (model, version) in found}
        site = str(request.url.origin())
        return web.json_response(
            await asyncio.to_thread(
                lambda: [describe_version(*pair, site, self._options) for pair in versions.values()]
            )
        )

    async def ids_by_hashes(self, request: web.Request) -> web.Response:
        """``POST /api/v1/model-versions/by-hash/ids``: the version ids of up to 10,000 SHA-256 hashes.

        https://developer.civitai.com/site/reference/model-versions#bulk-lookup-hash-id.
        """
        found = await self._lookup(request, _MAX_HASHES_FOR_IDS)
        return web.json_response(
            [{"modelVersionId": version.id, "hash": sha256} for sha256, (_, version) in found]
        )

    async def _answer(self, request: web.Request, found: _Found | None) -> web.Response:
        if found is None:
            raise Refusal(404, "Model not found")
        site = str(request.url.origin())
        return web.json_response(await asyncio.to_thread(describe_version, *found, site, self._options))

    def _shows(self, found: _Found) -> bool:
        model, version = found
        return version.published and self._access.shows(model)

    async def _lookup(self, request: web.Request, at_most: int) -> list[tuple[str, _Found]]:
        """The hashes in the body and the versions that have them; unknown ones are left out."""
        try:
            hashes = await request.json()
        except ValueError:
            hashes = None
        if not isinstance(hashes, list) or not all(
            isinstance(item, str) and len(item) == 64 for item in hashes
        ):
            raise Refusal(400, "Request must include an array of SHA256 Hashes. Invalid hash")
        if len(hashes) > at_most:
            raise Refusal(400, "Request must include an array of SHA256 Hashes. Too many hashes")
        index = await asyncio.to_thread(lambda: self._by_any_hash)
        return [
            (item.upper(), found)
            for item in hashes
            for found in index.get(item.upper(), [])
            if self._shows(found) and any(file.file.sha256 == item.lower() for file in found[1].files)
        ]

    @cached_property
    def _by_any_hash(self) -> dict[str, list[_Found]]:
        """Made when first needed: it takes every file's content."""
        index: dict[str, list[_Found]] = {}
        for model, version in self._versions.values():
            for file in version.files:
                for value in dict.fromkeys(file.file.civitai_hashes.values()):
                    index.setdefault(value, []).append((model, version))
        return index

"""Civitai: files by hash, by version, and by name.

Source: https://developer.civitai.com/site/reference. A model has versions, a version has files (the same
model in other formats and precisions). ``query`` searches the titles of models, never file names; files
are called after title and version (``epicrealism_naturalSin.safetensors``), so the title is guessed from
the name. Only SHA-256 hashes can be asked for many at a time; AutoV2, AutoV3 and BLAKE3 are one question
each.
What a region does not show is left out of its answers without a word.

civitai.com and civitai.red split the catalogue. A link to civitai.red is asked for there, everything else at
the endpoint of the settings; where that is a mirror, it is asked in either's place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode, urlsplit

from ..errors import DownloadError
from ..host import home_folder
from ..net.api import request_json
from ..net.client import HttpClient
from ..roles import compare, parse_roles
from ..settings import CIVITAI, CIVITAI_RED
from . import Context, Offer, Wanted
from .agreement import made_for_agrees
from .asking import Answered, Asker, Budget
from .base_models import base_models_of, family_of
from .civitai_answers import (
    Found,
    Place,
    autov3_of,
    blake3_of,
    dicts,
    file_url,
    files_at,
    files_named,
    files_of,
    licence_of,
    listed_versions,
    may_be_had,
    place_of,
    safety_of,
    sha256_of,
    site_url,
    slim,
)
from .queries import title_queries

_TYPES: Mapping[str, tuple[str, ...]] = {
    "checkpoints": ("Checkpoint",),
    "diffusion_models": ("Checkpoint",),
    "loras": ("LORA", "LoCon", "DoRA"),
    "vae": ("VAE",),
    "embeddings": ("TextualInversion",),
    "hypernetworks": ("Hypernetwork",),
    "controlnet": ("Controlnet",),
    "upscale_models": ("Upscaler",),
    "animatediff_models": ("MotionModule",),
}
_SEARCHED = 20  # models a search
_LISTED = 20  # versions that a workflow lists
_BATCH = 100  # hashes a question
_BATCH_SECONDS = 0.05  # models of one workflow are asked for at the same time
_FORMAT = 3  # of what is remembered


class CivitaiSource:
    """Files with the wanted hash, of the version that a link or an AIR names, or of equal name.

    By name first in the versions that the workflow lists, then in what a search finds.
    """

    name = "civitai"
    online = True

    def __init__(self, client: HttpClient, asker: Asker, endpoint: str) -> None:
        self._client = client
        self._asker = asker
        self._endpoint = endpoint
        self._hashes = _HashBatch(self)

    async def find(self, wanted: Wanted, context: Context, budget: Budget) -> list[Offer]:
        known = await self._by_hash(wanted, budget)
        offers = [self._offer(version, file) for version, file in await self._with_models(known, budget)]
        place = place_of(wanted)
        version = await self._version_at(place, budget) if place is not None else None
        if place is not None:
            there = await self._with_models(files_at(place, version), budget, place.site)
            offers += [self._offer_at(place, wanted, *found) for found in there]
        if not offers:
            offers = await self._among_listed(wanted, context, budget)
        if not offers:
            offers = [self._offer(*found) for found in await self._by_name(wanted, context, budget)]
        if not offers and place is not None and not may_be_had(version):
            raise DownloadError(
                "Its creator lets it be run at Civitai, but not downloaded.", code="NOT_DOWNLOADABLE"
            )
        return offers

    async def _by_hash(self, wanted: Wanted, budget: Budget) -> list[Found]:
        if wanted.sha256 is not None:
            sha256 = wanted.sha256.lower()
            version = await self._hashes.version(sha256, budget)
            return files_of([version], lambda file: sha256_of(file) == sha256)
        found: list[Found] = []
        if wanted.blake3 is not None:
            version = await self.ask(f"/model-versions/by-hash/{wanted.blake3.upper()}", budget)
            found = files_of([version], lambda file: blake3_of(file) == wanted.blake3)
        if not found and wanted.autov2 is not None:
            version = await self.ask(f"/model-versions/by-hash/{wanted.autov2.upper()}", budget)
            found = files_of([version], lambda file: (sha256_of(file) or "").startswith(wanted.autov2 or "?"))
        if not found and wanted.autov3 is not None:
            version = await self.ask(f"/model-versions/by-hash/{wanted.autov3.upper()}", budget)
            found = files_of([version], lambda file: autov3_of(file) == wanted.autov3)
        return found

    async def _among_listed(self, wanted: Wanted, context: Context, budget: Budget) -> list[Offer]:
        """Files of equal name in the versions that the workflow says it was made with."""
        versions = []
        for version in listed_versions(context)[:_LISTED]:
            try:
                versions.append(await self.ask(f"/model-versions/{version}", budget))
            except DownloadError:
                continue  # the others, and a search, may still have it
        found = await self._with_models(files_named(wanted, versions), budget)
        return [replace(self._offer(*one), evidence=frozenset({"catalog"})) for one in found]

    async def _version_at(self, place: Place, budget: Budget) -> Any:
        if place.version is not None:
            return await self.ask(f"/model-versions/{place.version}", budget, site=place.site)
        model = await self.ask(f"/models/{place.model}", budget)
        latest = next(iter(dicts(model.get("modelVersions"))), None) if isinstance(model, dict) else None
        return {**latest, "model": model} if latest else None

    async def _with_models(self, found: Iterable[Found], budget: Budget, site: str = CIVITAI) -> list[Found]:
        """With their models, which say who made them and under which licence; versions alone do not."""
        return [(await self._with_model(version, budget, site), file) for version, file in found]

    async def _with_model(self, version: dict[str, Any], budget: Budget, site: str) -> dict[str, Any]:
        if "creator" in _dict(version.get("model")) or not version.get("modelId"):
            return version
        try:
            model = await self.ask(f"/models/{version['modelId']}", budget, site=site)
        except DownloadError:
            return version  # the file is found all the same
        return {**version, "model": model} if isinstance(model, dict) else version

    async def _by_name(self, wanted: Wanted, context: Context, budget: Budget) -> list[Found]:
        """Files of equal name; else those of the same model at another precision."""
        roles = parse_roles(wanted.name, wanted.folder)
        versions: dict[Any, dict[str, Any]] = {}
        exact: list[Found] = []
        for query in title_queries(wanted.name):
            # Of the base models that the name states; of any; of those of the workflow, if the first of any
            # are for others.
            for families in dict.fromkeys((roles.values("family"), frozenset[str](), context.families)):
                narrowed = [name for family in sorted(families) for name in base_models_of(family)]
                if families and not narrowed:
                    continue
                for model in await self._search(query, wanted.folder, narrowed, budget):
                    for version in dicts(model.get("modelVersions")):
                        versions[version.get("id")] = {**version, "model": model}
                exact = files_named(wanted, versions.values())
                if any(_made_for_agrees(wanted, version, context) for version, _ in exact):
                    return exact
        return exact or files_of(
            versions.values(),
            lambda file: (
                compare(roles, parse_roles(str(file.get("name")), wanted.folder)).kind != "different"
            ),
        )

    async def _search(
        self, query: str, folder: str | None, base_models: Collection[str], budget: Budget
    ) -> list[dict[str, Any]]:
        """The models whose titles match; of these base models only, if there are any."""
        asked = [("query", query), ("limit", str(_SEARCHED)), ("nsfw", "true")]
        asked += [("types", kind) for kind in _TYPES.get(home_folder(folder or ""), ())]
        asked += [("baseModels", name) for name in base_models]
        try:
            answer = await self.ask(f"/models?{urlencode(asked)}", budget)
        except DownloadError as error:
            # It does not take names that it does not know (any more); without them the search still works.
            if error.code != "SERVER_REFUSED" or not base_models:
                raise
            return []
        return dicts(answer.get("items") if answer else None)

    def _offer_at(self, place: Place, wanted: Wanted, version: dict[str, Any], file: dict[str, Any]) -> Offer:
        offer = self._offer(version, file, place.site)
        if place.url is not None:
            return replace(offer, url=place.url)
        # An AIR is the author's own address. With a version it names this very file, whatever it is called.
        name = wanted.name if place.version is not None else offer.filename
        return replace(offer, filename=name, evidence=frozenset({"embedded_url"}))

    def _offer(self, version: dict[str, Any], file: dict[str, Any], site: str = CIVITAI) -> Offer:
        model = _dict(version.get("model"))
        version_id, model_id = version.get("id"), version.get("modelId", model.get("id"))
        size, creator = file.get("sizeKB"), _dict(model.get("creator")).get("username")
        downloads = _dict(version.get("stats")).get("downloadCount")
        return Offer(
            source="civitai",
            url=site_url(file_url(version, file), self._endpoint),
            filename=str(file["name"]),
            sha256=sha256_of(file),
            blake3=blake3_of(file),
            autov3=autov3_of(file),
            size=round(size * 1024) if isinstance(size, (int, float)) and 0 <= size < 1e12 else None,
            page_url=f"{site}/models/{model_id}?modelVersionId={version_id}",
            needs="early_access" if version.get("availability") == "EarlyAccess" else None,
            publisher=creator if isinstance(creator, str) else None,
            downloads=downloads if isinstance(downloads, int) else 0,
            base_model=version.get("baseModel") if isinstance(version.get("baseModel"), str) else None,
            safety=safety_of(file),
            licence=licence_of(model),
        )

    async def ask(self, path: str, budget: Budget, body: Any = None, *, site: str = CIVITAI) -> Any:
        """The JSON at ``path`` of the API; ``None`` where there is no such thing.

        ``site``: which of Civitai's two is meant, where no mirror stands in for both.
        """
        is_other = site == CIVITAI_RED and self._endpoint == CIVITAI
        endpoint = CIVITAI_RED if is_other else self._endpoint
        url = f"{endpoint}/api/v1{path}"

        async def send(etag: str | None) -> Answered:
            said = await request_json(self._client, url, etag=etag, body=body)
            found = slim(said.value)
            nothing = isinstance(found, dict) and found.get("items") == []
            return Answered(None if nothing else found, said.etag, said.unchanged)

        account = self._client.account("civitai")
        question = f"civitai {_FORMAT} {account} {url} {' '.join(body or ())}"
        return await self._asker.ask(urlsplit(endpoint).netloc, question, send, budget)


def _made_for_agrees(wanted: Wanted, version: Mapping[str, Any], context: Context) -> bool:
    base_model = version.get("baseModel")
    family = family_of(base_model) if isinstance(base_model, str) else None
    return made_for_agrees(wanted, {family} if family else (), context)


class _HashBatch:
    """Asks for all hashes that are wanted within a moment in one question."""

    def __init__(self, source: CivitaiSource) -> None:
        self._source = source
        self._waiting: dict[str, list[asyncio.Future[Any]]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    async def version(self, sha256: str, budget: Budget) -> dict[str, Any] | None:
        """The version that has a file of this hash, if there is one."""
        budget.spend()
        if not self._waiting:
            task = asyncio.ensure_future(self._send())
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(sha256, []).append(answer)
        versions: list[dict[str, Any]] = await answer
        return next((v for v in versions if any(sha256_of(f) == sha256 for f in dicts(v.get("files")))), None)

    async def _send(self) -> None:
        await asyncio.sleep(_BATCH_SECONDS)
        waiting, self._waiting = self._waiting, {}
        hashes = sorted(waiting)
        for start in range(0, len(hashes), _BATCH):
            asked = hashes[start : start + _BATCH]
            try:
                body = [sha256.upper() for sha256 in asked]
                versions = dicts(await self._source.ask("/model-versions/by-hash", Budget(), body))
            except Exception as error:  # belongs to those who wait for it
                for future in (future for sha256 in asked for future in waiting[sha256]):
                    if not future.done():
                        future.set_exception(error)
                continue
            for future in (future for sha256 in asked for future in waiting[sha256]):
                if not future.done():
                    future.set_result(versions)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

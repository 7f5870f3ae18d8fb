"""Civitai: files by hash, by version, and by name.

Source: https://developer.civitai.com/site/reference. A model has versions, a version has files (the same
model in other formats and precisions). ``query`` searches the titles of models, never file names; files
are called after title and version (``epicrealism_naturalSin.safetensors``), so the title is guessed from
the name. What a region does not show is left out of its answers without a word.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from ..errors import DownloadError
from ..names import same_file_name
from ..net.api import request_json
from ..net.client import HttpClient
from ..roles import compare, parse_roles
from ..settings import CIVITAI
from . import Context, Offer, Wanted
from .asking import Answered, Asker, Budget
from .base_models import base_models_of
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
_BATCH = 100  # hashes a question
_BATCH_SECONDS = 0.05  # models of one workflow are asked for at the same time
_VERSION = re.compile(r"/api/download/models/(\d+)$")
_SAFETY = {"Danger": "danger", "Error": "unscanned", "Pending": "unscanned", "Success": "scanned"}
_FORMAT = 1  # of what is remembered


class CivitaiSource:
    """Files with the wanted hash, of the version that a link names, or of equal name."""

    name = "civitai"
    online = True

    def __init__(self, client: HttpClient, asker: Asker, endpoint: str) -> None:
        self._client = client
        self._asker = asker
        self._endpoint = endpoint
        self._host = urlsplit(endpoint).netloc
        self._hashes = _HashBatch(self)

    async def find(self, wanted: Wanted, context: Context, budget: Budget) -> list[Offer]:
        del context
        found: list[tuple[dict[str, Any], dict[str, Any]]] = []
        if wanted.sha256 is not None:
            version = await self._hashes.version(wanted.sha256, budget)
            found += _files([version], lambda file: _sha256(file) == wanted.sha256)
        elif wanted.autov2 is not None:
            version = await self.ask(f"/model-versions/by-hash/{wanted.autov2.upper()}", budget)
            found += _files([version], lambda file: (_sha256(file) or "").startswith(wanted.autov2 or "?"))
        linked, version = _linked_version(wanted.url), None
        if linked is not None:
            version = await self.ask(f"/model-versions/{linked}", budget)
            found += _files([version], lambda file: bool(file.get("primary")))
        if not found:
            found = await self._by_name(wanted, budget)
        if not found and linked is not None and not _may_be_had(version):
            raise DownloadError(
                "Its creator lets it be run at Civitai, but not downloaded.", code="NOT_DOWNLOADABLE"
            )
        return [self._offer(version, file) for version, file in found]

    async def _by_name(self, wanted: Wanted, budget: Budget) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Files of equal name; else those of the same model at another precision."""
        roles = parse_roles(wanted.name, wanted.folder)
        versions: dict[Any, dict[str, Any]] = {}
        for query in title_queries(wanted.name):
            for model in await self._search(query, wanted.folder, _families(wanted), budget):
                for version in _dicts(model.get("modelVersions")):
                    versions[version.get("id")] = {**version, "model": model}
            exact = _files(versions.values(), lambda file: same_file_name(str(file.get("name")), wanted.name))
            if exact:
                return exact
        return _files(
            versions.values(),
            lambda file: (
                compare(roles, parse_roles(str(file.get("name")), wanted.folder)).kind != "different"
            ),
        )

    async def _search(
        self, query: str, folder: str | None, families: frozenset[str], budget: Budget
    ) -> list[dict[str, Any]]:
        """The models whose titles match; of the base models that the name states, if there are any."""
        base_models = [name for family in sorted(families) for name in base_models_of(family)]
        asked = [("query", query), ("limit", str(_SEARCHED)), ("nsfw", "true")]
        asked += [("types", kind) for kind in _TYPES.get(folder or "", ())]
        narrowed = asked + [("baseModels", name) for name in base_models]
        answer = await self.ask(f"/models?{urlencode(narrowed)}", budget)
        items = _dicts(answer.get("items") if answer else None)
        if not items and base_models:
            answer = await self.ask(f"/models?{urlencode(asked)}", budget)
            items = _dicts(answer.get("items") if answer else None)
        return items

    def _offer(self, version: dict[str, Any], file: dict[str, Any]) -> Offer:
        known = version.get("model")
        model: dict[str, Any] = known if isinstance(known, dict) else {}
        version_id, model_id = version.get("id"), version.get("modelId", model.get("id"))
        size = file.get("sizeKB")
        creator = model.get("creator")
        stats = version.get("stats")
        downloads = stats.get("downloadCount") if isinstance(stats, dict) else None
        return Offer(
            source="civitai",
            url=self._site_url(file["downloadUrl"]),
            filename=str(file["name"]),
            sha256=_sha256(file),
            size=round(size * 1024) if isinstance(size, (int, float)) else None,
            page_url=f"{CIVITAI}/models/{model_id}?modelVersionId={version_id}",
            needs="early_access" if version.get("availability") == "EarlyAccess" else None,
            publisher=creator.get("username") if isinstance(creator, dict) else None,
            downloads=downloads if isinstance(downloads, int) else 0,
            base_model=version.get("baseModel") if isinstance(version.get("baseModel"), str) else None,
            safety=_safety(file),
        )

    def _site_url(self, url: str) -> str:
        """The site's own URL, whichever endpoint it was learned from, so that equal places look equal."""
        return CIVITAI + url.removeprefix(self._endpoint) if url.startswith(f"{self._endpoint}/") else url

    async def ask(self, path: str, budget: Budget, body: Any = None) -> Any:
        """The JSON at ``path`` of the API; ``None`` where there is no such thing."""
        url = f"{self._endpoint}/api/v1{path}"

        async def send(etag: str | None) -> Answered:
            said = await request_json(self._client, url, etag=etag, body=body)
            found = _slim(said.value)
            nothing = isinstance(found, dict) and found.get("items") == []
            return Answered(None if nothing else found, said.etag, said.unchanged)

        account = self._client.account("civitai")
        question = f"civitai {_FORMAT} {account} {url} {' '.join(body or ())}"
        return await self._asker.ask(self._host, question, send, budget)


class _HashBatch:
    """Asks for all hashes that are wanted within a moment in one question."""

    def __init__(self, source: CivitaiSource) -> None:
        self._source = source
        self._waiting: dict[str, list[asyncio.Future[Any]]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    async def version(self, sha256: str, budget: Budget) -> dict[str, Any] | None:
        """The version that has a file of this hash, if there is one."""
        if not self._waiting:
            task = asyncio.ensure_future(self._send(budget))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(sha256, []).append(answer)
        versions: list[dict[str, Any]] = await answer
        return next((v for v in versions if any(_sha256(f) == sha256 for f in _dicts(v.get("files")))), None)

    async def _send(self, budget: Budget) -> None:
        await asyncio.sleep(_BATCH_SECONDS)
        waiting, self._waiting = self._waiting, {}
        hashes = sorted(waiting)
        for start in range(0, len(hashes), _BATCH):
            asked = hashes[start : start + _BATCH]
            try:
                body = [sha256.upper() for sha256 in asked]
                versions = _dicts(await self._source.ask("/model-versions/by-hash", budget, body))
            except Exception as error:  # belongs to those who wait for it
                for future in (future for sha256 in asked for future in waiting[sha256]):
                    if not future.done():
                        future.set_exception(error)
                continue
            for future in (future for sha256 in asked for future in waiting[sha256]):
                if not future.done():
                    future.set_result(versions)


def _files(
    versions: Iterable[Any], wanted: Callable[[dict[str, Any]], bool]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The usable files for which ``wanted`` holds, each with its version, those of its first choice first."""
    found = []
    for version in versions:
        if isinstance(version, dict) and _may_be_had(version):
            files = [file for file in _dicts(version.get("files")) if _is_usable(file) and wanted(file)]
            found += [(version, file) for file in sorted(files, key=lambda file: not file.get("primary"))]
    return found


def _may_be_had(version: Any) -> bool:
    """Some creators let their models be run at Civitai, but not downloaded."""
    return not isinstance(version, dict) or version.get("usageControl", "Download") == "Download"


def _is_usable(file: dict[str, Any]) -> bool:
    return isinstance(file.get("name"), str) and isinstance(file.get("downloadUrl"), str)


def _safety(file: Mapping[str, Any]) -> str:
    """``danger`` if either scan says so, ``scanned`` if both passed, else ``unscanned``."""
    results = {_SAFETY.get(str(file.get(scan))) for scan in ("pickleScanResult", "virusScanResult")}
    return "danger" if "danger" in results else "scanned" if results == {"scanned"} else "unscanned"


def _sha256(file: Mapping[str, Any]) -> str | None:
    hashes = file.get("hashes")
    value = hashes.get("SHA256") if isinstance(hashes, dict) else None
    return value.lower() if isinstance(value, str) and len(value) == 64 else None


def _linked_version(url: str | None) -> str | None:
    """The version that one of Civitai's download links is for."""
    try:
        parts = urlsplit(url or "")
    except ValueError:
        return None
    match = _VERSION.search(parts.path) if parts.hostname in ("civitai.com", "civitai.red") else None
    return match[1] if match else None


def _families(wanted: Wanted) -> frozenset[str]:
    return parse_roles(wanted.name, wanted.folder).values("family")


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


_KEPT = {
    *("items", "id", "name", "type", "creator", "username", "modelVersions", "modelId", "baseModel", "air"),
    *(
        "availability",
        "usageControl",
        "files",
        "model",
        "stats",
        "downloadCount",
        "sizeKB",
        "hashes",
        "SHA256",
    ),
    *("pickleScanResult", "virusScanResult", "primary", "downloadUrl"),
}


def _slim(value: Any) -> Any:
    """What is read of an answer: the rest (descriptions, pictures) is nine tenths of it."""
    if isinstance(value, list):
        return [_slim(entry) for entry in value]
    if isinstance(value, dict):
        return {name: _slim(entry) for name, entry in value.items() if name in _KEPT}
    return value

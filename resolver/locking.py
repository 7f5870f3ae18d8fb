"""What workflows need, and where the very same files can be had: for lock files and scripts.

All models that take part in a run are meant, those that are here too. Nothing is written down that is
not certain: a URL is one that ``resolve`` would download from unasked, and the hash belongs to it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from . import schemas
from .app import Resolver
from .errors import BadInput, ResolverError
from .library.reading import FileChanged, read_sha256
from .lockfile import LockedModel, parse_folder
from .names import parse_model_name
from .net.api import request_json
from .net.probe import probe
from .net.urls import redact
from .settings import HUGGING_FACE
from .sources import Context, Wanted, normalise_url
from .workflow import Workflow

_HUB_FILE = re.compile(r"(https://huggingface\.co/)([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ASKED_AT_ONCE = 8

HashNow = Callable[[str], str]
"""Reads a file and returns its SHA-256. Raises ``OSError``, ``FileChanged``."""


@dataclass(frozen=True)
class Needed:
    """A model that is needed. ``path``: where it lies, if it is here; ``problem``: why nothing can be said
    of it but that."""

    wanted: Wanted
    path: str | None = None
    problem: schemas.ErrorBody | None = None


@dataclass(frozen=True)
class Needs:
    """What one workflow needs."""

    models: list[Needed]
    context: Context


@dataclass(frozen=True)
class Located:
    """A model with what is known of it. ``urls``: of one content, best first.

    ``problem``: what is not known and why, null if nothing is missing; ``needs``: what the user must do
    before it can be had, as in ``Candidate``.
    """

    folder: str | None
    name: str
    size: int | None = None
    sha256: str | None = None
    urls: tuple[str, ...] = ()
    licence: str | None = None
    needs: str | None = None
    problem: schemas.ErrorBody | None = None
    path: str | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        return f"{self.folder or '?'}/{self.name}"

    def locked(self) -> LockedModel | None:
        """The entry of a lock file; None for a model of no folder."""
        if self.folder is None:
            return None
        urls = list(self.urls)
        return LockedModel(
            folder=self.folder,
            name=self.name,
            size=self.size,
            sha256=self.sha256,
            urls=urls,
            licence=self.licence,
        )


def needs_of(resolver: Resolver, workflow: Workflow, analysis: schemas.Analysis, *, present: bool) -> Needs:
    """The active models of a workflow, with ``present`` also those that are here. Blocks."""
    _, context = resolver.wanted(workflow, analysis)
    models = []
    for model in analysis.models:
        # What is present without a path is brought along by its node.
        if not model.active or (model.status == "present" and (not present or model.path is None)):
            continue
        path = model.path if model.status == "present" else None
        here = resolver.library.sha256_of(path) if path else None
        wanted = Wanted(
            model.id,
            model.folder,
            model.name,
            url=model.url,
            sha256=model.sha256 or here,
            size=model.size,
        )
        problem = None
        if model.folder is None:
            problem = _problem("FOLDER_UNKNOWN", "Nothing tells which model folder it belongs to.")
        elif here is not None and model.sha256 not in (None, here):
            problem = _problem(
                "CONTENT_DIFFERS", "The file that is here is not the one the workflow was made with."
            )
        models.append(Needed(wanted, path, problem))
    return Needs(models, context)


def needs_stated(models: Iterable[schemas.WantedModel]) -> Needs:
    """Models that somebody states instead of a workflow. Raises ``BadInput`` (``FOLDER_UNKNOWN``), and
    ``UnsafeName``."""
    needed = []
    for model in models:
        try:
            folder = parse_folder(model.folder)
        except ValueError as error:
            raise BadInput(f"{error}.", code="FOLDER_UNKNOWN", folder=model.folder) from None
        name = parse_model_name(model.name)
        wanted = Wanted(f"{folder}/{name}", folder, name, url=model.url, sha256=model.sha256, size=model.size)
        needed.append(Needed(wanted))
    return Needs(needed, Context())


async def locate(
    resolver: Resolver, needs: Needs, *, online: bool, seconds: float | None = None
) -> list[Located]:
    """Where each model can be had, within ``seconds``; await it on the engine's loop.

    ``online``: whether servers may be asked.
    """
    models = {needed.wanted.id: needed for needed in needs.models}
    asked = [needed.wanted for needed in models.values() if needed.problem is None]
    found: dict[str, Located] = {}
    limit = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def look() -> None:
        pinned = []
        try:
            async for resolution in resolver.resolve(asked, needs.context, online=online):
                located = _located(models[resolution.id], resolution)
                found[resolution.id] = located
                if online and located.urls:
                    pinned.append(asyncio.ensure_future(pin(resolution.id, located)))
            await asyncio.gather(*pinned)
        finally:
            for task in pinned:
                task.cancel()

    async def pin(key: str, located: Located) -> None:
        async with limit:
            found[key] = await _completed(resolver, located)

    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(look(), seconds)
    return [found.get(key) or _unknown(needed) for key, needed in models.items()]


def hashed(resolver: Resolver, located: Located, hash_now: HashNow) -> Located:
    """``located`` with the hash of the file that is here, where nobody states one. Blocks."""
    if located.sha256 is not None or located.path is None or located.folder is None:
        return located
    file = resolver.library.snapshot().find(located.folder, located.name)
    if file is None:
        return located
    try:
        sha256 = hash_now(file.path)
    except FileChanged:
        return replace(located, problem=_problem("FILE_CHANGED", "It is being written to."))
    except OSError as error:
        return replace(located, problem=_problem("FILE_UNREADABLE", error.strerror or str(error)))
    if located.size not in (None, file.size):
        return replace(
            located,
            problem=_problem("CONTENT_DIFFERS", "The file that is here is not the one at its URL."),
        )
    whole = replace(located, sha256=sha256, size=file.size)
    lacks_hash = located.problem is not None and located.problem.code == "LOCK_NO_HASH"
    return replace(whole, problem=None) if lacks_hash else whole


def hash_file(resolver: Resolver, path: str, turn: Callable[[int], None]) -> str:
    """The SHA-256 of a file of the library, read only if it is not known yet. Raises as ``read_sha256``."""
    known = resolver.library.sha256_of(path)
    if known is None:
        known, status = read_sha256(path, turn)
        resolver.hashes.remember(path, status, known)
    return known


def merged(located: Sequence[Located]) -> list[Located]:
    """The models of several workflows, each once, by id. Two contents for one place cannot both be right."""
    by_id: dict[str, Located] = {}
    for one in located:
        known = by_id.get(one.id)
        if known is None:
            by_id[one.id] = one
        elif known.sha256 and one.sha256 and known.sha256 != one.sha256:
            text = "The workflows want two different files of this name."
            by_id[one.id] = replace(known, problem=_problem("LOCK_CONFLICT", text))
        elif known.problem and not one.problem:
            by_id[one.id] = one
        elif not one.problem:
            by_id[one.id] = replace(known, urls=tuple(dict.fromkeys((*known.urls, *one.urls))))
    return [by_id[key] for key in sorted(by_id)]


def _located(needed: Needed, resolution: schemas.Resolution) -> Located:
    wanted = needed.wanted
    known = Located(wanted.folder, wanted.name, size=wanted.size, sha256=wanted.sha256, path=needed.path)
    best = resolution.candidates[0] if resolution.candidates else None
    if best is None:
        return replace(known, problem=_problem("NOT_FOUND", "Nothing is known of where it can be had."))
    if resolution.state != "resolved":
        return replace(known, problem=_problem("AMBIGUOUS", "Several files may be meant; choose one."))
    if wanted.sha256 is not None and best.sha256 not in (None, wanted.sha256):
        return replace(known, problem=_problem("CONTENT_DIFFERS", "What is offered is another content."))
    if best.needs == "allowed_host":
        text = "It is offered by a host that is not allowed; see CMR_ALLOWED_HOSTS."
        return replace(known, problem=_problem("URL_HOST_NOT_ALLOWED", text))
    urls = tuple(dict.fromkeys(url for url in (best.url, *best.mirrors) if redact(url) == url))
    sha256 = wanted.sha256 or best.sha256
    problem = None
    if not urls:
        problem = _problem("URL_SECRET", "Its URL has a token or a signature in it, and is left out.")
    elif sha256 is None:
        problem = _problem("LOCK_NO_HASH", "Nobody states its SHA-256, and it is not here to be read.")
    size = best.size if best.size is not None else wanted.size
    return replace(known, size=size, sha256=sha256, urls=urls, needs=best.needs, problem=problem)


def _unknown(needed: Needed) -> Located:
    wanted = needed.wanted
    problem = needed.problem or _problem("SOURCE_TIMEOUT", "The search took too long.")
    return Located(
        wanted.folder,
        wanted.name,
        size=wanted.size,
        sha256=wanted.sha256,
        problem=problem,
        path=needed.path,
    )


async def _completed(resolver: Resolver, located: Located) -> Located:
    """With URLs that name a commit, and the licence, as far as the Hub tells."""
    urls = []
    for url in located.urls:
        urls.append(await _pinned(resolver, url, located.sha256))
    licence = await _licence(resolver, urls)
    return replace(located, urls=tuple(dict.fromkeys(urls)), licence=licence)


async def _pinned(resolver: Resolver, url: str, sha256: str | None) -> str:
    """``…/resolve/main/x`` -> ``…/resolve/<commit>/x``: branches move, and what they name with them."""
    match = _HUB_FILE.fullmatch(normalise_url(url) or "")
    if match is None or _COMMIT.fullmatch(match[3]):
        return url
    try:
        said = await probe(resolver.client, url)
    except ResolverError:
        return url
    if said.commit is None or not _COMMIT.fullmatch(said.commit) or said.sha256 not in (None, sha256):
        return url
    return f"{match[1]}{match[2]}/resolve/{said.commit}/{match[4]}"


async def _licence(resolver: Resolver, urls: Iterable[str]) -> str | None:
    """As the model card has it (https://huggingface.co/docs/hub/model-cards)."""
    for url in urls:
        match = _HUB_FILE.fullmatch(url)
        if match is None:
            continue
        repository = quote(match[2], safe="/%")
        try:
            said = await request_json(
                resolver.client, f"{HUGGING_FACE}/api/models/{repository}?expand[]=cardData"
            )
        except ResolverError:
            continue
        card = _dict(_dict(said.value).get("cardData"))
        licence = card.get("license")
        name = card.get("license_name") if licence == "other" else None
        stated = name if isinstance(name, str) and name else licence
        if isinstance(stated, str) and 0 < len(stated) <= 256:
            return stated
    return None


def _problem(code: str, message: str) -> schemas.ErrorBody:
    return schemas.ErrorBody(code=code, message=message)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

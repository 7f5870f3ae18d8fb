"""A prompt on its way to ComfyUI: the models it lacks are found and fetched, or it is said which and why.

What is fetched is what ``resolve --download --yes`` would fetch: only what was found for certain, and is
to be had. Nothing is relinked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from . import schemas
from .app import Resolver
from .errors import Conflict, ResolverError, WorkflowError
from .fetch import begin, follow, item_for
from .net.urls import redact
from .sources import Context, Wanted
from .workflow import Workflow
from .workflow.read import read_workflow

MOST_MODELS = 200
"""Missing models of one prompt; the largest official template names two dozen."""

_ATTEMPTS = 3
_NEEDS = {
    "licence": "its licence must be accepted on its page first",
    "token": "it needs an access token of an account that may read it",
    "allowed_host": "its host is not among CMR_ALLOWED_HOSTS",
}


@dataclass(frozen=True)
class Ensured:
    """``complete``: whether all that the prompt needs is here; else ``downloads`` are still under way."""

    complete: bool
    downloads: list[schemas.Download]


@dataclass(frozen=True)
class _Need:
    """``models``: what to fetch, by id. ``elsewhere``: what is here, but not as the prompt names it."""

    models: Mapping[str, schemas.Model]
    elsewhere: Sequence[schemas.Model]
    context: Context


async def ensure(resolver: Resolver, body: Mapping[str, Any], *, seconds: float | None) -> Ensured:
    """Have all models of a prompt here. Runs on the engine's loop.

    ``body``: that of ComfyUI's ``POST /prompt``. ``seconds``: how long to wait for downloads, for as long
    as they take if None; they go on in any case, also when this is cancelled.

    A prompt that cannot be read needs nothing: ComfyUI says better what is wrong with it. So it is with
    models whose folder nothing tells. Raises ``ResolverError``: ``MODELS_MISSING`` (424; ``details.models``
    has ``{id, code, message}`` of each), before anything is fetched if they cannot all be had;
    ``TOO_MANY_MODELS`` (413); what ``DownloadQueue.submit`` raises.
    """
    loop = asyncio.get_running_loop()
    end = None if seconds is None else loop.time() + seconds
    for last in (*(False,) * (_ATTEMPTS - 1), True):
        need = await asyncio.to_thread(_needed, resolver, body)
        if not need.models and not need.elsewhere:
            return Ensured(True, [])
        items = await _found(resolver, need)
        try:
            return await _fetched(resolver, items, None if end is None else max(0.0, end - loop.time()))
        except Conflict:
            # Somebody else has fetched one, or begun to, since we looked.
            if last:
                raise
    raise AssertionError("unreachable")


def _needed(resolver: Resolver, body: Mapping[str, Any]) -> _Need:
    """What the prompt lacks, as it would run; the workflow it was made from says more about that."""
    try:
        workflow = read_workflow(body.get("prompt"))
    except WorkflowError:
        return _Need({}, (), Context())
    models = {
        model.id: model
        for model in resolver.analyze(workflow).models
        if model.active and model.folder is not None and model.status != "present"
    }
    context = Context(workflow.embedded(), workflow.notes)
    if (drawn := _drawn(body)) is not None:
        analysis = resolver.analyze(drawn)
        _, context = resolver.wanted(drawn, analysis)
        for model in analysis.models:
            if known := models.get(model.id):
                stated = {"url": known.url or model.url, "sha256": known.sha256 or model.sha256}
                models[model.id] = known.model_copy(update=stated)
    missing = {model.id: model for model in models.values() if model.status == "missing"}
    if len(missing) > MOST_MODELS:
        raise ResolverError(
            f"The prompt lacks {len(missing)} models; at most {MOST_MODELS} are fetched for one.",
            code="TOO_MANY_MODELS",
            status=413,
        )
    elsewhere = [model for model in models.values() if model.status == "elsewhere"]
    return _Need(missing, elsewhere, context)


def _drawn(body: Mapping[str, Any]) -> Workflow | None:
    """The workflow that the prompt was made from, where the body has it and it can be read."""
    place: Any = body
    for name in ("extra_data", "extra_pnginfo", "workflow"):
        place = place.get(name) if isinstance(place, dict) else None
    try:
        return read_workflow(place)
    except WorkflowError:
        return None


async def _found(resolver: Resolver, need: _Need) -> list[schemas.DownloadItem]:
    lacking = [_elsewhere(model) for model in need.elsewhere]
    wanted = [
        Wanted(model.id, model.folder, model.name, url=model.url, sha256=model.sha256)
        for model in need.models.values()
    ]
    items = []
    async for resolution in resolver.resolve(wanted, need.context):
        item = item_for(need.models[resolution.id], resolution)
        if item is None:
            lacking.append(_not_to_be_had(resolution))
        else:
            items.append(item)
    if lacking:
        raise _missing(lacking)
    return items


async def _fetched(
    resolver: Resolver, items: Sequence[schemas.DownloadItem], seconds: float | None
) -> Ensured:
    begun = await begin(resolver, items)
    state = {download.id: download for download in begun}

    async def wait() -> None:
        async for download in follow(resolver, begun):
            state[download.id] = download

    if seconds != 0:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(wait(), seconds)
    unfinished = [download for download in state.values() if download.status != "completed"]
    failed = [_failed(download) for download in unfinished if download.status in ("failed", "cancelled")]
    if failed:
        raise _missing(failed)
    return Ensured(not unfinished, list(state.values()))


def _missing(models: Sequence[schemas.LackingModel]) -> ResolverError:
    ordered = sorted(models, key=lambda model: model.id)
    said = "; ".join(f"{model.id}: {model.message}" for model in ordered[:5])
    more = f"; and {len(ordered) - 5} more" if len(ordered) > 5 else ""
    return ResolverError(
        f"The prompt was not queued, because models are missing. {said}{more}",
        code="MODELS_MISSING",
        status=424,
        models=[model.model_dump(exclude_none=True) for model in ordered],
    )


def _elsewhere(model: schemas.Model) -> schemas.LackingModel:
    names = [f"{found.folder}/{found.name}" for found in model.alternatives[:3]]
    return schemas.LackingModel(
        id=model.id,
        code="ELSEWHERE",
        message=f"it is here as {' or '.join(names) or model.path}, which the prompt does not name. "
        "Name that, or relink the workflow.",
    )


def _not_to_be_had(resolution: schemas.Resolution) -> schemas.LackingModel:
    best = resolution.candidates[0] if resolution.candidates else None
    if resolution.state == "resolved" and best is not None:
        needs = best.needs or "unknown"
        return schemas.LackingModel(
            id=resolution.id,
            code=f"NEEDS_{needs.upper()}",
            message=f"{_NEEDS.get(needs, 'it cannot be had without more')}.",
            url=redact(best.page_url or best.url),
        )
    if best is not None:
        return schemas.LackingModel(
            id=resolution.id,
            code="AMBIGUOUS",
            message=f"{len(resolution.candidates)} files may be meant, and none for certain. Choose one.",
        )
    reasons = [f"{error.source}: {error.message}" for error in resolution.errors[:3]]
    return schemas.LackingModel(
        id=resolution.id, code="NOT_FOUND", message=" ".join(["no source has it.", *reasons])
    )


def _failed(download: schemas.Download) -> schemas.LackingModel:
    model = f"{download.folder}/{download.filename}"
    if download.error is not None and download.status == "failed":
        return schemas.LackingModel(id=model, code=download.error.code, message=download.error.message)
    return schemas.LackingModel(
        id=model, code="DOWNLOAD_CANCELLED", message="its download was cancelled meanwhile."
    )

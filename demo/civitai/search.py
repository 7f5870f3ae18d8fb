"""The list of models: filters, full-text search, and two manners of pages.

https://developer.civitai.com/site/reference/models and
https://developer.civitai.com/site/guide/pagination.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from .access import Access
from .catalog import MODEL_TYPES, CivitaiModel
from .refusal import Refusal

_MAX_LIMIT = 100
_MAX_PAGED = 1000
_WORD = re.compile(r"[^\W_]+")

_SORTS = {
    "Highest Rated": lambda model: (model.thumbs_up, model.id),
    "Most Downloaded": lambda model: (model.downloads, model.id),
    "Newest": lambda model: (model.id,),
}


def find_models(
    request: web.Request, models: Sequence[CivitaiModel], access: Access
) -> tuple[list[CivitaiModel], dict[str, Any]]:
    """The page of models that the request asks for, and the answer's ``metadata``."""
    limit = _number(request, "limit", _MAX_LIMIT)
    if not 1 <= limit <= _MAX_LIMIT:
        raise Refusal(400, f"limit must be from 1 to {_MAX_LIMIT}")
    page = _number(request, "page", 0)
    text = request.query.get("query", "")
    if text and page:
        raise Refusal(400, "Cannot use page param with query search. Use cursor-based pagination.")
    if page * limit > _MAX_PAGED:
        raise Refusal(429, "You've requested too many pages, please use cursors instead")
    found = _filtered(request, models, access)
    if text:
        # The newest first, however well they match: the search index is sorted before it ranks.
        found = sorted(_matching(text, found, limit), key=lambda model: -model.id)
    else:
        sort = request.query.get("sort", "Highest Rated")
        if sort not in _SORTS:
            raise Refusal(400, f"sort must be one of {', '.join(_SORTS)}")
        found.sort(key=_SORTS[sort], reverse=True)
    begin = (page - 1) * limit if page else _begin(request, found)
    metadata: dict[str, Any] = {"currentPage": page, "pageSize": limit} if page else {}
    if begin + limit < len(found):
        following = found[begin + limit]
        if page:
            metadata["nextPage"] = str(request.url.update_query(page=page + 1))
        else:
            metadata["nextCursor"] = str(following.id)
            metadata["nextPage"] = str(request.url.update_query(cursor=following.id))
    return found[begin : begin + limit], metadata


def _filtered(request: web.Request, models: Sequence[CivitaiModel], access: Access) -> list[CivitaiModel]:
    types, bases = set(_many(request, "types")), set(_many(request, "baseModels"))
    if unknown := types - MODEL_TYPES:
        raise Refusal(400, f"types has unknown values: {', '.join(sorted(unknown))}")
    ids = set(_many(request, "ids"))
    tag, username = request.query.get("tag", "").lower(), request.query.get("username", "").lower()
    nsfw = request.query.get("nsfw", "").lower() == "true"
    return [
        model
        for model in models
        if access.lists(model, nsfw=nsfw)
        and (not types or model.type in types)
        and (not bases or any(version.base_model in bases for version in model.versions))
        and (not ids or str(model.id) in ids)
        and tag in ("", *(name.lower() for name in model.tags))
        and username in ("", model.creator.lower())
    ]


def _matching(text: str, models: Sequence[CivitaiModel], enough: int) -> list[CivitaiModel]:
    """Models that have all words of the text, as the beginnings of words of theirs.

    If those are not enough for a page, the last words of the text are given up one by one
    (https://www.meilisearch.com/docs/reference/api/search#matching-strategy). File names are not
    searched: names of models, creators and trigger words are.
    """
    wanted = _WORD.findall(text.lower())
    texts = [(model, _searchable(model)) for model in models]
    for count in range(len(wanted), 0, -1):
        found = [model for model, words in texts if all(_begins(words, word) for word in wanted[:count])]
        if len(found) >= enough or count == 1:
            return found
    return []


def _searchable(model: CivitaiModel) -> list[str]:
    trigger_words = (word for version in model.versions for word in version.trained_words)
    return _WORD.findall(" ".join([model.name, model.creator, *trigger_words]).lower())


def _begins(words: Sequence[str], start: str) -> bool:
    return any(word.startswith(start) for word in words)


def _begin(request: web.Request, found: Sequence[CivitaiModel]) -> int:
    """Where the page of a cursor begins, which is the id of its first model."""
    cursor = request.query.get("cursor")
    if cursor is None:
        return 0
    for index, model in enumerate(found):
        if str(model.id) == cursor:
            return index
    raise Refusal(400, "Invalid cursor")


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdecimal():
        raise Refusal(400, f"{name} must be a number")
    return int(text)


def _many(request: web.Request, name: str) -> list[str]:
    """A parameter that may be repeated, or hold commas."""
    return [part for value in request.query.getall(name, []) for part in value.split(",") if part]

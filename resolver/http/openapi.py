"""The OpenAPI document, made from the routes' table and the pydantic models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .. import __version__, schemas
from .table import PREFIX, ROUTES


class _Described(NamedTuple):
    summary: str
    request: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    status: int = 200
    content_type: str = "application/json"
    query: tuple[str, ...] = ()
    multipart: bool = False
    also_json: bool = False
    needs_body: bool = True
    # Further answers, by status.
    also: Mapping[int, type[BaseModel]] = {}


_DESCRIBED: dict[str, _Described] = {
    "health": _Described("State and load of this server", answer=schemas.Health),
    "metrics": _Described("The same and all downloads by status, for Prometheus", content_type="text/plain"),
    "analyze": _Described(
        "Which models a workflow wants, and whether they are here",
        schemas.AnalyzeRequest,
        schemas.Analysis,
        query=("afresh",),
        multipart=True,
    ),
    "resolve": _Described(
        "Find the missing models of a workflow, or the stated ones: one Resolution a line as found, "
        'last line {"done":true}',
        schemas.ResolveRequest,
        schemas.Resolution,
        content_type="application/x-ndjson",
        multipart=True,
    ),
    "embed": _Described(
        "The workflow with ComfyUI's own model metadata filled in, as far as it is known for certain",
        schemas.EmbedRequest,
        schemas.WorkflowAnswer,
    ),
    "export": _Described(
        "A script or list that fetches the missing models: text/plain; for the formats json and lock "
        "application/json",
        schemas.ExportRequest,
        content_type="text/plain",
        also_json=True,
    ),
    "prompt": _Described(
        "Fetch the models that a prompt lacks, then queue it: ComfyUI's POST /prompt and its answer. "
        "wait: 'false' or seconds, after which 202 tells of the downloads instead, and nothing is queued",
        schemas.PromptRequest,
        schemas.PromptAnswer,
        query=("wait",),
        also={202: schemas.DownloadsAnswer},
    ),
    "create_downloads": _Described(
        "Fetch files; all items are checked before any starts",
        schemas.DownloadsRequest,
        schemas.DownloadsAnswer,
        status=202,
    ),
    "list_downloads": _Described("All downloads, unfinished and finished", answer=schemas.DownloadsAnswer),
    "pause_all": _Described("Pause all", answer=schemas.DownloadsAnswer),
    "resume_all": _Described("Resume all that are paused", answer=schemas.DownloadsAnswer),
    "cancel_all": _Described("Cancel all that are unfinished", answer=schemas.DownloadsAnswer),
    "retry_all": _Described("Retry all that failed", answer=schemas.DownloadsAnswer),
    "get_download": _Described("One download", answer=schemas.Download),
    "remove_download": _Described("Remove a finished one from the history", status=204),
    "prioritise_download": _Described("Change its priority", schemas.PriorityRequest, schemas.Download),
    "pause_download": _Described("Pause it, keeping what has come", answer=schemas.Download),
    "resume_download": _Described("Resume it", answer=schemas.Download),
    "cancel_download": _Described("Cancel it and remove what has come", answer=schemas.Download),
    "retry_download": _Described("Try a failed or cancelled one again", answer=schemas.Download),
    "list_parts": _Described(
        "What has arrived of downloads that nobody goes on with", answer=schemas.PartsAnswer
    ),
    "remove_part": _Described("Remove it from the disk", status=204),
    "events": _Described("Server-sent events: download, library", content_type="text/event-stream"),
    "folders": _Described("Model folders, their roots and free space", answer=schemas.FoldersAnswer),
    "library": _Described("Model files on disk", answer=schemas.LibraryAnswer, query=("folder", "query")),
    "hashing": _Described("How far hashing the library is, and what has no hash yet", answer=schemas.Hashing),
    "hash_library": _Described(
        "Hash the model files that have no known hash yet, in the background; or pause, resume, cancel that",
        schemas.HashRequest,
        schemas.Hashing,
        needs_body=False,
    ),
    "duplicates": _Described(
        "Files of equal content, as far as their hashes are known", answer=schemas.DuplicatesAnswer
    ),
    "settings": _Described("All settings; secrets are only said to be set", answer=schemas.SettingsAnswer),
    "change_settings": _Described(
        "Give settings that can be changed while running new values, now and at later starts",
        schemas.SettingsRequest,
        schemas.SettingsAnswer,
    ),
    "list_credentials": _Described(
        "For which providers a token is set, never which", answer=schemas.CredentialsAnswer
    ),
    "put_credential": _Described("Store an access token", schemas.CredentialRequest, schemas.Credential),
    "delete_credential": _Described("Forget the stored access token", answer=schemas.Credential),
    "check_credential": _Described(
        "Whose token it is, and what is missing to get a file",
        schemas.CredentialCheckRequest,
        schemas.CredentialCheck,
    ),
    "openapi": _Described("This document"),
}


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0); every route of the table is in it."""
    used = {
        model
        for route in _DESCRIBED.values()
        for model in (route.request, route.answer, *route.also.values())
        if model
    }
    used.add(schemas.ErrorAnswer)
    ordered = sorted(used, key=lambda model: model.__name__)
    references, definitions = models_json_schema(
        [(model, "validation") for model in ordered], ref_template="#/components/schemas/{model}"
    )
    schema_of = {model: references[model, "validation"] for model in ordered}
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        described = _DESCRIBED[route.handler]
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(
            route.handler, route.path, described, schema_of
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "ComfyUI Model Resolver", "version": __version__},
        "paths": paths,
        "components": {"schemas": definitions.get("$defs", {})},
    }


def _operation(
    name: str, path: str, described: _Described, schema_of: dict[type[BaseModel], Any]
) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": query, "in": "query", "required": False, "schema": {"type": "string"}}
        for query in described.query
    ]
    parameters += [
        {"name": part, "in": "path", "required": True, "schema": {"type": "string"}}
        for part in re.findall(r"{(\w+)}", path)
    ]
    answer: dict[str, Any] = {"description": described.summary}
    if described.answer is not None:
        answer["content"] = {described.content_type: {"schema": schema_of[described.answer]}}
    elif described.status != 204:
        kind = "object" if described.content_type == "application/json" else "string"
        answer["content"] = {described.content_type: {"schema": {"type": kind}}}
    if described.also_json:
        answer["content"]["application/json"] = {"schema": {"type": "object"}}
    error = {
        "description": "An error with a stable code",
        "content": {"application/json": {"schema": schema_of[schemas.ErrorAnswer]}},
    }
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": described.summary,
        "parameters": parameters,
        "responses": {
            str(described.status): answer,
            **{
                str(status): {
                    "description": f"See {model.__name__}",
                    "content": {"application/json": {"schema": schema_of[model]}},
                }
                for status, model in described.also.items()
            },
            "default": error,
        },
    }
    if described.request is not None:
        content: dict[str, Any] = {"application/json": {"schema": schema_of[described.request]}}
        if described.multipart:
            content["multipart/form-data"] = {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            }
        operation["requestBody"] = {"required": described.needs_body, "content": content}
    return operation

"""Request bodies: bytes -> checked values. Raises ``BadInput`` with what is wrong and where."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import BodyPartReader, web
from pydantic import BaseModel, ValidationError

from .. import schemas
from ..app import Resolver
from ..errors import BadInput, WorkflowError
from ..exporting import parse_format
from ..locking import Needs, needs_of, needs_stated
from ..names import parse_model_name
from ..sources import Context, Wanted
from ..workflow import Workflow
from ..workflow.files import read_file
from ..workflow.read import MAX_BYTES, parse_json, read_workflow

M = TypeVar("M", bound=BaseModel)


async def read_body(request: web.Request, limit: int = MAX_BYTES) -> bytes:
    """The body, refused as soon as it is known to be too large."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise WorkflowError(
                f"The request has more than {limit} bytes.", code="WORKFLOW_TOO_LARGE", status=413
            )
    return bytes(body)


MAX_FILE_BYTES = 64 * 1024 * 1024
"""Of an uploaded picture or film, held in memory; the command line reads larger ones from the disk."""


def is_form(request: web.Request) -> bool:
    """Whether the body is a form with a file, not JSON."""
    return request.content_type.startswith("multipart/")


async def body_or_file(request: web.Request) -> bytes:
    """The body; of a form the content of its field ``file``."""
    if not is_form(request):
        return await read_body(request)
    try:
        return await _file_field(request)
    except (ValueError, KeyError, AssertionError, RuntimeError) as error:
        # aiohttp's multipart reader says in all these ways that a form is malformed.
        raise BadInput(f"The form is malformed: {error}", code="BODY_UNREADABLE") from None


async def _file_field(request: web.Request) -> bytes:
    reader = await request.multipart()
    while (part := await reader.next()) is not None:
        if isinstance(part, BodyPartReader) and part.name == "file":
            body = bytearray()
            while chunk := await part.read_chunk(1 << 20):
                body += chunk
                if len(body) > MAX_FILE_BYTES:
                    raise WorkflowError(
                        f"The file has more than {MAX_FILE_BYTES} bytes.",
                        code="WORKFLOW_TOO_LARGE",
                        status=413,
                    )
            return bytes(body)
    raise BadInput("The form has no field named 'file'.", code="FILE_MISSING")


def parse_workflow(body: bytes, *, wrapped: bool) -> Workflow:
    if not wrapped:
        return read_file(io.BytesIO(body))
    return read_workflow(validate(parse_json(body), schemas.AnalyzeRequest).workflow)


async def parse_body(request: web.Request, model: type[M]) -> M:
    body = await read_body(request)
    return await asyncio.to_thread(lambda: validate(json_object(body), model))


def json_object(body: bytes) -> dict[str, Any]:
    try:
        return parse_json(body)
    except WorkflowError as error:
        raise BadInput(f"The body is not a JSON object: {error.message}", code="BODY_NOT_JSON") from None


def validate(content: dict[str, Any], model: type[M]) -> M:
    try:
        # As the schema says it: "5" is no number, and true is not 1.
        return model.model_validate(content, strict=True)
    except ValidationError as error:
        problems = [
            {"field": ".".join(map(str, problem["loc"])), "problem": problem["msg"]}
            for problem in error.errors(include_url=False, include_input=False, include_context=False)[:20]
        ]
        first = problems[0]
        raise BadInput(
            f"{first['field'] or 'The body'}: {first['problem']}.", code="BODY_INVALID", problems=problems
        ) from None


@dataclass(frozen=True)
class Asked:
    """What ``resolve`` was asked for: the missing models of a workflow, or the stated ones."""

    workflow: Workflow | None
    models: list[Wanted]
    sources: list[str] | None
    online: bool

    def wanted(self, resolver: Resolver) -> tuple[list[Wanted], Context]:
        """The models to find, and what is known beside them. Blocks: it analyses the workflow."""
        if self.workflow is None:
            return self.models, Context()
        return resolver.wanted(self.workflow, resolver.analyze(self.workflow))


def parse_asked(resolver: Resolver, body: bytes, *, wrapped: bool) -> Asked:
    """The body of ``resolve``, checked; not ``wrapped``: the file whose missing models are meant."""
    if not wrapped:
        return Asked(parse_workflow(body, wrapped=False), [], None, True)
    asked = validate(json_object(body), schemas.ResolveRequest)
    if (asked.workflow is None) == (asked.models is None):
        raise BadInput("Give either 'workflow' or 'models'.", code="BODY_INVALID")
    known = {source.name for source in resolver.resolutions.sources}
    if unknown := sorted(set(asked.sources or ()) - known):
        raise BadInput(
            f"There is no source named {unknown[0]!r}; there are {', '.join(sorted(known))}.",
            code="SOURCE_UNKNOWN",
        )
    models = [
        Wanted(
            id=f"{model.folder}/{parse_model_name(model.name)}",
            folder=model.folder,
            name=parse_model_name(model.name),
            url=model.url,
            sha256=model.sha256,
            size=model.size,
        )
        for model in asked.models or ()
    ]
    workflow = read_workflow(asked.workflow) if asked.workflow is not None else None
    return Asked(workflow, models, asked.sources, asked.online)


def parse_export(resolver: Resolver, asked: schemas.ExportRequest) -> Needs:
    """The models that are to be exported. Blocks: it analyses the workflow.

    Raises ``BadInput``: ``BAD_FORMAT``, ``BODY_INVALID``, and as ``read_workflow`` and ``parse_model_name``.
    """
    parse_format(asked.format)
    if (asked.workflow is None) == (asked.models is None):
        raise BadInput("Give either 'workflow' or 'models'.", code="BODY_INVALID")
    if asked.workflow is None:
        return needs_stated(asked.models or ())
    workflow = read_workflow(asked.workflow)
    present = asked.present or asked.format == "lock"
    return needs_of(resolver, workflow, resolver.analyze(workflow), present=present)

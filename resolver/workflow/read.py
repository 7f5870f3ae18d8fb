"""Bytes or a JSON object -> ``Workflow``; whatever else comes is a clear ``WorkflowError``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TypeGuard

from ..errors import WorkflowError
from . import Workflow
from .api import is_api_format, read_api
from .listed import listed, with_entries
from .ui import is_ui_format, read_ui

MAX_BYTES = 10 * 1024 * 1024
"""No real workflow comes near: the largest official template has about 1 MB. Parsing more would hold
Python's interpreter lock, and with it ComfyUI, for longer than anybody should notice."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_json(data: bytes) -> dict[str, Any]:
    """The JSON object in ``data``.

    Raises ``WorkflowError``: ``WORKFLOW_TOO_LARGE`` (over 10 MiB), ``WORKFLOW_NOT_JSON``,
    ``WORKFLOW_TOO_DEEP`` (nested beyond what the parser takes) or ``WORKFLOW_NOT_RECOGNISED``.
    """
    if len(data) > MAX_BYTES:
        raise WorkflowError(
            f"The workflow has {len(data)} bytes; at most {MAX_BYTES} are read.",
            code="WORKFLOW_TOO_LARGE",
            status=413,
        )
    try:
        # Python's parser takes NaN and Infinity, which ComfyUI itself writes for some float widgets.
        content = json.loads(data.decode("utf-8-sig"))
        if b"\\ud" in data or b"\\uD" in data:
            content = _without_surrogates(content)
    except UnicodeDecodeError:
        raise WorkflowError("The file is not JSON: it is not UTF-8 text.", code="WORKFLOW_NOT_JSON") from None
    except RecursionError:
        raise WorkflowError(
            "The JSON is nested too deeply to be a workflow.", code="WORKFLOW_TOO_DEEP"
        ) from None
    except ValueError as error:
        raise WorkflowError(f"The file is not JSON: {error}.", code="WORKFLOW_NOT_JSON") from None
    if not isinstance(content, dict):
        raise _not_recognised()
    return content


def read_workflow(content: Any) -> Workflow:
    """The workflow in a parsed JSON object: UI format, API format, or a wrapper round either.

    Raises ``WorkflowError`` (``WORKFLOW_NOT_RECOGNISED``, ``WORKFLOW_TOO_DEEP``).
    """
    try:
        inner = list(_unwrapped(content))
        # The UI format says more, so it goes first.
        for candidate in inner:
            if is_ui_format(candidate):
                return with_entries(read_ui(candidate), listed(candidate))
        for candidate in inner:
            if is_api_format(candidate):
                return with_entries(read_api(candidate), listed(candidate))
    except RecursionError:
        raise WorkflowError("The workflow is nested too deeply.", code="WORKFLOW_TOO_DEEP") from None
    raise _not_recognised()


def _unwrapped(content: Any) -> Iterator[Any]:
    """``content`` and what may be the workflow in it, in the ways in which ComfyUI wraps one.

    ``{"workflow", "prompt"}`` and, from the editor's ``graphToPrompt``, ``{"workflow", "output"}``; the
    body of ``POST /prompt`` (``{"prompt", "extra_data": {"extra_pnginfo": {"workflow"}}}``); entries of
    ``GET /history`` (``{id: {"prompt": [number, id, prompt, extra_data, …]}}``), the newest first.
    """
    yield content
    if not isinstance(content, dict):
        return
    entries = [content, *(entry for entry in reversed(content.values()) if _is_history_entry(entry))]
    for entry in entries:
        prompt = entry.get("prompt")
        queued = prompt if isinstance(prompt, list) else []
        for extra in (entry.get("extra_data"), *queued[3:4]):
            saved = extra.get("extra_pnginfo") if isinstance(extra, dict) else None
            if isinstance(saved, dict):
                yield saved.get("workflow")
        yield entry.get("workflow")
        yield from queued[2:3] or [prompt]
        yield entry.get("output")


def _is_history_entry(entry: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(entry, dict) and isinstance(entry.get("prompt"), list)


def _without_surrogates(value: Any) -> Any:
    """``value`` with half characters replaced: JSON can spell them, but nothing can write them down."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(entry) for entry in value]
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(entry) for name, entry in value.items()}
    return value


def _not_recognised() -> WorkflowError:
    return WorkflowError(
        "This is not a ComfyUI workflow: it has neither 'nodes' (as the editor saves it) nor nodes with "
        "'class_type' (as the editor exports it for the API).",
        code="WORKFLOW_NOT_RECOGNISED",
    )

"""A workflow's file as text: read so that it can be written again in the style it had."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, BinaryIO

from ..errors import WorkflowError
from .api import is_api_format
from .containers import extract
from .read import MAX_BYTES, parse_json, read_workflow
from .ui import is_ui_format

Path = tuple[str | int, ...]
"""The way to a value from the top: names of objects and positions of lists."""

_BOM = "\ufeff"
_FIRST_KEY = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:( ?)')
_INDENT = re.compile(r"\{\r?\n([ \t]*)")
# Where a workflow may be inside a wrapper, the most telling first: exports write {"workflow", "prompt"},
# and what the editor posts to /prompt carries the graph in "extra_data".
_WRAPPED: tuple[Path, ...] = (("workflow",), ("prompt",), ("extra_data", "extra_pnginfo", "workflow"))


@dataclass(frozen=True)
class Style:
    """How JSON is laid out. ``indent`` is what a level is indented by; ``None``: all on one line."""

    indent: str | None = "  "
    spaced: bool = True
    escaped: bool = False
    newline: str = "\n"
    end: str = ""
    bom: bool = False


@dataclass(frozen=True)
class Document:
    """A parsed file. ``content`` may be changed in place before it is written."""

    content: dict[str, Any]
    style: Style

    def parts(self) -> list[dict[str, Any]]:
        """The workflows in it, all of the same graph; the one that is read by itself is the first.

        Raises ``WorkflowError`` (``WORKFLOW_NOT_RECOGNISED``) if there is none.
        """
        return [part for _, part in workflow_parts(self.content)]

    def encode(self) -> bytes:
        """The file. Keys keep their order, floats stay floats, and NaN stays as ComfyUI writes it.

        Raises ``WorkflowError`` (``WORKFLOW_TOO_DEEP``) for what is nested beyond what can be written.
        """
        try:
            return self._text(escaped=self.style.escaped).encode()
        except UnicodeEncodeError:
            return self._text(escaped=True).encode()  # half characters can only be spelled
        except RecursionError:
            raise WorkflowError("The workflow is nested too deeply.", code="WORKFLOW_TOO_DEEP") from None

    def _text(self, *, escaped: bool) -> str:
        style = self.style
        colon = ": " if style.spaced else ":"
        comma = ", " if style.spaced and style.indent is None else ","
        text = json.dumps(self.content, ensure_ascii=escaped, indent=style.indent, separators=(comma, colon))
        # In JSON's strings line breaks are escaped, so that all there are belong to the layout.
        text = text.replace("\n", style.newline) + style.end
        return (_BOM if style.bom else "") + text


def workflow_parts(content: dict[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
    """The workflows in a parsed JSON object, with the way to each.

    Raises ``WorkflowError`` (``WORKFLOW_NOT_RECOGNISED``) if there is none.
    """
    if is_ui_format(content) or is_api_format(content):
        return [((), content)]
    found: list[tuple[Path, dict[str, Any]]] = []
    for way in _WRAPPED:
        inner: Any = content
        for step in way:
            inner = inner.get(step) if isinstance(inner, dict) else None
        if is_ui_format(inner) or is_api_format(inner):
            found.append((way, inner))
    if not found:
        read_workflow(content)  # says what is wrong with it
    return found


def read_document(file: BinaryIO) -> Document:
    """The JSON in a seekable file, or the workflow in a picture, film or sound. Blocks.

    Raises ``WorkflowError``: those of ``parse_json`` and ``extract``; ``WORKFLOW_NOT_IN_FILE`` for a file
    that carries only generation parameters, which have no nodes to write to.
    """
    contained = extract(file)
    if contained is None:
        file.seek(0)
        data = file.read(MAX_BYTES + 1)
        return Document(parse_json(data), _style(data.decode("utf-8")))
    content = contained.workflow or contained.prompt
    if content is None:
        raise WorkflowError(
            "The file carries generation parameters but no workflow, so there is nothing to write.",
            code="WORKFLOW_NOT_IN_FILE",
        )
    return Document(content, Style(end="\n"))


def _style(text: str) -> Style:
    body = text.removeprefix(_BOM)
    trimmed = body.rstrip()
    indent = _INDENT.match(trimmed.lstrip())
    first = _FIRST_KEY.match(body)
    return Style(
        indent=indent.group(1) if indent else None,
        spaced=first is None or first.group(1) == " ",
        escaped=body.isascii() and "\\u" in body,
        newline="\r\n" if "\r\n" in body else "\n",
        end=body[len(trimmed) :],
        bom=text.startswith(_BOM),
    )

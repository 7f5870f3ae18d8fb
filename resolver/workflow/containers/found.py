"""Which of a file's texts are a workflow, a prompt or generation parameters.

Parsers yield every text that may be one, with the name it stands under; names and forms differ between
savers, so the content decides: a text is a workflow if it looks like one, wherever it was found.

======================  ==========================================================================
``workflow``/``prompt``  JSON: ComfyUI's SaveImage & co.; also as a string in JSON (glTF extras)
``parameters``           generation parameters: AUTOMATIC1111's stable-diffusion-webui, SaveImage nodes
``""``                   a comment; ``workflow:{…}`` (ComfyUI's WebP, "Prompt: {…}" of others),
                         ``{"prompt": …, "workflow": …}`` (VideoHelperSuite), or parameters
======================  ==========================================================================
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from ..api import is_api_format
from ..ui import is_ui_format

Entry = tuple[str, Any]
"""A name and a text, or JSON already parsed. Names are ``NAMES``, or ``""`` for a comment."""

NAMES = frozenset({"workflow", "prompt", "parameters"})
_COMMENTS = frozenset({"comment", "usercomment", "description", "imagedescription"})
# Only JSON is taken for the named thing: "Prompt: a red fox" is a remark.
_PREFIX = re.compile(r"\s*(workflow|prompt)\s*:\s*(?=\{)", re.IGNORECASE)
_STEPS = re.compile(r"\bSteps: ?\d")
_STEPS_LINE = re.compile(r"\nSteps: ?\d")
_MAX_DEPTH = 3


def entry_name(name: str) -> str | None:
    """The entry name for the name a file uses; ``None`` for one that cannot hold anything for us."""
    plain = name.strip().lower()
    if plain in NAMES:
        return plain
    return "" if plain.replace(" ", "") in _COMMENTS else None


def load_json(text: str) -> Any:
    """The JSON in ``text``, or ``None``. NaN and Infinity pass: ComfyUI writes them for some widgets."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


@dataclass
class Found:
    """What was found so far. Under the same name the last text counts, as it does for ComfyUI's editor.

    ``broken``: there was a text that began like a workflow but is not JSON.
    """

    workflow: dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None
    parameters: str | None = None
    broken: bool = False

    @classmethod
    def among(cls, entries: list[Entry]) -> Found:
        """The last of each kind in ``entries``; comments count only for what no name gave."""
        named: dict[str, Any] = {}
        comments: list[Any] = []
        for name, value in entries:
            prefix = _PREFIX.match(value) if not name and isinstance(value, str) else None
            if prefix:
                name, value = prefix.group(1).lower(), value[prefix.end() :]
            if name and value not in ("", None):
                named[name] = value
            elif not name:
                comments.append(value)
        found = cls()
        for name in ("workflow", "prompt", "parameters"):
            if name in named:
                found._judge(named[name], is_parameters=name == "parameters")
        for value in comments:
            found._judge(value)
        return found

    @property
    def nothing(self) -> bool:
        return self.workflow is None and self.prompt is None and self.parameters is None

    def _judge(self, value: Any, *, is_parameters: bool = False, depth: int = 0) -> None:
        if isinstance(value, str):
            text = value.strip().strip("\0")
            # A string in JSON that holds JSON: some savers encode twice.
            if text.startswith(("{", '"{')):
                parsed = load_json(text)
                if parsed is not None:
                    if depth < _MAX_DEPTH:
                        self._judge(parsed, depth=depth + 1)
                    return
                # Dynamic prompts begin like this too: "{red|blue} hat"; a line break is none of JSON.
                is_parameters = is_parameters or _STEPS_LINE.search(text) is not None
                if not is_parameters:
                    self.broken = True
                    return
            if text and self.parameters is None and (is_parameters or _STEPS.search(text)):
                self.parameters = text
        elif is_ui_format(value):
            self.workflow = self.workflow or value
        elif is_api_format(value):
            self.prompt = self.prompt or value
        elif isinstance(value, dict) and depth < _MAX_DEPTH:
            for key, inner in value.items():
                name = entry_name(key)
                if name is not None:
                    self._judge(inner, is_parameters=name == "parameters", depth=depth + 1)

"""Writing ComfyUI's own model metadata into a UI-format workflow.

An entry stands in ``properties.models`` of the node that loads the file, in subgraph definitions too: the
editor looks for the file of a promoted widget at the inner node (``missingModelScan.ts``). Its schema
(``zModelFile`` in ``workflowSchema.ts``) wants ``name``, ``url`` and ``directory``; ``hash`` and
``hash_type`` may be left out. The name is the widget's value, letter for letter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import WorkflowError
from ..names import to_posix
from .document import Path, workflow_parts
from .places import value_at
from .references import same_folder
from .ui import is_ui_format


@dataclass(frozen=True)
class Entry:
    """What is known of a file. ``directory``: its folder's name. ``sha256``: hex, lower case."""

    name: str
    directory: str
    url: str | None
    sha256: str | None


def ui_part(content: dict[str, Any]) -> dict[str, Any]:
    """The UI-format workflow in a parsed JSON object.

    Raises ``WorkflowError``: ``WORKFLOW_HAS_NO_METADATA`` (422) where there is only the API format, which
    has no place for metadata, and ``WORKFLOW_NOT_RECOGNISED``.
    """
    for _, part in workflow_parts(content):
        if is_ui_format(part):
            return part
    raise WorkflowError(
        "This workflow is in the API format, which cannot carry model metadata; use what the editor saves.",
        code="WORKFLOW_HAS_NO_METADATA",
        status=422,
    )


def embed_entry(content: dict[str, Any], node: Path, entry: Entry) -> bool:
    """Add ``entry`` to the node at ``node``, or complete the one it has; whether anything changed.

    What an entry says already stays. Without a URL and a folder none is added: the editor takes no such.
    """
    raw = value_at(content, node)
    properties = raw.get("properties", {})
    models = properties.get("models", []) if isinstance(properties, dict) else None
    if not isinstance(models, list):
        return False  # somebody else's use of the name
    stated = {
        "url": entry.url,
        "directory": entry.directory,
        **({"hash": entry.sha256, "hash_type": "SHA256"} if entry.sha256 else {}),
    }
    for known in models:
        if _is_of(known, entry):
            return _complete(known, stated)
    if entry.url is None:
        return False
    raw.setdefault("properties", {}).setdefault("models", []).append({"name": entry.name, **stated})
    return True


def _is_of(known: Any, entry: Entry) -> bool:
    if not isinstance(known, dict) or not isinstance(known.get("name"), str):
        return False
    directory = known.get("directory")
    elsewhere = isinstance(directory, str) and directory and not same_folder(directory, (entry.directory,))
    return to_posix(known["name"]) == to_posix(entry.name) and not elsewhere


def _complete(known: dict[str, Any], stated: dict[str, str | None]) -> bool:
    lacking = {
        field: value
        for field, value in stated.items()
        if value is not None and known.get(field) in (None, "")
    }
    if known.get("hash") not in (None, "") and str(known["hash"]).lower() != stated.get("hash"):
        lacking.pop("hash_type", None)  # that hash is not ours to name
    known.update(lacking)
    return bool(lacking)

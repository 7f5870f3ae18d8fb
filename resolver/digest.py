"""What the installed templates teach, computed once for each version of their package and kept.

Reading all templates takes about a second; a later start reads a small file.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from .folders.learned import Learned, learn, snapshot
from .sources.catalog import Entry, template_entries
from .templates import installed_templates, template_workflows

log = logging.getLogger(__name__)

_FORMAT = 1


@dataclass(frozen=True)
class Digest:
    """``learned``: folders by node input; ``entries``: the templates' catalog of models."""

    learned: Learned
    entries: tuple[Entry, ...]


def load_digest(directory: Path) -> Digest:
    """The digest of the installed templates, from the file kept in ``directory`` if it is of this version.

    Without templates: what was learned at release, and an empty catalog. Blocks; call it in a thread.
    """
    found = installed_templates()
    if found is None:
        return Digest(snapshot(), ())
    version, templates = found
    kept = directory / "templates.json"
    try:
        content = json.loads(kept.read_text(encoding="utf-8"))
        if content["format"] == _FORMAT and content["version"] == version:
            entries = tuple(TypeAdapter(list[Entry]).validate_python(content["entries"]))
            return Digest(_joined(Learned.from_json(content["learned"])), entries)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s cannot be read and is made anew: %s", kept, error)
    workflows = [workflow for _, workflow in template_workflows(templates)]
    learned, entries = learn(workflows), tuple(template_entries(workflows))
    _keep(
        kept,
        {
            "format": _FORMAT,
            "version": version,
            "learned": learned.as_json(),
            "entries": [asdict(entry) for entry in entries],
        },
    )
    return Digest(_joined(learned), entries)


def _joined(learned: Learned) -> Learned:
    """The installed templates' word goes first; nodes they no longer use are still known."""
    former = snapshot()
    return Learned({**former.nodes, **learned.nodes}, {**former.by_input, **learned.by_input})


def _keep(path: Path, content: dict[str, Any]) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(content), encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        log.warning("%s cannot be kept: %s", path, error)

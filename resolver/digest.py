"""What the installed templates teach, computed once for each version of their package and kept in the store.

Reading all templates takes about a second; a later start reads one row.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from .folders.learned import Learned, learn, snapshot
from .sources.catalog import Entry, template_entries
from .store import Store
from .templates import installed_templates, template_workflows

log = logging.getLogger(__name__)

_FORMAT = 1


@dataclass(frozen=True)
class Digest:
    """``learned``: folders by node input; ``entries``: the templates' catalog of models."""

    learned: Learned
    entries: tuple[Entry, ...]


def load_digest(store: Store) -> Digest:
    """The digest of the installed templates: what ``store`` has of this version, else made anew and kept.

    Without templates: what was learned at release, and an empty catalog. Blocks; call it in a thread.
    """
    found = installed_templates()
    if found is None:
        return Digest(snapshot(), ())
    version, templates = found
    key = f"{_FORMAT} {version}"
    try:
        for row in store.query("SELECT content FROM template_digest WHERE version = ?", (key,)):
            content = json.loads(row["content"])
            entries = tuple(TypeAdapter(list[Entry]).validate_python(content["entries"]))
            return Digest(_joined(Learned.from_json(content["learned"])), entries)
    except (sqlite3.Error, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("What was kept of the templates cannot be read and is made anew: %s", error)
    workflows = [workflow for _, workflow in template_workflows(templates)]
    learned, entries = learn(workflows), tuple(template_entries(workflows))
    _keep(store, key, {"learned": learned.as_json(), "entries": [asdict(entry) for entry in entries]})
    return Digest(_joined(learned), entries)


def _joined(learned: Learned) -> Learned:
    """The installed templates' word goes first; nodes they no longer use are still known."""
    former = snapshot()
    return Learned({**former.nodes, **learned.nodes}, {**former.by_input, **learned.by_input})


def _keep(store: Store, key: str, content: dict[str, Any]) -> None:
    try:
        with store.transaction() as connection:
            connection.execute("DELETE FROM template_digest")
            connection.execute("INSERT INTO template_digest VALUES (?, ?)", (key, json.dumps(content)))
    except sqlite3.Error as error:
        log.warning("What the templates teach cannot be kept: %s", error)

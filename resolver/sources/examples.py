"""Other workflows on this machine: the examples of installed node packs, and the user's own.

A workflow that carries ComfyUI's metadata, or whose notes link to files, says where its models come from;
another workflow that wants a file of the same name can use that. Each file is read once and again when it
changes; what it says is kept in the store.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ..errors import WorkflowError
from ..host import Host
from ..net.urls import redact
from ..store import Store
from ..workflow import Workflow
from ..workflow.read import MAX_BYTES, parse_json, read_workflow
from ..workflow.references import has_model_extension
from . import url_file_name
from .catalog import Entry, template_entries
from .workflow import links

log = logging.getLogger(__name__)

# Where packs keep theirs: example_workflows, examples, workflow, workflows_api, …
_DIRECTORY = re.compile(r"examples?|(?:examples?[ _-]?)?workflow.*", re.IGNORECASE)
_MOST_FILES = 5000
_ENTRIES = TypeAdapter(list[Entry])


class WorkflowIndex:
    """What the workflows on this machine say of models. Methods block."""

    def __init__(self, host: Host, store: Store) -> None:
        self._host = host
        self._store = store

    def entries(self) -> Sequence[Entry]:
        """All distinct entries; files that changed since the last time are read again."""
        rows = self._store.query("SELECT path, stamp, entries FROM workflow_index")
        known = {row["path"]: (row["stamp"], row["entries"]) for row in rows}
        found: dict[str, tuple[str, str]] = {}
        said: list[Entry] = []
        for path in self._files():
            try:
                status = os.stat(path)
            except OSError:
                continue
            stamp = f"{status.st_mtime_ns}-{status.st_size}"
            kept = known.get(path)
            entries = _decoded(kept[1]) if kept and kept[0] == stamp else None
            if kept is None or entries is None:
                kept = (stamp, _encoded(Path(path)))
                entries = _decoded(kept[1])
            found[path] = kept
            said += entries or ()
        if found != known:
            self._keep(found)
        return list(dict.fromkeys(said))

    def _keep(self, found: dict[str, tuple[str, str]]) -> None:
        with self._store.transaction() as connection:
            connection.execute("DELETE FROM workflow_index")
            connection.executemany(
                "INSERT INTO workflow_index VALUES (?, ?, ?)",
                [(path, stamp, entries) for path, (stamp, entries) in found.items()],
            )

    def _files(self) -> list[str]:
        found: list[str] = []
        for directory in self._places():
            for path, _, names in os.walk(directory):
                found += [os.path.join(path, name) for name in sorted(names) if name.endswith(".json")]
                if len(found) > _MOST_FILES:
                    log.warning("Only the first %d workflows on this machine are read.", _MOST_FILES)
                    return found[:_MOST_FILES]
        return found

    def _places(self) -> Iterator[Path]:
        # ComfyUI keeps each user's workflows at user/<name>/workflows.
        yield from sorted(self._host.user_directory.glob("*/workflows"))
        packs = self._host.root / "custom_nodes"
        for pack in sorted(packs.iterdir()) if packs.is_dir() else ():
            try:
                places = sorted(pack.iterdir()) if pack.is_dir() else []
            except OSError:
                continue
            yield from (place for place in places if _DIRECTORY.fullmatch(place.name) and place.is_dir())


def workflow_entries(workflow: Workflow) -> Iterator[Entry]:
    """What a workflow says: its metadata, and the files that its notes link to. Without anybody's tokens.

    Nor with the hashes it states: anybody's workflow is no evidence for what lies at a URL.
    """
    for entry in template_entries([workflow]):
        yield Entry(entry.name, entry.folder, redact(entry.url))
    for url in links(workflow.notes):
        name = url_file_name(url)
        if has_model_extension(name):
            yield Entry(name, None, redact(url))


def _encoded(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            return "[]"
        workflow = read_workflow(parse_json(path.read_bytes()))
    except (OSError, WorkflowError):
        return "[]"  # other JSON files lie beside workflows
    return json.dumps([asdict(entry) for entry in dict.fromkeys(workflow_entries(workflow))])


def _decoded(text: str) -> list[Entry] | None:
    """None if that is nothing we have written."""
    try:
        return _ENTRIES.validate_json(text, strict=True)
    except ValidationError:
        log.warning("What was kept of a workflow is damaged; it is read again.")
        return None

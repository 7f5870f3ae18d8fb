"""What is known for certain of a workflow's models, to be written into it as ComfyUI's own metadata.

An entry that is wrong would be taken for the author's word by everybody after us, so that only this is
written: the URL the workflow itself states, one found ``exact``, or ``probable`` with a hash; never one
with anything secret in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import schemas
from .host import home_folder
from .names import to_posix
from .net.urls import redact
from .relinking import ReferencesOf
from .sources import Context, Wanted, normalise_url
from .workflow import Workflow
from .workflow.embed import Entry, embed_entry
from .workflow.places import node_way
from .workflow.read import read_workflow
from .workflow.references import FoundReference, Knowledge

KnownHash = Callable[[str], "str | None"]
"""The SHA-256 of a file of the library by its path, if it is known without reading the file."""


@dataclass(frozen=True)
class Embedding:
    """A workflow whose models are looked for, all of them, those that are here too.

    ``wanted`` and ``context`` are what to resolve; ``write`` takes the answers.
    """

    content: dict[str, Any]
    wanted: list[Wanted]
    context: Context
    _models: list[tuple[schemas.Model, list[FoundReference]]]
    _local: Mapping[str, str]

    def write(self, resolutions: Iterable[schemas.Resolution]) -> int:
        """Write what is certain into ``content``; returns how many entries were added or completed."""
        answers = {resolution.id: resolution for resolution in resolutions}
        changed = 0
        for model, references in self._models:
            candidate = _certain(answers.get(model.id))
            for found in references:
                entry = _entry(model, found, candidate, self._local.get(model.id))
                node = node_way(found)
                if entry is not None and node is not None and embed_entry(self.content, node, entry):
                    changed += 1
        return changed

    def without_url(self) -> list[str]:
        """The ids of models that take part in a run and that the workflow does not say where to get."""
        stated = {
            (to_posix(entry.name), home_folder(entry.directory or ""))
            for entry in read_workflow(self.content).embedded()
            if entry.url
        }
        return [
            model.id
            for model, _ in self._models
            if model.active and (model.name, home_folder(model.folder or "")) not in stated
        ]


def prepare(
    content: dict[str, Any],
    workflow: Workflow,
    analysis: schemas.Analysis,
    knowledge: Knowledge,
    known_sha256: KnownHash,
) -> Embedding:
    """The models of ``content``, a UI-format workflow, that metadata can name.

    Nothing is written for a value that is no file name: the stem in a prompt or a stack, or an address.
    """
    references = ReferencesOf(content, knowledge)
    models = []
    local: dict[str, str] = {}
    wanted = []
    for model in analysis.models:
        meant = [found for found in references.of(model) if not found.by_stem and found.remote is None]
        if model.folder is None or not meant:
            continue
        models.append((model, meant))
        if model.path is not None and (known := known_sha256(model.path)) is not None:
            local[model.id] = known
        wanted.append(
            Wanted(
                model.id,
                model.folder,
                model.name,
                url=model.url,
                sha256=model.sha256 or local.get(model.id),
                size=model.size,
            )
        )
    context = Context(embedded=workflow.embedded(), notes=workflow.notes)
    return Embedding(content, wanted, context, models, local)


def _certain(resolution: schemas.Resolution | None) -> schemas.Candidate | None:
    if resolution is None or resolution.state != "resolved":
        return None
    best = resolution.candidates[0]
    sure = best.confidence == "exact" or (best.confidence == "probable" and best.sha256 is not None)
    return best if sure and best.needs != "token" else None


def _entry(
    model: schemas.Model, found: FoundReference, candidate: schemas.Candidate | None, local: str | None
) -> Entry | None:
    """What to state at the node of ``found``; its URL and its hash are of one and the same content."""
    stated = found.metadata
    url = stated.url if stated else None
    if url is None and candidate is not None:
        url = candidate.url
    if url is not None and redact(url) != url:
        return None
    sha256 = (stated.sha256 if stated else None) or model.sha256
    if sha256 is None and candidate is not None and url is not None:
        offered = {candidate.url, *candidate.mirrors}
        sha256 = candidate.sha256 if normalise_url(url) in offered else None
    # What lies here under that name is taken for it only where nobody who was asked says otherwise.
    if sha256 is None and (candidate is None or candidate.sha256 in (None, local)):
        sha256 = local
    return Entry(str(found.value), model.folder or "", url, sha256)

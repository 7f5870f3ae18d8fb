"""Civitai's lists of the versions that a workflow was made with, as entries of the workflow's metadata."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from . import EmbeddedModel, Workflow
from .containers.parameters import A1111Model, listed_models
from .remote import Remote, parse_remote

FOLDERS = {
    "checkpoint": "checkpoints",
    "vae": "vae",
    "lora": "loras",
    "embedding": "embeddings",
    "hypernetwork": "hypernetworks",
    "controlnet": "controlnet",
    "upscaler": "upscale_models",
}


def with_entries(workflow: Workflow, entries: Iterable[EmbeddedModel]) -> Workflow:
    """``workflow`` with further entries of metadata, each once."""
    known = {
        (entry.name, entry.url, entry.hash_type): entry for entry in entries if entry not in workflow.models
    }
    return replace(workflow, models=(*workflow.models, *known.values())) if known else workflow


def listed(content: Any) -> list[EmbeddedModel]:
    """What the workflow's JSON lists."""
    return places(listed_models(content))


def places(models: Iterable[A1111Model]) -> list[EmbeddedModel]:
    """Where Civitai's list says that models are, under the names that their addresses give them."""
    entries = []
    for model in models:
        remote = _remote(model)
        if remote is not None:
            folder = FOLDERS.get(model.kind) or remote.folder
            entries.append(EmbeddedModel(remote.name, remote.url, folder, None, None))
    return entries


def _remote(model: A1111Model) -> Remote | None:
    if model.air:
        return parse_remote(model.air)
    if model.version_id:
        return parse_remote(f"https://civitai.com/api/download/models/{model.version_id}")
    return None

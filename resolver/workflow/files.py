"""Any file -> ``Workflow``: JSON, or a picture, film or sound that ComfyUI saved it in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, BinaryIO

from ..errors import WorkflowError
from . import EmbeddedModel, StatedModel, Workflow
from .containers import extract
from .containers.parameters import A1111Model, listed_models, parse_parameters
from .read import MAX_BYTES, parse_json, read_workflow
from .references import has_model_extension
from .remote import Remote, parse_remote

_FOLDERS = {
    "checkpoint": "checkpoints",
    "vae": "vae",
    "lora": "loras",
    "embedding": "embeddings",
    "hypernetwork": "hypernetworks",
    "controlnet": "controlnet",
    "upscaler": "upscale_models",
}


def read_file(file: BinaryIO) -> Workflow:
    """The workflow in a seekable file; only what is needed of a large one is read. Blocks.

    Pictures of other programs may carry A1111-style parameters instead: then the models these name.
    Raises ``WorkflowError``: those of ``read_workflow`` and ``parse_json``, ``WORKFLOW_NOT_IN_FILE`` and
    ``FILE_DAMAGED``.
    """
    contained = extract(file)
    if contained is None:
        file.seek(0)
        whole = parse_json(file.read(MAX_BYTES + 1))
        inner = [whole, whole.get("workflow"), whole.get("prompt")]
        return _with_entries(read_workflow(whole), _listed(inner))
    said = parse_parameters(contained.parameters or "").models
    content = contained.workflow or contained.prompt
    if content is not None:
        # What savers write beside the workflow says more of the files that its nodes name.
        entries = [*_listed([contained.workflow, contained.prompt]), *_hashes(said), *_places(said)]
        return _with_entries(read_workflow(content), entries)
    named = [model for model in said if model.name and model.kind in _FOLDERS]
    # Of a kind of which files are named, Civitai's list is of the same ones: it says where they may be.
    nameless = [model for model in said if not model.name and model.kind not in {one.kind for one in named}]
    stated = [StatedModel(_FOLDERS[model.kind], model.name, model.autov2) for model in named if model.name]
    stated += [StatedModel(entry.directory, entry.name) for entry in _places(nameless) if entry.directory]
    if not stated:
        raise WorkflowError(
            "The file carries generation parameters, but they name no model.", code="WORKFLOW_NOT_IN_FILE"
        )
    return _with_entries(Workflow("api", (), stated=tuple(stated)), [*_hashes(said), *_places(said)])


def _with_entries(workflow: Workflow, entries: Iterable[EmbeddedModel]) -> Workflow:
    known = {(entry.name, entry.url, entry.hash_type): entry for entry in entries}
    return replace(workflow, models=(*workflow.models, *known.values())) if known else workflow


def _listed(contents: Iterable[Any]) -> list[EmbeddedModel]:
    return [entry for content in contents for entry in _places(listed_models(content))]


def _hashes(models: Iterable[A1111Model]) -> list[EmbeddedModel]:
    """What the parameters state of contents, in the form of the workflow's own metadata."""
    entries = []
    for model in models:
        for digest, kind in ((model.autov3, "AUTOV3"), (model.autov2, "AUTOV2")):
            if model.name and model.kind in _FOLDERS and digest:
                name = model.name if has_model_extension(model.name) else f"{model.name}.safetensors"
                entries.append(EmbeddedModel(name, None, _FOLDERS[model.kind], digest, kind))
    return entries


def _places(models: Iterable[A1111Model]) -> list[EmbeddedModel]:
    """Where Civitai's list says that models are, under the names that their addresses give them."""
    entries = []
    for model in models:
        remote = _remote(model)
        if remote is not None:
            folder = _FOLDERS.get(model.kind) or remote.folder
            entries.append(EmbeddedModel(remote.name, remote.url, folder, None, None))
    return entries


def _remote(model: A1111Model) -> Remote | None:
    if model.air:
        return parse_remote(model.air)
    if model.version_id:
        return parse_remote(f"https://civitai.com/api/download/models/{model.version_id}")
    return None

"""Any file -> ``Workflow``: JSON, or a picture, film or sound that ComfyUI saved it in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from ..errors import WorkflowError
from . import EmbeddedModel, StatedModel, Workflow
from .containers import extract
from .containers.parameters import A1111Model, parse_parameters
from .listed import FOLDERS, listed, places, with_entries
from .read import MAX_BYTES, parse_json, read_workflow
from .references import has_model_extension


def read_file(file: BinaryIO) -> Workflow:
    """The workflow in a seekable file; only what is needed of a large one is read. Blocks.

    Pictures of other programs may carry A1111-style parameters instead: then the models these name.
    Raises ``WorkflowError``: those of ``read_workflow`` and ``parse_json``, ``WORKFLOW_NOT_IN_FILE`` and
    ``FILE_DAMAGED``.
    """
    contained = extract(file)
    if contained is None:
        file.seek(0)
        return read_workflow(parse_json(file.read(MAX_BYTES + 1)))
    said = parse_parameters(contained.parameters or "").models
    content = contained.workflow or contained.prompt
    if content is not None:
        # What savers write beside the workflow says more of the files that its nodes name.
        entries = [*listed(contained.prompt), *_hashes(said), *places(said)]
        return with_entries(read_workflow(content), entries)
    named = [model for model in said if model.name and model.kind in FOLDERS]
    # Of a kind of which files are named, Civitai's list is of the same ones: it says where they may be.
    nameless = [model for model in said if not model.name and model.kind not in {one.kind for one in named}]
    stated = [StatedModel(FOLDERS[model.kind], model.name, model.autov2) for model in named if model.name]
    stated += [StatedModel(entry.directory, entry.name) for entry in places(nameless) if entry.directory]
    if not stated:
        raise WorkflowError(
            "The file carries generation parameters, but they name no model.", code="WORKFLOW_NOT_IN_FILE"
        )
    return with_entries(Workflow("api", (), stated=tuple(stated)), [*_hashes(said), *places(said)])


def _hashes(models: Iterable[A1111Model]) -> list[EmbeddedModel]:
    """What the parameters state of contents, in the form of the workflow's own metadata."""
    entries = []
    for model in models:
        for digest, kind in ((model.autov3, "AUTOV3"), (model.autov2, "AUTOV2")):
            if model.name and model.kind in FOLDERS and digest:
                name = model.name if has_model_extension(model.name) else f"{model.name}.safetensors"
                entries.append(EmbeddedModel(name, None, FOLDERS[model.kind], digest, kind))
    return entries

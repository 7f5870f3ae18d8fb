"""Any file -> ``Workflow``: JSON, or a picture, film or sound that ComfyUI saved it in."""

from __future__ import annotations

from typing import BinaryIO

from ..errors import WorkflowError
from . import StatedModel, Workflow
from .containers import extract
from .containers.parameters import parse_parameters
from .read import MAX_BYTES, parse_json, read_workflow

_FOLDERS = {
    "checkpoint": "checkpoints",
    "vae": "vae",
    "lora": "loras",
    "embedding": "embeddings",
    "hypernetwork": "hypernetworks",
    "controlnet": "controlnet",
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
        return read_workflow(parse_json(file.read(MAX_BYTES + 1)))
    content = contained.workflow or contained.prompt
    if content is not None:
        return read_workflow(content)
    stated = tuple(
        StatedModel(_FOLDERS[model.kind], model.name, model.autov2)
        for model in parse_parameters(contained.parameters or "").models
        if model.name and model.kind in _FOLDERS
    )
    if not stated:
        raise WorkflowError(
            "The file carries generation parameters, but they name no model.", code="WORKFLOW_NOT_IN_FILE"
        )
    return Workflow("api", (), stated=stated)

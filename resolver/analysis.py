"""Workflow -> *Analysis*: which models it wants, and whether ComfyUI would find them here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from . import schemas
from .errors import UnsafeName
from .folders import FolderKnowledge
from .host import canonical_folder
from .library import LibraryFile, Snapshot
from .names import is_generic_name, parse_model_name, to_posix
from .workflow import EmbeddedModel, Workflow
from .workflow.references import FoundReference, find_references, has_model_extension

Options = Callable[[str, str], frozenset[str] | None]
"""(node type, input) -> what ComfyUI offers there now, special values included; None if unknown."""


@dataclass
class _Wanted:
    """A model being put together from its references.

    ``accepted``: ComfyUI takes every one of them as it stands; ``file`` is what it loads, if it is a file
    of a model folder (nodes that fetch their own offer names of files that are not there yet).
    """

    folder: str | None
    name: str
    file: LibraryFile | None
    metadata: EmbeddedModel | None
    references: list[schemas.Reference] = field(default_factory=list)
    accepted: bool = True


def analyze(
    workflow: Workflow, knowledge: FolderKnowledge, library: Snapshot, options: Options
) -> schemas.Analysis:
    """Find the models of ``workflow`` and judge each against ``library``.

    Blocks for milliseconds; call it off the event loop.
    """
    wanted: dict[tuple[str | None, str], _Wanted] = {}
    warnings = [schemas.Notice(code=w.code, message=w.message, node_id=w.node_id) for w in workflow.warnings]
    for found in find_references(workflow, knowledge):
        folder, file = _place(found, library)
        accepted = file is not None
        if file is None:
            offered = options(found.node.type, found.input)
            accepted = offered is not None and found.value in offered
            if _is_no_model(found, library, offered):
                continue
        try:
            name = parse_model_name(_file_name(found, file))
        except UnsafeName as error:
            warnings.append(schemas.Notice(code=error.code, message=error.message, node_id=found.node.id))
            continue
        model = wanted.setdefault((folder, name), _Wanted(folder, name, file, found.metadata))
        if not accepted:
            model.accepted = False  # one spelling of the name that ComfyUI does not accept is one too many
        model.metadata = model.metadata or found.metadata
        model.references.append(
            schemas.Reference(
                node_id=found.node.id,
                node_type=found.node.type,
                input=found.input,
                value=found.value,
                active=found.active,
            )
        )
    models = [_judge(model, library) for model in wanted.values()]
    models.sort(key=lambda model: (not model.active, model.folder or "~", model.name))
    return schemas.Analysis(
        format=workflow.format, models=models, summary=_summary(models), warnings=warnings
    )


def model_id(folder: str | None, name: str) -> str:
    """``loras/style/a.safetensors``; ``?/a.safetensors`` where no folder is known."""
    return f"{folder or '?'}/{name}"


def _file_name(found: FoundReference, file: LibraryFile | None) -> str:
    """The name of the file that a value stands for."""
    if not found.by_stem:
        return found.value
    # Nobody says which extension it has; nearly all that is published today is safetensors.
    return file.name if file else f"{found.value}.safetensors"


def _place(found: FoundReference, library: Snapshot) -> tuple[str | None, LibraryFile | None]:
    """The folder a value belongs to, and the file ComfyUI accepts for it."""
    folders = [canonical_folder(folder) for folder in found.folders]
    for folder in folders:
        if found.by_stem:
            file = library.by_stem(folder, found.value, anywhere=found.anywhere)
        else:
            file = library.accepted(folder, found.value)
        if file is not None:
            return folder, file
    for folder in folders:
        spec = library.folders.get(folder)
        if spec is not None and spec.extensions and spec.lists(found.value):
            return folder, None
    return (folders[0] if folders else None), None


def _is_no_model(found: FoundReference, library: Snapshot, offered: frozenset[str] | None) -> bool:
    """Whether a value without a model's extension is one of a node's special ones (None, pixel_space, …)."""
    if has_model_extension(found.value) or found.by_stem:
        return False
    if offered is None:
        # Nobody can say what the node offers: lists of model files have extensions, mostly.
        return found.metadata is None
    return found.value in offered or not _can_be_listed(found, library)


def _can_be_listed(found: FoundReference, library: Snapshot) -> bool:
    specs = [library.folders.get(canonical_folder(folder)) for folder in found.folders]
    return any(
        spec is not None and (spec.lists(found.value) or "folder" in spec.extensions) for spec in specs
    )


def _judge(model: _Wanted, library: Snapshot) -> schemas.Model:
    alternatives: list[schemas.Alternative] = []
    status: schemas.Status = "present" if model.accepted else "missing"
    if not model.accepted and not is_generic_name(model.name):
        by_path: dict[str, schemas.Alternative] = {}
        for alternative in (_alternative(model, file) for file in library.named(model.name)):
            # Two folders may share a root (unet_gguf, diffusion_models): one file, one alternative.
            known = by_path.get(alternative.path)
            if known is None or known.score < alternative.score:
                by_path[alternative.path] = alternative
        alternatives = sorted(by_path.values(), key=lambda a: (-a.score, a.folder, a.name))
        if alternatives:
            status = "elsewhere"
        elif model.folder is not None:
            # Never ``elsewhere``: another precision is a substitute for the user to choose, not the file.
            alternatives = [
                schemas.Alternative(
                    path=file.path,
                    folder=file.folder,
                    name=file.name,
                    same_content=None,
                    score=min(match.score, 0.75),
                    difference="; ".join(match.differences) or "name",
                )
                for file, match in library.substitutes(model.folder, model.name)
            ]
    metadata = model.metadata
    return schemas.Model(
        id=model_id(model.folder, model.name),
        folder=model.folder,
        name=model.name,
        status=status,
        active=any(reference.active for reference in model.references),
        path=model.file.path if model.file and model.accepted else None,
        size=model.file.size if model.file and model.accepted else None,
        sha256=metadata.sha256 if metadata else None,
        url=metadata.url if metadata else None,
        references=model.references,
        alternatives=alternatives,
    )


def _alternative(model: _Wanted, file: LibraryFile) -> schemas.Alternative:
    """The same file name in another place: surer in the same folder, surest at the same subfolder."""
    if file.folder != model.folder:
        score = 0.8
    elif file.name == to_posix(model.name):
        score = 1.0
    else:
        score = 0.9
    return schemas.Alternative(
        path=file.path, folder=file.folder, name=file.name, same_content=None, score=score
    )


def _summary(models: list[schemas.Model]) -> schemas.Summary:
    counts = {
        status: sum(model.status == status for model in models)
        for status in ("present", "missing", "elsewhere")
    }
    return schemas.Summary(total=len(models), **counts, unknown=sum(model.folder is None for model in models))

"""Workflow -> *Analysis*: which models it wants, and whether ComfyUI would find them here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from . import schemas
from .errors import UnsafeName
from .folders import FolderKnowledge
from .host import canonical_folder
from .library import LibraryFile, Snapshot
from .names import parse_model_name, to_posix
from .net.urls import redact
from .roles import directory_families, tells_nothing
from .workflow import EmbeddedModel, Workflow
from .workflow.references import FoundReference, find_references, has_model_extension

Options = Callable[[str, str], frozenset[str] | None]
"""(node type, input) -> what ComfyUI offers there now, special values included; None if unknown."""


# Whole models and bare diffusion models go by the same names.
_OF_ONE_NAME = {"checkpoints", "diffusion_models"}


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
    warnings.extend(notice for model in wanted.values() if (notice := _contradiction(model, library)))
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
        return found.name
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
        if spec is not None and spec.extensions and spec.lists(found.name):
            return folder, None
    # A pack that is not installed brings no folder of its own: its loader's other one will do.
    here = [folder for folder in folders if folder in library.folders]
    return next(iter(here or folders), None), None


def _is_no_model(found: FoundReference, library: Snapshot, offered: frozenset[str] | None) -> bool:
    """Whether a value without a model's extension is one of a node's special ones (None, pixel_space, …)."""
    if has_model_extension(found.name) or found.by_stem:
        return False
    if offered is None:
        # Nobody can say what the node offers: lists of model files have extensions, mostly.
        return found.metadata is None
    if found.value in offered:
        return not _is_directory(found, library)
    return not _can_be_listed(found, library)


def _can_be_listed(found: FoundReference, library: Snapshot) -> bool:
    specs = [library.folders.get(canonical_folder(folder)) for folder in found.folders]
    return any(
        spec is not None and (spec.lists(found.value) or "folder" in spec.extensions) for spec in specs
    )


def _is_directory(found: FoundReference, library: Snapshot) -> bool:
    """Whether a value that the node offers is a directory of a folder that lists directories."""
    specs = [library.folders.get(canonical_folder(folder)) for folder in found.folders]
    return any(
        (root / found.value).is_dir()
        for spec in specs
        if spec is not None and "folder" in spec.extensions
        for root in spec.roots
    )


def _judge(model: _Wanted, library: Snapshot) -> schemas.Model:
    status: schemas.Status = "present" if model.accepted else "missing"
    alternatives: list[schemas.Alternative] = []
    if not model.accepted:
        alternatives = _alternatives(model, library)
        if any(alternative.difference is None for alternative in alternatives):
            status = "elsewhere"
        elif model.folder is not None:
            # Never ``elsewhere``: another precision is a substitute for the user to choose, not the file.
            known = {alternative.path for alternative in alternatives}
            alternatives += [
                schemas.Alternative(
                    path=file.path,
                    folder=file.folder,
                    name=file.name,
                    same_content=_same_content(model, file, library),
                    score=min(match.score, 0.75),
                    difference="; ".join(match.differences) or "name",
                )
                for file, match in library.substitutes(model.folder, model.name)
                if file.path not in known
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
        url=redact(metadata.url) if metadata and metadata.url else None,
        references=model.references,
        alternatives=alternatives,
    )


def _alternatives(model: _Wanted, library: Snapshot) -> list[schemas.Alternative]:
    """The wanted content under any name, the wanted name anywhere else, other content of that name."""
    by_path: dict[str, schemas.Alternative] = {}
    wanted = _stated_hash(model)
    files = library.with_content(wanted) if wanted else []
    if not tells_nothing(model.name):
        files += library.named(model.name)
    elif model.folder is not None and (file := library.find(model.folder, model.name)) is not None:
        files.append(file)  # the very path, which the workflow spells with the other separator
    for file in files:
        alternative = _alternative(model, file, library)
        if alternative.same_content is None and _is_another_model(model, file):
            continue
        # Two folders may share a root (unet_gguf, diffusion_models): one file, one alternative.
        known = by_path.get(alternative.path)
        if known is None or known.score < alternative.score:
            by_path[alternative.path] = alternative
    return sorted(
        by_path.values(),
        key=lambda a: (a.difference is not None, not a.same_content, -a.score, a.folder, a.name),
    )


def _alternative(model: _Wanted, file: LibraryFile, library: Snapshot) -> schemas.Alternative:
    """A file that has the wanted content, or the wanted file name in another place.

    By its content it is surest in the same folder; by its name, at the same subfolder of that.
    """
    same_content = _same_content(model, file, library)
    difference = None
    if same_content is False:
        score, difference = 0.3, "content"
    elif same_content:
        score = 1.0 if file.folder == model.folder else 0.85
    elif file.folder != model.folder:
        score = 0.8
    else:
        score = 1.0 if file.name == to_posix(model.name) else 0.9
    return schemas.Alternative(
        path=file.path,
        folder=file.folder,
        name=file.name,
        same_content=same_content,
        score=score,
        difference=difference,
    )


def _is_another_model(model: _Wanted, file: LibraryFile) -> bool:
    """Whether a file of the wanted name, of whose content nothing is known, is for something else."""
    if {model.folder, file.folder} == _OF_ONE_NAME:
        return True  # flux1-dev-fp8 is published with its text encoders and VAE, and without
    # SDXL/add_detail is not SD1.5/add_detail; but a directory Wan may hold what is for Wan 2.2.
    wanted, here = directory_families(model.name), directory_families(file.name)
    agree = any(one.startswith(other) or other.startswith(one) for one in wanted for other in here)
    return bool(wanted and here) and not agree


def _stated_hash(model: _Wanted) -> str | None:
    return model.metadata.sha256 if model.metadata else None


def _same_content(model: _Wanted, file: LibraryFile, library: Snapshot) -> bool | None:
    """Whether ``file`` has the content that the workflow states; null where either is unknown."""
    wanted = _stated_hash(model)
    known = library.sha256_of(file) if wanted else None
    return None if known is None else known == wanted


def _contradiction(model: _Wanted, library: Snapshot) -> schemas.Notice | None:
    """What to say of a file that ComfyUI will load although it is not the one the workflow was made with."""
    if not model.accepted or model.file is None or _same_content(model, model.file, library) is not False:
        return None
    return schemas.Notice(
        code="CONTENT_DIFFERS",
        message=f"{model_id(model.folder, model.name)} is here, but its content is not what the workflow was "
        f"made with (SHA-256 {_stated_hash(model)}).",
        node_id=model.references[0].node_id,
    )


def _summary(models: list[schemas.Model]) -> schemas.Summary:
    counts = {
        status: sum(model.status == status for model in models)
        for status in ("present", "missing", "elsewhere")
    }
    return schemas.Summary(total=len(models), **counts, unknown=sum(model.folder is None for model in models))

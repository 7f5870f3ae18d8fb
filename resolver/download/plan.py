"""From what somebody asks for to rows that are known to be good, before any of them starts."""

from __future__ import annotations

import os
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from ..errors import BadInput, Conflict, ResolverError
from ..host import FolderSpec, Host
from ..host.roots import folder_spec, is_below, root_to_write
from ..names import ModelName, parse_model_name, resolve_inside
from ..net.policy import UrlPolicy
from ..net.urls import redact
from ..schemas import DownloadItem
from ..store import DownloadRow
from . import place
from .model import UNFINISHED, to_come
from .place import place_of
from .space import device_of, require_space

MODEL_EXTENSIONS = frozenset(
    {
        *(".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".gguf", ".onnx"),
        *(".onnx_data", ".msgpack", ".npz", ".npy", ".tflite", ".task", ".h5", ".model"),
        *(".json", ".yaml", ".yml", ".txt"),
    }
)
"""What a model, or a file that belongs to one, may end in, in any folder."""

_PROGRAMS = frozenset(
    {
        *(".py", ".pyc", ".pyd", ".pyw", ".so", ".dll", ".dylib", ".exe", ".com", ".msi", ".scr"),
        *(".bat", ".cmd", ".ps1", ".vbs", ".js", ".mjs", ".sh", ".bash", ".jar", ".app", ".html", ".svg"),
    }
)


@dataclass(frozen=True)
class Planned:
    """A row to be, and the URLs with the secrets a row must not hold."""

    row: DownloadRow
    url: str = field(repr=False)
    mirrors: tuple[str, ...] = field(repr=False)


def plan_items(host: Host, policy: UrlPolicy, items: Sequence[DownloadItem], owner: str) -> list[Planned]:
    """Check every item; all are good, or none is taken.

    Raises the first item's error. Its ``details.items`` lists all that are wrong, as
    ``{"index", "filename", "code", "message"}``. Codes: see ``resolver.download``. Blocks (looks at
    the disk).
    """
    planned: list[Planned] = []
    errors: list[tuple[int, ResolverError]] = []
    taken: set[str] = set()
    ground = _Ground(host)
    for index, item in enumerate(items):
        try:
            plan = _plan_item(ground, policy, item, owner)
            if plan.row.destination in taken:
                raise duplicate_download(plan.row)
            taken.add(plan.row.destination)
            planned.append(plan)
        except ResolverError as error:
            errors.append((index, error))
    if errors:
        first = errors[0][1]
        first.details["items"] = [
            {"index": index, "filename": items[index].filename, "code": error.code, "message": error.message}
            for index, error in errors
        ]
        raise first
    return planned


def require_space_for(new: Sequence[DownloadRow], waiting: Sequence[DownloadRow], reserve: int) -> None:
    """Check, disk by disk, that ``new`` fits beside all that is still to come. Unknown sizes count as 0.

    Raises ``DownloadError`` (``NO_SPACE``). Blocks.
    """
    device = cache(device_of)
    needed: dict[int, int] = defaultdict(int)
    for row in (*new, *waiting):
        needed[device(Path(row.root))] += to_come(row)
    for root in {Path(row.root) for row in new}:
        require_space(root, needed[device(root)], reserve)


def duplicate_download(row: DownloadRow) -> Conflict:
    return Conflict(
        f"{row.filename} is being downloaded to {row.path} already.",
        code="DUPLICATE_DOWNLOAD",
        path=row.path,
    )


def wrong_state(row: DownloadRow, done: str) -> Conflict:
    """What to raise where a download cannot be ``done`` (paused, retried, …) as it stands now."""
    elsewhere = " (by another process)" if row.status in UNFINISHED else ""
    return Conflict(
        f"The download of {row.filename} is {row.status}{elsewhere} and cannot be {done} now.",
        code="WRONG_STATE",
        state=row.status,
    )


def file_exists(path: Path) -> Conflict:
    return Conflict(
        f"There is a file {path} already, and nothing is overwritten. Remove or rename it, or choose another "
        "name.",
        code="FILE_EXISTS",
        path=str(path),
    )


class _Ground:
    """What many items have in common, looked at once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.spec = cache(partial(folder_spec, host))
        self.folds_case = cache(place.folds_case)
        self._roots: dict[str, Path] = {}
        self._allowed: set[Path] = set()

    def root(self, spec: FolderSpec) -> Path:
        if spec.name not in self._roots:
            self._roots[spec.name] = root_to_write(self._host, spec)
        return self._roots[spec.name]

    def require_writing(self, directory: Path, spec: FolderSpec) -> None:
        if directory in self._allowed:
            return
        if is_below(directory, self._host.no_write()):
            raise Conflict(
                f"Nothing is written to {directory}.", code="FOLDER_NOT_WRITABLE", folder=spec.name
            )
        self._allowed.add(directory)


def _plan_item(ground: _Ground, policy: UrlPolicy, item: DownloadItem, owner: str) -> Planned:
    name = parse_model_name(item.filename)
    spec = ground.spec(item.folder)
    _check_extension(spec, name)
    for url in (item.url, *item.mirrors):
        policy.fetch_url(url)
    root = ground.root(spec)
    inside = resolve_inside(root, name)
    target = inside.target
    ground.require_writing(target.parent, spec)
    _check_existing(spec, name, target, item)
    sha256 = item.sha256.lower() if item.sha256 else None
    where = place_of(inside, ground.folds_case)
    row = DownloadRow(
        id=uuid.uuid4().hex[:16],
        folder=spec.name,
        filename=name,
        url=redact(item.url),
        mirrors=tuple(redact(mirror) for mirror in item.mirrors),
        root=str(root),
        path=str(target),
        destination=where.destination,
        stem=where.stem,
        stated_size=item.size,
        stated_sha256=sha256,
        owner=owner,
        created_at=time.time(),
        priority=item.priority,
        size=item.size,
        sha256=sha256,
    )
    return Planned(row, item.url, tuple(item.mirrors))


def _check_extension(spec: FolderSpec, name: ModelName) -> None:
    """An ending that ComfyUI lists in this folder, or one that models have; never a program's."""
    extension = os.path.splitext(name)[1].lower()
    if extension in MODEL_EXTENSIONS or (extension in spec.extensions and extension not in _PROGRAMS):
        return
    raise BadInput(
        f"{name!r} does not end like a model file ({extension or 'no ending'}); nothing else is downloaded.",
        code="EXTENSION_NOT_ALLOWED",
        filename=name,
    )


def _check_existing(spec: FolderSpec, name: ModelName, target: Path, item: DownloadItem) -> None:
    """A file of this name in any root of the folder stands in the way: ComfyUI shows only one of them.

    At the destination itself it may be the very file that is wanted, if a SHA-256 is stated: the queue
    will see.
    """
    for root in spec.roots:
        path = root.joinpath(*name.split("/"))
        if not os.path.lexists(path):
            continue
        may_be_it = path == target and item.sha256 is not None and path.is_file()
        if not may_be_it or (item.size is not None and path.stat().st_size != item.size):
            raise file_exists(path)

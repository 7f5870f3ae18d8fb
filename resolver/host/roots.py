"""Which of a folder's roots a new file is written to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import BadInput, Conflict
from . import NOT_MODEL_FOLDERS, FolderSpec, Host, canonical_folder, home_folder


def folder_spec(host: Host, folder: str) -> FolderSpec:
    """The folder of that name, former names included.

    Raises ``BadInput`` (``FOLDER_UNKNOWN``) for a name ComfyUI does not have, and for one in which
    no model belongs.
    """
    name = canonical_folder(folder)
    spec = host.folders().get(name)
    if spec is None or name in NOT_MODEL_FOLDERS:
        raise BadInput(
            f"ComfyUI has no model folder named {folder!r} here. Install the node pack that brings it, or "
            "add it to extra_model_paths.yaml.",
            code="FOLDER_UNKNOWN",
            folder=folder,
        )
    return spec


def is_writable(root: Path) -> bool:
    """Whether files can be made in ``root``, or, while it does not exist, ``root`` in its nearest parent."""
    current = root
    while not current.exists():
        if current.parent == current:
            return False
        current = current.parent
    return current.is_dir() and os.access(current, os.W_OK | os.X_OK)


def is_below(path: Path, directories: Iterable[Path]) -> bool:
    """Whether ``path``, with its links followed, is one of ``directories`` or lies in one."""
    real = Path(os.path.realpath(path))
    for directory in directories:
        base = Path(os.path.realpath(directory))
        if real == base or base in real.parents:
            return True
    return False


def writable_roots(host: Host, spec: FolderSpec) -> list[Path]:
    """The roots a file may be written to, best first.

    The root the user marked as default, then the root named like the folder (``models/unet`` comes
    first in ``diffusion_models``, yet is not where people look), then ComfyUI's order.
    """
    directory = home_folder(spec.name).lower()
    candidates = [root for root in spec.roots if is_writable(root) and not is_below(root, host.no_write())]
    return sorted(candidates, key=lambda root: (root != spec.default_root, root.name.lower() != directory))


def root_to_write(host: Host, spec: FolderSpec) -> Path:
    """The best of ``writable_roots``; raises ``Conflict`` (``FOLDER_NOT_WRITABLE``) where there is none."""
    roots = writable_roots(host, spec)
    if not roots:
        raise Conflict(
            f"No directory of the folder {spec.name!r} can be written to: "
            + (", ".join(map(str, spec.roots)) or "it has none")
            + ". Check its permissions.",
            code="FOLDER_NOT_WRITABLE",
            folder=spec.name,
        )
    return roots[0]

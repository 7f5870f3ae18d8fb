"""Part files that nobody goes on with, found in the helper directories of all model folders.

They are shown to the user and removed when the user says so. Nobody can know whether another program's
queue, paused or not running now, still counts on one; so nothing of this happens by itself, but for
small files of ours that say nothing without their part.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from .. import schemas
from ..errors import Conflict, NotFound
from ..host import NOT_MODEL_FOLDERS, Host
from .claims import Claim, discard_unclaimed
from .part import BESIDE_PART, helper_directory, is_linked_away
from .sidecar import read_sidecar


def orphan_parts(host: Host, wanted: Collection[Path], *, older_than: float) -> list[schemas.Part]:
    """The parts that are none of ``wanted``, that no running queue works on, the largest first.

    ``older_than``: Unix time; a part written to since then is left out. Blocks.
    """
    found = []
    mine = {os.path.realpath(part) for part in wanted}
    for folder, part in _parts(host):
        if os.path.realpath(part) in mine:
            continue
        with suppress(OSError):  # it is gone by now, or cannot be looked at
            status = os.lstat(part)
            if status.st_mtime <= older_than and _is_unclaimed(part):
                sidecar = read_sidecar(part)
                found.append(
                    schemas.Part(
                        id=_id_of(part),
                        folder=folder,
                        filename=sidecar.name if sidecar else None,
                        path=str(part),
                        size=status.st_size,
                        modified=status.st_mtime,
                    )
                )
    return sorted(found, key=lambda part: (-part.size, part.path))


def remove_orphan(host: Host, wanted: Collection[Path], part_id: str) -> None:
    """Remove that part, however young, with all that lies beside it.

    Raises ``NotFound`` (``PART_UNKNOWN``), ``Conflict`` (``PART_IN_USE``: a download of ours or of
    another process counts on it), and ``OSError``. Blocks.
    """
    mine = {os.path.realpath(part) for part in wanted}
    for _, part in _parts(host):
        if _id_of(part) == part_id:
            if os.path.realpath(part) in mine or not discard_unclaimed(part):
                raise Conflict(
                    "This part belongs to a download. Cancel or remove the download instead.",
                    code="PART_IN_USE",
                )
            return
    raise NotFound(f"There is no part file {part_id!r}.", code="PART_UNKNOWN")


def sweep(host: Host) -> None:
    """Remove locks and notes that crashed processes left without a part. Blocks."""
    endings = (".lock", *BESIDE_PART)
    for _, directory in _directories(host):
        with suppress(OSError):
            names = set(os.listdir(directory))
            stems = {os.path.splitext(name)[0] for name in names if name.endswith(endings)}
            for stem in sorted(stems):
                if f"{stem}.part" not in names:
                    _sweep_away(directory / f"{stem}.part")


def _sweep_away(part: Path) -> None:
    """Unless somebody has begun the part just now."""
    claim = Claim(part)
    with suppress(OSError):
        if not claim.take():
            return
        try:
            if not os.path.lexists(part):
                for ending in BESIDE_PART:
                    part.with_suffix(ending).unlink(missing_ok=True)
        finally:
            claim.release()


def _is_unclaimed(part: Path) -> bool:
    if not os.path.lexists(part.with_suffix(".lock")):
        return True  # and none is made only to look
    claim = Claim(part)
    if not claim.take():
        return False
    claim.release()
    return True


def _parts(host: Host) -> Iterator[tuple[str, Path]]:
    for folder, directory in _directories(host):
        with suppress(OSError):
            for name in sorted(os.listdir(directory)):
                if name.endswith(".part"):
                    yield folder, directory / name


def _directories(host: Host) -> Iterator[tuple[str, Path]]:
    """The helper directories there are, each once, with the folder they serve."""
    seen = set()
    for name, spec in sorted(host.folders().items()):
        for root in spec.roots:
            directory = helper_directory(root)
            real = os.path.realpath(directory)
            if name not in NOT_MODEL_FOLDERS and real not in seen and os.path.isdir(directory):
                seen.add(real)
                if not is_linked_away(directory):
                    yield name, directory


def _id_of(part: Path) -> str:
    return hashlib.sha256(os.path.realpath(part).encode()).hexdigest()[:16]

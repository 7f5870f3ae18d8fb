"""What a part file is of, written beside it as ``<stem>.json``.

It is not in the store, because a process with another store must be able to go on with the part. It is
written before the first byte of what it describes; a crash of the machine may lose it, and then the part
is begun anew.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .model import Job
from .part import discard_part
from .threads import in_thread
from .transfer import PartState


@dataclass(frozen=True)
class Sidecar:
    """``name``: the model's, relative to the root. ``url``: without tokens. Sizes in bytes."""

    name: str
    url: str
    sha256: str | None
    size: int | None
    state: PartState

    def is_of(self, url: str, sha256: str | None) -> bool:
        """Whether it is of the same content or, where that is not known of both, of the same URL."""
        if self.sha256 is not None and sha256 is not None:
            return self.sha256 == sha256
        return self.url == url


def read_sidecar(part: Path) -> Sidecar | None:
    """What is written beside ``part``; None if nothing, or nothing that can be understood. Blocks."""
    try:
        with open(part.with_suffix(".json"), encoding="utf-8") as file:
            values: dict[str, Any] = json.load(file)
        return Sidecar(**{**values, "state": PartState(**values["state"])})
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


async def note_part(job: Job, state: PartState) -> None:
    """Write down that the part of ``job`` is of the content ``state``. Raises ``OSError``."""
    job.part_state = state
    sidecar = Sidecar(job.name, job.row.url, job.row.sha256, job.row.size, state)
    await in_thread(write_sidecar, job.part, sidecar)


async def take_up_part(job: Job) -> None:
    """Learn what is written beside the part; one that is of something else, or of nobody knows what, goes.

    For whoever holds the claim on it.
    """
    row = job.row
    sidecar = await in_thread(_read_or_discard, job.part, row.url, row.sha256)
    job.part_state = None
    if sidecar is not None:
        # Another server calls the same content something else.
        job.part_state = sidecar.state if sidecar.url == row.url else replace(sidecar.state, etag=None)
        row.sha256 = row.sha256 or sidecar.sha256
        row.size = row.size if sidecar.size is None else sidecar.size


def write_sidecar(part: Path, sidecar: Sidecar) -> None:
    """Write ``sidecar`` beside ``part``, in one step. Raises ``OSError``. Blocks."""
    new, final = part.with_suffix(".new"), part.with_suffix(".json")
    try:
        new.write_text(json.dumps(asdict(sidecar)), encoding="utf-8")
        os.replace(new, final)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise


def _read_or_discard(part: Path, url: str, sha256: str | None) -> Sidecar | None:
    sidecar = read_sidecar(part)
    if sidecar is not None and os.path.isfile(part) and sidecar.is_of(url, sha256):
        return sidecar
    if os.path.lexists(part):
        discard_part(part)
    return None

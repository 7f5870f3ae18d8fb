"""Where a file goes, in words that are equal for equal places, whoever asks and however it is spelt."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..names import Inside
from .space import nearest_existing


@dataclass(frozen=True)
class Place:
    """``destination``: the absolute path with links followed, for comparing within one machine.

    ``stem``: what the part file and all that lies beside it are called. It is made of the path inside
    the root alone, so it is the same for a process that has the root mounted somewhere else.
    """

    destination: str
    stem: str


def place_of(inside: Inside, folds: Callable[[Path], bool] | None = None) -> Place:
    """The place of a model, which need not exist. Blocks.

    ``folds``: what ``folds_case`` says, for whoever asks often.
    """
    destination = os.path.join(inside.real_parent, inside.target.name)
    relative = Path(os.path.relpath(destination, inside.real_root)).as_posix()
    if (folds or folds_case)(inside.real_parent):
        destination, relative = _folded(destination), _folded(relative)
    return Place(os.path.normcase(destination), hashlib.sha256(relative.encode()).hexdigest()[:24])


def folds_case(directory: Path) -> bool:
    """Whether ``A`` and ``a`` are one file in ``directory``, as on Windows, macOS and many a USB disk.

    Nothing is made to find out: a name that is there is looked for in the other case.
    """
    directory = nearest_existing(directory)
    try:
        names = set(os.listdir(directory))
        paths = [*(directory / name for name in sorted(names)), directory]
        for where, name in ((path.parent, path.name) for path in paths):
            other = name.swapcase()
            if other != name and len(other) == len(name):
                return other not in names and os.path.samestat(
                    os.lstat(where / name), os.lstat(where / other)
                )
    except OSError:
        return False
    return False


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()

"""Replacing a small file of our own in one step."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

_ABANDONED_SECONDS = 3600.0


def replace_text(path: Path, text: str, *, mode: int) -> None:
    """Give ``path`` the content ``text`` (UTF-8) and the permissions ``mode``: all of it, or nothing happens.

    It may hold tokens: who may read it is settled before the first byte is there. What a process that
    was killed left beside it is removed when it is an hour old. Raises ``OSError``. Blocks.
    """
    _sweep(path)
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(new, flags, mode)
        with open(descriptor, "w", encoding="utf-8") as file:
            os.chmod(new, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(new, path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise


def _sweep(path: Path) -> None:
    for left in path.parent.glob(f".{path.name}.*.new"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                left.unlink()

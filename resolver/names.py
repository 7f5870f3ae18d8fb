"""Names are data: parse them once, and hold values that are known to be safe afterwards.

A model's name is a path relative to its folder, always with ``/``. It comes from workflows,
servers and clients, none of which is trusted. ``parse_model_name`` is the only way in.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple, NewType

from .errors import UnsafeName

ModelName = NewType("ModelName", str)
"""A validated name: relative, ``/``-separated, no part that any supported system reads otherwise."""

# Windows device names open a device whatever their extension or folder:
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?$", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')
_MAX_PART = 255
_MAX_NAME = 1024


def to_posix(value: str) -> str:
    """``sub\\x.safetensors`` -> ``sub/x.safetensors``: the separator workflows from Windows carry."""
    return value.replace("\\", "/")


def basename(value: str) -> str:
    """The last part of a model's name, whatever its separators."""
    return to_posix(value).rsplit("/", 1)[-1]


def same_file_name(left: str, right: str) -> bool:
    """Whether two names end in the same file name; equal after Unicode composition, nothing looser."""
    return unicodedata.normalize("NFC", basename(left)) == unicodedata.normalize("NFC", basename(right))


def parse_model_name(value: str) -> ModelName:
    """Return ``value`` as a safe relative name with ``/``.

    Raises ``UnsafeName`` (``NAME_UNSAFE``, with ``details.reason``) for: empty names, absolute paths,
    drive letters and UNC paths, ``.``/``..``/empty parts, control characters and NUL, characters no
    Windows file may have, trailing dots or spaces, reserved device names, and over-long names.
    """

    def refuse(reason: str) -> UnsafeName:
        shown = value if len(value) <= 120 else value[:117] + "…"
        return UnsafeName(f"The name {shown!r} is refused: {reason}.", reason=reason, name=shown)

    name = to_posix(value)
    if not name.strip():
        raise refuse("it is empty")
    if len(name) > _MAX_NAME:
        raise refuse(f"it is longer than {_MAX_NAME} characters")
    if name.startswith("/"):
        raise refuse("it is an absolute path")
    if re.match(r"^[A-Za-z]:", name):
        raise refuse("it starts with a drive letter")
    if _FORBIDDEN.search(name):
        raise refuse("it contains a character that file names cannot have")
    if any(0xD800 <= ord(char) <= 0xDFFF for char in name):
        raise refuse("it is not valid Unicode")
    for part in name.split("/"):
        if part in ("", ".", ".."):
            raise refuse("it has an empty, '.' or '..' part")
        if len(part.encode("utf-8")) > _MAX_PART:
            raise refuse(f"a part of it is longer than {_MAX_PART} bytes")
        if part != part.rstrip(" .") or part != part.lstrip(" "):
            raise refuse("a part of it starts or ends with a space, or ends with a dot")
        if _RESERVED.match(part):
            raise refuse("a part of it is a name that Windows reserves for a device")
        if part.lower() in (".git", ".model-resolver"):
            raise refuse("a part of it is a name that tools keep for themselves")
    return ModelName(name)


class Inside(NamedTuple):
    """``target``: the path of a model below its root. ``real_root``, ``real_parent``: the root and the
    directory of the model, with links followed; the one is, or lies above, the other."""

    target: Path
    real_root: Path
    real_parent: Path


def resolve_inside(root: Path, name: ModelName) -> Inside:
    """Where ``name`` is below ``root``, after checking that no symlink on the way leads out.

    ``root`` itself may be a symlink (people link whole model folders to other disks); anything
    below it may not leave it. Raises ``UnsafeName``.
    """
    real_root = Path(os.path.realpath(root))
    target = root.joinpath(*name.split("/"))
    real_parent = real_root if target.parent == root else Path(os.path.realpath(target.parent))
    if real_parent != real_root and real_root not in real_parent.parents:
        raise UnsafeName(
            f"The name {name!r} is refused: a link below {root} leads out of the model folder.",
            reason="a link leads out of the model folder",
            name=name,
        )
    return Inside(target, real_root, real_parent)

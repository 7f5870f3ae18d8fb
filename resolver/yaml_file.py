"""Changing single values in a YAML file that people write by hand."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .replacing import replace_text


def change_yaml(path: Path, changes: Mapping[str, Any]) -> None:
    """Set plain top-level values, or with None take them out; everything else stays as it is.

    Comments and order are kept wherever a value stands on a line of its own, as it does in a file that
    this function or a person wrote; the rest of the content is kept in any case. The file is replaced in
    one step, behind a symbolic link too, and is made where there is none.
    Raises ``OSError``, ``UnicodeDecodeError``, ``yaml.YAMLError``; then nothing has changed.
    """
    path = Path(os.path.realpath(path))
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    content = yaml.safe_load(before) or {}
    if not isinstance(content, dict):
        raise yaml.YAMLError("it is not a mapping")
    wanted = {name: value for name, value in content.items() if name not in changes}
    wanted.update({name: value for name, value in changes.items() if value is not None})
    after = before
    for name, value in changes.items():
        after = _with_line(after, name, value)
    if not _means(after, wanted):
        after = yaml.safe_dump(wanted, allow_unicode=True, sort_keys=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    # It may hold tokens: nobody can read the new file who could not read the old one.
    replace_text(path, after, mode=path.stat().st_mode & 0o777 if path.exists() else 0o600)


def _with_line(text: str, name: str, value: Any) -> str:
    """``text`` with the line ``name: value``, in the old one's place if there is one."""
    line = "" if value is None else yaml.safe_dump({name: value}, allow_unicode=True)
    # The comment behind a value stays with it.
    old = re.compile(rf"^{re.escape(name)}[ \t]*:[^#\n]*(?P<comment>#[^\n]*)?(?:\n|\Z)", re.MULTILINE)
    if found := old.search(text):
        comment = found["comment"]
        if line and comment:
            line = f"{line.rstrip()}  {comment}\n"
        return text[: found.start()] + line + text[found.end() :]
    if not line:
        return text
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{line}"


def _means(text: str, wanted: Mapping[str, Any]) -> bool:
    try:
        return (yaml.safe_load(text) or {}) == wanted
    except yaml.YAMLError:
        return False

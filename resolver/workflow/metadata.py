"""ComfyUI's own model metadata: lists of ``{name, url, directory, hash?, hash_type?}``."""

from __future__ import annotations

from typing import Any

from . import EmbeddedModel


def embedded_models(value: Any, *, active: bool = True) -> tuple[EmbeddedModel, ...]:
    """The well-formed entries of a ``models`` list; anything else is passed over."""
    if not isinstance(value, list):
        return ()
    return tuple(
        EmbeddedModel(
            name=entry["name"],
            url=_text(entry.get("url")),
            directory=_text(entry.get("directory")),
            hash=_text(entry.get("hash")),
            hash_type=_text(entry.get("hash_type")),
            active=active,
        )
        for entry in value
        if isinstance(entry, dict) and _text(entry.get("name"))
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None

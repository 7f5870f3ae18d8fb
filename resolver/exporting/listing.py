"""JSON for other programs: what to fetch, and where to."""

from __future__ import annotations

import json
from collections.abc import Sequence

from .item import Item, token_of


def write(items: Sequence[Item], remarks: Sequence[str]) -> str:
    """``path``: below ComfyUI's directory, with ``/``. ``token``: the variable that holds the token which
    the file needs, null if it needs none. ``left_out``: a line on each model that is not in it."""
    files = [
        {
            "folder": item.folder,
            "name": item.name,
            "path": f"models/{item.path}",
            "size": item.size,
            "sha256": item.sha256,
            "url": item.urls[0],
            "mirrors": list(item.urls[1:]),
            "token": token_of(item.urls[0]) if item.needs in ("licence", "token") else None,
        }
        for item in items
    ]
    return json.dumps({"files": files, "left_out": list(remarks)}, ensure_ascii=False, indent=2) + "\n"

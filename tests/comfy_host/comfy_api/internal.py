"""What the server itself needs to know of V3 nodes."""

from __future__ import annotations

from typing import Any


class _ComfyNodeInternal:
    """Base of every V3 node: how the server tells the two kinds of node class apart."""

    @classmethod
    def GET_NODE_INFO_V1(cls) -> dict[str, Any]:
        raise NotImplementedError

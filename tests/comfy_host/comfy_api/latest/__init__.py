"""``from comfy_api.latest import ComfyExtension, io``: how a V3 node pack announces its nodes."""

from __future__ import annotations

from . import _io as io


class ComfyExtension:
    """What a pack's ``comfy_entrypoint()`` returns."""

    async def on_load(self) -> None:
        """Called once, before the nodes are asked for."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        raise NotImplementedError


IO = io

__all__ = ["IO", "ComfyExtension", "io"]

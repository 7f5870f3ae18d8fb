"""Values that are objects or lists: stacks of LoRAs with a switch for each, and the like.

Seen in the wild: ``{"on": true, "lora": "a.safetensors", "strength": 1}`` (rgthree's Power Lora Loader),
``[{"name": "a", "active": true, "strength": 1}]``, also as ``{"__value__": […]}`` (LoRA Manager).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_SWITCHES = ("on", "active", "enabled", "enable")
_MAX_DEPTH = 6


@dataclass(frozen=True)
class Leaf:
    """A text inside a value. ``path``: the way to it, e.g. ``lora_1.lora`` or ``loras.0.name``.

    ``key``: the name it goes by. ``on``: whether all switches on the way are on. ``in_stack``: whether
    it stands beside a strength, as the entries of a stack of LoRAs do.
    """

    path: str
    key: str
    text: str
    on: bool
    in_stack: bool


def leaves(name: str, value: Any) -> Iterator[Leaf]:
    """All texts inside a dict or list; nothing for other values."""
    if isinstance(value, (dict, list)):
        yield from _walk(name, name, value, True, False, 0)


def _walk(path: str, key: str, value: Any, on: bool, in_stack: bool, depth: int) -> Iterator[Leaf]:
    if isinstance(value, str):
        yield Leaf(path, key, value, on, in_stack)
    elif isinstance(value, dict) and depth < _MAX_DEPTH:
        on = on and not any(value.get(switch) is False for switch in _SWITCHES)
        stack = "strength" in value
        for inner, content in value.items():
            if str(inner).startswith("last_"):
                continue  # what a node that draws lots drew the last time
            # {"__value__": …} is only the wrapping in which API exports put lists.
            wrapping = inner == "__value__"
            yield from _walk(
                path if wrapping else f"{path}.{inner}",
                key if wrapping else str(inner),
                content,
                on,
                stack,
                depth + 1,
            )
    elif isinstance(value, list) and depth < _MAX_DEPTH:
        for index, content in enumerate(value):
            yield from _walk(f"{path}.{index}", key, content, on, in_stack, depth + 1)

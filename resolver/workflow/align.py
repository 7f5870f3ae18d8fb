"""Names for values that a workflow lists by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import Node

# The editor adds this widget behind integer inputs declared with control_after_generate (and, in older
# versions, behind any input of these names); it takes a place among the values but has no input.
_CONTROL_VALUES = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
_CONTROLLED = frozenset({"seed", "noise_seed"})


def align(names: Sequence[str], values: Sequence[Any], *, complete: bool) -> dict[str, Any] | None:
    """Pair widget names with values, or ``None`` if the two do not fit together.

    A value that the control widget would hold is skipped behind a number whose place it can only be.
    ``complete``: the names are known to be all of the node's, in order. Then values may be left over
    (upload buttons, previews and widgets of a newer version stand at the end) or be fewer (those of an
    older version). A node's own list is often only of the inputs that were once converted or wired, so
    it must fit exactly.
    """
    if not names:
        return {} if not values else None
    found: dict[str, Any] = {}
    position = 0
    surplus = len(values) - len(names)
    for name in names:
        if position >= len(values):
            return found if complete else None
        value = values[position]
        found.setdefault(name, value)
        position += 1
        controls = position < len(values) and _is_control(values[position])
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if controls and surplus > 0 and (is_number or name in _CONTROLLED):
            position += 1
            surplus -= 1
    return found if complete or position == len(values) else None


def named_values(node: Node, order: tuple[str, ...]) -> dict[str, Any]:
    """A node's values by input name; positional ones are named by ``order``, or ``#0``, ``#1``, … without."""
    if not node.positional:
        return dict(node.named)
    by_position = align(order, node.positional, complete=True) if order else None
    if by_position is None:
        by_position = {f"#{index}": value for index, value in enumerate(node.positional)}
    return {**by_position, **node.named}


def _is_control(value: Any) -> bool:
    return isinstance(value, str) and value in _CONTROL_VALUES

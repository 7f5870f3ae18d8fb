"""Values that a subgraph's instance states for its promoted inputs in ways of older editors.

Source: ``proxyWidgetMigration.ts`` and ``proxyWidgetQuarantineSchema.ts`` of ComfyUI's frontend.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .graph import as_list

# In place of an inner node's id: the widget is the subgraph's own input of that name.
_OWN_INPUT = "-1"
_NODE_PREFIXES = re.compile(r"^(?:\s*\d+\s*:\s*)+(?=.)")


class Promoted(NamedTuple):
    """A subgraph's input that leads to widgets inside: ``targets`` are (inner node id, input name)."""

    name: str
    targets: tuple[tuple[str, str], ...]


class Proxied(NamedTuple):
    """Host values in the order of ``properties.proxyWidgets``: by input name, and, for widgets that no
    input of the subgraph leads to, by (inner node id, widget name).
    """

    by_input: dict[str, Any]
    by_widget: dict[tuple[str, str], Any]


def by_proxy(raw: Mapping[str, Any], values: list[Any], widgets: Iterable[Promoted]) -> Proxied:
    """The host's ``values`` by what ``[[inner node id, widget name], …]`` says of them."""
    names = {target: widget.name for widget in widgets for target in widget.targets}
    names.update({(_OWN_INPUT, widget.name): widget.name for widget in widgets})
    found = Proxied({}, {})
    for proxy, value in zip(_property(raw, "proxyWidgets"), values, strict=False):
        if value is None or not isinstance(proxy, list) or len(proxy) < 2:
            continue  # null is what a list has in place of a value that is not stated
        target = (str(proxy[0]), str(proxy[1]))
        if target not in names:
            # A widget of a subgraph further in was called by its node: "11: lora_name".
            target = (target[0], _NODE_PREFIXES.sub("", target[1]))
        if target in names:
            found.by_input[names[target]] = value
        elif target[0] != _OWN_INPUT:
            found.by_widget[target] = value
    return found


def set_aside(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Values by input name that the editor keeps apart since their inner widget is gone; the first counts.

    ``properties.proxyWidgetErrorQuarantine``: ``[{"originalEntry": ["-1", name], "reason", "hostValue"}]``.
    """
    found: dict[str, Any] = {}
    for entry in _property(raw, "proxyWidgetErrorQuarantine"):
        proxy = as_list(entry.get("originalEntry")) if isinstance(entry, dict) else []
        if len(proxy) >= 2 and proxy[0] == _OWN_INPUT and isinstance(proxy[1], str) and "hostValue" in entry:
            found.setdefault(proxy[1], entry["hostValue"])
    return found


def _property(raw: Mapping[str, Any], name: str) -> list[Any]:
    """A list among a node's properties; the editor also takes it as JSON text."""
    properties = raw.get("properties")
    value = properties.get(name) if isinstance(properties, dict) else None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return as_list(value)

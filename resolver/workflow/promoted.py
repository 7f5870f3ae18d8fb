"""Values that a subgraph's instance states for its promoted inputs in ways of older editors.

Source: ``proxyWidgetMigration.ts`` and ``proxyWidgetQuarantineSchema.ts`` of ComfyUI's frontend.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .graph import as_list

# In place of an inner node's id: the widget is the subgraph's own input of that name.
_OWN_INPUT = "-1"


class Promoted(NamedTuple):
    """A subgraph's input that leads to widgets inside: ``targets`` are (inner node id, input name)."""

    name: str
    targets: tuple[tuple[str, str], ...]


def by_proxy(raw: Mapping[str, Any], values: list[Any], widgets: Iterable[Promoted]) -> dict[str, Any]:
    """Values in the order of ``properties.proxyWidgets``: ``[[inner node id, widget name], …]``."""
    proxies = _property(raw, "proxyWidgets")
    if not proxies:
        return {}
    names = {target: widget.name for widget in widgets for target in widget.targets}
    names.update({(_OWN_INPUT, widget.name): widget.name for widget in widgets})
    found: dict[str, Any] = {}
    for proxy, value in zip(proxies, values, strict=False):
        if isinstance(proxy, list) and len(proxy) >= 2:
            name = names.get((str(proxy[0]), str(proxy[1])))
            if name is not None:
                found[name] = value
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

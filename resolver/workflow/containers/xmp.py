"""XMP packets: properties called ``workflow`` or ``prompt``, in any namespace.

Format: ISO 16684-1 (XMP), a subset of RDF/XML. A few save nodes use it, with namespaces of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.parsers import expat

from .found import Entry

# Not "parameters": Photoshop's history says so of each step (stEvt:parameters="converted from …").
_NAMES = frozenset({"workflow", "prompt"})


class _Refused(Exception):
    """An entity declaration: no XMP needs one, and a bomb does."""


def read(packet: str) -> Iterator[Entry]:
    """The properties' texts, written as attributes or as elements. XML that is broken yields nothing."""
    found: dict[str, str] = {}
    name = ""
    parts: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal name
        for key, value in attributes.items():
            if _local(key) in _NAMES:
                found[_local(key)] = value
        if not name and _local(tag) in _NAMES:
            name = _local(tag)
            parts.clear()

    def end(tag: str) -> None:
        nonlocal name
        if name and _local(tag) == name:
            found[name] = "".join(parts).strip()
            name = ""

    def text(data: str) -> None:
        if name:
            parts.append(data)

    def refuse(*_: object) -> None:
        raise _Refused

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(packet.encode("utf-8", "replace"), True)
    except (expat.ExpatError, _Refused):
        return
    yield from found.items()


def _local(name: str) -> str:
    return name.rpartition(":")[2].lower()

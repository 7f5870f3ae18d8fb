"""OpenEXR: string attributes of the header.

Format: openexr.com, "OpenEXR File Layout". ComfyUI's SaveImageAdvanced writes ``prompt`` and ``workflow``.
"""

from __future__ import annotations

from collections.abc import Iterator

from .found import Entry, entry_name
from .reader import Damaged, Reader, decode

_MAX_NAME = 256


def read(file: Reader) -> Iterator[Entry]:
    """The texts of the (first part's) header: name, zero, type, zero, size, value; a zero ends it."""
    offset = 8
    while True:
        label = _name(file, offset)
        if not label:
            return
        offset += len(label) + 1
        offset += len(_name(file, offset)) + 1
        size = file.number(offset, 4, little=True)
        value = file.window(offset + 4, size)
        name = entry_name(decode(label))
        if name is not None:
            yield name, decode(value.rest())
        offset += 4 + size


def _name(file: Reader, offset: int) -> bytes:
    name, separator, _ = file.at(offset, min(_MAX_NAME, file.size - offset)).partition(b"\0")
    if not separator:
        raise Damaged("a name in its header does not end")
    return name

"""The ``Range`` request header, for one range of bytes (RFC 9110, section 14)."""

from __future__ import annotations

import re

_ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class RangeNotSatisfiable(Exception):
    """The range lies outside the content: to be answered with 416."""


def parse_range(header: str | None, size: int) -> range | None:
    """The offsets asked for out of ``size`` bytes, or None if the whole content is to be sent.

    Whatever is not one well-formed range counts as no header at all, which section 14.2 allows a
    server; so do several ranges, which no storage host of the hubs answers either. Raises
    RangeNotSatisfiable.
    """
    match = _ONE_RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        wanted = range(max(0, size - int(match[2])), size)
    else:
        last = int(match[2]) if match[2] else size - 1
        if match[2] and last < int(match[1]):
            return None
        wanted = range(int(match[1]), min(last + 1, size))
    if not wanted:
        raise RangeNotSatisfiable
    return wanted

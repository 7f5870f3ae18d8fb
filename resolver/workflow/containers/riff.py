"""WebP: a RIFF file with the chunks ``EXIF`` and ``XMP ``.

Format: RFC 9649, section 2.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import exif, xmp
from .found import Entry
from .reader import Reader, decode


def read(file: Reader) -> Iterator[Entry]:
    """The texts of EXIF and XMP, which stand behind the pixels."""
    offset = 12
    while offset < file.size:
        head = file.at(offset, 8)
        data = file.window(offset + 8, int.from_bytes(head[4:], "little"))
        if head[:4] == b"EXIF":
            yield from data.part(exif.read(data))
        elif head[:4] == b"XMP ":
            yield from xmp.read(decode(data.rest()))
        offset += 8 + data.size + data.size % 2  # chunks begin at even offsets

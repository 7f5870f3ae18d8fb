"""JPEG: EXIF and XMP in APP1, comments in COM.

Format: ITU-T T.81, annex B; EXIF 2.32 section 4.5; XMP part 3 section 1.1.3.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import exif, xmp
from .found import Entry
from .reader import Damaged, Reader, decode

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_APP1, _COMMENT, _SCAN, _END = 0xE1, 0xFE, 0xDA, 0xD9
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def read(file: Reader) -> Iterator[Entry]:
    """The texts of the segments before the pixels."""
    offset = 2
    while True:
        fill, marker = file.at(offset, 2)
        if fill != 0xFF:
            raise Damaged("there is no segment where one should begin")
        if marker in (_SCAN, _END):
            return
        if marker == 0xFF:  # any number of these may precede a marker
            offset += 1
            continue
        offset += 2
        if marker in _WITHOUT_LENGTH:
            continue
        length = file.number(offset, 2)
        data = file.window(offset + 2, length - 2)
        if marker == _COMMENT:
            yield "", decode(data.rest())
        elif marker == _APP1:
            start = data.at(0, min(len(_XMP), data.size))
            if start.startswith(b"Exif\0\0"):
                yield from data.part(exif.read(data))
            elif start == _XMP:
                yield from xmp.read(decode(data.rest(len(_XMP))))
        offset += length

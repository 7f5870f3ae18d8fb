"""GIF: comment extensions.

Format: GIF89a (CompuServe, 1990), sections 15 to 24. stable-diffusion-webui writes its parameters there.
"""

from __future__ import annotations

from collections.abc import Iterator

from .found import Entry
from .reader import MAX_TEXT, Damaged, Reader, TooLarge, decode

_EXTENSION, _IMAGE, _TRAILER, _COMMENT = 0x21, 0x2C, 0x3B, 0xFE


def read(file: Reader) -> Iterator[Entry]:
    """All comments, before, between and behind the frames."""
    offset = 13 + _palette(file.at(10, 1)[0])
    while True:
        block = file.at(offset, 1)[0]
        if block == _TRAILER:
            return
        if block == _IMAGE:
            # The descriptor's 9 bytes, the frame's palette, 1 byte of LZW code size.
            offset, _ = _sub_blocks(file, offset + 11 + _palette(file.at(offset + 9, 1)[0]), keep=False)
        elif block == _EXTENSION:
            is_comment = file.at(offset + 1, 1)[0] == _COMMENT
            offset, data = _sub_blocks(file, offset + 2, keep=is_comment)
            if is_comment:
                yield "", decode(data)
        else:
            raise Damaged("there is no block where one should begin")


def _palette(flags: int) -> int:
    """Bytes of the colour table that a descriptor's flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _sub_blocks(file: Reader, offset: int, *, keep: bool) -> tuple[int, bytes]:
    """The offset behind a chain of sub-blocks, and their data if ``keep``."""
    data = bytearray()
    while size := file.at(offset, 1)[0]:
        if keep:
            data += file.at(offset + 1, size)
            if len(data) > MAX_TEXT:
                raise TooLarge
        offset += 1 + size
    return offset + 1, bytes(data)

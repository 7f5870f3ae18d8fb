"""EXIF, as it stands in WebP, JPEG, PNG, AVIF and JPEG XL; and TIFF, which is the same structure.

Format: TIFF 6.0 (Adobe, 1992), section 2; EXIF 2.32 (CIPA DC-008), section 4.6.5 for UserComment.
ComfyUI writes ``prompt:{…}`` into Model (0x0110) and ``workflow:{…}`` into Make (0x010F), further texts
into the tags below (``comfy_api/latest/_ui.py``); save-image-extended uses Make and ImageDescription, the
WAS suite ``Workflow:{"workflow": …}``; stable-diffusion-webui and Image Saver write UserComment.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator

from .found import Entry
from .reader import Damaged, Reader, decode

_USER_COMMENT = 0x9286
_EXIF_IFD = 0x8769
_BYTE, _ASCII, _LONG, _UNDEFINED = 1, 2, 4, 7


def read(data: Reader) -> Iterator[Entry]:
    """The texts of the first directory and its EXIF directory. ``data`` begins with the TIFF header."""
    # WebP and JPEG writers put the marker of JPEG's APP1 before it, or leave it out.
    if data.size >= 6 and data.at(0, 6) == b"Exif\0\0":
        data = data.window(6, data.size - 6)
    order = data.at(0, 4)
    if order not in (b"II*\0", b"MM\0*"):
        raise Damaged("its EXIF does not begin like EXIF")
    endian = "<" if order[:2] == b"II" else ">"
    (offset,) = struct.unpack(endian + "I", data.at(4, 4))
    nested = yield from _directory(data, offset, endian)
    if nested:
        yield from _directory(data, nested, endian)


def _directory(data: Reader, offset: int, endian: str) -> Generator[Entry, None, int]:
    """Yields the texts; the generator's value is the offset of the EXIF directory, or 0."""
    (count,) = struct.unpack(endian + "H", data.at(offset, 2))
    table = data.at(offset + 2, 12 * count)
    nested = 0
    for tag, kind, length, raw in struct.iter_unpack(endian + "HHI4s", table):
        if tag == _EXIF_IFD and kind == _LONG:
            (nested,) = struct.unpack(endian + "I", raw)
        if kind != _ASCII and not (kind in (_BYTE, _UNDEFINED) and tag == _USER_COMMENT):
            continue
        # Up to 4 bytes stand in the entry itself; nothing as short is of use.
        if length <= 4:
            continue
        value = data.text(struct.unpack(endian + "I", raw)[0], length)
        yield "", _user_comment(value) if tag == _USER_COMMENT else decode(value)
    return nested


def _user_comment(value: bytes) -> str:
    """UserComment: 8 bytes that name the encoding, then the text; some writers leave the 8 bytes out."""
    code, text = value[:8], value[8:]
    if code == b"UNICODE\0":
        return _utf16(text)
    return decode(text if code in (b"ASCII\0\0\0", b"\0" * 8) else value)


def _utf16(text: bytes) -> str:
    """UTF-16 of unknown byte order.

    The specification wants the file's order, piexif always writes big-endian, others little-endian. All
    texts of interest are mostly ASCII, whose zero bytes tell; if there is none, it is not UTF-16.
    """
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return text.decode("utf-16", "replace")
    high, low = text[::2].count(0), text[1::2].count(0)
    if not high and not low:
        return decode(text)
    return text.decode("utf-16-be" if high >= low else "utf-16-le", "replace").rstrip("\0")

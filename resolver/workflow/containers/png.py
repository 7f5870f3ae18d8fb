"""PNG and APNG: text chunks, ComfyUI's ``comf`` chunk, EXIF.

Format: PNG (W3C Recommendation, third edition), sections 5 and 11.3. ComfyUI writes ``tEXt`` (SaveImage)
and, for APNG, a private chunk ``comf`` of the same form (``comfy_api/latest/_ui.py``); others ``iTXt``.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import exif, xmp
from .found import Entry, entry_name
from .reader import Damaged, Reader, decode

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"comf")
_MAX_KEYWORD = 79


def read(file: Reader) -> Iterator[Entry]:
    """The texts of all chunks, those behind the pixels too."""
    offset = len(SIGNATURE)
    while True:
        head = file.at(offset, 8)
        chunk = head[4:]
        data = file.window(offset + 8, int.from_bytes(head[:4], "big"))
        if chunk == b"IEND":
            return
        if chunk in _TEXT_CHUNKS:
            yield from data.part(_text(chunk, data))
        elif chunk == b"eXIf":
            yield from data.part(exif.read(data))
        offset += 12 + data.size  # length, type and checksum are 4 bytes each


def _text(chunk: bytes, data: Reader) -> Iterator[Entry]:
    keyword, separator, _ = data.at(0, min(_MAX_KEYWORD + 1, data.size)).partition(b"\0")
    is_xmp = keyword == b"XML:com.adobe.xmp"
    name = entry_name(keyword.decode("latin-1"))
    if not separator or (name is None and not is_xmp):
        return
    body = data.rest(len(keyword) + 1)
    compressed = chunk == b"zTXt"
    if chunk == b"iTXt":
        if len(body) < 2:
            raise Damaged("a text chunk is too short")
        compressed = body[0] == 1
        # Compression method, language tag and translated keyword stand before the text.
        parts = body[2:].split(b"\0", 2)
        body = parts[-1] if len(parts) == 3 else b""
    elif compressed:
        body = body[1:]
    text = decode(data.inflate(body) if compressed else body)
    if is_xmp:
        yield from xmp.read(text)
    elif name is not None:
        yield name, text

"""Boxes: MP4, MOV and M4A; AVIF and HEIF; JPEG XL.

Format: ISO/IEC 14496-12 (boxes; ``meta``, ``iinf``, ``iloc``), 23008-12 (EXIF as an item), 18181-2 (JPEG
XL's ``Exif`` box); Apple's QuickTime File Format (``udta``, ``keys`` and ``ilst``).

ComfyUI's SaveVideo names its texts in ``moov/udta/meta/keys``; VideoHelperSuite's go to the comment,
``©cmt``, which stands in ``ilst`` for MP4 and directly in ``udta`` for MOV (both by FFmpeg).
"""

from __future__ import annotations

from collections.abc import Iterator

from . import exif, xmp
from .found import Entry, entry_name
from .items import item
from .reader import Damaged, Reader, decode

_TAGS = {b"\xa9cmt": "comment", b"desc": "description", b"ldes": "description", b"\xa9des": "description"}


def read(file: Reader) -> Iterator[Entry]:
    """The texts of a film's user data, or of an image's EXIF and XMP items."""
    for kind, box in _boxes(file):
        if kind == b"moov":
            for inner_kind, inner in _boxes(box):
                yield from _metadata(file, inner_kind, inner)
        elif kind == b"Exif":
            yield from box.part(_exif(box))
        elif kind == b"xml ":
            yield from xmp.read(decode(box.rest()))
        else:
            yield from _metadata(file, kind, box)


def _boxes(data: Reader, offset: int = 0) -> Iterator[tuple[bytes, Reader]]:
    """(type, content) of the boxes from ``offset`` to the end."""
    # QuickTime ends some lists with four zero bytes.
    while offset + 8 <= data.size:
        head = data.at(offset, 8)
        size, start = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, start = data.number(offset + 8, 8), 16
        elif size == 0:
            size = data.size - offset
        if size < start:
            raise Damaged("a box is shorter than its own head")
        yield head[4:], data.window(offset + start, size - start)
        offset += size


def _metadata(file: Reader, kind: bytes, box: Reader) -> Iterator[Entry]:
    if kind == b"meta":
        yield from _meta(file, box)
    elif kind == b"udta":
        for inner_kind, inner in _boxes(box):
            if inner_kind == b"meta":
                yield from _meta(file, inner)
            elif inner_kind in _TAGS and inner.size > 4:
                # QuickTime's own form: 2 bytes of length, 2 of language. FFmpeg writes longer texts too,
                # whose length does not fit; the box's does.
                yield "", decode(inner.rest(4))


def _meta(file: Reader, meta: Reader) -> Iterator[Entry]:
    # In ISO files version and flags come first, in QuickTime they do not: there, "hdlr" is at once.
    is_quicktime = meta.size >= 8 and meta.at(4, 4) == b"hdlr"
    parts = dict(_boxes(meta, 0 if is_quicktime else 4))
    if b"ilst" in parts:
        yield from _item_list(parts[b"ilst"], _keys(parts[b"keys"]) if b"keys" in parts else [])
    if b"iinf" in parts and b"iloc" in parts:
        for kind in (b"Exif", b"mime"):
            data = item(kind, parts[b"iinf"], parts[b"iloc"], file, parts.get(b"idat"))
            if data is not None:
                yield from data.part(_exif(data)) if kind == b"Exif" else xmp.read(decode(data.rest()))


def _exif(data: Reader) -> Iterator[Entry]:
    """EXIF behind the number of bytes (a marker, maybe) that precede its TIFF header."""
    start = 4 + data.number(0, 4)
    yield from exif.read(data.window(start, data.size - start))


def _keys(box: Reader) -> list[str]:
    """The names that ``ilst`` refers to by number, from 1."""
    names = []
    offset = 8
    for _ in range(box.number(4, 4)):
        size = box.number(offset, 4)
        if size < 8:
            raise Damaged("a key is shorter than its own head")
        # Apple's names are like com.apple.quicktime.comment.
        names.append(decode(box.text(offset + 8, size - 8)).rpartition(".")[2])
        offset += size
    return names


def _item_list(box: Reader, names: list[str]) -> Iterator[Entry]:
    for kind, content in _boxes(box):
        number = int.from_bytes(kind, "big")
        label = names[number - 1] if 0 < number <= len(names) else _TAGS.get(kind, "")
        for inner_kind, inner in _boxes(content):
            if inner_kind == b"name" and kind == b"----":  # iTunes' free form: mean, name, data
                label = decode(inner.rest(4))
            name = entry_name(label)
            if inner_kind == b"data" and name is not None:
                yield name, decode(inner.rest(8))  # behind its type and its locale

"""MP3: ID3v2 frames for user texts (``TXXX``) and comments (``COMM``).

Format: id3.org, ID3v2.2.0, 2.3.0 and 2.4.0. ComfyUI's SaveAudioMP3 writes 2.4 by FFmpeg: ``TXXX`` frames
described as ``prompt`` and ``workflow``.
"""

from __future__ import annotations

from collections.abc import Iterator

from .found import Entry, entry_name
from .reader import Reader, decode

_ENCODINGS = {0: "latin-1", 1: "utf-16", 2: "utf-16-be", 3: "utf-8"}
_USER_TEXT = (b"TXXX", b"TXX")
_COMMENT = (b"COMM", b"COM")


def read(file: Reader) -> Iterator[Entry]:
    """The texts of the tag at the beginning; nothing if there is none."""
    if file.at(0, 3) != b"ID3":
        return
    version, flags = file.at(3, 1)[0], file.at(5, 1)[0]
    tag = file.window(10, min(_syncsafe(file.at(6, 4)), file.size - 10))
    if flags & 0x80 and version < 4:
        tag = tag.over(_resync(tag.rest()))
    offset = 0
    if flags & 0x40 and version == 3:
        offset = 4 + tag.number(0, 4)
    elif flags & 0x40 and version == 4:
        offset = _syncsafe(tag.at(0, 4))
    head_size, id_size = (6, 3) if version == 2 else (10, 4)
    while offset + head_size <= tag.size:
        head = tag.at(offset, head_size)
        if not head[0]:  # padding to the end of the tag
            return
        kind = head[:id_size]
        size = _syncsafe(head[4:8]) if version == 4 else int.from_bytes(head[id_size : 2 * id_size], "big")
        frame = tag.window(offset + head_size, size)
        if kind in _USER_TEXT or kind in _COMMENT:
            data = _content(frame, version, head[9] if version == 4 else 0)
            yield from _text(data, with_language=kind in _COMMENT)
        offset += head_size + size


def _content(frame: Reader, version: int, flags: int) -> bytes:
    """A frame's data, freed of what 2.4 may wrap it in: desynchronisation, a length, compression."""
    data = frame.rest()
    if version < 4 or not flags & 0x0B:
        return data
    if flags & 0x02:
        data = _resync(data)
    if flags & 0x01:
        data = data[4:]
    return frame.inflate(data) if flags & 0x08 else data


def _text(data: bytes, *, with_language: bool) -> Iterator[Entry]:
    """Encoding, for a comment a language of three letters, description, zero, text."""
    encoding = _ENCODINGS.get(data[0]) if data else None
    if encoding is None:
        return
    body = data[4:] if with_language else data[1:]
    if encoding.startswith("utf-16"):
        end = _wide_zero(body)
        label, value = body[:end].decode(encoding, "replace"), body[end + 2 :].decode(encoding, "replace")
    else:
        # Writers exist that say Latin-1 and write UTF-8; the text itself tells.
        head, _, tail = body.partition(b"\0")
        label, value = decode(head), decode(tail)
    name = "" if with_language else entry_name(label)
    if name is not None:
        yield name, value.rstrip("\0")


def _wide_zero(body: bytes) -> int:
    """Where the first zero character of two bytes stands."""
    end = body.find(b"\0\0")
    while end > 0 and end % 2:
        end = body.find(b"\0\0", end + 1)
    return end if end >= 0 else len(body)


def _syncsafe(data: bytes) -> int:
    """Four bytes of seven bits each."""
    return sum((byte & 0x7F) << shift for byte, shift in zip(data, (21, 14, 7, 0), strict=True))


def _resync(data: bytes) -> bytes:
    return data.replace(b"\xff\0", b"\xff")

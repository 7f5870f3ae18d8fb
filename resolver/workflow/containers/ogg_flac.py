"""FLAC and Ogg (Opus, Vorbis, FLAC): Vorbis comments.

Format: RFC 9639 (FLAC) sections 8.1 and 8.6; RFC 3533 (Ogg); RFC 7845 section 5.2 (Opus in Ogg); the Vorbis I
specification, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator

from .found import Entry, entry_name
from .reader import MAX_TEXT, Damaged, Reader, TooLarge, decode

_COMMENT_BLOCK = 4
_MAX_NAME = 64


def read_flac(file: Reader) -> Iterator[Entry]:
    """The comments of a FLAC file."""
    offset = 4
    while True:
        head = file.number(offset, 4)
        data = file.window(offset + 4, head & 0xFFFFFF)
        if head >> 24 & 0x7F == _COMMENT_BLOCK:
            yield from _comments(data)
        if head >> 31:  # the last block before the sound
            return
        offset += 4 + data.size


def read_ogg(file: Reader) -> Iterator[Entry]:
    """The comments of the first stream in an Ogg file."""
    packet = file.over(_second_packet(file))
    start = packet.at(0, min(8, packet.size))
    if start.startswith((b"OpusTags", b"\x03vorbis", b"\x81theora")):
        skip = 8 if start == b"OpusTags" else 7
    elif start[:1] and start[0] & 0x7F == _COMMENT_BLOCK:
        skip = 4  # FLAC in Ogg: each block of metadata is a packet
    else:
        return
    yield from _comments(packet.window(skip, packet.size - skip))


def _second_packet(file: Reader) -> bytes:
    """The packet behind the first, which may span many pages."""
    packet = bytearray()
    finished = 0
    serial: bytes | None = None
    offset = 0
    while True:
        head = file.at(offset, 27)
        if head[:4] != b"OggS":
            raise Damaged("there is no page where one should begin")
        lacing = file.at(offset + 27, head[26])
        body = offset + 27 + len(lacing)
        offset = body + sum(lacing)
        if serial is None:
            serial = head[14:18]
        if head[14:18] != serial:
            continue
        for size in lacing:
            if finished == 1:
                packet += file.at(body, size)
                if len(packet) > MAX_TEXT:
                    raise TooLarge
            body += size
            if size < 255:  # a shorter piece ends the packet
                finished += 1
                if finished == 2:
                    return bytes(packet)


def _comments(data: Reader) -> Iterator[Entry]:
    """``NAME=text``, each behind its length; first the writer's name and the number of comments."""
    offset = 4 + data.number(0, 4, little=True)
    count = data.number(offset, 4, little=True)
    offset += 4
    for _ in range(count):
        size = data.number(offset, 4, little=True)
        comment = data.window(offset + 4, size)
        label, separator, _ = comment.at(0, min(_MAX_NAME, size)).partition(b"=")
        name = entry_name(decode(label))
        if separator and name is not None:
            yield name, decode(comment.rest(len(label) + 1))
        offset += 4 + size

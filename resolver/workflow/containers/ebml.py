"""WebM and Matroska: tags.

Format: RFC 8794 (EBML), RFC 9559 (Matroska), section 5.1.8. FFmpeg, by which ComfyUI's SaveWEBM and
VideoHelperSuite write, makes the names upper case: ``PROMPT``, ``WORKFLOW``, ``COMMENT``.
"""

from __future__ import annotations

from collections.abc import Iterator

from .found import Entry, entry_name
from .reader import Damaged, Reader, decode

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_TAGS, _TAG, _SIMPLE_TAG, _TAG_NAME, _TAG_STRING = 0x1254C367, 0x7373, 0x67C8, 0x45A3, 0x4487


def read(file: Reader) -> Iterator[Entry]:
    """The named texts of all tags, before and behind the pictures."""
    for top, segment in _elements(file):
        if top != _SEGMENT:
            continue
        for kind, data in _elements(segment):
            if kind == _TAGS:
                for _, tag in _only(_TAG, data):
                    for _, simple in _only(_SIMPLE_TAG, tag):
                        yield from _simple_tag(simple)


def _simple_tag(data: Reader) -> Iterator[Entry]:
    name, value = None, None
    for kind, content in _elements(data):
        if kind == _TAG_NAME:
            name = entry_name(decode(content.rest()))
        elif kind == _TAG_STRING:
            value = content
    if name is not None and value is not None:
        yield name, decode(value.rest())


def _only(wanted: int, data: Reader) -> Iterator[tuple[int, Reader]]:
    return ((kind, content) for kind, content in _elements(data) if kind == wanted)


def _elements(data: Reader) -> Iterator[tuple[int, Reader]]:
    """(id, content) of the elements one after the other."""
    offset = 0
    while offset < data.size:
        # An id has at most 4 bytes, a size at most 8.
        head = data.at(offset, min(12, data.size - offset))
        id_length = _length(head, 0, 4)
        size_length = _length(head, id_length, 8)
        start = id_length + size_length
        kind = int.from_bytes(head[:id_length], "big")
        bits = (1 << 7 * size_length) - 1
        size = int.from_bytes(head[id_length:start], "big") & bits
        rest = data.size - offset - start
        if kind == _SEGMENT:
            # Of a file that is cut off, or was streamed, we take what is there.
            size = rest if size == bits else min(size, rest)
        elif size == bits:
            # Unknown size, in streams: only a cluster may have it. Its blocks are then read as if they
            # stood beside it, which needs no knowledge of where it ends.
            if kind != _CLUSTER:
                raise Damaged("an element has no size")
            size = 0
        yield kind, data.window(offset + start, size)
        offset += start + size


def _length(head: bytes, offset: int, longest: int) -> int:
    """Bytes of the number at ``offset``: one more than its leading zero bits."""
    first = head[offset] if offset < len(head) else 0
    length = 9 - first.bit_length()
    if length > longest or offset + length > len(head):
        raise Damaged("an element does not begin like one")
    return length

"""Items of an ISO image file (AVIF, HEIF): which there are (``iinf``) and where they lie (``iloc``).

Format: ISO/IEC 14496-12, sections 8.11.3 and 8.11.6.
"""

from __future__ import annotations

from .reader import MAX_TEXT, Damaged, Reader, TooLarge

_MAX_TABLE = 1024 * 1024
_IN_FILE, _IN_META = 0, 1


class _Cursor:
    """Numbers from a table, one after the other."""

    def __init__(self, table: Reader) -> None:
        if table.size > _MAX_TABLE:
            raise TooLarge
        self._data = table.at(0, table.size)
        self._offset = 0

    def take(self, length: int) -> int:
        value = self._data[self._offset : self._offset + length]
        if len(value) != length:
            raise Damaged("its list of items ends too early")
        self._offset += length
        return int.from_bytes(value, "big")


def item(kind: bytes, iinf: Reader, iloc: Reader, file: Reader, idat: Reader | None) -> Reader | None:
    """The data of the first item of type ``kind`` (4 bytes), or ``None`` if there is none."""
    wanted = _find(kind, iinf)
    if wanted is None:
        return None
    for method, extents in _extents(iloc, wanted):
        source = {_IN_FILE: file, _IN_META: idat}.get(method)
        if source is None:
            return None
        if len(extents) == 1:
            return source.window(*extents[0])
        if sum(length for _, length in extents) > MAX_TEXT:
            raise TooLarge
        return file.over(b"".join(source.at(offset, length) for offset, length in extents))
    return None


def _find(kind: bytes, iinf: Reader) -> int | None:
    """The id of the first item of that type."""
    wide = iinf.at(0, 1)[0] > 0
    offset = 8 if wide else 6
    for _ in range(iinf.number(4, 4 if wide else 2)):
        size = iinf.number(offset, 4)
        entry = iinf.window(offset + 8, size - 8)
        version = entry.at(0, 1)[0]
        if version >= 2:
            id_size = 2 if version == 2 else 4
            if entry.at(4 + id_size + 2, 4) == kind:  # behind the id and a protection index
                return entry.number(4, id_size)
        offset += size
    return None


def _extents(iloc: Reader, wanted: int) -> list[tuple[int, list[tuple[int, int]]]]:
    """[(construction method, [(offset, length), …])] of the item, or nothing."""
    table = _Cursor(iloc)
    version = table.take(1)
    table.take(3)
    sizes = table.take(1), table.take(1)
    offset_size, length_size, base_size = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4
    index_size = sizes[1] & 15 if version else 0
    if not offset_size + length_size:
        raise Damaged("its list of items has no places")  # nor would the loops below ever end the table
    id_size = 2 if version < 2 else 4
    for _ in range(table.take(id_size)):
        item_id = table.take(id_size)
        method = table.take(2) & 15 if version else _IN_FILE
        table.take(2)  # which file: always this one
        base = table.take(base_size)
        extents = []
        for _ in range(table.take(2)):
            table.take(index_size)
            start = table.take(offset_size)
            extents.append((base + start, table.take(length_size)))
        if item_id == wanted:
            return [(method, extents)]
    return []

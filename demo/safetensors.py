"""Small real .safetensors files, the same bytes for the same seed and size on every machine.

Format (https://github.com/huggingface/safetensors#format): 8 bytes, an unsigned little-endian
64-bit number N, the length of the header; N bytes of UTF-8 JSON that begin with ``{`` and may end
in spaces, mapping a tensor's name to ``{"dtype", "shape", "data_offsets": [begin, end]}``, with
offsets counted from the end of the header, and optionally ``__metadata__``, a map of strings to
strings; then the tensors' bytes, which cover the rest of the file without holes.
"""

from __future__ import annotations

import hashlib
import json

MIN_SIZE = 4096
"""The smallest file made, in bytes: room for the header and for each tensor."""

_BLOCKS = 4
_ROW = 256
"""Bytes in one row of a block: 128 elements of BF16."""


def make_safetensors(seed: str, size: int) -> bytes:
    """A whole file of exactly ``size`` bytes. Its weights are random, so that it does not compress.

    Raises ValueError for a size below ``MIN_SIZE``.
    """
    if size < MIN_SIZE:
        raise ValueError(f"a safetensors file of {size} bytes is too small, at least {MIN_SIZE} are needed")
    # The header's length decides how much is left for the tensors, whose offsets are in the header.
    # A draft for the whole size has offsets with as many digits as can occur, and only the tail's
    # own length may need up to three digits more; spaces fill up the rest, and align the tensors to
    # 8 bytes.
    draft = len(_header(seed, size)) + 3
    header_length = draft + -draft % 8
    payload_length = size - 8 - header_length
    header = _header(seed, payload_length).ljust(header_length)
    return header_length.to_bytes(8, "little") + header + pseudo_random_bytes(seed, payload_length)


def pseudo_random_bytes(seed: str, size: int) -> bytes:
    """``size`` bytes that depend on the seed alone.

    SHAKE-256 (FIPS 202), because a standard cannot change between Python versions: hashes of these
    bytes are written down in the example workflow.
    """
    return hashlib.shake_256(seed.encode()).digest(size)


def _header(seed: str, payload_length: int) -> bytes:
    """The JSON header for tensors of ``payload_length`` bytes: equal blocks, and a tail for the rest."""
    rows = payload_length // _ROW // _BLOCKS
    entries: dict[str, object] = {
        "__metadata__": {"format": "pt", "note": "random weights, made for a demonstration", "seed": seed}
    }
    end = 0
    for index in range(_BLOCKS):
        begin, end = end, end + rows * _ROW
        entries[f"blocks.{index}.weight"] = {
            "dtype": "BF16",
            "shape": [rows, _ROW // 2],
            "data_offsets": [begin, end],
        }
    entries["tail"] = {"dtype": "U8", "shape": [payload_length - end], "data_offsets": [end, payload_length]}
    return json.dumps(entries, separators=(",", ":")).encode()

"""Small GGUF files, the same bytes for the same seed and size on every machine.

Format (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): ``GGUF``, the version (uint32),
the number of tensors and of metadata entries (uint64 each), little-endian; an entry is its key, the
number of its value's type (uint32; 8 is a string) and the value; a string is its length (uint64) and
UTF-8. These have one entry and no tensors; random bytes fill up the size.
"""

from __future__ import annotations

import struct

from .safetensors import pseudo_random_bytes

_VERSION = 3
_STRING = 8


def make_gguf(seed: str, size: int, architecture: str = "demo") -> bytes:
    """A whole file of exactly ``size`` bytes. Raises ValueError for a size without room for the header."""
    header = b"GGUF" + struct.pack("<IQQ", _VERSION, 0, 1)
    header += _string("general.architecture") + struct.pack("<I", _STRING) + _string(architecture)
    if size < len(header):
        raise ValueError(f"a GGUF file of {size} bytes is too small, at least {len(header)} are needed")
    return header + pseudo_random_bytes(seed, size - len(header))


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded

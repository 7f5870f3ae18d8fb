"""Files that begin with JSON: GLB (binary glTF), and safetensors with ComfyUI's ``.latent``.

Format: Khronos glTF 2.0, section 4; the safetensors format description (huggingface/safetensors).
ComfyUI's SaveGLB writes into ``asset.extras``; SaveLatent, CheckpointSave & co. into ``__metadata__``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .found import Entry, entry_name, load_json
from .reader import Damaged, Reader, decode

_MAX_HEADER = 100_000_000  # the format's own limit


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is one: it has no magic bytes, but the length of a JSON object
    and its brace."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= _MAX_HEADER


def read_safetensors(file: Reader) -> Iterator[Entry]:
    """The metadata's texts."""
    yield from _texts(_object(file.text(8, file.number(0, 8, little=True))).get("__metadata__"))


def read_glb(file: Reader) -> Iterator[Entry]:
    """The texts of the first chunk's ``asset.extras``."""
    if file.at(16, 4) != b"JSON":
        raise Damaged("its first chunk is not JSON")
    asset = _object(file.text(20, file.number(12, 4, little=True))).get("asset")
    yield from _texts(asset.get("extras") if isinstance(asset, dict) else None)


def _object(data: bytes) -> dict[str, Any]:
    content = load_json(decode(data))
    if not isinstance(content, dict):
        raise Damaged("its JSON cannot be read")
    return content


def _texts(mapping: Any) -> Iterator[Entry]:
    for key, value in mapping.items() if isinstance(mapping, dict) else ():
        name = entry_name(key)
        if name is not None:
            yield name, value

"""Whether what has arrived is the file that was wanted.

With a known SHA-256 that alone decides. Without one: the size, and what the format itself allows to
check, so that a login page, an error message or half a file never passes for a model. Everything here
blocks and belongs in a thread.

Formats: safetensors (https://github.com/huggingface/safetensors#format), GGUF
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), ZIP (what ``torch.save`` writes), Python's
pickle protocol (what ``torch.save`` wrote before 1.6), NumPy, TensorFlow Lite.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import DownloadError
from .threads import StopSign

_READ = 4 << 20
_HEAD = 1024
_MAX_SAFETENSORS_HEADER = 100_000_000
_MAX_TEXT = 64 << 20
_PAGE_TYPES = frozenset(
    {"text/html", "application/xhtml+xml", "application/json", "application/xml", "text/xml"}
)
_PAGE_BEGINNINGS = (b"<!doctype", b"<html", b"<head", b"<body", b"<script", b"<?xml", b"<error")
_GIT_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_BYTES_PER_VALUE = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}


def is_page(content_type: str | None) -> bool:
    """Whether an answer of that type is for people or programs to read, as models are not."""
    return content_type in _PAGE_TYPES


def check_content_type(content_type: str | None, name: str) -> None:
    """Refuse a web page or an error message that comes in place of a file (``NOT_A_MODEL``)."""
    if is_page(content_type) and not (content_type == "application/json" and _ending(name) == ".json"):
        raise DownloadError(
            f"The server sent a page ({content_type}) instead of a file: the link may need a login, or lead "
            "to a page about the file.",
            code="NOT_A_MODEL",
        )


def check_sha256(expected: str, found: str) -> None:
    """Raises ``DownloadError`` (``HASH_MISMATCH``)."""
    if expected != found:
        raise DownloadError(
            f"The content is not what it should be: SHA-256 {expected} is expected, {found} was found.",
            code="HASH_MISMATCH",
            expected=expected,
            found=found,
        )


def sha256_of(stop: StopSign, path: Path) -> str:
    """The SHA-256 of a file, in lower case hex. Raises ``OSError``, ``Stopped``."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_READ):
            stop.check()
            digest.update(block)
    return digest.hexdigest()


def check_structure(path: Path, name: str, *, whole: bool) -> None:
    """Check the file at ``path``, which is to be called ``name``, by its own format.

    ``whole``: that no byte is missing is known already. If it is not, only a format that shows its own
    end will do. Raises ``DownloadError``: ``NOT_A_MODEL`` (a page, a message, a pointer file),
    ``FILE_DAMAGED``, ``SIZE_UNKNOWN``; and ``OSError``.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(_HEAD)
        check, shows_its_end = _CHECKS.get(_ending(name), (_check_is_no_page, False))
        try:
            check(file, head, size)
        except _Unlike as error:
            if _is_text_answer(head):
                raise _not_a_model() from None
            raise DownloadError(
                f"What arrived is not a sound {_ending(name)} file: {error}. The source may be damaged.",
                code="FILE_DAMAGED",
            ) from None
    if not whole and not shows_its_end:
        raise DownloadError(
            "The server does not say how long the file is, so nobody can tell whether all of it arrived. "
            "State its size or SHA-256, or use another source.",
            code="SIZE_UNKNOWN",
        )


class _Unlike(Exception):
    """The content is not what its ending promises; the text says how."""


_Check = Callable[[BinaryIO, bytes, int], None]


def _check_safetensors(file: BinaryIO, head: bytes, size: int) -> None:
    if size < 10:
        raise _Unlike("it is too short")
    length = int.from_bytes(head[:8], "little")
    if not 2 <= length <= min(size - 8, _MAX_SAFETENSORS_HEADER):
        raise _Unlike("its header has an impossible length")
    file.seek(8)
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError):
        raise _Unlike("its header is not JSON") from None
    if not isinstance(header, dict):
        raise _Unlike("its header is not an object")
    header.pop("__metadata__", None)
    end = 0
    for begin, stop in sorted(_extent(tensor) for tensor in header.values()):
        if begin != end:
            raise _Unlike("its tensors overlap or leave gaps")
        end = stop
    if 8 + length + end != size:
        raise _Unlike(f"its tensors end at byte {8 + length + end}, the file at {size}")


def _extent(tensor: Any) -> tuple[int, int]:
    """``data_offsets`` of one entry of the header, after checking it against type and shape."""
    try:
        begin, end = tensor["data_offsets"]
        values = math.prod(tensor["shape"])
        width = _BYTES_PER_VALUE.get(tensor["dtype"])
        sound = 0 <= begin <= end and (width is None or end - begin == values * width)
    except (TypeError, KeyError, ValueError):
        sound = False
    if not sound:
        raise _Unlike("its header describes an impossible tensor")
    return begin, end


def _check_gguf(file: BinaryIO, head: bytes, size: int) -> None:
    if not head.startswith(b"GGUF") or size < 24:
        raise _Unlike("it does not begin as GGUF")


def _check_torch(file: BinaryIO, head: bytes, size: int) -> None:
    if head.startswith(b"PK\x03\x04"):
        _check_zip(file, head, size)
    # Protocol 2 to 5; torch.save has never written an older one.
    elif not (len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5):
        raise _Unlike("it is neither a ZIP archive nor a pickle")


def _check_zip(file: BinaryIO, head: bytes, size: int) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise _Unlike("its archive is cut off or damaged") from None
    if not entries or not head.startswith(b"PK\x03\x04"):
        raise _Unlike("its archive is empty or begins late")


def _check_magic(magic: bytes, at: int = 0) -> _Check:
    def check(file: BinaryIO, head: bytes, size: int) -> None:
        if head[at : at + len(magic)] != magic:
            raise _Unlike("it does not begin as it should")

    return check


def _check_json(file: BinaryIO, head: bytes, size: int) -> None:
    if size > _MAX_TEXT:
        raise _Unlike("it is too long for a text file")
    file.seek(0)
    try:
        json.loads(file.read())
    except (ValueError, RecursionError):
        raise _Unlike("it is not JSON") from None


def _check_text(file: BinaryIO, head: bytes, size: int) -> None:
    if size == 0 or _is_page(head):
        raise _Unlike("it is empty or a web page")


def _check_is_no_page(file: BinaryIO, head: bytes, size: int) -> None:
    if size == 0 or _is_text_answer(head):
        raise _Unlike("it is empty or a message")


_TORCH = (_check_torch, False)
# By ending: the check, and whether passing it proves that nothing is missing at the end.
_CHECKS: dict[str, tuple[_Check, bool]] = {
    ".safetensors": (_check_safetensors, True),
    ".sft": (_check_safetensors, True),
    ".gguf": (_check_gguf, False),
    **dict.fromkeys((".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl"), _TORCH),
    ".npz": (_check_zip, True),
    ".npy": (_check_magic(b"\x93NUMPY"), False),
    ".tflite": (_check_magic(b"TFL3", at=4), False),
    ".json": (_check_json, True),
    **dict.fromkeys((".yaml", ".yml", ".txt"), (_check_text, False)),
}


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _is_page(head: bytes) -> bool:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith(_PAGE_BEGINNINGS) or head.startswith(_GIT_LFS_POINTER)


def _is_text_answer(head: bytes) -> bool:
    """A page, a Git LFS pointer, or a JSON message."""
    if _is_page(head):
        return True
    if not head.lstrip().startswith((b"{", b"[")):
        return False
    # A binary file may begin with that byte, but not go on as text.
    return all(byte >= 0x20 or byte in b"\t\r\n" for byte in head)


def _not_a_model() -> DownloadError:
    return DownloadError(
        "What arrived is a web page or a message, not a model: the link may need a login, or lead to a page "
        "about the file.",
        code="NOT_A_MODEL",
    )

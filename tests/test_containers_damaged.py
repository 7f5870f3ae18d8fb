"""Damaged and hostile files give what can be read of them or a clear error, and cost little."""

from __future__ import annotations

import contextlib
import random
import struct
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resolver.errors import WorkflowError
from tests.container_samples import SAMPLES, TEXTS, box, chunks, code, made, picture, read, syncsafe


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_cut_off_anywhere_gives_its_workflow_or_a_clear_error(name: str) -> None:
    data = made()[name]
    for end in range(0, len(data), 7):
        _try(data[:end])


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_with_changed_bytes_gives_something_or_a_clear_error(name: str) -> None:
    rng = random.Random(name)
    for _ in range(150):
        data = bytearray(made()[name])
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))
        _try(bytes(data))


MAGIC = [
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\0\0\0\0WEBP",
    b"\xff\xd8\xff",
    b"GIF89a",
    b"\0\0\0\x10ftypavif",
    b"\0\0\0\x10ftypisom",
    b"II*\0",
    b"MM\0*",
    b"v/1\x01",
    b"\x1aE\xdf\xa3\x80\x18\x53\x80\x67",
    b"fLaC",
    b"OggS",
    b"ID3\4",
    b"ID3\3",
    b"glTF",
    b"\x20\0\0\0\0\0\0\0{",
    b"<svg><metadata>",
]


@given(st.sampled_from(MAGIC), st.binary(max_size=400))
@example(b"fLaC", b"\xff\xff\xff\xff")
@settings(max_examples=1500)
def test_bytes_behind_any_magic_are_refused_cleanly(magic: bytes, rest: bytes) -> None:
    _try(magic + rest)


def _try(data: bytes) -> None:
    with contextlib.suppress(WorkflowError):
        read(data)


def _zeros(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


def _hostile() -> Iterator[tuple[str, bytes]]:
    bomb = _zeros(100_000_000)
    yield "ztxt bomb", chunks((b"zTXt", b"workflow\0\0" + bomb))
    yield "itxt bomb", chunks((b"iTXt", b"workflow\0\1\0\0\0" + bomb))
    half = _zeros(30_000_000)
    yield "many bombs", chunks(*[(b"zTXt", b"workflow\0\0" + half)] * 50)
    yield (
        "id3 bomb",
        b"ID3\4\0\0" + syncsafe(len(bomb) + 10) + b"TXXX" + syncsafe(len(bomb)) + b"\0\x08" + bomb,
    )
    yield "endless chunks", b"\x89PNG\r\n\x1a\n" + bytes(30_000_000)
    yield "endless boxes", box(b"ftyp", b"isom") + box(b"free") * 3_000_000
    yield "endless elements", b"\x1aE\xdf\xa3\x80\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"\xec\x80" * 8_000_000
    yield "endless pages", (b"OggS" + bytes(23)) * 1_200_000
    yield "endless sub-blocks", b"GIF89a" + bytes(7) + b"!\xf9" + b"\1\0" * 5_000_000
    yield "endless metadata", b"<svg>" + b"<metadata>{</metadata>" * 1_000_000
    yield "unclosed metadata", b"<svg>" + b"<metadata><![CDATA[" * 1_000_000
    yield "deep boxes", box(b"ftyp", b"isom") + _nested(b"moov", 20_000)
    yield "deep user data", box(b"ftyp", b"isom") + box(b"moov", _nested(b"udta", 20_000))
    yield "deep json", chunks((b"tEXt", b"workflow\0" + b'{"a":' * 1_000_000))
    yield "deep closed json", chunks((b"tEXt", b"workflow\0" + b'{"a":' * 900 + b"1" + b"}" * 900))
    yield "deep xml", picture(format="WEBP", xmp=b"<a>" * 2_000_000)
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    laughs = f'<!DOCTYPE x [<!ENTITY e0 "ha">{entities}]><x><workflow>&e9;</workflow></x>'
    yield "xml entities", picture(format="WEBP", xmp=laughs.encode())
    same = struct.pack("<HHII", 0x010F, 2, 40_000_000, 8) * 65_535
    yield "overlapping exif", b"II*\0" + struct.pack("<I", 8) + b"\xff\xff" + same + bytes(40_000_000)
    yield "iloc without sizes", _avif(b"\0\0\0\0\0\0" + b"\xff\xff" + b"\0\2\0\0\xff\xff" * 100_000)
    yield (
        "iloc with many extents",
        _avif(b"\1\0\0\0\x01\x00" + b"\xff\xff" + b"\0\2\0\0\0\0\xff\xff" * 100_000),
    )
    for length in (0xFFFFFFFF, 0x7FFFFFFF):
        head = struct.pack(">I", length)
        yield f"png chunk of {length}", b"\x89PNG\r\n\x1a\n" + head + b"tEXtworkflow\0{}"
        yield f"box of {length}", box(b"ftyp", b"isom") + head + b"moov" + bytes(100)
        yield f"vorbis comments of {length}", b"fLaC\x84\0\0\x10" + bytes(4) + head + head + bytes(4)
        yield f"glb of {length}", b"glTF\2\0\0\0" + head + head + b"JSON{}"
        yield f"exr value of {length}", b"v/1\1\2\0\0\0workflow\0string\0" + head + b"{}"
    yield "safetensors of 99 MB", struct.pack("<Q", 99_000_000) + b"{" + bytes(99_000_000)
    yield "64-bit box", box(b"ftyp", b"isom") + struct.pack(">I4sQ", 1, b"moov", 2**64 - 1)
    yield "64-bit box of nothing", box(b"ftyp", b"isom") + struct.pack(">I4sQ", 1, b"moov", 0)


def _nested(kind: bytes, depth: int) -> bytes:
    return b"".join(struct.pack(">I", 8 * (depth - level)) + kind for level in range(depth))


def _avif(iloc: bytes) -> bytes:
    infe = box(b"infe", b"\2\0\0\0", b"\0\1\0\0", b"Exif\0")
    meta = box(b"meta", bytes(4), box(b"iinf", bytes(4), b"\0\1", infe), box(b"iloc", iloc))
    return box(b"ftyp", b"avif\0\0\0\0") + meta


def test_hostile_files_cost_little_and_are_refused() -> None:
    for name, data in _hostile():
        assert code(data) in {"FILE_DAMAGED", "WORKFLOW_NOT_IN_FILE", "WORKFLOW_TOO_LARGE"}, name


def test_a_bomb_is_too_large() -> None:
    assert code(chunks((b"zTXt", b"workflow\0\0" + _zeros(100_000_000)))) == "WORKFLOW_TOO_LARGE"


def test_a_bomb_under_another_name_is_not_opened() -> None:
    prompt = (b"tEXt", b"prompt\0" + TEXTS["prompt"].encode())
    assert read(chunks((b"zTXt", b"Raw profile\0\0" + _zeros(100_000_000)), prompt)) is not None

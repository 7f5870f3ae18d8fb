"""What was saved in a file of any kind comes back from it."""

from __future__ import annotations

import html
import io
import json
import struct
from pathlib import Path

import pytest

from resolver.errors import WorkflowError
from resolver.workflow.containers import Contained, extract
from resolver.workflow.read import read_workflow
from tests.container_samples import (
    COMMENT,
    PROMPT,
    SAMPLES,
    TEXTS,
    WORKFLOW,
    Made,
    box,
    chunks,
    code,
    comfy_exif,
    comment_with_both,
    film,
    glb,
    made,
    picture,
    png_by_save_image,
    read,
    safetensors,
    sound,
    syncsafe,
    user_comment,
    webp_by_save_animated_webp,
)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_gives_back_what_was_saved_in_it(name: str) -> None:
    _, container, (graph, prompt, parameters) = SAMPLES[name]
    assert read(made()[name]) == Contained(container, graph, prompt, parameters)


def test_what_is_found_is_a_workflow_to_the_reader() -> None:
    found = read(png_by_save_image())
    assert found is not None
    assert [read_workflow(found.workflow).format, read_workflow(found.prompt).format] == ["ui", "api"]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b'{"nodes": []}', b"  \n{}", b"PK\3\4", b"RIFF\0\0\0\0WAVE", b"\xff\xfe{\0", b"<html><svg>"],
)
def test_other_files_are_no_container(data: bytes) -> None:
    assert read(data) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: picture(format="PNG"),
        lambda: picture(format="WEBP"),
        lambda: picture(format="JPEG"),
        lambda: picture(format="GIF"),
        lambda: picture(format="AVIF"),
        lambda: picture(format="TIFF"),
        lambda: film("mp4", "h264", {"title": "a film"}),
        lambda: film("webm", "libvpx-vp9", {"comment": "a film"}),
        lambda: sound("flac", "flac", {}),
        lambda: sound("opus", "libopus", {}),
        lambda: sound("mp3", "libmp3lame", {}),
        lambda: b"\xff\xfb\x90\x64" + bytes(400),
        lambda: glb({"asset": {"version": "2.0"}}),
        lambda: safetensors({"format": "pt"}),
        lambda: b"<svg><metadata>made by hand</metadata></svg>",
        lambda: chunks((b"tEXt", b"prompt\0a red fox")),
        lambda: chunks((b"tEXt", b"prompt\0"), (b"tEXt", b'workflow\0{"no": "graph"}')),
    ],
)
def test_a_whole_file_without_a_workflow_says_so(make: Made) -> None:
    assert code(make()) == "WORKFLOW_NOT_IN_FILE"


def test_the_error_names_the_kind_of_file() -> None:
    with pytest.raises(WorkflowError, match="WebP picture") as caught:
        read(picture(format="WEBP"))
    assert caught.value.details == {"container": "webp"}


def test_a_text_that_was_cut_off_is_damage() -> None:
    assert code(chunks((b"tEXt", b"workflow\0" + TEXTS["workflow"][:-9].encode()))) == "FILE_DAMAGED"


def test_a_workflow_before_the_damage_is_read() -> None:
    data = png_by_save_image()
    assert read(data[: data.index(b"IDAT") + 6]) == Contained("png", WORKFLOW, PROMPT)


def test_the_history_of_photoshop_is_no_parameters() -> None:
    history = b"<r:li xmlns:r='r' xmlns:s='s' s:parameters='converted from image/jpeg to image/png'/>"
    assert code(picture(format="WEBP", xmp=history)) == "WORKFLOW_NOT_IN_FILE"


def test_damaged_exif_does_not_hide_the_text_behind_it() -> None:
    found = read(chunks((b"eXIf", b"nonsense"), (b"tEXt", b"prompt\0" + TEXTS["prompt"].encode())))
    assert found == Contained("png", None, PROMPT)
    assert code(chunks((b"eXIf", b"nonsense"))) == "FILE_DAMAGED"


def test_the_last_of_two_texts_counts_as_in_the_editor() -> None:
    parts = [(b"tEXt", b"prompt\0" + json.dumps({str(number): PROMPT["1"]}).encode()) for number in (1, 2)]
    found = read(chunks(*parts))
    assert found is not None
    assert found.prompt == {"2": PROMPT["1"]}


def test_nan_in_a_prompt_is_read() -> None:
    prompt = {"1": {"class_type": "X", "inputs": {"strength": float("inf")}}}
    assert read(chunks((b"tEXt", b"prompt\0" + json.dumps(prompt).encode()))) == Contained(
        "png", None, prompt
    )


def test_parameters_may_begin_like_json() -> None:
    text = "{red|blue} hat\nNegative prompt: x\nSteps: 20, Model: a"
    assert read(picture(format="JPEG", exif=user_comment("unicode", text))) == Contained(
        "jpeg", None, None, text
    )


def test_long_quicktime_comments_do_not_fit_their_length_field() -> None:
    text = json.dumps({"workflow": {**WORKFLOW, "extra": {"pad": "x" * 70_000}}}).encode()
    comment = box(b"\xa9cmt", struct.pack(">HH", len(text) & 0xFFFF, 0), text)
    found = read(box(b"ftyp", b"qt  \0\0\0\0") + box(b"moov", box(b"udta", comment, bytes(4))))
    assert found is not None
    assert found.workflow is not None
    assert found.workflow["extra"] == {"pad": "x" * 70_000}


def test_quicktime_metadata_of_apple_is_read() -> None:
    key = b"com.apple.quicktime.comment"
    keys = box(b"keys", bytes(4), b"\0\0\0\1", struct.pack(">I", len(key) + 8), b"mdta", key)
    ilst = box(b"ilst", box(b"\0\0\0\1", box(b"data", b"\0\0\0\1\0\0\0\0", COMMENT.encode())))
    meta = box(b"meta", box(b"hdlr", bytes(8), b"mdta", bytes(13)), keys, ilst)
    assert read(box(b"ftyp", b"qt  \0\0\0\0") + box(b"moov", meta)) == Contained("mp4", WORKFLOW, PROMPT)


@pytest.mark.parametrize("place", ["in two parts", "behind a base offset", "inside the metadata"])
def test_an_exif_item_may_lie_anywhere(place: str) -> None:
    data = bytes(4) + comfy_exif().tobytes().removeprefix(b"Exif\0\0")
    ftyp = box(b"ftyp", b"avif\0\0\0\0")
    start, half = len(ftyp) + 8, len(data) // 2
    if place == "in two parts":  # version 0, offsets and lengths of 4 bytes
        extents = struct.pack(">IIII", start, half, start + half, len(data) - half)
        iloc = bytes(4) + b"\x44\0" + b"\0\1" + b"\0\1\0\0" + b"\0\2" + extents
    elif place == "behind a base offset":  # version 2, base of 8 bytes, no offsets, index of 4 bytes
        numbers = struct.pack(">QHII", start, 1, 7, len(data))
        iloc = b"\2\0\0\0" + b"\x04\x84" + b"\0\0\0\1" + b"\0\0\0\1" + b"\0\0" + b"\0\0" + numbers
    else:
        iloc = b"\1\0\0\0" + b"\x44\0" + b"\0\1" + b"\0\1" + b"\0\1" + b"\0\0" + b"\0\1"
        iloc += struct.pack(">II", 0, len(data))
    infe = box(b"infe", b"\2\0\0\0", b"\0\1\0\0", b"Exif\0")
    parts = [box(b"iinf", bytes(4), b"\0\1", infe), box(b"iloc", iloc)]
    if place == "inside the metadata":
        parts.append(box(b"idat", data))
        data = b""
    found = read(ftyp + box(b"mdat", data) + box(b"meta", bytes(4), *parts))
    assert found == Contained("avif", WORKFLOW, PROMPT)


def element(kind: str, content: bytes, *, size: bytes | None = None) -> bytes:
    return bytes.fromhex(kind) + (size or struct.pack(">Q", 1 << 56 | len(content))) + content


@pytest.mark.parametrize("unknown", [b"\xff", b"\x01" + b"\xff" * 7])
def test_tags_behind_pictures_of_unknown_size_are_read(unknown: bytes) -> None:
    texts = [
        element("45a3", key.encode()) + element("4487", text.encode() + b"\0") for key, text in TEXTS.items()
    ]
    tags = element("1254c367", element("7373", b"".join(element("67c8", text) for text in texts)))
    cluster = element("1f43b675", element("a3", b"\xff" * 50) * 3, size=unknown)
    segment = element("18538067", cluster + tags, size=unknown)
    assert read(element("1a45dfa3", b"") + segment) == Contained("webm", WORKFLOW, PROMPT)
    unsized = element("1a45dfa3", b"") + element("18538067", element("1254c367", b"", size=unknown) + tags)
    assert code(unsized) == "FILE_DAMAGED"


def test_chunks_of_odd_length_are_padded_in_webp() -> None:
    data = webp_by_save_animated_webp()
    at = data.index(b"EXIF")
    assert read(data[:at] + b"odd \1\0\0\0x\0" + data[at:]) == Contained("webp", WORKFLOW, PROMPT)


def test_segments_of_a_jpeg_may_have_bytes_between_them() -> None:
    data = comment_with_both("JPEG")
    at = data.index(b"\xff\xfe")
    assert read(data[:at] + b"\xff\xff\xff" + data[at:]) == Contained("jpeg", WORKFLOW, PROMPT)


def test_escaped_text_in_svg_is_read() -> None:
    data = f"<svg><metadata id='1'>{html.escape(COMMENT)}</metadata></svg>".encode()
    assert read(data) == Contained("svg", WORKFLOW, PROMPT)


@pytest.mark.parametrize("version", [3, 4])
def test_desynchronised_mp3_tags_are_read(version: int) -> None:
    text = b"\0prompt\0" + json.dumps(
        {"1": {"class_type": "\u00ff", "inputs": {}}}, ensure_ascii=False
    ).encode("latin-1")
    spread = text.replace(b"\xff", b"\xff\0")
    if version == 3:  # the whole tag, and sizes are those before
        tag = b"TXXX" + struct.pack(">I", len(text)) + bytes(2) + spread
        head = b"ID3\3\0\x80"
    else:  # the frame, with the length before
        spread = syncsafe(len(text)) + spread
        tag = b"TXXX" + syncsafe(len(spread)) + b"\0\3" + spread
        head = b"ID3\4\0\0"
    tag += b"COMM" + syncsafe(40) + bytes(2) + b"\3eng\0" + b"prompt: none of JSON".ljust(35)
    expected = {"1": {"class_type": "\u00ff", "inputs": {}}}
    assert read(head + syncsafe(len(tag)) + tag) == Contained("mp3", None, expected)


def test_comments_of_an_opus_file_span_its_pages() -> None:
    prompt = {"1": {"class_type": "X", "inputs": {"text": "".join(map(str, range(60_000)))}}}
    data = sound("opus", "libopus", {"prompt": json.dumps(prompt)})
    assert data.count(b"OggS") > 4
    assert read(data) == Contained("ogg", None, prompt)


def test_of_a_long_film_only_the_heads_are_read() -> None:
    class Film(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.taken += len(data)
            return data

    data = film("mp4", "h264", TEXTS, movflags="use_metadata_tags")
    long = data.index(b"moov") - 4
    film_file = Film(data[:long] + box(b"mdat", bytes(8_000_000)) + data[long:])
    assert extract(film_file, len(film_file.getvalue())) == Contained("mp4", WORKFLOW, PROMPT)
    assert film_file.taken < 10_000


def test_films_over_4_gigabytes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "film.bin"
    tail = film("mp4", "h264", TEXTS, movflags="use_metadata_tags")
    tail = tail[tail.index(b"moov") - 4 :]
    with path.open("wb") as out:
        out.write(box(b"ftyp", b"isom\0\0\0\0") + struct.pack(">I4sQ", 1, b"mdat", 5_000_000_016))
        out.seek(5_000_000_000, io.SEEK_CUR)  # a hole: it takes no space
        out.write(tail)
    with path.open("rb") as film_file:
        assert extract(film_file) == Contained("mp4", WORKFLOW, PROMPT)

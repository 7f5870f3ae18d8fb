"""Files that contain a workflow, written by the libraries and in the ways that ComfyUI and its nodes use."""

from __future__ import annotations

import contextlib
import html
import io
import json
import random
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import mutagen.id3
import mutagen.mp4
import piexif
import piexif.helper
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from resolver.errors import WorkflowError
from resolver.workflow.containers import Contained, extract
from resolver.workflow.containers.parameters import A1111Model, parse_parameters
from resolver.workflow.read import read_workflow
from tests.graphs import node, workflow

WORKFLOW = workflow(
    [node(1, "CheckpointLoaderSimple", ["größe-模型-😀.safetensors"]), node(2, "Note", ["x: y"])]
)
PROMPT = {"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}}}
PARAMETERS = (
    "a castle, <lora:add_detail:0.6>\nNegative prompt: blurry, 模糊\n"
    "Steps: 20, Sampler: Euler a, Seed: 1, Size: 512x512, Model hash: 6ce0161689, Model: v1-5-pruned"
)
# extra_pnginfo: what the editor sends beside the prompt, under the names it is saved as.
TEXTS = {"prompt": json.dumps(PROMPT), "workflow": json.dumps(WORKFLOW)}
COMMENT = json.dumps({"prompt": json.dumps(PROMPT), "workflow": WORKFLOW})  # VideoHelperSuite's form
BOTH = (WORKFLOW, PROMPT, None)

Made = Callable[[], bytes]
SAMPLES: dict[str, tuple[Made, str, tuple[Any, Any, Any]]] = {}


def sample(
    container: str, expected: tuple[Any, Any, Any] = BOTH, **variants: Any
) -> Callable[[Callable[..., bytes]], Callable[..., bytes]]:
    """Registers a function that writes a file, once or for each of ``variants``."""

    def register(make: Callable[..., bytes]) -> Callable[..., bytes]:
        for name, argument in variants.items():
            SAMPLES[f"{make.__name__}-{name}"] = (
                (lambda argument=argument: make(argument)),
                container,
                expected,
            )
        if not variants:
            SAMPLES[make.__name__] = make, container, expected
        return make

    return register


def picture(**options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(out, **options)
    return out.getvalue()


def chunks(*parts: tuple[bytes, bytes]) -> bytes:
    """A PNG of the given chunks, with a valid head and end."""
    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    out = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", head), *parts, (b"IEND", b"")):
        out += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return out


@sample("png")
def png_by_save_image() -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in TEXTS.items():
        info.add_text(key, text)
    return picture(format="PNG", pnginfo=info, compress_level=4)


@sample("png", international=False, compressed=True)
def png_with_itxt(zip_it: bool) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, value in (("workflow", WORKFLOW), ("prompt", PROMPT)):
        info.add_itxt(key, json.dumps(value, ensure_ascii=False), "en", key, zip=zip_it)
    return picture(format="PNG", pnginfo=info)


@sample("png")
def png_with_ztxt() -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in TEXTS.items():
        info.add_text(key, text, zip=True)
    return picture(format="PNG", pnginfo=info)


@sample("png")
def png_with_raw_utf8() -> bytes:
    texts = (("workflow", WORKFLOW), ("prompt", PROMPT))
    return chunks(
        *((b"tEXt", f"{key}\0{json.dumps(value, ensure_ascii=False)}".encode()) for key, value in texts)
    )


@sample("png")
def apng_by_save_animated_png() -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in TEXTS.items():
        info.add(b"comf", key.encode("latin-1") + b"\0" + text.encode("latin-1"), after_idat=True)
    frames = [Image.new("RGB", (8, 8), (0, 0, 250))]
    return picture(format="PNG", pnginfo=info, save_all=True, duration=100, append_images=frames)


@sample("png", (None, None, PARAMETERS))
def png_by_webui() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", PARAMETERS)  # not Latin-1, so Pillow makes it iTXt
    return picture(format="PNG", pnginfo=info)


@sample("png")
def png_with_exif() -> bytes:
    return picture(format="PNG", exif=comfy_exif())


def comfy_exif() -> Image.Exif:
    exif = Image.new("RGB", (1, 1)).getexif()
    exif[0x0110] = "prompt:" + TEXTS["prompt"]
    exif[0x010F] = "workflow:" + TEXTS["workflow"]
    exif[0x010E] = "other:{}"
    return exif


@sample("webp")
def webp_by_save_animated_webp() -> bytes:
    frames = [Image.new("RGB", (8, 8), (0, 0, 250))]
    return picture(
        format="WEBP", save_all=True, duration=100, append_images=frames, exif=comfy_exif(), lossless=True
    )


@sample("webp", webp="WEBP")
@sample("jpeg", jpeg="JPEG")
@sample("avif", avif="AVIF")
@sample("tiff", tiff="TIFF")
def exif_by_save_image_extended(form: str) -> bytes:
    exif = Image.new("RGB", (1, 1)).getexif()
    exif[0x010F] = "Prompt: " + TEXTS["prompt"]
    exif[0x010E] = "Workflow: " + TEXTS["workflow"]
    return (
        picture(format=form, exif=exif.tobytes()) if form != "TIFF" else picture(format=form, tiffinfo=exif)
    )


@sample("webp")
def webp_by_was_suite() -> bytes:
    exif = comfy_exif()
    del exif[0x010F]
    exif[0x010E] = "Workflow:" + json.dumps({"workflow": WORKFLOW})
    return picture(format="WEBP", exif=exif)


@sample("webp", webp="WEBP")
@sample("jpeg", jpeg="JPEG")
@sample("avif", avif="AVIF")
def exif_user_comment_json(form: str) -> bytes:
    exif = Image.new("RGB", (1, 1)).getexif()
    exif[0x9286] = json.dumps({"prompt": PROMPT, "workflow": WORKFLOW})
    return picture(format=form, exif=exif)


def user_comment(encoding: str, text: str = PARAMETERS) -> bytes:
    return piexif.dump({"Exif": {piexif.ExifIFD.UserComment: piexif.helper.UserComment.dump(text, encoding)}})


@sample("webp", (None, None, PARAMETERS), webp="WEBP")
@sample("jpeg", (None, None, PARAMETERS), jpeg="JPEG")
@sample("avif", (None, None, PARAMETERS), avif="AVIF")
def exif_by_webui(form: str) -> bytes:
    return picture(format=form, exif=user_comment("unicode"))


@sample("jpeg", (None, None, PARAMETERS), little="utf-16-le", bom="utf-16", utf8="utf-8")
def jpeg_user_comment_of_others(encoding: str) -> bytes:
    comment = b"UNICODE\0" + PARAMETERS.encode(encoding)
    return picture(format="JPEG", exif=piexif.dump({"Exif": {piexif.ExifIFD.UserComment: comment}}))


@sample("jpeg", (None, None, PARAMETERS.replace("模糊", "")))
def jpeg_user_comment_ascii() -> bytes:
    return picture(format="JPEG", exif=user_comment("ascii", PARAMETERS.replace("模糊", "")))


@sample("jpeg", (WORKFLOW, PROMPT, PARAMETERS))
def jpeg_by_image_saver() -> bytes:
    exif = {
        "0th": {
            piexif.ImageIFD.Make: f"workflow:{TEXTS['workflow']}",
            piexif.ImageIFD.Model: f"prompt:{TEXTS['prompt']}",
        },
        "Exif": {piexif.ExifIFD.UserComment: piexif.helper.UserComment.dump(PARAMETERS, "unicode")},
    }
    return picture(format="JPEG", exif=piexif.dump(exif))


@sample("jpeg", jpeg="JPEG")
@sample("gif", gif="GIF")
def comment_with_both(form: str) -> bytes:
    return picture(format=form, comment=COMMENT.encode())


@sample("gif", (None, None, PARAMETERS))
def gif_by_webui() -> bytes:
    return picture(format="GIF", comment=PARAMETERS)


def packet(form: str) -> bytes:
    inner = {
        "attributes": f"<rdf:Description rdf:about='' x:workflow={json_attribute('workflow')} "
        f"x:prompt={json_attribute('prompt')}/>",
        "elements": f"<rdf:Description><x:Workflow>{html.escape(TEXTS['workflow'])}</x:Workflow>"
        f"<x:prompt><![CDATA[{TEXTS['prompt']}]]></x:prompt></rdf:Description>",
    }[form]
    return (
        "<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF "
        f"xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>{inner}</rdf:RDF></x:xmpmeta>"
        "<?xpacket end='w'?>"
    ).encode()


def json_attribute(key: str) -> str:
    return f'"{html.escape(TEXTS[key])}"'


@sample("webp", attributes="attributes", elements="elements")
def webp_with_xmp(form: str) -> bytes:
    return picture(format="WEBP", xmp=packet(form))


@sample("jpeg")
def jpeg_with_xmp() -> bytes:
    return picture(format="JPEG", xmp=packet("elements"))


@sample("avif")
def avif_with_xmp() -> bytes:
    return picture(format="AVIF", xmp=packet("elements"))


@sample("png")
def png_with_xmp() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet("attributes").decode())
    return picture(format="PNG", pnginfo=info)


def box(kind: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return struct.pack(">I", len(data) + 8) + kind + data


@sample("jxl")
def jxl_with_exif() -> bytes:
    exif = comfy_exif().tobytes().removeprefix(b"Exif\0\0")
    head = b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    return head + box(b"jxlc", b"\xff\x0a") + box(b"Exif", bytes(4), exif)


def film(form: str, codec: str, texts: dict[str, str], **flags: str) -> bytes:
    """One frame, as SaveVideo and SaveWEBM write many."""
    with tempfile.TemporaryDirectory() as folder:  # "faststart" opens the file a second time
        path = Path(folder, "film")
        with av.open(str(path), mode="w", format=form, options=flags) as target:
            _one_frame(target, codec, texts)
        return path.read_bytes()


def _one_frame(target: Any, codec: str, texts: dict[str, str]) -> None:
    target.metadata.update(texts)
    stream = target.add_stream(codec, rate=Fraction(8))
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    target.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
    target.mux(stream.encode(None))


@sample(
    "mp4",
    plain="use_metadata_tags",
    faststart="use_metadata_tags+faststart",
    fragmented="use_metadata_tags+frag_keyframe+empty_moov",
)
def mp4_by_save_video(flags: str) -> bytes:
    return film("mp4", "h264", TEXTS, movflags=flags)


@sample("mp4")
def mov_by_save_video() -> bytes:
    return film("mov", "h264", TEXTS, movflags="use_metadata_tags")


@sample("mp4", mp4="mp4", mov="mov")
@sample("webm", matroska="matroska")
def film_by_video_helper_suite(form: str) -> bytes:
    return film(form, "h264", {"comment": COMMENT})


@sample("mp4")
def mp4_tagged_like_itunes() -> bytes:
    out = io.BytesIO(film("mp4", "h264", {}))
    tags = mutagen.mp4.MP4(out)
    tags["----:com.apple.iTunes:workflow"] = TEXTS["workflow"].encode()
    tags["\xa9cmt"] = "prompt: " + TEXTS["prompt"]
    out.seek(0)
    tags.save(out)
    return out.getvalue()


@sample("webm")
def webm_by_save_webm() -> bytes:
    return film("webm", "libvpx-vp9", TEXTS)


class _Pipe(io.RawIOBase):
    """What a stream is written to: nobody can go back and fill in sizes."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


@sample("webm")
def webm_as_a_stream() -> bytes:
    out = _Pipe()
    with av.open(out, mode="w", format="webm") as target:
        _one_frame(target, "libvpx-vp9", TEXTS)
    return bytes(out.data)


def sound(form: str, codec: str, texts: dict[str, str]) -> bytes:
    """A tenth of a second, as AudioSaveHelper.save_audio writes it."""
    out = io.BytesIO()
    with av.open(out, mode="w", format=form) as target:
        target.metadata.update(texts)
        stream = target.add_stream(codec, rate=48000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=4800)
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        frame.sample_rate = 48000
        frame.pts = 0
        target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return out.getvalue()


@sample("flac", flac=("flac", "flac"))
@sample("ogg", opus=("opus", "libopus"), ogg_flac=("ogg", "flac"))
@sample("mp3", mp3=("mp3", "libmp3lame"))
def sound_by_save_audio(form: tuple[str, str]) -> bytes:
    return sound(*form, TEXTS)


@sample("mp3", utf16=(3, 1), utf8=(4, 3))
def mp3_tagged_by_others(form: tuple[int, int]) -> bytes:
    version, encoding = form
    out = io.BytesIO()
    tags = mutagen.id3.ID3()
    tags.add(mutagen.id3.APIC(encoding=3, mime="image/png", type=3, desc="", data=b"\xff\0" * 9))
    text = json.dumps(WORKFLOW, ensure_ascii=False)
    tags.add(mutagen.id3.TXXX(encoding=encoding, desc="Workflow", text=[text]))
    tags.add(mutagen.id3.COMM(encoding=encoding, lang="eng", desc="", text=["prompt:" + TEXTS["prompt"]]))
    tags.save(out, v2_version=version, v23_sep=None)
    return out.getvalue()


@sample("svg")
def svg_by_save_svg() -> bytes:
    texts = json.dumps({"prompt": PROMPT, "workflow": WORKFLOW}, indent=2)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="8">\n'
        f"  <metadata>\n                <![CDATA[\n            {texts}\n                ]]>\n"
        '            </metadata>\n            <path d="M0 0"/></svg>'
    ).encode()


def glb(document: dict[str, Any]) -> bytes:
    data = json.dumps(document).encode()
    data += b" " * (-len(data) % 4)
    return struct.pack("<4sIIII", b"glTF", 2, 20 + len(data), len(data), 0x4E4F534A) + data


@sample("glb")
def glb_by_save_glb() -> bytes:
    return glb({"asset": {"version": "2.0", "generator": "ComfyUI", "extras": TEXTS}, "buffers": []})


def safetensors(metadata: dict[str, str]) -> bytes:
    header = {"__metadata__": metadata, "t": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    data = json.dumps(header).encode()
    return struct.pack("<Q", len(data)) + data + bytes(4)


@sample("safetensors")
def latent_by_save_latent() -> bytes:
    return safetensors(TEXTS)


@sample("exr")
def exr_by_save_image_advanced() -> bytes:
    codec = av.CodecContext.create("exr", "w")
    codec.width = codec.height = 8
    codec.pix_fmt = "gbrpf32le"
    codec.time_base = Fraction(1)
    frame = av.VideoFrame(8, 8, "gbrpf32le")
    frame.pts = 0
    data = b"".join(bytes(part) for part in [*codec.encode(frame), *codec.encode(None)])
    extra = b"".join(
        key.encode() + b"\0string\0" + struct.pack("<i", len(text)) + text.encode()
        for key, text in TEXTS.items()
    )
    return data[:8] + extra + data[8:]


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {name: make() for name, (make, _, _) in SAMPLES.items()}


def read(data: bytes) -> Contained | None:
    return extract(io.BytesIO(data))


def code(data: bytes) -> str:
    with pytest.raises(WorkflowError) as caught:
        read(data)
    return caught.value.code


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_gives_back_what_was_saved_in_it(name: str, files: dict[str, bytes]) -> None:
    _, container, (graph, prompt, parameters) = SAMPLES[name]
    assert read(files[name]) == Contained(container, graph, prompt, parameters)


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
        spread = _syncsafe(len(text)) + spread
        tag = b"TXXX" + _syncsafe(len(spread)) + b"\0\3" + spread
        head = b"ID3\4\0\0"
    tag += b"COMM" + _syncsafe(40) + bytes(2) + b"\3eng\0" + b"prompt: none of JSON".ljust(35)
    expected = {"1": {"class_type": "\u00ff", "inputs": {}}}
    assert read(head + _syncsafe(len(tag)) + tag) == Contained("mp3", None, expected)


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


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_cut_off_anywhere_gives_its_workflow_or_a_clear_error(
    name: str, files: dict[str, bytes]
) -> None:
    data = files[name]
    for end in range(0, len(data), 7):
        _try(data[:end])


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_with_changed_bytes_gives_something_or_a_clear_error(
    name: str, files: dict[str, bytes]
) -> None:
    rng = random.Random(name)
    for _ in range(150):
        data = bytearray(files[name])
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
@settings(max_examples=1500, deadline=None)
def test_bytes_behind_any_magic_are_refused_cleanly(magic: bytes, rest: bytes) -> None:
    _try(magic + rest)


@given(
    st.text(max_size=300)
    | st.from_regex(r'Steps: \d(, [A-Z][a-z]{2}: ("[a-z]|\[|\{|[a-z]))*', fullmatch=True)
)
@settings(max_examples=500, deadline=None)
def test_any_text_is_parsed_as_parameters(text: str) -> None:
    parse_parameters(text)


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
        b"ID3\4\0\0" + _syncsafe(len(bomb) + 10) + b"TXXX" + _syncsafe(len(bomb)) + b"\0\x08" + bomb,
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


def _syncsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


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


FORGE = (
    "portrait <lora:EPhsrKafka:0.8>, <lyco:style_v2:0.5:1>\nNegative prompt: <hypernet:old:1> badhand\n"
    "Steps: 30, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 2340366286, Size: 832x1216, "
    "Model hash: 529c72f6c3, Model: mfcgPDXL_v10, VAE hash: 735e4c3a44, VAE: sdxl_vae.safetensors, "
    "Denoising strength: 0.33, Clip skip: 2, ADetailer model: face_yolov8n.pt, "
    'ControlNet 0: "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 1", '
    "Hires upscale: 1.5, Refiner: sd_xl_refiner_1.0 [7440042bbd], Module 1: ae, Module 2: clip_l, "
    'Lora hashes: "EPhsrKafka: dba941975e80, style:v2: 0123456789ab", TI hashes: "badhand: aa7651be154c", '
    "Version: f0.0.17v1.8.0rc-latest-277-g0af28699, "
    'Hashes: {"vae": "63aeecb90f", "lora:EPhsrKafka": "5a3385485b", "model": "529c72f6c3", '
    '"embed:EasyNegative": "C74B4E810B"}'
)


def test_parameters_name_each_model_once_with_all_its_hashes() -> None:
    assert parse_parameters(FORGE).models == (
        A1111Model("checkpoint", "mfcgPDXL_v10", ("529c72f6c3",)),
        A1111Model("vae", "sdxl_vae.safetensors", ("735e4c3a44", "63aeecb90f")),
        A1111Model("controlnet", "control_v11p_sd15_canny", ("d14c016b",)),
        A1111Model("checkpoint", "sd_xl_refiner_1.0", ("7440042bbd",)),
        A1111Model("other", "ae"),
        A1111Model("other", "clip_l"),
        A1111Model("lora", "EPhsrKafka", ("dba941975e80", "5a3385485b")),
        A1111Model("lora", "style_v2"),
        A1111Model("hypernetwork", "old"),
        A1111Model("lora", "style:v2", ("0123456789ab",)),
        A1111Model("embedding", "badhand", ("aa7651be154c",)),
        A1111Model("embedding", "EasyNegative", ("c74b4e810b",)),
    )


def test_parameters_of_civitai_name_versions() -> None:
    text = (
        "Negative space, fog Negative prompt: Steps: 23, Sampler: Undefined, CFG scale: 3.5, Seed: 1, "
        'Civitai resources: [{"type":"checkpoint","modelVersionId":2442439,"modelName":"Z Image",'
        '"modelVersionName":"Turbo"},\n {"modelName":"EasyNegative","versionName":"EasyNegative_pt",'
        '"air":"urn:air:sd1:embedding:civitai:7808@9536"}, 7], Civitai metadata: {}'
    )
    assert parse_parameters(text).models == (
        A1111Model("checkpoint", title="Z Image Turbo", version_id=2442439),
        A1111Model("embedding", title="EasyNegative EasyNegative_pt", version_id=9536),
    )


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ("Model hash: 6ce0161689", [A1111Model("checkpoint", None, ("6ce0161689",))]),
        ('Model: "a, b: c"', [A1111Model("checkpoint", "a, b: c")]),
        ("Model: None, VAE: Automatic", []),
        ("Model: , Version: ComfyUI", []),
        ('Hashes: {"model": "6ce0161689"}', [A1111Model("checkpoint", None, ("6ce0161689",))]),
        (
            'Model: a, Hashes: {"model": 5, "x": "not hex"}',
            [A1111Model("checkpoint", "a"), A1111Model("other", "x")],
        ),
        ('Hashes: {"broken, Model: a', [A1111Model("checkpoint", "a")]),
        ("ControlNet 0 Model: canny [d14c016b]", [A1111Model("controlnet", "canny", ("d14c016b",))]),
        ("Civitai resources: [{}], Hires checkpoint: Use same checkpoint", []),
    ],
)
def test_parameters_in_other_forms(details: str, expected: list[A1111Model]) -> None:
    assert list(parse_parameters(f"a fox\nSteps: 20, {details}").models) == expected


def test_a_prompt_that_speaks_of_steps_is_not_the_details() -> None:
    text = "Steps: 3 up the hill, Model: fake\nNegative prompt: x\nSteps: 20, VAE: real"
    assert parse_parameters(text).models == (A1111Model("vae", "real"),)


def test_hostile_parameters_are_parsed_at_all() -> None:
    # Backtracking without bound would never end; the time limit of all tests tells.
    for text in (
        "Steps: 1, " + part * 300_000 for part in ("a: {", 'a: "\\", ', "a: [[", "<lora:", "a ", "a: ")
    ):
        parse_parameters(text)

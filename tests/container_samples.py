"""Files that contain a workflow, written by the libraries and in the ways that ComfyUI and its nodes use."""

from __future__ import annotations

import html
import io
import json
import struct
import tempfile
import zlib
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import mutagen.id3
import mutagen.mp4
import piexif
import piexif.helper
import pytest
from PIL import Image, PngImagePlugin

from resolver.errors import WorkflowError
from resolver.workflow.containers import Contained, extract
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


def read(data: bytes) -> Contained | None:
    return extract(io.BytesIO(data))


def code(data: bytes) -> str:
    with pytest.raises(WorkflowError) as caught:
        read(data)
    return caught.value.code


def syncsafe(size: int) -> bytes:
    """Four bytes of seven bits, as ID3 writes lengths."""
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


@cache
def made() -> dict[str, bytes]:
    """Every sample, written once."""
    return {name: make() for name, (make, _, _) in SAMPLES.items()}

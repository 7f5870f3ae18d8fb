"""Files that contain a workflow: pictures, films, sounds, meshes and models as ComfyUI saves them.

One file a container family (``png.py``, ``isobmff.py``, …), each a generator of the texts it holds;
``reader.py`` bounds what reading may cost, ``found.py`` tells which texts are a workflow, a prompt or
parameters, ``parameters.py`` reads the latter.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from ...errors import WorkflowError
from . import ebml, exif, exr, gif, id3, isobmff, jpeg, json_header, ogg_flac, png, riff, svg
from .found import Entry, Found
from .reader import MAX_TEXT, Budget, Damaged, Reader, TooLarge

_HEAD = 1024
_STILL_BRANDS = frozenset({b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"})


@dataclass(frozen=True)
class Contained:
    """What a file contains; at least one of the three is not ``None``.

    ``container``: ``png``, ``webp``, ``jpeg``, ``gif``, ``avif``, ``jxl``, ``tiff``, ``exr``, ``svg``,
    ``mp4``, ``webm``, ``flac``, ``ogg``, ``mp3``, ``glb`` or ``safetensors``; each stands for its family.
    ``workflow``: in UI format. ``prompt``: in API format. ``parameters``: generation parameters as text
    (see ``parameters.parse_parameters``).
    """

    container: str
    workflow: dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None
    parameters: str | None = None


@dataclass(frozen=True)
class _Format:
    container: str
    noun: str
    read: Callable[[Reader], Iterator[Entry]]


_PNG = _Format("png", "PNG picture", png.read)
_WEBP = _Format("webp", "WebP picture", riff.read)
_JPEG = _Format("jpeg", "JPEG picture", jpeg.read)
_GIF = _Format("gif", "GIF picture", gif.read)
_AVIF = _Format("avif", "AVIF picture", isobmff.read)
_JXL = _Format("jxl", "JPEG XL picture", isobmff.read)
_TIFF = _Format("tiff", "TIFF picture", exif.read)
_EXR = _Format("exr", "EXR picture", exr.read)
_SVG = _Format("svg", "SVG picture", svg.read)
_MP4 = _Format("mp4", "MP4 or MOV video", isobmff.read)
_WEBM = _Format("webm", "WebM or Matroska video", ebml.read)
_FLAC = _Format("flac", "FLAC file", ogg_flac.read_flac)
_OGG = _Format("ogg", "Ogg file", ogg_flac.read_ogg)
_MP3 = _Format("mp3", "MP3 file", id3.read)
_GLB = _Format("glb", "GLB mesh", json_header.read_glb)
_SAFETENSORS = _Format("safetensors", "safetensors file", json_header.read_safetensors)

_MAGIC = (
    (png.SIGNATURE, _PNG),
    (b"\xff\xd8\xff", _JPEG),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"\0\0\0\x0cJXL \r\n\x87\n", _JXL),
    (b"II*\0", _TIFF),
    (b"MM\0*", _TIFF),
    (b"v/1\x01", _EXR),
    (b"\x1aE\xdf\xa3", _WEBM),
    (b"fLaC", _FLAC),
    (b"OggS", _OGG),
    (b"ID3", _MP3),
    (b"\xff\xfb", _MP3),
    (b"\xff\xfa", _MP3),
    (b"\xff\xf3", _MP3),
    (b"\xff\xf2", _MP3),
    (b"glTF", _GLB),
)


def extract(file: BinaryIO, size: int | None = None) -> Contained | None:
    """What the file contains, recognised by its first bytes; ``None`` if it is no known container.

    ``file`` is seekable and its position does not matter; ``size`` in bytes saves looking for its end. Only
    the parts that hold texts are read: at most 96 MiB in sum, for a film of gigabytes some hundred KB.

    Raises ``WorkflowError``: ``WORKFLOW_NOT_IN_FILE`` (nothing in it for us), ``FILE_DAMAGED`` (cut off or
    malformed, and nothing found before that point) or ``WORKFLOW_TOO_LARGE`` (a text over 32 MiB). What
    was found before the damage is returned. ``OSError`` if the file cannot be read.
    """
    if size is None:
        size = file.seek(0, os.SEEK_END)
    budget = Budget()
    reader = Reader(file, 0, size, budget)
    try:
        form = _recognise(reader.at(0, min(_HEAD, size)))
    except Damaged:
        return None
    if form is None:
        return None
    entries: list[Entry] = []
    damage: Exception | None = None
    try:
        for entry in form.read(reader):
            entries.append(entry)  # not extend(): what came before an error must stay
    except (Damaged, TooLarge) as error:
        damage = error
    found = Found.among(entries)
    if found.nothing:
        raise _error(form, found, damage or budget.damage)
    return Contained(form.container, found.workflow, found.prompt, found.parameters)


def _recognise(head: bytes) -> _Format | None:
    for magic, form in _MAGIC:
        if head.startswith(magic):
            return form
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _WEBP
    if head[4:8] == b"ftyp":
        return _AVIF if head[8:12] in _STILL_BRANDS else _MP4
    if head[4:8] in (b"moov", b"wide", b"mdat"):  # QuickTime from before there was ftyp
        return _MP4
    if json_header.is_safetensors(head):
        return _SAFETENSORS
    return _SVG if svg.is_svg(head) else None


def _error(form: _Format, found: Found, damage: Exception | None) -> WorkflowError:
    details: dict[str, Any] = {"container": form.container}
    if isinstance(damage, TooLarge):
        return WorkflowError(
            f"This {form.noun} holds a text of more than {MAX_TEXT} bytes, or too many parts, to be read.",
            code="WORKFLOW_TOO_LARGE",
            status=413,
            **details,
        )
    if damage is not None:
        return WorkflowError(
            f"This {form.noun} is damaged ({damage}), and no workflow was found in what could be read.",
            code="FILE_DAMAGED",
            **details,
        )
    if found.broken:
        return WorkflowError(
            f"This {form.noun} carries a workflow whose text is damaged; perhaps it was cut off.",
            code="FILE_DAMAGED",
            **details,
        )
    return WorkflowError(
        f"This {form.noun} carries no workflow. Perhaps it was saved anew by a website or a program, which "
        "removes it, or ComfyUI was told not to write it; the original file may have it.",
        code="WORKFLOW_NOT_IN_FILE",
        **details,
    )

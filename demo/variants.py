"""Names that are nearly another model's: what a search that is not careful takes for it."""

from __future__ import annotations

import re

_PRECISION = re.compile(r"(?<![a-z0-9])(nvfp4|mxfp4|fp8|fp16|bf16|fp32|int8)[a-z0-9_]*", re.IGNORECASE)
_OTHER_PRECISION = {"fp16": "fp8_e4m3fn", "bf16": "fp8_scaled", "fp32": "fp16"}
_VERSION = re.compile(r"(?<=\d[._])\d(?!\d)|(?<=[vV])\d(?!\d)")
_PARAMETERS = re.compile(r"(?<![a-z0-9])(\d+(?:\.\d+)?)b(?![a-z0-9])", re.IGNORECASE)
_ROLES = (
    ("high_noise", "low_noise"),
    ("t2v", "i2v"),
    ("encoder", "decoder"),
    ("turbo", "base"),
    ("edit", "generate"),
    ("shape", "texture"),
)


def stem_of(name: str) -> str:
    """``a/b_fp16.safetensors`` -> ``b_fp16``."""
    return name.rsplit("/", 1)[-1].rsplit(".", 1)[0]


def other_precision(stem: str) -> str:
    """``wan_fp16`` -> ``wan_fp8_e4m3fn``; what states no precision gets one."""
    match = _PRECISION.search(stem)
    if match is None:
        return f"{stem}_fp8_e4m3fn"
    return stem[: match.start()] + _OTHER_PRECISION.get(match[1].lower(), "bf16") + stem[match.end() :]


def quantised(stem: str) -> str:
    """``wan_fp16`` -> ``wan-Q4_K_M``."""
    return _PRECISION.sub("", stem).strip("._-") + "-Q4_K_M"


def other_version(stem: str) -> str:
    """``wan_2.1_vae`` -> ``wan_2.2_vae``; the first version becomes the second."""
    match = _VERSION.search(stem)
    if match is None:
        return f"{stem}_v2"
    return stem[: match.start()] + str((int(match[0]) + 1) % 10) + stem[match.end() :]


def other_size(stem: str) -> str:
    """``wan_14B`` -> ``wan_7B``."""
    match = _PARAMETERS.search(stem)
    if match is None:
        return f"{stem}_small"
    return f"{stem[: match.start(1)]}{float(match[1]) / 2:g}{stem[match.end(1) :]}"


def other_role(stem: str) -> str:
    """``wan_high_noise`` -> ``wan_low_noise``; what has no known counterpart becomes a refiner."""
    lowered = stem.lower()
    for left, right in _ROLES:
        for old, new in ((left, right), (right, left)):
            if (at := lowered.find(old)) >= 0:
                return stem[:at] + new + stem[at + len(old) :]
    return f"{stem}_refiner"


def title(stem: str) -> str:
    """``flux1-dev_fp8`` -> ``Flux1 Dev Fp8``: what a person calls the model."""
    return " ".join(word[:1].upper() + word[1:] for word in re.split(r"[\s._-]+", stem) if word)


def camel_case(stem: str) -> str:
    """``flux1-dev_fp8`` -> ``flux1DevFp8``: what Civitai makes of a title when it names files."""
    joined = title(stem).replace(" ", "")
    return joined[:1].lower() + joined[1:]

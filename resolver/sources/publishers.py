"""Who publishes models for ComfyUI on Hugging Face, as data.

All that these have is looked through for a file name, since names of repositories rarely hold it
(``umt5_xxl_fp8_e4m3fn_scaled.safetensors`` is in ``Comfy-Org/Wan_2.1_ComfyUI_repackaged``); and among
files of one name and different content theirs go first.
"""

from __future__ import annotations

PUBLISHERS: tuple[str, ...] = (
    # Files made for ComfyUI.
    "Comfy-Org",
    "comfyanonymous",
    "Kijai",
    "city96",
    "QuantStack",
    # The makers of what ComfyUI runs, as far as they publish single files.
    "black-forest-labs",
    "stabilityai",
    "Lightricks",
    "lightx2v",
    "Wan-AI",
    "alibaba-pai",
    "circlestone-labs",
    "kandinskylab",
    "VAST-AI",
    "h94",
    "lllyasviel",
    "xinsir",
    "InstantX",
    "XLabs-AI",
    "guoyww",
)

_RANK = {name.lower(): place for place, name in enumerate(PUBLISHERS)}


def publisher_rank(name: str | None) -> int:
    """0 for the likeliest, ``len(PUBLISHERS)`` for whoever is not listed."""
    return _RANK.get((name or "").lower(), len(PUBLISHERS))


def is_known_publisher(name: str | None) -> bool:
    return publisher_rank(name) < len(PUBLISHERS)

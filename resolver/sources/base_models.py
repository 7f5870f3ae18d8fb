"""Civitai's names of base models, and the families (``resolver.roles``) they belong to, as data.

Source: the values of ``baseModel`` in https://developer.civitai.com/site/reference/models, and the list
that its filter takes (``src/shared/constants/base-model.constants.ts`` in https://github.com/civitai/civitai).
"""

from __future__ import annotations

_FAMILIES: dict[str, tuple[str, ...]] = {
    "sd14": ("SD 1.4",),
    "sd15": ("SD 1.5", "SD 1.5 LCM", "SD 1.5 Hyper"),
    "sd2": ("SD 2.0", "SD 2.0 768"),
    "sd2.1": ("SD 2.1", "SD 2.1 768", "SD 2.1 Unclip"),
    # Pony, Illustrious and NoobAI are trained on SDXL and load as it.
    "sdxl": (
        *("SDXL 0.9", "SDXL 1.0", "SDXL 1.0 LCM", "SDXL Distilled", "SDXL Turbo", "SDXL Lightning"),
        *("SDXL Hyper", "Pony", "Illustrious", "NoobAI"),
    ),
    "sd3": ("SD 3",),
    "sd3.5": ("SD 3.5", "SD 3.5 Medium", "SD 3.5 Large", "SD 3.5 Large Turbo"),
    "svd": ("SVD", "SVD XT"),
    "flux1": ("Flux.1 S", "Flux.1 D", "Flux.1 Krea", "Flux.1 Kontext"),
    "flux2": (
        *("Flux.2 D", "Flux.2 Klein 9B", "Flux.2 Klein 9B-base", "Flux.2 Klein 4B", "Flux.2 Klein 4B-base"),
    ),
    "krea2": ("Krea 2",),
    "wan2.1": (
        *("Wan Video", "Wan Video 1.3B t2v", "Wan Video 14B t2v", "Wan Video 14B i2v 480p"),
        "Wan Video 14B i2v 720p",
    ),
    "wan2.2": ("Wan Video 2.2 TI2V-5B", "Wan Video 2.2 I2V-A14B", "Wan Video 2.2 T2V-A14B"),
    "qwen-image": ("Qwen",),
    "hunyuan-video": ("Hunyuan Video",),
    "hunyuan-dit": ("Hunyuan 1",),
    "ltxv": ("LTXV",),
    "ltx2": ("LTXV2",),
    "ltx2.3": ("LTXV 2.3",),
    "hidream": ("HiDream",),
    "lumina2": ("Lumina",),
    "chroma": ("Chroma",),
    "z-image": ("ZImageTurbo", "ZImageBase"),
    "mochi": ("Mochi",),
    "kolors": ("Kolors",),
    # Pony V7 left SDXL for it.
    "auraflow": ("AuraFlow", "Pony V7"),
    "pixart-alpha": ("PixArt a",),
    "pixart-sigma": ("PixArt E",),
    "stable-cascade": ("Stable Cascade",),
    "cogvideox": ("CogVideoX",),
}

FAMILIES = frozenset(_FAMILIES)
"""All that Civitai has a name for."""

_FAMILY_OF = {name: family for family, names in _FAMILIES.items() for name in names}


def base_models_of(family: str) -> tuple[str, ...]:
    """Civitai's names for a family; empty if it has none that we know."""
    return _FAMILIES.get(family, ())


def family_of(base_model: str | None) -> str | None:
    """The family of one of Civitai's base models; ``None`` if we do not know it."""
    return _FAMILY_OF.get(base_model or "")

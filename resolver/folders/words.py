"""The folder that an input's name speaks of, for nodes nobody knows: ``lora_02`` -> ``loras``."""

from __future__ import annotations

import re
from functools import lru_cache

# Longer words first: a clip_vision_name is no text encoder, a latent_upscale_model no upscaler.
_WORDS: tuple[tuple[str, str], ...] = (
    ("clip_?vision", "clip_vision"),
    ("control_?net", "controlnet"),
    ("latent_?upscale", "latent_upscale_models"),
    ("upscale_?model|upscaler", "upscale_models"),
    ("style_?model", "style_models"),
    ("audio_?encoder", "audio_encoders"),
    ("text_?encoder|clip|t5|umt5", "text_encoders"),
    ("lora|loras|lycoris", "loras"),
    ("vae", "vae"),
    ("ckpt|checkpoint", "checkpoints"),
    ("unet|diffusion_?model|dit", "diffusion_models"),
    ("embedding", "embeddings"),
    ("hypernetwork", "hypernetworks"),
    ("ip_?adapter", "ipadapter"),
    ("photomaker", "photomaker"),
    ("gligen", "gligen"),
)
_PATTERNS = tuple((re.compile(rf"(?:^|_)(?:{words})(?:_|\d|$)"), folder) for words, folder in _WORDS)


@lru_cache(maxsize=4096)
def folder_by_words(input_name: str) -> str | None:
    """The folder whose word stands in ``input_name`` as a part of its own; ``None`` if none does."""
    # loraName and LoRA name are written lora_name before they are looked at.
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])|[\s.\-/]+", "_", input_name).lower()
    return next((folder for pattern, folder in _PATTERNS if pattern.search(name)), None)

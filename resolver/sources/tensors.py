"""What the names, types and shapes of a file's tensors tell of it: a table, and one pure function.

Sources: the keys by which ComfyUI tells models apart (``comfy/model_detection.py``, ``comfy/sd.py``
``detect_te_model``, ``comfy/lora.py``), and the types of
https://github.com/huggingface/safetensors#format. Only what is sure is told: an architecture that several
families share stands for all of them, and tensors that no row knows tell nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from . import Contents

_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "net.")
_LORA = re.compile(
    r"\.(?:lora_(?:A|B|up|down)|lora\.(?:up|down)|hada_w[12]|lokr_w[12]|oft_blocks|dora_scale)(?![A-Za-z])"
)
_CROSS_ATTENTION = re.compile(r"attn2[._]to_k(?:[._]processor)?[._](?:lora[._]?(?:down|A)[._])?weight$")

_DOUBLE_STREAM = frozenset({
    "flux1", "flux2", "chroma", "hunyuan-video", "hunyuan-video-1.5", "hunyuan-image", "hunyuan3d",
})  # fmt: skip
_HUNYUAN_VIDEO = frozenset({"hunyuan-video", "hunyuan-video-1.5", "hunyuan-image"})
_HIDREAM = frozenset({"hidream", "hidream-i1", "hidream-e1", "hidream-e1.1"})
_WAN = frozenset({"wan", "wan2.1", "wan2.2"})
_LANGUAGE_MODELS = frozenset({
    "qwen", "qwen2.5", "qwen2.5-vl", "qwen3", "qwen3-vl", "qwen3.5", "gemma", "gemma2", "gemma3", "gemma4",
    "llama3", "llama3.1", "llava-llama3", "mistral3", "ministral3",
})  # fmt: skip
# Width of the text a U-Net attends to -> families.
_UNETS: Mapping[int, frozenset[str]] = {
    768: frozenset({"sd14", "sd15"}),
    1024: frozenset({"sd2", "sd2.1", "svd"}),
    2048: frozenset({"sdxl", "kolors"}),
}


class _Row(NamedTuple):
    """``begin``: each is how the name of some tensor begins. The first row that fits counts."""

    kind: str
    families: frozenset[str]
    begin: tuple[str, ...]


def _row(kind: str, families: Iterable[str], *begin: str) -> _Row:
    return _Row(kind, frozenset(families), begin)


# Names are without the prefix under which checkpoints keep their diffusion model.
_ROWS = (
    _row("controlnet", (), "lora_controlnet"),
    _row("controlnet", (), "control_model."),
    _row("controlnet", (), "controlnet_"),
    _row("controlnet", (), "input_hint_block."),
    _row("diffusion_model", _HUNYUAN_VIDEO, "txt_in.individual_token_refiner."),
    _row("diffusion_model", ("chroma",), "distilled_guidance_layer."),
    _row("diffusion_model", ("flux2",), "double_stream_modulation_img.", "double_blocks.0."),
    _row("diffusion_model", _DOUBLE_STREAM, "double_blocks.0.img_attn."),
    _row("diffusion_model", ("sd3", "sd3.5"), "joint_blocks.0."),
    _row("diffusion_model", ("auraflow",), "double_layers.0.attn.w1q."),
    _row("diffusion_model", ("hunyuan-dit",), "mlp_t5.0."),
    _row("diffusion_model", ("mochi",), "t5_yproj."),
    _row("diffusion_model", _WAN, "head.modulation", "blocks.0.self_attn.q."),
    _row("diffusion_model", _WAN, "blocks.0.self_attn.q.", "blocks.0.cross_attn.k."),
    _row("diffusion_model", _HIDREAM, "caption_projection.0.linear."),
    _row("diffusion_model", ("qwen-image",), "txt_norm.", "transformer_blocks.0.img_mod."),
    _row("diffusion_model", (), "transformer_blocks.0."),
    _row("diffusion_model", (), "input_blocks.0.0.", "middle_block."),
    _row("text_encoder clip_vision", (), "text_model.encoder.layers.0.", "vision_model.encoder.layers.0."),
    _row("text_encoder", ("clip-l", "clip-g"), "text_model.encoder.layers.0."),
    _row("text_encoder", ("t5xxl", "t5-base", "byt5", "umt5xxl"), "encoder.block.0.layer.0.SelfAttention."),
    _row("text_encoder", _LANGUAGE_MODELS, "model.layers.0.self_attn.", "model.embed_tokens."),
    _row("clip_vision", (), "vision_model.encoder.layers.0."),
    _row("vae", (), "decoder.conv_in.", "decoder.conv_out."),
    _row("vae", _WAN | {"qwen-image"}, "decoder.conv1.", "decoder.upsamples.0."),
    _row("upscale", (), "model.1.sub.0."),
    _row("upscale", (), "conv_first.", "conv_body."),
    _row("embedding", (), "emb_params"),
)  # fmt: skip
_LORA_FAMILIES: tuple[tuple[re.Pattern[str], frozenset[str]], ...] = (
    (re.compile(r"^lora_te[12]_"), frozenset({"sdxl", "flux1", "sd3", "sd3.5"})),
    (re.compile(r"(?:^|[._])double_blocks[._]0[._]"), _DOUBLE_STREAM),
    (re.compile(r"(?:^|[._])blocks[._]0[._]self_attn[._]q[._]"), _WAN),
)
_COMPONENTS = ("first_stage_model.", "cond_stage_model.", "conditioner.", "text_encoders.", "vae.")

TOLD_FAMILIES = frozenset(
    family
    for families in (
        *(row.families for row in _ROWS),
        *(families for _, families in _LORA_FAMILIES),
        *_UNETS.values(),
    )
    for family in families
)
"""The families that tensors can tell at all. Of any other they say neither yes nor no."""

_PRECISIONS: Mapping[str, str] = {
    "F64": "fp64",
    "F32": "fp32",
    "F16": "fp16",
    "BF16": "bf16",
    "F8_E4M3": "fp8_e4m3fn",
    "F8_E5M2": "fp8_e5m2",
    "F4": "4bit",
    # Whole numbers hold weights of 4 bits two to a byte, or of 8 bits.
    "I8": "int",
    "U8": "int",
    "I32": "int",
}
_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
_SHARE = 0.1  # of the bytes, from which on a precision counts


def contents_of(header: Mapping[str, Any]) -> Contents:
    """What a ``.safetensors`` header tells: ``{name: {"dtype", "shape", "data_offsets"}}``.

    Never raises: entries of another form are passed over.
    """
    tensors = {
        name: (str(entry.get("dtype")), _numbers(entry.get("shape")))
        for name, entry in header.items()
        if name != "__metadata__" and isinstance(entry, dict)
    }
    kinds, families = _identity({name: shape for name, (_, shape) in tensors.items()})
    return Contents(kinds, families, _precisions(tensors.values()))


def _identity(tensors: Mapping[str, tuple[int, ...]]) -> tuple[frozenset[str], frozenset[str]]:
    if any(_LORA.search(name) for name in tensors) and "lora_controlnet" not in tensors:
        return frozenset({"lora"}), _unet_families(tensors) or _lora_families(tensors)
    whole = any(name.startswith(_PREFIXES[0]) for name in tensors) and any(
        name.startswith(_COMPONENTS) for name in tensors
    )
    names = sorted(_bare(name) for name in tensors)
    row = next((row for row in _ROWS if all(_begins(names, start) for start in row.begin)), None)
    kinds = frozenset({"checkpoint"} if whole else row.kind.split() if row else ())
    return kinds, _unet_families(tensors) or (row.families if row else frozenset())


def _lora_families(names: Iterable[str]) -> frozenset[str]:
    found = [families for pattern, families in _LORA_FAMILIES if any(map(pattern.search, names))]
    return frozenset.intersection(*found) if found else frozenset()


def _unet_families(tensors: Mapping[str, tuple[int, ...]]) -> frozenset[str]:
    for name, shape in tensors.items():
        if len(shape) >= 2 and _CROSS_ATTENTION.search(name):
            return _UNETS.get(shape[1], frozenset())
    return frozenset()


def _bare(name: str) -> str:
    return next((name[len(prefix) :] for prefix in _PREFIXES if name.startswith(prefix)), name)


def _begins(names: Iterable[str], start: str) -> bool:
    return any(name.startswith(start) for name in names)


def _precisions(tensors: Iterable[tuple[str, tuple[int, ...]]]) -> frozenset[str]:
    """Those that hold a good part of the bytes: scales and norms are kept in others."""
    sizes: Counter[str] = Counter()
    for dtype, shape in tensors:
        elements = 1
        for length in shape:
            elements *= length
        sizes[dtype] += elements * _BYTES.get(dtype, 1)
    least = max(1.0, sizes.total() * _SHARE)
    return frozenset(
        _PRECISIONS[dtype] for dtype, size in sizes.items() if size >= least and dtype in _PRECISIONS
    )


def _numbers(shape: Any) -> tuple[int, ...]:
    """The shape, or nothing if it is none."""
    lengths = shape[:8] if isinstance(shape, list) else []
    return tuple(lengths) if all(type(length) is int and 0 <= length < 1 << 40 for length in lengths) else ()

"""What tensors a model file has: enough for a reader of headers to tell a VAE from a LoRA.

The names are those of the real architectures' state dicts, as ComfyUI's detection looks for them
(https://github.com/comfyanonymous/ComfyUI/blob/master/comfy/model_detection.py); there are few of
them and their shapes are tiny, so that a file is a few KiB. Precisions of one model have equal
shapes: its fp8 file has half the weights' bytes of its fp16 one, as with real ones.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property

from .safetensors import pseudo_random_bytes

_WIDTH = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1}
"""Bytes of one element, by the format's names of types."""

_PRECISIONS = (
    ("fp8_e5m2", "F8_E5M2"),
    ("fp8", "F8_E4M3"),
    ("fp16", "F16"),
    ("bf16", "BF16"),
    ("fp32", "F32"),
    ("int8", "I8"),
    ("w4a", "I8"),  # 4 bits, two to a byte
    ("fp4", "U8"),
)

_CHECKPOINT = (
    "model.diffusion_model.input_blocks.0.0.weight",
    "model.diffusion_model.middle_block.1.proj_in.weight",
    "model.diffusion_model.out.2.weight",
    "first_stage_model.decoder.conv_in.weight",
    "conditioner.embedders.0.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight",
)
_VAE = (
    "encoder.conv_in.weight",
    "encoder.down.0.block.0.norm1.weight",
    "decoder.conv_in.weight",
    "decoder.up.0.block.0.conv1.weight",
    "decoder.conv_out.weight",
)
_CLIP = (
    "text_model.embeddings.token_embedding.weight",
    "text_model.encoder.layers.0.self_attn.q_proj.weight",
    "text_model.encoder.layers.0.mlp.fc1.weight",
    "text_model.final_layer_norm.weight",
)
_T5 = (
    "shared.weight",
    "encoder.block.0.layer.0.SelfAttention.q.weight",
    "encoder.block.0.layer.1.DenseReluDense.wi_0.weight",
    "encoder.final_layer_norm.weight",
)
_LANGUAGE_MODEL = (
    "model.embed_tokens.weight",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.0.mlp.gate_proj.weight",
    "model.norm.weight",
)
_FLUX = (
    "img_in.weight",
    "double_blocks.0.img_attn.qkv.weight",
    "single_blocks.0.linear1.weight",
    "final_layer.linear.weight",
)
_WAN = (
    "patch_embedding.weight",
    "blocks.0.self_attn.q.weight",
    "blocks.0.cross_attn.k.weight",
    "blocks.0.ffn.0.weight",
    "head.head.weight",
)
_TRANSFORMER = (
    "img_in.weight",
    "transformer_blocks.0.attn.to_q.weight",
    "transformer_blocks.0.img_mlp.net.0.proj.weight",
    "proj_out.weight",
)
_LORA = (
    "diffusion_model.blocks.0.attn.to_q.lora_A.weight",
    "diffusion_model.blocks.0.attn.to_q.lora_B.weight",
    "diffusion_model.blocks.0.ffn.0.lora_A.weight",
    "diffusion_model.blocks.0.ffn.0.lora_B.weight",
)
_VISION = (
    "vision_model.embeddings.patch_embedding.weight",
    "vision_model.encoder.layers.0.self_attn.q_proj.weight",
    "vision_model.post_layernorm.weight",
)
_CONTROLNET = (
    "controlnet_x_embedder.weight",
    "controlnet_blocks.0.weight",
    "transformer_blocks.0.attn.to_q.weight",
)
_EMBEDDING = ("emb_params",)
_OTHER = ("model.0.weight", "model.1.sub.0.weight", "model.3.weight")

_BY_FOLDER = {
    "checkpoints": _CHECKPOINT,
    "vae": _VAE,
    "loras": _LORA,
    "clip_vision": _VISION,
    "embeddings": _EMBEDDING,
    "controlnet": _CONTROLNET,
    "model_patches": _CONTROLNET,
    "text_encoders": _LANGUAGE_MODEL,
    "diffusion_models": _TRANSFORMER,
}
_BY_WORD = {
    "text_encoders": ((("t5gemma",), _LANGUAGE_MODEL), (("t5", "byt5"), _T5), (("clip",), _CLIP)),
    "diffusion_models": ((("flux",), _FLUX), (("wan", "vace"), _WAN)),
}


@dataclass(frozen=True)
class Layout:
    """The tensors of a safetensors file, all of one type and one shape."""

    names: tuple[str, ...]
    dtype: str
    shape: tuple[int, int]

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return 8 + len(self._header) + self._payload_size

    def file(self, seed: str) -> bytes:
        """The whole file; its weights follow from ``seed``."""
        return (
            len(self._header).to_bytes(8, "little")
            + self._header
            + pseudo_random_bytes(seed, self._payload_size)
        )

    @property
    def _tensor_size(self) -> int:
        return self.shape[0] * self.shape[1] * _WIDTH[self.dtype]

    @property
    def _payload_size(self) -> int:
        return self._tensor_size * len(self.names)

    @cached_property
    def _header(self) -> bytes:
        """The format is described in ``safetensors``. Spaces align the tensors to 8 bytes."""
        entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
        for index, name in enumerate(self.names):
            begin = index * self._tensor_size
            entries[name] = {
                "dtype": self.dtype,
                "shape": list(self.shape),
                "data_offsets": [begin, begin + self._tensor_size],
            }
        header = json.dumps(entries, separators=(",", ":")).encode()
        return header.ljust(len(header) + -len(header) % 8)


def layout_of(folder: str, name: str, like: str | None = None) -> Layout:
    """The layout of a file of this name in this model folder.

    ``like``: the name of the model whose shapes it has (by default its own), whatever its precision.
    """
    lowered = name.lower()
    by_word = (names for words, names in _BY_WORD.get(folder, ()) if any(word in lowered for word in words))
    names = next(by_word, _BY_FOLDER.get(folder, _OTHER))
    dtype = next((dtype for word, dtype in _PRECISIONS if word in lowered), "BF16")
    return Layout(names, dtype, _shape(folder, like or name))


def _shape(folder: str, name: str) -> tuple[int, int]:
    """By the model's name without its precision. The sizes of two models are rarely equal."""
    bare = re.sub(r"[._-]*(fp8|fp16|bf16|fp32|int8|nvfp4|mxfp4|fp4)[\w.-]*$", "", name.lower())
    digest = hashlib.sha256(f"{folder}/{bare}".encode()).digest()
    narrow = 2 if folder == "loras" else 8
    return narrow + digest[0] % (3 * narrow), 16 + 2 * (digest[1] % 20)

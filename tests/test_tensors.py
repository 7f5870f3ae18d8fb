"""What the tensors of a file tell of it, and what that means for a wanted name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.layouts import layout_of
from demo.templates import template_models
from resolver.sources import Contents, Context, Offer, Wanted
from resolver.sources.agreement import contents_agree, made_for_agrees
from resolver.sources.ranking import rank
from resolver.sources.tensors import TOLD_FAMILIES, contents_of

A, B, C = "a" * 64, "b" * 64, "c" * 64


def header(*names: str, dtype: str = "F16", shape: tuple[int, ...] = (8, 8), **more: Any) -> dict[str, Any]:
    entry = {"dtype": dtype, "shape": list(shape), "data_offsets": [0, 1]}
    return {"__metadata__": {"format": "pt"}, **dict.fromkeys(names, entry), **more}


UNET_KEY = "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"


@pytest.mark.parametrize(
    ("names", "kinds", "family", "not_family"),
    [
        # Keys of real files.
        (("lora_unet_double_blocks_0_img_attn_proj.lora_down.weight",), "lora", "flux1", "sdxl"),
        (
            ("lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha", "lora_unet_x.lora_up.weight"),
            "lora",
            "sdxl",
            "wan",
        ),
        (("diffusion_model.blocks.0.self_attn.q.lora_A.weight",), "lora", "wan2.2", "flux1"),
        (("lora_unet_x.hada_w1_a",), "lora", None, "flux1"),
        (
            ("double_blocks.0.img_attn.norm.key_norm.scale", "img_in.weight"),
            "diffusion_model",
            "flux1",
            "wan",
        ),
        (("model.diffusion_model.double_blocks.0.img_attn.qkv.weight",), "diffusion_model", "flux1", "sdxl"),
        (
            ("double_blocks.0.img_attn.qkv.weight", "distilled_guidance_layer.in_proj.bias"),
            "diffusion_model",
            "chroma",
            "flux1",
        ),
        (("blocks.0.self_attn.q.weight", "head.modulation"), "diffusion_model", "wan2.1", "flux1"),
        (("joint_blocks.0.context_block.attn.qkv.weight",), "diffusion_model", "sd3.5", "sdxl"),
        (("model.diffusion_model.x", "first_stage_model.encoder.conv_in.weight"), "checkpoint", None, "sdxl"),
        (
            ("decoder.conv_in.weight", "decoder.conv_out.weight", "encoder.conv_in.weight"),
            "vae",
            None,
            "sdxl",
        ),
        (("text_model.encoder.layers.0.mlp.fc1.weight",), "text_encoder", "clip-l", "t5xxl"),
        (
            ("shared.weight", "encoder.block.0.layer.0.SelfAttention.k.weight"),
            "text_encoder",
            "t5xxl",
            "clip-l",
        ),
        (
            ("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"),
            "text_encoder",
            "qwen3",
            "t5xxl",
        ),
        (
            ("text_model.encoder.layers.0.x", "vision_model.encoder.layers.0.x"),
            "clip_vision text_encoder",
            None,
            "t5xxl",
        ),
        (("vision_model.encoder.layers.0.mlp.fc1.weight",), "clip_vision", None, "clip-l"),
        (("control_model.input_blocks.0.0.weight",), "controlnet", None, "sdxl"),
        (("something.of.another.world",), "", None, "sdxl"),
    ],
)
def test_kind_and_family_are_told_by_names(
    names: tuple[str, ...], kinds: str, family: str | None, not_family: str
) -> None:
    contents = contents_of(header(*names))
    assert contents.kinds == frozenset(kinds.split())
    assert family is None or family in contents.families
    assert not_family not in contents.families


@pytest.mark.parametrize(("width", "family"), [(768, "sd15"), (1024, "sd2.1"), (2048, "sdxl")])
@pytest.mark.parametrize(
    "name",
    [
        f"model.diffusion_model.{UNET_KEY}",
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight",
    ],
)
def test_u_nets_are_told_apart_by_the_text_they_attend_to(name: str, width: int, family: str) -> None:
    assert family in contents_of(header(name, shape=(16, width))).families


def test_a_precision_counts_from_a_tenth_of_the_bytes_on() -> None:
    scales = {"scale": {"dtype": "F32", "shape": [2]}}
    assert contents_of(header("w", dtype="F8_E4M3", shape=(100, 100), **scales)).precisions == {"fp8_e4m3fn"}
    half = {"b": {"dtype": "BF16", "shape": [50, 100]}}
    assert contents_of(header("w", dtype="F8_E4M3", shape=(100, 100), **half)).precisions == {
        "fp8_e4m3fn",
        "bf16",
    }


@given(st.dictionaries(st.text(max_size=8), st.recursive(st.none() | st.integers() | st.text(), st.lists)))
def test_whatever_a_header_holds_nothing_is_raised(nonsense: dict[str, Any]) -> None:
    contents_of(nonsense)
    contents_of({"t": nonsense, "u": {"dtype": nonsense, "shape": nonsense}})
    contents_of({"t": {"dtype": "F16", "shape": list(nonsense.values())}})


def agree(name: str, folder: str | None, contents: Contents, *families: str) -> int:
    model = Wanted(f"{folder}/{name}", folder, name)
    return contents_agree(model, contents, Context(families=frozenset(families)), TOLD_FAMILIES)


SDXL_LORA = Contents(frozenset({"lora"}), frozenset({"sdxl"}), frozenset({"fp16"}))
FP8_FLUX = Contents(frozenset({"diffusion_model"}), frozenset({"flux1", "flux2"}), frozenset({"fp8_e4m3fn"}))
T5 = Contents(frozenset({"text_encoder"}), frozenset({"t5xxl", "byt5"}), frozenset({"fp16"}))


@pytest.mark.parametrize(
    ("name", "folder", "contents", "expected"),
    [
        ("turtle_sdxl_fp16.safetensors", "loras", SDXL_LORA, 3),
        ("turtle_sdxl_bf16.safetensors", "loras", SDXL_LORA, 2),
        ("turtle_ponyXL.safetensors", "loras", SDXL_LORA, 2),
        ("turtle_wan2.1.safetensors", "loras", SDXL_LORA, -1),
        ("turtle_sdxl.safetensors", "diffusion_models", SDXL_LORA, -1),
        ("turtle_sdxl_fp8.safetensors", "loras", SDXL_LORA, -1),
        ("turtle_sdxl_fp8_mixed.safetensors", "loras", SDXL_LORA, 2),
        ("turtle.safetensors", "loras", SDXL_LORA, 1),
        ("turtle.safetensors", "somewhere_of_a_pack", SDXL_LORA, 0),
        ("turtle_mochi.safetensors", "checkpoints", Contents(families=frozenset()), 0),
        ("flux1-dev-fp8.safetensors", "diffusion_models", FP8_FLUX, 2),
        ("flux1-dev-fp8_e5m2.safetensors", "diffusion_models", FP8_FLUX, 2),
        ("flux1-dev.safetensors", "checkpoints", FP8_FLUX, -1),
        ("flux_text_encoder.safetensors", "text_encoders", T5, 1),
        ("flux_t5xxl_fp16.safetensors", "text_encoders", T5, 3),
        ("clip_l.safetensors", "text_encoders", T5, -1),
        ("x.safetensors", "diffusion_models", Contents(frozenset({"checkpoint"})), 1),
    ],
)
def test_contents_confirm_or_contradict_a_name(
    name: str, folder: str, contents: Contents, expected: int
) -> None:
    assert agree(name, folder, contents) == expected


def test_where_the_name_is_silent_the_workflow_speaks() -> None:
    assert agree("turtle.safetensors", "loras", SDXL_LORA, "sdxl", "clip-l") == 2
    assert agree("turtle.safetensors", "loras", SDXL_LORA, "illustrious") == 2
    assert agree("turtle.safetensors", "loras", SDXL_LORA, "flux1", "t5xxl") == -1
    assert agree("turtle.safetensors", "loras", SDXL_LORA, "t5xxl") == 1, "no base model is known"
    wan = Contents(families=frozenset({"wan2.1"}))
    assert agree("turtle.safetensors", "loras", wan, "wan2.2") == 1, "one architecture"
    assert agree("turtle_wan2.2.safetensors", "loras", wan, "wan2.2") == -1, "but the name is precise"


def test_a_sites_word_for_the_base_model_is_read_the_same_way() -> None:
    pony = Wanted("checkpoints/p", "checkpoints", "ponyRealism_v22.safetensors")
    assert made_for_agrees(pony, {"sdxl"}, Context())
    assert not made_for_agrees(pony, {"flux1"}, Context())
    plain = Wanted("loras/p", "loras", "turtle.safetensors")
    assert made_for_agrees(plain, {"flux1"}, Context(families=frozenset({"t5xxl"})))


def test_no_model_of_the_templates_is_contradicted_by_its_own_tensors() -> None:
    models = template_models()
    for model in models:
        names = layout_of(model.folder, model.name.rsplit("/", 1)[-1])
        told = contents_of(header(*names.names, dtype=names.dtype, shape=names.shape))
        verdict = contents_agree(Wanted(model.id, model.folder, model.name), told, Context(), TOLD_FAMILIES)
        assert verdict >= 0, (model.id, told)
    assert len(models) > 300


def offer(url: str, sha256: str, contents: Contents | None = None, **more: Any) -> Offer:
    return Offer("huggingface", url, "turtle_sdxl.safetensors", sha256=sha256, contents=contents, **more)


TURTLE = Wanted("loras/t", "loras", "turtle_sdxl.safetensors")


def test_a_file_that_is_something_else_is_only_a_possibility_and_agreement_breaks_ties() -> None:
    wrong = Contents(frozenset({"diffusion_model"}))
    offers = [offer("u1", A, wrong, downloads=99), offer("u2", B), offer("u3", C, SDXL_LORA)]
    found = rank(TURTLE, offers).candidates
    assert [(c.url, c.confidence) for c in found] == [
        ("u3", "probable"),
        ("u2", "probable"),
        ("u1", "possible"),
    ]
    assert rank(TURTLE, offers[:2]).state == "resolved", "one is left"


def test_what_the_tensors_say_never_outweighs_an_equal_hash() -> None:
    known = Wanted("loras/t", "loras", "turtle_sdxl.safetensors", sha256=A)
    [found] = rank(known, [offer("u1", A, Contents(frozenset({"vae"})))]).candidates
    assert found.confidence == "exact"

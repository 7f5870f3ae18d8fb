"""The words of roles, as data: how families, precisions, tasks and the rest are spelled in file names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Role(NamedTuple):
    """One thing a name states, such as ``("noise", "high")``."""

    attribute: str
    value: str


_FAMILIES: Mapping[str, str] = {
    # canonical: spellings. What is not listed is compared as plain words, so only families that are spelled
    # in several ways, or that imply something, need a line.
    "sd14": "sd1.4 sdv1.4 stablediffusion1.4 stablediffusionv1.4",
    "sd15": "sd1.5 sdv1.5 stablediffusion1.5 stablediffusionv1.5",
    "sd2": "sd2 sd2.0 sdv2 sdv2.0",
    "sd2.1": "sd2.1 sdv2.1 stablediffusion2.1 stablediffusionv2.1",
    "sdxl": "sdxl stablediffusionxl",
    "sd3": "sd3 stablediffusion3",
    "sd3.5": "sd3.5 stablediffusion3.5",
    "svd": "svd stablevideodiffusion",
    "flux1": "flux flux1 fluxv1",
    "flux2": "flux2 fluxv2",
    "flux3": "flux3",
    "krea2": "krea2",
    "wan": "wan wanvideo",
    "wan2.1": "wan2.1 wanvideo2.1 wanv2.1",
    "wan2.2": "wan2.2 wanvideo2.2 wanv2.2",
    "qwen-image": "qwenimage",
    "qwen-image-edit": "qwenimageedit qwenedit",
    "qwen-image-layered": "qwenimagelayered",
    "hunyuan-video": "hunyuanvideo",
    "hunyuan-video-1.5": "hunyuanvideo1.5 hunyuanvideov1.5",
    "hunyuan3d": "hunyuan3d",
    "hunyuan-image": "hunyuanimage",
    "hunyuan-dit": "hunyuandit",
    "ltxv": "ltxv ltxvideo",
    "ltx2": "ltx2 ltxv2 ltx2.0",
    "ltx2.3": "ltx2.3 ltxv2.3",
    "ltx2.5": "ltx2.5 ltxv2.5",
    "hidream-i1": "hidreami1",
    "hidream-e1": "hidreame1",
    "hidream-e1.1": "hidreame1.1",
    "hidream-o1": "hidreamo1",
    "hidream": "hidream",
    "lumina2": "lumina2 luminaimage2 luminaimage2.0",
    "chroma": "chroma chroma1",
    "chroma-radiance": "chromaradiance chroma1radiance",
    "z-image": "zimage",
    "cosmos": "cosmos cosmos1.0",
    "cosmos-predict2": "cosmospredict2",
    "mochi": "mochi mochi1",
    "omnigen": "omnigen omnigen1",
    "omnigen2": "omnigen2",
    "ace-step": "acestep acestep1 acestepv1 ace",
    "ace-step-1.5": "acestep1.5 acestepv1.5 ace1.5",
    "pony": "pony ponydiffusion",
    "illustrious": "illustrious illustriousxl ilxl",
    "noobai": "noobai noobaixl",
    "kolors": "kolors",
    "auraflow": "auraflow",
    "pixart-alpha": "pixart pixartalpha",
    "pixart-sigma": "pixartsigma",
    "stable-cascade": "stablecascade",
    "stable-audio": "stableaudio",
    "cogvideox": "cogvideox",
    "cogvideox-1.5": "cogvideox1.5",
    "taesd": "taesd",
    "taesdxl": "taesdxl",
    "taesd3": "taesd3",
    "taef1": "taef1",
    "sam": "sam",
    "sam2": "sam2",
    "sam2.1": "sam2.1",
    "sam3": "sam3",
    "yolov8": "yolov8",
    "clip-l": "clipl",
    "clip-g": "clipg",
    "clip-vision-g": "clipvisiong",
    "clip-vision-h": "clipvisionh",
    "t5xxl": "t5xxl t5v1.1xxl googlet5v1.1xxl",
    "t5-base": "t5base",
    "byt5": "byt5 byt5small",
    "umt5xxl": "umt5xxl",
    "qwen": "qwen",
    "qwen2.5": "qwen2.5",
    "qwen2.5-vl": "qwen2.5vl",
    "qwen3": "qwen3",
    "qwen3-vl": "qwen3vl",
    "qwen3.5": "qwen3.5",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3": "gemma3",
    "gemma4": "gemma4",
    "llama3": "llama3",
    "llama3.1": "llama3.1",
    "llava-llama3": "llavallama3",
    "mistral3": "mistral3",
    "ministral3": "ministral3",
    "chatglm3": "chatglm3",
}

TEXT_ENCODERS = frozenset(
    {"clip-l", "clip-g", "t5xxl", "t5-base", "byt5", "umt5xxl", "qwen", "qwen2.5", "qwen2.5-vl", "qwen3",
     "qwen3-vl", "qwen3.5", "gemma", "gemma2", "gemma3", "gemma4", "llama3", "llama3.1", "llava-llama3",
     "mistral3", "ministral3", "chatglm3"}
)  # fmt: skip
"""Families that are text encoders wherever they lie."""

_MEANINGS: Mapping[str, str] = {
    # attribute: "spelling" or "spelling=value"
    "kind": "lora loras=lora locon=lora lycoris=lora vae controlnet controlnets=controlnet"
    " controllora=control-lora t2iadapter=t2i-adapter ipadapter=ip-adapter textencoder=text_encoder"
    " clipvision=clip_vision"
    " unet=diffusion_model transformer=diffusion_model diffusionmodel=diffusion_model embedding"
    " upscaler=upscale upsampler=upscale upscale",
    "task": "i2v t2v ti2v flf2v s2v v2v i2i t2i r2v ref2v ref2va fl2v fl2va txt2img=t2i img2img=i2i"
    " imagetovideo=i2v texttovideo=t2v image2video=i2v text2video=t2v img2vid=i2v txt2vid=t2v"
    " text2world video2world vace animate camera funcamera=fun-camera funcontrol=fun-control"
    " fun inp=inpaint inpaint inpainting=inpaint fill edit outpaint outpainting=outpaint kontext redux"
    " funinp=fun-inpaint funinpaint=fun-inpaint interp=interpolation sr=super-resolution",
    "control": "depth canny pose openpose dwpose scribble sketch tile lineart normal normals=normal normalbae"
    " seg segmentation=seg softedge hed mlsd shuffle ip2p union blur recolor keypose control",
    "distill": "lightning turbo hyper lcm tcd pcm dmd dmd2 distilled distill=distilled"
    " distillation=distilled causvid lightx2v accvid fusionx flash",
    "variant": "dev schnell krea base refiner full fast sft preview pretrained xt plus pro kv unconditional"
    " klein",
    "noise": "highnoise=high lownoise=low",
    "part": "module mmproj vision teonly=te-only decoder=decoder dec=decoder encoder enc=encoder"
    " encoderonly=encoder",
    "medium": "audio video",
    "size": "small medium large tiny mini nano giant lite xxl"
    " vitb=vit-b vits=vit-s vitl=vit-l vith=vit-h vitg=vit-g vitbigg=vit-bigg",
}

_PACKING: Mapping[str, str] = {
    "precision": "fp32 f32=fp32 float32=fp32 fp16 f16=fp16 float16=fp16 bf16 bfloat16=bf16 fp8 float8=fp8"
    " fp8e4m3fn=fp8_e4m3fn fp8e4m3=fp8_e4m3fn e4m3fn=fp8_e4m3fn fp8e5m2=fp8_e5m2 e5m2=fp8_e5m2"
    " scaled fp8mixed=fp8_mixed fp4 fp4mixed=fp4_mixed nvfp4 mxfp4 mxfp8 nf4 bnb int8 int4 w4a8 w8a8 w4a16"
    " awq gptq convrot 4bit 8bit ud svdq nunchaku fp16fix=fp16-fix mixedprecision=mixed",
    "pruning": "pruned ema emaonly=ema nonema noema=nonema fullema",
}

_NEUTRAL = (
    # Who packed the file, or that it is one: nothing about what is in it.
    "comfy comfyui comfyorg repackaged model models weights pytorch diffusionpytorchmodel adaptermodel"
    " safetensors gguf checkpoint ckpt kj kijai official converted"
)

FOLDER_KINDS: Mapping[str, str] = {
    "checkpoints": "checkpoint",
    "diffusion_models": "diffusion_model",
    "unet": "diffusion_model",
    "unet_gguf": "diffusion_model",
    "text_encoders": "text_encoder",
    "clip": "text_encoder",
    "clip_gguf": "text_encoder",
    "loras": "lora",
    "ipadapter": "ip-adapter",
    "upscale_models": "upscale",
    "embeddings": "embedding",
}
"""ComfyUI folder -> kind of model; a folder that is not listed is a kind of its own name."""

IMPLIED: Mapping[str, frozenset[str]] = {
    # What a family says by itself, so that stating it makes no difference.
    "flux1": frozenset({"12b"}),
    "qwen-image": frozenset({"20b"}),
    "qwen-image-edit": frozenset({"20b"}),
    "z-image": frozenset({"6b"}),
    "ltx2": frozenset({"19b"}),
    "ltx2.3": frozenset({"22b"}),
    "hunyuan-video": frozenset({"13b"}),
    "qwen2.5-vl": frozenset({"instruct"}),
    "qwen3-vl": frozenset({"instruct"}),
    "pony": frozenset({"xl"}),
    "illustrious": frozenset({"xl"}),
    "noobai": frozenset({"xl"}),
}

CONTAINERS = frozenset({
    "safetensors", "gguf", "ckpt", "pt", "pth", "bin", "onnx", "sft", "pkl", "pt2",
})  # fmt: skip
RANKS = frozenset({
    "4", "8", "16", "32", "64", "96", "128", "175", "192", "256", "384", "512",
})  # fmt: skip
RESOLUTIONS = frozenset({
    "256", "336", "384", "480", "512", "540", "576", "640", "720", "768", "832", "1024", "1080", "1280",
    "1536", "2048", "4096",
})  # fmt: skip
SCALES = frozenset({"1", "2", "3", "4", "8", "16"})
STEP_WORDS = frozenset({"step", "steps"})
UNITS = STEP_WORDS | {"b", "x", "bit"}
"""Letters that make the number before them a quantity, so that it is not the end of a family's name."""

# Nominal bits a weight, to say which of two substitutes is nearer.
BITS: Mapping[str, float] = {
    "fp32": 32, "fp16": 16, "bf16": 16, "fp8": 8, "int8": 8, "mxfp8": 8, "8bit": 8, "w8a8": 8, "fp8_mixed": 8,
    "fp8_e4m3fn": 8, "fp8_e5m2": 8, "scaled": 8, "fp4": 4.5, "nvfp4": 4.5, "mxfp4": 4.5, "nf4": 4.5,
    "int4": 4.5, "4bit": 4.5, "w4a8": 4.5, "w4a16": 4.5, "fp4_mixed": 4.5, "svdq": 4.5,
    "awq": 4.5, "gptq": 4.5,
}  # fmt: skip


def _phrases() -> dict[str, Role | None]:
    """Every known phrase and its meaning; ``None`` for one that means nothing."""
    table: dict[str, Role | None] = dict.fromkeys(_NEUTRAL.split())

    def add(phrase: str, role: Role) -> None:
        table[phrase] = role
        table.setdefault(phrase.replace(".", ""), role)

    for family, spellings in _FAMILIES.items():
        for spelling in spellings.split():
            add(spelling, Role("family", family))
    for attribute, entries in (*_MEANINGS.items(), *_PACKING.items()):
        for entry in entries.split():
            spelling, _, value = entry.partition("=")
            add(spelling, Role(attribute, value or spelling))
    # llama.cpp's quantisation names: Q4_0, Q5_K, Q4_K_M, IQ4_XS, …
    for bits in "12345678":
        for suffix in ("0", "1", "k", "ks", "km", "kl", "kxl", "kxs"):
            add(f"q{bits}{suffix}", Role("precision", f"q{bits}_{suffix}"))
        for suffix in ("xxs", "xs", "s", "m", "nl"):
            add(f"iq{bits}{suffix}", Role("precision", f"iq{bits}_{suffix}"))
    for letter in "nsmlx":
        add(f"yolov8{letter}", Role("family", "yolov8"))
    return table


PHRASES = _phrases()
PREFIXES = frozenset(phrase[:end] for phrase in PHRASES for end in range(1, len(phrase) + 1))
PACKING_ATTRIBUTES = frozenset({*_PACKING, "container"})
UNTELLING = PACKING_ATTRIBUTES | {"kind", "part", "noise", "medium", "version"}
"""Attributes that do not tell one model from any other: high_noise_model, text_encoder, model_v2."""

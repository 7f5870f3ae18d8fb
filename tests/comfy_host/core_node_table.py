"""The node types around the loaders: a table of inputs and outputs, turned into node classes.

The table covers what the templates in README.md need to open without "missing node types". The
nodes compute nothing: run, they hand on None for each output.
"""

from __future__ import annotations

import os
from typing import Any

import folder_paths
from comfy_api.latest import io

Spec = tuple[str, dict[str, dict[str, Any]], tuple[str, ...]]
"""Title, inputs as ``INPUT_TYPES()`` gives them, output types."""

OUTPUT_NODES = {"SaveImage", "PreviewImage", "SaveVideo", "SaveAnimatedWEBP", "PreviewAny"}

SIZE_LIMIT = 16384
SEED_LIMIT = 2**64 - 1
INT_LIMIT = 2**63 - 1

SAMPLERS = [
    "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2",
    "exp_heun_2_x0", "exp_heun_2_x0_sde", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast",
    "dpm_adaptive", "dpmpp_2s_ancestral", "dpmpp_2s_ancestral_cfg_pp", "dpmpp_sde", "dpmpp_sde_gpu",
    "dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_2m_sde_heun",
    "dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm", "ipndm", "ipndm_v",
    "deis", "res_multistep", "res_multistep_cfg_pp", "res_multistep_ancestral",
    "res_multistep_ancestral_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp", "er_sde",
    "seeds_2", "seeds_3", "sa_solver", "sa_solver_pece", "ddim", "uni_pc", "uni_pc_bh2",
]  # fmt: skip
SCHEDULERS = [
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal",
    "linear_quadratic", "kl_optimal",
]  # fmt: skip
UPSCALE_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]

SEED = (
    "INT",
    {"default": 0, "min": 0, "max": SEED_LIMIT, "control_after_generate": True},
)
STEPS = ("INT", {"default": 20, "min": 1, "max": 10000})
CFG = ("FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01})
BATCH = ("INT", {"default": 1, "min": 1, "max": 4096})
TEXT = ("STRING", {"multiline": True, "dynamicPrompts": True})
SAVED = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}


def _size(default: int, step: int) -> tuple[str, dict[str, int]]:
    return ("INT", {"default": default, "min": 16, "max": SIZE_LIMIT, "step": step})


def _number(default: float, low: float, high: float, step: float) -> tuple[str, dict[str, float]]:
    return ("FLOAT", {"default": default, "min": low, "max": high, "step": step})


def _needs(**inputs: Any) -> dict[str, dict[str, Any]]:
    """All inputs required; a bare type name is a socket."""
    return {"required": {k: (v,) if isinstance(v, str) else v for k, v in inputs.items()}}


TABLE: dict[str, Spec] = {
    "CLIPTextEncode": (
        "CLIP Text Encode (Prompt)", _needs(text=TEXT, clip="CLIP"), ("CONDITIONING",),
    ),
    "CLIPSetLastLayer": (
        "CLIP Set Last Layer",
        _needs(
            clip="CLIP",
            stop_at_clip_layer=("INT", {"default": -1, "min": -24, "max": -1, "step": 1}),
        ),
        ("CLIP",),
    ),
    "CLIPVisionEncode": (
        "CLIP Vision Encode",
        _needs(clip_vision="CLIP_VISION", image="IMAGE", crop=(["center", "none"],)),
        ("CLIP_VISION_OUTPUT",),
    ),
    "ConditioningZeroOut": (
        "Conditioning Zero Out", _needs(conditioning="CONDITIONING"), ("CONDITIONING",),
    ),
    "FluxGuidance": (
        "FluxGuidance",
        _needs(conditioning="CONDITIONING", guidance=_number(3.5, 0.0, 100.0, 0.1)),
        ("CONDITIONING",),
    ),
    "KSampler": (
        "KSampler",
        _needs(
            model="MODEL", seed=SEED, steps=STEPS, cfg=CFG, sampler_name=(SAMPLERS,),
            scheduler=(SCHEDULERS,), positive="CONDITIONING", negative="CONDITIONING",
            latent_image="LATENT", denoise=_number(1.0, 0.0, 1.0, 0.01),
        ),
        ("LATENT",),
    ),
    "KSamplerAdvanced": (
        "KSampler (Advanced)",
        _needs(
            model="MODEL", add_noise=(["enable", "disable"], {"advanced": True}), noise_seed=SEED,
            steps=STEPS, cfg=CFG, sampler_name=(SAMPLERS,), scheduler=(SCHEDULERS,),
            positive="CONDITIONING", negative="CONDITIONING", latent_image="LATENT",
            start_at_step=("INT", {"default": 0, "min": 0, "max": 10000, "advanced": True}),
            end_at_step=("INT", {"default": 10000, "min": 0, "max": 10000, "advanced": True}),
            return_with_leftover_noise=(["disable", "enable"], {"advanced": True}),
        ),
        ("LATENT",),
    ),
    "ModelSamplingAuraFlow": (
        "ModelSamplingAuraFlow",
        _needs(model="MODEL", shift=_number(1.73, 0.0, 100.0, 0.01)), ("MODEL",),
    ),
    "ModelSamplingSD3": (
        "ModelSamplingSD3", _needs(model="MODEL", shift=_number(3.0, 0.0, 100.0, 0.01)), ("MODEL",),
    ),
    "EmptyLatentImage": (
        "Empty Latent Image",
        _needs(width=_size(512, 8), height=_size(512, 8), batch_size=BATCH), ("LATENT",),
    ),
    "EmptySD3LatentImage": (
        "EmptySD3LatentImage",
        _needs(width=_size(1024, 16), height=_size(1024, 16), batch_size=BATCH), ("LATENT",),
    ),
    "EmptyHunyuanLatentVideo": (
        "Empty HunyuanVideo 1.0 Latent",
        _needs(
            width=_size(848, 16), height=_size(480, 16),
            length=("INT", {"default": 25, "min": 1, "max": SIZE_LIMIT, "step": 4}),
            batch_size=BATCH,
        ),
        ("LATENT",),
    ),
    "VAEDecode": ("VAE Decode", _needs(samples="LATENT", vae="VAE"), ("IMAGE",)),
    "VAEEncode": ("VAE Encode", _needs(pixels="IMAGE", vae="VAE"), ("LATENT",)),
    "ControlNetApplyAdvanced": (
        "Apply ControlNet",
        {
            **_needs(
                positive="CONDITIONING", negative="CONDITIONING", control_net="CONTROL_NET",
                image="IMAGE", strength=_number(1.0, 0.0, 10.0, 0.01),
                start_percent=_number(0.0, 0.0, 1.0, 0.001),
                end_percent=_number(1.0, 0.0, 1.0, 0.001),
            ),
            "optional": {"vae": ("VAE",)},
        },
        ("CONDITIONING", "CONDITIONING"),
    ),
    "ImageScaleBy": (
        "Upscale Image By",
        _needs(
            image="IMAGE", upscale_method=(UPSCALE_METHODS,),
            scale_by=_number(1.0, 0.01, 8.0, 0.01),
        ),
        ("IMAGE",),
    ),
    "ImageUpscaleWithModel": (
        "Upscale Image (using Model)",
        _needs(upscale_model="UPSCALE_MODEL", image="IMAGE"), ("IMAGE",),
    ),
    "ImageScaleToTotalPixels": (
        "Scale Image to Total Pixels",
        _needs(
            image="IMAGE", upscale_method=(UPSCALE_METHODS,),
            megapixels=_number(1.0, 0.01, 16.0, 0.01),
            resolution_steps=("INT", {"default": 1, "min": 1, "max": 256, "advanced": True}),
        ),
        ("IMAGE",),
    ),
    "CreateVideo": (
        "Create Video",
        {
            **_needs(images="IMAGE", fps=_number(30.0, 1.0, 120.0, 1.0)),
            "optional": {
                "audio": ("AUDIO",),
                "bit_depth": ("INT", {"default": 8, "min": 8, "max": 10, "step": 2}),
            },
        },
        ("VIDEO",),
    ),
    "SaveImage": (
        "Save Image",
        {
            **_needs(images="IMAGE", filename_prefix=("STRING", {"default": "ComfyUI"})),
            "hidden": SAVED,
        },
        ("IMAGE",),
    ),
    "PreviewImage": ("Preview Image", {**_needs(images="IMAGE"), "hidden": SAVED}, ("IMAGE",)),
    "SaveVideo": (
        "Save Video",
        {
            **_needs(
                video="VIDEO", filename_prefix=("STRING", {"default": "video/ComfyUI"}),
                format=(["auto", "mp4"], {"default": "auto"}),
                codec=(["auto", "h264"], {"default": "auto"}),
            ),
            "hidden": SAVED,
        },
        ("VIDEO",),
    ),
    "PreviewAny": ("Preview as Text", _needs(source=("*", {})), ("STRING",)),
    "PrimitiveBoolean": ("Boolean", _needs(value=("BOOLEAN", {})), ("BOOLEAN",)),
    "PrimitiveFloat": (
        "Float",
        _needs(value=("FLOAT", {"min": -INT_LIMIT, "max": INT_LIMIT, "step": 0.1})), ("FLOAT",),
    ),
    "PrimitiveInt": (
        "Int",
        _needs(
            value=(
                "INT", {"min": -INT_LIMIT, "max": INT_LIMIT, "control_after_generate": "fixed"},
            )
        ),
        ("INT",),
    ),
    "PrimitiveString": ("Text", _needs(value=("STRING", {"multiline": False})), ("STRING",)),
    "PrimitiveStringMultiline": (
        "Text (Multiline)", _needs(value=("STRING", {"multiline": True})), ("STRING",),
    ),
}  # fmt: skip


class TableNode:
    """A node known only by its inputs and outputs."""

    SPEC_INPUTS: dict[str, dict[str, Any]]
    RETURN_TYPES: tuple[str, ...] = ()
    FUNCTION = "run"
    CATEGORY = "core"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return cls.SPEC_INPUTS

    def run(self, **inputs: Any) -> tuple[None, ...]:
        return (None,) * len(self.RETURN_TYPES)


class LoadImage:
    """Offers the files of the input directory; the editor adds an upload button."""

    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "run"
    CATEGORY = "image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        directory = folder_paths.get_input_directory()
        files = sorted(e.name for e in os.scandir(directory) if e.is_file())
        return {"required": {"image": (files, {"image_upload": True})}}

    def run(self, image: str) -> tuple[None, None]:
        return None, None


class ComfySwitchNode(io.ComfyNode):
    """Hands on one of two inputs of any one type; nearly every recent template has one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        any_type = io.Custom("COMFY_MATCHTYPE_V3")
        template = {"template_id": "switch", "allowed_types": "*"}
        return io.Schema(
            node_id="ComfySwitchNode",
            display_name="If/Else Switch",
            category="utilities/logic",
            inputs=[
                io.Boolean.Input("switch"),
                any_type.Input("on_false", lazy=True, template=template),
                any_type.Input("on_true", lazy=True, template=template),
            ],
            outputs=[any_type.Output(display_name="output", match_template="switch")],
            is_experimental=True,
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput(inputs.get("on_true" if inputs["switch"] else "on_false"))


class ComfyMathExpression(io.ComfyNode):
    """Computes from inputs that grow as they are connected (`a`, `b`, ...)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        growing = {
            "input": {"required": {"value": ("FLOAT,INT,BOOLEAN", {})}},
            "names": [chr(code) for code in range(ord("a"), ord("z") + 1)],
            "min": 1,
        }
        return io.Schema(
            node_id="ComfyMathExpression",
            display_name="Math Expression",
            category="utilities",
            inputs=[
                io.String.Input("expression", default="a + b", multiline=True),
                io.Custom("COMFY_AUTOGROW_V3").Input("values", template=growing),
            ],
            outputs=[io.Float.Output(), io.Int.Output(), io.Boolean.Output(display_name="BOOL")],
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput(None, None, None)


class ImageCompare(io.ComfyNode):
    """Shows two images with a slider; its view is a widget without a socket."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImageCompare",
            display_name="Compare Images",
            category="image",
            inputs=[
                io.Custom("IMAGECOMPARE").Input("compare_view", socketless=True),
                io.Image.Input("image_a", optional=True),
                io.Image.Input("image_b", optional=True),
            ],
            is_output_node=True,
            is_experimental=True,
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput()


def build() -> dict[str, tuple[str, type]]:
    """Node type -> (title, class), for the whole table and the classes above."""
    built: dict[str, tuple[str, type]] = {"LoadImage": ("Load Image", LoadImage)}
    for name, (title, inputs, outputs) in TABLE.items():
        attributes = {
            "SPEC_INPUTS": inputs,
            "RETURN_TYPES": outputs,
            "OUTPUT_NODE": name in OUTPUT_NODES,
        }
        built[name] = (title, type(name, (TableNode,), attributes))
    for node_class in (ComfySwitchNode, ComfyMathExpression, ImageCompare):
        title = node_class.GET_SCHEMA().display_name or node_class.__name__
        built[node_class.__name__] = (title, node_class)
    return built

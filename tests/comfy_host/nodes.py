"""The node classes: the module an extension imports as ``nodes``.

Loaders carry the class names, input names, input order and folders of core 0.28.1, because that is
what workflows and our folder observation depend on. They load nothing: running one only checks
that its files are there. All other node types come from ``core_node_table``.
"""

from __future__ import annotations

from typing import Any

import core_node_table
import folder_paths
import loader_nodes
import v3_loaders

NODE_CLASS_MAPPINGS: dict[str, type] = {}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {}
EXTENSION_WEB_DIRS: dict[str, str] = {}
"""Pack name -> directory served at `/extensions/<pack>`."""
LOADED_MODULE_DIRS: dict[str, str] = {}
"""Pack name -> its directory."""

WEIGHT_TYPES = ["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"]
CLIP_TYPES = [
    "stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi", "ltxv", "pixart",
    "cosmos", "lumina2", "wan", "hidream", "chroma", "ace", "omnigen2", "qwen_image",
    "hunyuan_image", "flux2", "ovis", "longcat_image", "cogvideox", "lens", "pixeldit",
    "ideogram4", "boogu", "krea2",
]  # fmt: skip
DUAL_CLIP_TYPES = [
    "sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image", "hunyuan_video_15",
    "kandinsky5", "kandinsky5_image", "ltxv", "newbie", "ace",
]  # fmt: skip
DEVICE = (["default", "cpu"], {"advanced": True})


def _strength(limit: float) -> tuple[str, dict[str, float]]:
    return ("FLOAT", {"default": 1.0, "min": -limit, "max": limit, "step": 0.01})


class LoaderNode:
    """A node that names model files. Subclasses say which inputs draw from which folder."""

    RETURN_TYPES: tuple[str, ...] = ()
    FUNCTION = "load"
    CATEGORY = "model/loaders"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        raise NotImplementedError

    def load(self, **inputs: Any) -> tuple[None, ...]:
        """Stands in for loading: validation has already seen that every name is in its list."""
        return (None,) * len(self.RETURN_TYPES)


class CheckpointLoaderSimple(LoaderNode):
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = folder_paths.get_filename_list("checkpoints")
        return {"required": {"ckpt_name": (names, {"tooltip": "A checkpoint file."})}}


class CheckpointLoader(LoaderNode):
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    DEPRECATED = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "config_name": (folder_paths.get_filename_list("configs"),),
                "ckpt_name": (folder_paths.get_filename_list("checkpoints"),),
            }
        }


class UnclipCheckpointLoader(LoaderNode):
    RETURN_TYPES = ("MODEL", "CLIP", "VAE", "CLIP_VISION")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"ckpt_name": (folder_paths.get_filename_list("checkpoints"),)}}


class ImageOnlyCheckpointLoader(LoaderNode):
    RETURN_TYPES = ("MODEL", "CLIP_VISION", "VAE")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"ckpt_name": (folder_paths.get_filename_list("checkpoints"),)}}


class UNETLoader(LoaderNode):
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "unet_name": (folder_paths.get_filename_list("diffusion_models"),),
                "weight_dtype": (WEIGHT_TYPES, {"advanced": True}),
            }
        }


class CLIPLoader(LoaderNode):
    RETURN_TYPES = ("CLIP",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = folder_paths.get_filename_list("text_encoders")
        return {
            "required": {"clip_name": (names,), "type": (CLIP_TYPES,)},
            "optional": {"device": DEVICE},
        }


class DualCLIPLoader(LoaderNode):
    RETURN_TYPES = ("CLIP",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "clip_name1": (folder_paths.get_filename_list("text_encoders"),),
                "clip_name2": (folder_paths.get_filename_list("text_encoders"),),
                "type": (DUAL_CLIP_TYPES,),
            },
            "optional": {"device": DEVICE},
        }


class VAELoader(LoaderNode):
    """Offers the files of `vae`, video preview decoders of `vae_approx`, and names that are no
    files.

    ``taesd`` and its kin stand for a pair of files in `vae_approx`, an encoder and a decoder, and
    are offered when both are there; ``pixel_space`` always is.
    """

    RETURN_TYPES = ("VAE",)
    IMAGE_PREVIEWS = ("taesd", "taesdxl", "taesd3", "taef1", "taef2")
    VIDEO_PREVIEWS = ("taehv", "lighttaew2_2", "lighttaew2_1", "lighttaehy1_5", "taeltx_2")

    @classmethod
    def vae_list(cls) -> list[str]:
        names = list(folder_paths.get_filename_list("vae"))
        halves: set[str] = set()
        for file in folder_paths.get_filename_list("vae_approx"):
            kind, _, rest = file.partition("_")
            if kind in cls.IMAGE_PREVIEWS and rest:
                halves.add(f"{kind} {rest.partition('.')[0]}")
            elif file.startswith(cls.VIDEO_PREVIEWS):
                names.append(file)
        names += [k for k in cls.IMAGE_PREVIEWS if {f"{k} encoder", f"{k} decoder"} <= halves]
        return [*names, "pixel_space"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"vae_name": (cls.vae_list(),)}}


class LoraLoader(LoaderNode):
    RETURN_TYPES = ("MODEL", "CLIP")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL",),
                "clip": ("CLIP",),
                "lora_name": (folder_paths.get_filename_list("loras"), {"tooltip": "A LoRA file."}),
                "strength_model": _strength(100.0),
                "strength_clip": _strength(100.0),
            }
        }


class LoraLoaderModelOnly(LoaderNode):
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL",),
                "lora_name": (folder_paths.get_filename_list("loras"),),
                "strength_model": _strength(100.0),
            }
        }


class CLIPVisionLoader(LoaderNode):
    RETURN_TYPES = ("CLIP_VISION",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"clip_name": (folder_paths.get_filename_list("clip_vision"),)}}


class ControlNetLoader(LoaderNode):
    RETURN_TYPES = ("CONTROL_NET",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"control_net_name": (folder_paths.get_filename_list("controlnet"),)}}


class DiffControlNetLoader(LoaderNode):
    RETURN_TYPES = ("CONTROL_NET",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = folder_paths.get_filename_list("controlnet")
        return {"required": {"model": ("MODEL",), "control_net_name": (names,)}}


class ModelPatchLoader(LoaderNode):
    RETURN_TYPES = ("MODEL_PATCH",)
    EXPERIMENTAL = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"name": (folder_paths.get_filename_list("model_patches"),)}}


V1_LOADERS: dict[str, tuple[str, type]] = {
    "CheckpointLoaderSimple": ("Load Checkpoint", CheckpointLoaderSimple),
    "CheckpointLoader": ("Load Checkpoint With Config (DEPRECATED)", CheckpointLoader),
    "unCLIPCheckpointLoader": ("Load unCLIP Checkpoint", UnclipCheckpointLoader),
    "ImageOnlyCheckpointLoader": (
        "Load Checkpoint Image Only (img2vid model)",
        ImageOnlyCheckpointLoader,
    ),
    "UNETLoader": ("Load Diffusion Model", UNETLoader),
    "CLIPLoader": ("Load CLIP", CLIPLoader),
    "DualCLIPLoader": ("Load CLIP (Dual)", DualCLIPLoader),
    "VAELoader": ("Load VAE", VAELoader),
    "LoraLoader": ("Load LoRA (Model and CLIP)", LoraLoader),
    "LoraLoaderModelOnly": ("Load LoRA", LoraLoaderModelOnly),
    "CLIPVisionLoader": ("Load CLIP Vision", CLIPVisionLoader),
    "ControlNetLoader": ("Load ControlNet Model", ControlNetLoader),
    "DiffControlNetLoader": ("Load ControlNet Model (diff)", DiffControlNetLoader),
    "ModelPatchLoader": ("Load Model Patch", ModelPatchLoader),
}


def _register() -> None:
    for name, (title, node_class) in {**V1_LOADERS, **loader_nodes.LOADERS}.items():
        NODE_CLASS_MAPPINGS[name] = node_class
        NODE_DISPLAY_NAME_MAPPINGS[name] = title
    for v3_class in v3_loaders.V3_LOADERS:
        NODE_CLASS_MAPPINGS[v3_class.NODE_ID] = v3_class
        NODE_DISPLAY_NAME_MAPPINGS[v3_class.NODE_ID] = v3_class.TITLE
    for name, (title, node_class) in core_node_table.build().items():
        NODE_CLASS_MAPPINGS[name] = node_class
        NODE_DISPLAY_NAME_MAPPINGS[name] = title


_register()

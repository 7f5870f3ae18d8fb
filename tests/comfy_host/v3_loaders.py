"""Loaders described by a schema, as most of the newer ones in core are.

Their combos look different in `/object_info`, and their options are listed anew at each call.
"""

from __future__ import annotations

from typing import Any

import folder_paths
from comfy_api.latest import io


class V3Loader(io.ComfyNode):
    """A loader described by a schema. ``INPUTS`` maps each combo to the folder it draws from."""

    NODE_ID: str
    TITLE: str
    INPUTS: dict[str, str]
    RETURNS: str
    BEFORE: tuple[io.Input, ...] = ()
    AFTER: tuple[io.Input, ...] = ()

    @classmethod
    def define_schema(cls) -> io.Schema:
        combos: list[io.Input] = [
            io.Combo.Input(name, options=folder_paths.get_filename_list(folder))
            for name, folder in cls.INPUTS.items()
        ]
        return io.Schema(
            node_id=cls.NODE_ID,
            display_name=cls.TITLE,
            category="model/loaders",
            inputs=[*cls.BEFORE, *combos, *cls.AFTER],
            outputs=[io.Custom(cls.RETURNS).Output()],
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return io.NodeOutput(None)


def _v3_loader(
    node_id: str,
    title: str,
    inputs: dict[str, str],
    returns: str,
    before: tuple[io.Input, ...] = (),
    after: tuple[io.Input, ...] = (),
) -> type[V3Loader]:
    attributes = {
        "NODE_ID": node_id,
        "TITLE": title,
        "INPUTS": inputs,
        "RETURNS": returns,
        "BEFORE": before,
        "AFTER": after,
    }
    return type(node_id, (V3Loader,), attributes)


V3_LOADERS: list[type[V3Loader]] = [
    _v3_loader(
        "AudioEncoderLoader",
        "Load Audio Encoder",
        {"audio_encoder_name": "audio_encoders"},
        "AUDIO_ENCODER",
    ),
    _v3_loader(
        "UpscaleModelLoader",
        "Load Upscale Model",
        {"model_name": "upscale_models"},
        "UPSCALE_MODEL",
    ),
    _v3_loader(
        "LatentUpscaleModelLoader",
        "Load Latent Upscale Model",
        {"model_name": "latent_upscale_models"},
        "LATENT_UPSCALE_MODEL",
    ),
    _v3_loader(
        "TripleCLIPLoader",
        "Load CLIP (Triple)",
        {f"clip_name{n}": "text_encoders" for n in (1, 2, 3)},
        "CLIP",
    ),
    _v3_loader(
        "QuadrupleCLIPLoader",
        "Load CLIP (Quadruple)",
        {f"clip_name{n}": "text_encoders" for n in (1, 2, 3, 4)},
        "CLIP",
    ),
    _v3_loader(
        "LTXAVTextEncoderLoader",
        "Load LTXV Audio Text Encoder",
        {"text_encoder": "text_encoders", "ckpt_name": "checkpoints"},
        "CLIP",
        after=(io.Combo.Input("device", options=["default", "cpu"], advanced=True),),
    ),
    _v3_loader(
        "HypernetworkLoader",
        "Load Hypernetwork",
        {"hypernetwork_name": "hypernetworks"},
        "MODEL",
        before=(io.Model.Input("model"),),
        after=(io.Float.Input("strength", default=1.0, min=-10.0, max=10.0, step=0.01),),
    ),
    _v3_loader(
        "PhotoMakerLoader",
        "Load PhotoMaker Model",
        {"photomaker_model_name": "photomaker"},
        "PHOTOMAKER",
    ),
    _v3_loader("LTXVAudioVAELoader", "Load LTXV Audio VAE", {"ckpt_name": "checkpoints"}, "VAE"),
    _v3_loader(
        "LoadBackgroundRemovalModel",
        "Load Background Removal Model",
        {"bg_removal_name": "background_removal"},
        "BACKGROUND_REMOVAL",
    ),
    _v3_loader(
        "FrameInterpolationModelLoader",
        "Load Frame Interpolation Model",
        {"model_name": "frame_interpolation"},
        "INTERP_MODEL",
    ),
    _v3_loader(
        "OpticalFlowLoader",
        "Load Optical Flow Model",
        {"model_name": "optical_flow"},
        "OPTICAL_FLOW",
    ),
    _v3_loader(
        "LoadMoGeModel", "Load MoGe Model", {"model_name": "geometry_estimation"}, "MOGE_MODEL"
    ),
    _v3_loader(
        "LoadDA3Model",
        "Load Depth Anything 3",
        {"model_name": "geometry_estimation"},
        "DA3_MODEL",
        after=(
            io.Combo.Input(
                "weight_dtype", options=["default", "fp16", "bf16", "fp32"], default="default"
            ),
        ),
    ),
    _v3_loader(
        "LoadMediaPipeFaceLandmarker",
        "Load Face Detection Model (MediaPipe)",
        {"model_name": "detection"},
        "FACE_DETECTION_MODEL",
    ),
]

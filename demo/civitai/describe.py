"""Models, versions and files as the API writes them.

https://developer.civitai.com/site/reference/models and
https://developer.civitai.com/site/reference/model-versions.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlencode

from ..options import HubOptions
from .catalog import CivitaiFile, CivitaiModel, CivitaiVersion

# https://developer.civitai.com/site/guide/air
_AIR_TYPES = {
    "Checkpoint": "checkpoint",
    "LORA": "lora",
    "TextualInversion": "embedding",
    "VAE": "vae",
    "Controlnet": "controlnet",
    "Upscaler": "upscaler",
}
_AIR_FILE_TYPES = {"Diffusion Model": "diffusionmodel", "UNet": "unet"}
_ECOSYSTEMS = (
    ("SD 1", "sd1"),
    ("SDXL", "sdxl"),
    ("SD 3", "sd3"),
    ("Pony", "pony"),
    ("Illustrious", "illustrious"),
    ("Flux.1", "flux1"),
    ("Flux.2", "flux2"),
    ("Wan Video", "wanvideo"),
    ("Qwen", "qwen"),
)


def describe_model(
    model: CivitaiModel, site: str, options: HubOptions, *, primary_only: bool = False
) -> dict[str, Any]:
    """An item of ``GET /models``, and the answer of ``GET /models/{id}``. ``site``: where URLs lead."""
    versions = [
        _in_model(model, version, site, options, primary_only)
        for version in model.versions
        if version.published
    ]
    return {
        "id": model.id,
        "name": model.name,
        "description": None,
        "type": model.type,
        "nsfw": model.nsfw_level > 3,
        "nsfwLevel": model.nsfw_level,
        "availability": "Public",
        "allowNoCredit": model.no_credit,
        "allowCommercialUse": list(model.commercial_use),
        "allowDerivatives": model.derivatives,
        "allowDifferentLicense": model.different_license,
        **({"mode": model.mode} if model.mode else {}),
        "stats": {"downloadCount": model.downloads, "thumbsUpCount": model.thumbs_up, "thumbsDownCount": 0},
        "creator": {"username": model.creator, "image": None},
        "tags": list(model.tags),
        "modelVersions": versions,
    }


def describe_version(
    model: CivitaiModel, version: CivitaiVersion, site: str, options: HubOptions
) -> dict[str, Any]:
    """The answer of ``GET /model-versions/{id}`` and its relatives by hash."""
    ends = version.early_access_until
    return {
        "id": version.id,
        "modelId": model.id,
        **_shared(version),
        "description": None,
        "air": air(model, version),
        "status": "Published",
        "nsfwLevel": model.nsfw_level,
        "createdAt": _moment(version.day),
        "updatedAt": _moment(version.day),
        "uploadType": "Created",
        "trainedWords": list(version.trained_words),
        "earlyAccessEndsAt": ends.isoformat() if ends else None,
        "model": {
            "name": model.name,
            "type": model.type,
            "nsfw": model.nsfw_level > 3,
            "poi": False,
            **({"mode": model.mode} if model.mode else {}),
        },
        **_downloads(model, version, site, options, primary_only=False),
    }


def air(model: CivitaiModel, version: CivitaiVersion) -> str:
    """``urn:air:sdxl:checkpoint:civitai:1@2``: https://developer.civitai.com/site/guide/air."""
    base = version.base_model
    ecosystem = next((name for start, name in _ECOSYSTEMS if base.startswith(start)), "other")
    kind = _AIR_TYPES.get(model.type, "other")
    if kind == "checkpoint" and version.files:
        kind = _AIR_FILE_TYPES.get(version.files[0].type, kind)
    return f"urn:air:{ecosystem}:{kind}:civitai:{model.id}@{version.id}"


def _in_model(
    model: CivitaiModel, version: CivitaiVersion, site: str, options: HubOptions, primary_only: bool
) -> dict[str, Any]:
    return {
        "id": version.id,
        **_shared(version),
        **_downloads(model, version, site, options, primary_only=primary_only),
    }


def _shared(version: CivitaiVersion) -> dict[str, Any]:
    return {
        "name": version.name,
        "baseModel": version.base_model,
        "baseModelType": "Standard",
        "publishedAt": _moment(version.day),
        "availability": "EarlyAccess" if version.early_access_until else "Public",
        "usageControl": version.usage_control,
        "stats": {"downloadCount": 0, "thumbsUpCount": 0, "thumbsDownCount": 0},
    }


def _downloads(
    model: CivitaiModel, version: CivitaiVersion, site: str, options: HubOptions, *, primary_only: bool
) -> dict[str, Any]:
    """What an archived model has none of, and pictures, which one that was taken down has none of."""
    url = f"{site}/api/download/models/{version.id}"
    files = version.files[:1] if primary_only else version.files
    archived = model.mode is not None
    return {
        "files": [] if archived else [_describe_file(file, version, url, options) for file in files],
        **({} if model.mode == "TakenDown" else {"images": []}),
        **({} if archived else {"downloadUrl": url}),
    }


def _describe_file(
    file: CivitaiFile, version: CivitaiVersion, url: str, options: HubOptions
) -> dict[str, Any]:
    primary = file is version.files[0]
    query = "" if primary else "?" + urlencode({"type": file.type, **file.metadata})
    return {
        "id": file.id,
        "name": file.file.name,
        "type": file.type,
        "sizeKB": options.stated_size(file.file) / 1024,
        "metadata": file.metadata,
        "pickleScanResult": file.scan,
        "pickleScanMessage": None,
        "virusScanResult": file.scan,
        "virusScanMessage": None,
        "scannedAt": None if file.scan == "Pending" else _moment(version.day),
        "hashes": file.file.civitai_hashes,
        "downloadUrl": url + query,
        "primary": primary,
    }


def _moment(day: int) -> str:
    moment = datetime(2025, 1, 1, tzinfo=timezone.utc) + timedelta(days=day)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")

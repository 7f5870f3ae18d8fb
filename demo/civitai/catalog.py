"""What Civitai has: models with versions with files. Plain values; nothing is served.

The words are Civitai's own: https://developer.civitai.com/site/reference/models and
https://developer.civitai.com/site/reference/model-versions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from ..files import HubFile

PG, PG13, R, X, XXX = 1, 2, 4, 8, 16
"""Bits of ``nsfw_level``; a model has those of all its pictures."""

ModelType = Literal[
    "Checkpoint",
    "TextualInversion",
    "Hypernetwork",
    "AestheticGradient",
    "LORA",
    "LoCon",
    "DoRA",
    "Controlnet",
    "Upscaler",
    "MotionModule",
    "VAE",
    "Poses",
    "Wildcards",
    "Workflows",
    "Detection",
    "Other",
]
"""https://developer.civitai.com/site/reference/enums."""
MODEL_TYPES: frozenset[str] = frozenset(get_args(ModelType))


@dataclass(frozen=True)
class CivitaiFile:
    """One file of a version. ``file.name`` is the name it is listed and downloaded under.

    ``type``: ``Model``, ``Pruned Model``, ``VAE``, ``Diffusion Model``, ``Text Encoder``, …; ``fp``
    and ``size``: the metadata its uploader gave. ``scan``: the outcome of both scans.
    """

    id: int
    file: HubFile
    type: str = "Model"
    format: str = "SafeTensor"
    fp: str | None = "fp16"
    size: Literal["full", "pruned"] | None = "full"
    scan: Literal["Success", "Pending", "Danger"] = "Success"

    @property
    def metadata(self) -> dict[str, str]:
        stated = {"format": self.format, "size": self.size, "fp": self.fp}
        return {name: value for name, value in stated.items() if value is not None}


@dataclass(frozen=True)
class CivitaiVersion:
    """A release. Its first file is the primary one.

    ``early_access_until``: until then only who paid for it may download it.
    """

    id: int
    name: str
    files: tuple[CivitaiFile, ...]
    base_model: str = "SDXL 1.0"
    trained_words: tuple[str, ...] = ()
    published: bool = True
    needs_login: bool = False
    usage_control: Literal["Download", "Generation", "InternalGeneration"] = "Download"
    early_access_until: datetime | None = None
    day: int = 365
    """Of its publication, counted from the first of 2025."""

    def file(self, file_id: int) -> CivitaiFile | None:
        return next((file for file in self.files if file.id == file_id), None)


@dataclass(frozen=True)
class CivitaiModel:
    """A model with its versions, the latest first.

    ``mode``: ``Archived`` has no files to download any more, ``TakenDown`` no pictures either.
    ``commercial_use`` and the three below it: what its creator allows.
    """

    id: int
    name: str
    type: ModelType
    versions: tuple[CivitaiVersion, ...]
    creator: str = "demo-creator"
    tags: tuple[str, ...] = ()
    nsfw_level: int = PG
    mode: Literal["Archived", "TakenDown"] | None = None
    published: bool = True
    downloads: int = 0
    thumbs_up: int = 0
    commercial_use: tuple[Literal["Image", "RentCivit", "Rent", "Sell"], ...] = ("Image", "RentCivit")
    no_credit: bool = True
    derivatives: bool = True
    different_license: bool = True

"""Where the program runs, as one small protocol.

``comfyui.py`` is the inside of a running ComfyUI (its folder_paths, node classes and websocket);
``standalone.py`` is a ComfyUI folder on disk. Everything else is handed a ``Host`` and never asks
which one it is. Tests hand in a ten-line fake.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

DEFAULT_EXTENSIONS = frozenset({".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"})
"""What ComfyUI lists in an ordinary model folder (``folder_paths.supported_pt_extensions``)."""

LEGACY_FOLDERS: Mapping[str, str] = {"unet": "diffusion_models", "clip": "text_encoders"}
"""Former names of folders that ComfyUI still takes (``folder_paths.map_legacy``)."""

GGUF_FOLDERS: Mapping[str, str] = {"unet_gguf": "diffusion_models", "clip_gguf": "text_encoders"}
"""Folders that list only the ``.gguf`` files of another one's roots, and that other one.

Source: ``nodes.py`` of ComfyUI-GGUF, which makes them whatever was called so before.
"""

NOT_MODEL_FOLDERS = frozenset({"custom_nodes", "configs", "datasets", "input", "output", "temp", "user"})
"""Names in ComfyUI's folder table under which no model is ever written or looked for."""


def canonical_folder(name: str) -> str:
    """``unet`` -> ``diffusion_models``: the name ComfyUI files a folder under."""
    return LEGACY_FOLDERS.get(name, name)


def home_folder(name: str) -> str:
    """``unet_gguf``, ``unet`` -> ``diffusion_models``: the folder whose directories the files lie in.

    By it folders are compared where people speak of places: what a page, a catalog or a workflow's metadata
    says of a GGUF file is where it goes.
    """
    folder = canonical_folder(name)
    return GGUF_FOLDERS.get(folder, folder)


@dataclass(frozen=True)
class FolderSpec:
    """One of ComfyUI's model folders.

    ``roots``: directories in ComfyUI's own order (its first hit wins); they need not exist.
    ``default_root``: a root the user marked ``is_default``, if any.
    ``extensions``: lower case with dot; empty means that any file is listed, ``{"folder"}`` means
    that directories are (diffusers).
    """

    name: str
    roots: tuple[Path, ...]
    extensions: frozenset[str]
    default_root: Path | None = None

    def lists(self, file_name: str) -> bool:
        """Whether ComfyUI would list a file of this name in this folder."""
        return not self.extensions or os.path.splitext(file_name)[1].lower() in self.extensions


class Host(Protocol):
    """What the engine needs to know of its surroundings. All methods may be called from any thread."""

    @property
    def name(self) -> str:
        """``comfyui`` or ``standalone``."""
        ...

    @property
    def root(self) -> Path:
        """ComfyUI's base directory."""
        ...

    @property
    def data_directory(self) -> Path:
        """Where the store lies: readable by the owner, not served over HTTP. Exists."""
        ...

    @property
    def user_directory(self) -> Path:
        """ComfyUI's user directory (settings file, saved workflows). May not exist."""
        ...

    def folders(self) -> Mapping[str, FolderSpec]:
        """All model folders by canonical name, as they are now (YAML and node packs add some)."""
        ...

    def no_write(self) -> tuple[Path, ...]:
        """Directories in which nothing may be written, whatever root lies below (output, custom_nodes, …)."""
        ...

    def node_classes(self) -> Mapping[str, Any]:
        """Installed node classes by type; empty where there are none."""
        ...

    def listing(self, replacement: Callable[[str], list[str]]) -> AbstractContextManager[None]:
        """While entered, *this thread* sees ``replacement(folder)`` wherever ComfyUI lists a folder."""
        ...

    def busy(self) -> bool:
        """Whether ComfyUI is running a workflow, or about to. Never raises."""
        ...

    def publish(self, event: str, data: Mapping[str, Any]) -> None:
        """Send ``model-resolver.<event>`` to open editors; nothing where there are none. Never raises."""
        ...

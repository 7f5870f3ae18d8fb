"""A ComfyUI folder on disk: ``models/`` and ``extra_model_paths.yaml``, without ComfyUI running."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ..errors import BadInput
from . import DEFAULT_EXTENSIONS, GGUF_FOLDERS, NOT_MODEL_FOLDERS, FolderSpec, canonical_folder

log = logging.getLogger(__name__)

# ComfyUI's own folders that have more than one root, or list other files than models.
# Source: folder_paths.py of ComfyUI 0.28. All others are models/<name> with the usual extensions.
_ROOTS: Mapping[str, tuple[str, ...]] = {
    "text_encoders": ("text_encoders", "clip"),
    "diffusion_models": ("unet", "diffusion_models"),
    "controlnet": ("controlnet", "t2i_adapter"),
}
_EXTENSIONS: Mapping[str, frozenset[str]] = {
    "diffusers": frozenset({"folder"}),
    "classifiers": frozenset({""}),
}
BUILTIN_FOLDERS = (
    "checkpoints",
    "loras",
    "vae",
    "text_encoders",
    "diffusion_models",
    "clip_vision",
    "style_models",
    "embeddings",
    "diffusers",
    "vae_approx",
    "controlnet",
    "gligen",
    "upscale_models",
    "latent_upscale_models",
    "hypernetworks",
    "photomaker",
    "classifiers",
    "model_patches",
    "audio_encoders",
    "background_removal",
    "frame_interpolation",
    "geometry_estimation",
    "optical_flow",
    "detection",
)
EXTRA_PATHS = "extra_model_paths.yaml"


class StandaloneHost:
    """The ``Host`` for a ComfyUI folder.

    Folders are ComfyUI's own, those of ``extra_model_paths.yaml``, every other directory found in
    ``models/`` (node packs make theirs there), which lists any model file, and ComfyUI-GGUF's. The YAML is
    read anew when it changes.

    Raises ``BadInput`` (``ROOT_INVALID``) if ``root`` is not a directory.
    """

    name = "standalone"

    def __init__(self, root: Path, data_directory: Path | None = None) -> None:
        if not root.is_dir():
            raise BadInput(
                f"{root} is not a directory. Name ComfyUI's folder with --comfyui-root or CMR_COMFYUI_ROOT.",
                code="ROOT_INVALID",
            )
        self._root = root.resolve()
        self._data_directory = data_directory

    @property
    def root(self) -> Path:
        return self._root

    @property
    def data_directory(self) -> Path:
        path = self._data_directory or self.user_directory / "__model_resolver"
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    @property
    def user_directory(self) -> Path:
        return self._root / "user"

    def folders(self) -> Mapping[str, FolderSpec]:
        models = self._root / "models"
        table = {name: self._builtin(models, name) for name in BUILTIN_FOLDERS}
        try:
            found = sorted(entry.name for entry in os.scandir(models) if entry.is_dir())
        except OSError:
            found = []
        owned = {root.name for spec in table.values() for root in spec.roots}
        for name in found:
            if name not in owned and name not in NOT_MODEL_FOLDERS and not name.startswith("."):
                table[name] = FolderSpec(name, (models / name,), DEFAULT_EXTENSIONS | {".gguf", ".onnx"})
        for name, path, is_default in self._extra_paths():
            table[name] = _with_root(table.get(name), name, path, is_default)
        for name, home in GGUF_FOLDERS.items():
            # Last, as in ComfyUI, where a pack makes them of what its home is by then. Nothing asks for them
            # where that pack is not installed.
            table[name] = replace(table[home], name=name, extensions=frozenset({".gguf"}))
        return table

    def no_write(self) -> tuple[Path, ...]:
        names = sorted(NOT_MODEL_FOLDERS)
        return (self._root / "models" / "configs", *(self._root / name for name in names))

    def node_classes(self) -> Mapping[str, Any]:
        return {}

    @contextmanager
    def listing(self, replacement: Callable[[str], list[str]]) -> Iterator[None]:
        del replacement  # no node classes, so nothing lists anything
        yield

    def busy(self) -> bool:
        return False  # a ComfyUI beside us is another process; our reads give way to it by their priority

    def publish(self, event: str, data: Mapping[str, Any]) -> None:
        del event, data  # no websocket: watchers use the events route

    @staticmethod
    def _builtin(models: Path, name: str) -> FolderSpec:
        roots = tuple(models / directory for directory in _ROOTS.get(name, (name,)))
        return FolderSpec(name, roots, _EXTENSIONS.get(name, DEFAULT_EXTENSIONS))

    def _extra_paths(self) -> Iterator[tuple[str, Path, bool]]:
        """(folder, path, is_default) of each line of ``extra_model_paths.yaml``.

        Its format: sections with ``base_path``, ``is_default`` and, for each folder, one or more
        paths, a line each (ComfyUI's ``extra_model_paths.yaml.example``).
        """
        file = self._root / EXTRA_PATHS
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            log.warning("%s cannot be read and is left out: %s", file, error)
            return
        for section in content.values() if isinstance(content, dict) else ():
            if not isinstance(section, dict):
                continue
            base = os.path.expandvars(os.path.expanduser(str(section.get("base_path") or "")))
            start = self._root / base if base else self._root
            for name, lines in section.items():
                if name in ("base_path", "is_default") or not isinstance(lines, str):
                    continue
                if canonical_folder(name) in NOT_MODEL_FOLDERS:
                    continue
                for line in filter(None, lines.split("\n")):
                    path = Path(os.path.normpath(start / line))
                    yield canonical_folder(name), path, bool(section.get("is_default"))


def _with_root(spec: FolderSpec | None, name: str, path: Path, is_default: bool) -> FolderSpec:
    if spec is None:
        # ComfyUI lists any file in a folder that only the YAML names.
        return FolderSpec(name, (path,), frozenset(), path if is_default else None)
    others = tuple(root for root in spec.roots if root != path)
    if is_default:
        return replace(spec, roots=(path, *others), default_root=path)
    return spec if path in spec.roots else replace(spec, roots=(*spec.roots, path))

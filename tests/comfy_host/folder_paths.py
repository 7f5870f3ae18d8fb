"""Where models live: the module an extension imports as ``folder_paths``.

ComfyUI's core is on no package registry, so this is our own implementation of the part of that
module which extensions use, observable behaviour included: the order of roots, what counts as a
model file, and when a listing is refreshed. The names ``cached_filename_list_``,
``get_filename_list_`` and ``filename_list_cache`` belong to that surface: extensions look at them,
and ``get_filename_list`` looks them up in this module each time it runs, so that replacing one
here reaches every caller.

The base directory is read once, at import, from ``COMFY_HOST_BASE``.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Iterable

Listing = tuple[list[str], dict[str, float], float]
"""File names, modification time of every directory seen, and when the listing was made."""

SYSTEM_USER_PREFIX = "__"

supported_pt_extensions: set[str] = {
    ".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft",
}  # fmt: skip

base_path: str = os.path.abspath(os.environ.get("COMFY_HOST_BASE") or os.getcwd())
models_dir: str = os.path.join(base_path, "models")

folder_names_and_paths: dict[str, tuple[list[str], Collection[str]]] = {}
filename_list_cache: dict[str, Listing] = {}

output_directory: str = os.path.join(base_path, "output")
temp_directory: str = os.path.join(base_path, "temp")
input_directory: str = os.path.join(base_path, "input")
user_directory: str = os.path.join(base_path, "user")


def _declare(name: str, directories: Iterable[str], extensions: Collection[str]) -> None:
    folder_names_and_paths[name] = ([os.path.join(models_dir, d) for d in directories], extensions)


def _declare_builtin_folders() -> None:
    """The folders of core 0.28.1, in its order (`/models` and the frontend's library show that
    order).

    All folders of weights share one extension set, as in core: adding ".gguf" to it reaches them
    all.
    """
    weights = supported_pt_extensions
    _declare("checkpoints", ["checkpoints"], weights)
    _declare("configs", ["configs"], [".yaml"])
    _declare("loras", ["loras"], weights)
    _declare("vae", ["vae"], weights)
    _declare("text_encoders", ["text_encoders", "clip"], weights)
    _declare("diffusion_models", ["unet", "diffusion_models"], weights)
    _declare("clip_vision", ["clip_vision"], weights)
    _declare("style_models", ["style_models"], weights)
    _declare("embeddings", ["embeddings"], weights)
    _declare("diffusers", ["diffusers"], ["folder"])
    _declare("vae_approx", ["vae_approx"], weights)
    _declare("controlnet", ["controlnet", "t2i_adapter"], weights)
    for name in ("gligen", "upscale_models", "latent_upscale_models"):
        _declare(name, [name], weights)
    folder_names_and_paths["custom_nodes"] = ([os.path.join(base_path, "custom_nodes")], set())
    for name in ("hypernetworks", "photomaker"):
        _declare(name, [name], weights)
    _declare("classifiers", ["classifiers"], {""})
    for name in (
        "model_patches",
        "audio_encoders",
        "background_removal",
        "frame_interpolation",
        "geometry_estimation",
        "optical_flow",
        "detection",
    ):
        _declare(name, [name], weights)


_declare_builtin_folders()


class CacheHelper:
    """While open, a listing made once is used again without looking at the disk.

    The server opens it around one `/object_info` answer, which asks for the same folders many
    times.
    """

    def __init__(self) -> None:
        self.cache: dict[str, Listing] = {}
        self.active = False

    def get(self, key: str, default: Listing | None = None) -> Listing | None:
        return self.cache.get(key, default) if self.active else default

    def set(self, key: str, value: Listing) -> None:
        if self.active:
            self.cache[key] = value

    def clear(self) -> None:
        self.cache.clear()

    def __enter__(self) -> CacheHelper:
        self.active = True
        return self

    def __exit__(self, *exc: object) -> None:
        self.active = False
        self.clear()


cache_helper = CacheHelper()


def map_legacy(folder_name: str) -> str:
    """Today's name of a folder that was renamed."""
    return {"unet": "diffusion_models", "clip": "text_encoders"}.get(folder_name, folder_name)


def get_output_directory() -> str:
    return output_directory


def get_temp_directory() -> str:
    return temp_directory


def get_input_directory() -> str:
    return input_directory


def get_user_directory() -> str:
    return user_directory


def get_system_user_directory(name: str = "system") -> str:
    """A directory for server-side data that no HTTP route serves (`user/__name`)."""
    if not isinstance(name, str) or not name.replace("_", "").isalnum() or name.startswith("_"):
        raise ValueError(f"Not a system user name: {name!r}")
    return os.path.join(user_directory, SYSTEM_USER_PREFIX + name)


def get_public_user_directory(user_id: str) -> str | None:
    """A user's own directory, or None for a system user, whose directory HTTP must not reach."""
    if not isinstance(user_id, str) or not user_id or user_id.startswith(SYSTEM_USER_PREFIX):
        return None
    return os.path.join(user_directory, user_id)


def get_directory_by_type(type_name: str) -> str | None:
    """`output`, `temp` or `input`: the directories that `/view` may serve."""
    known = {"output": output_directory, "temp": temp_directory, "input": input_directory}
    return known.get(type_name)


def add_model_folder_path(
    folder_name: str, full_folder_path: str, is_default: bool = False
) -> None:
    """Add a root: at the end, or in front of all others if it is to be the default.

    An unknown folder name makes a new folder with no extension set, which lists any file.
    """
    name = map_legacy(folder_name)
    roots = folder_names_and_paths.setdefault(name, ([], set()))[0]
    if is_default:
        if full_folder_path in roots:
            roots.remove(full_folder_path)
        roots.insert(0, full_folder_path)
    elif full_folder_path not in roots:
        roots.append(full_folder_path)


def get_folder_paths(folder_name: str) -> list[str]:
    return list(folder_names_and_paths[map_legacy(folder_name)][0])


def recursive_search(
    directory: str, excluded_dir_names: list[str] | None = None
) -> tuple[list[str], dict[str, float]]:
    """All files below a directory, relative to it, and the modification time of each directory.

    Symbolic links to directories are followed: people keep their models on other disks.
    """
    if not os.path.isdir(directory):
        return [], {}
    excluded = set(excluded_dir_names or ())
    found: list[str] = []
    seen: dict[str, float] = {}
    _remember_mtime(directory, seen)
    for where, subdirs, names in os.walk(directory, followlinks=True):
        subdirs[:] = [d for d in subdirs if d not in excluded]
        for name in names:
            found.append(os.path.relpath(os.path.join(where, name), directory))
        for name in subdirs:
            _remember_mtime(os.path.join(where, name), seen)
    return found, seen


def _remember_mtime(directory: str, into: dict[str, float]) -> None:
    try:
        into[directory] = os.path.getmtime(directory)
    except FileNotFoundError:
        logging.warning("Directory %s went away while it was being listed.", directory)


def filter_files_extensions(files: Collection[str], extensions: Collection[str]) -> list[str]:
    """The files with one of these extensions, sorted; an empty collection lets all through."""
    if not extensions:
        return sorted(files)
    return sorted(f for f in files if os.path.splitext(f)[1].lower() in extensions)


def get_full_path(folder_name: str, filename: str) -> str | None:
    """Where a model is, in the first root that has it; None if no root does.

    The name cannot climb out of the root: it is read as if the root were the file system's.
    """
    entry = folder_names_and_paths.get(map_legacy(folder_name))
    if entry is None:
        return None
    inside = os.path.relpath(os.path.join("/", filename), "/")
    for root in entry[0]:
        candidate = os.path.join(root, inside)
        if os.path.isfile(candidate):
            return candidate
        if os.path.islink(candidate):
            logging.warning("%s is a link that leads nowhere; skipped.", candidate)
    return None


def get_full_path_or_raise(folder_name: str, filename: str) -> str:
    path = get_full_path(folder_name, filename)
    if path is None:
        raise FileNotFoundError(f"No model {filename!r} in folder {folder_name!r}.")
    return path


def get_filename_list_(folder_name: str) -> Listing:
    """List a folder from disk, all of its roots together."""
    roots, extensions = folder_names_and_paths[map_legacy(folder_name)]
    names: set[str] = set()
    seen: dict[str, float] = {}
    for root in roots:
        files, directories = recursive_search(root, excluded_dir_names=[".git"])
        names.update(filter_files_extensions(files, extensions))
        seen.update(directories)
    return sorted(names), seen, time.perf_counter()


def cached_filename_list_(folder_name: str) -> Listing | None:
    """The last listing, if no directory it covers has changed and no root has appeared since."""
    held = cache_helper.get(folder_name)
    if held is not None:
        return held
    name = map_legacy(folder_name)
    listing = filename_list_cache.get(name)
    if listing is None:
        return None
    directories = listing[1]
    if any(os.path.getmtime(path) != mtime for path, mtime in directories.items()):
        return None
    if any(os.path.isdir(r) and r not in directories for r in folder_names_and_paths[name][0]):
        return None
    return listing


def get_filename_list(folder_name: str) -> list[str]:
    """The names ComfyUI offers in a combo of this folder."""
    name = map_legacy(folder_name)
    listing = cached_filename_list_(name)
    if listing is None:
        listing = get_filename_list_(name)
        filename_list_cache[name] = listing
    cache_helper.set(name, listing)
    return list(listing[0])

"""Loading node packs and extra model paths, as ComfyUI does at start.

What a pack can notice, and what is therefore kept: the module name it runs under (its path), that
it is imported inside a running event loop on the main thread, that a failed import stops nobody
else, and that ``[tool.comfy] web`` in its pyproject.toml is a second way to name a web directory.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

import folder_paths
import nodes
from comfy_api.latest import ComfyExtension

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = None

OUTPUT_FOLDERS = ("checkpoints", "clip", "vae", "diffusion_models", "loras")
"""Folders that nodes save models to; their `output/` directory is a root as well."""


def add_extra_model_paths(config: Path) -> None:
    """Add the roots named in an `extra_model_paths.yaml`.

    Each section may have a ``base_path`` (relative ones count from the file) and ``is_default``;
    every other key is a folder name with one path a line.
    """
    sections = yaml.safe_load(config.read_text("utf-8")) or {}
    here = str(config.resolve().parent)
    for section in sections.values():
        if section is None:
            continue
        options = dict(section)
        base = options.pop("base_path", None)
        if base:
            base = os.path.join(here, os.path.expandvars(os.path.expanduser(base)))
        is_default = bool(options.pop("is_default", False))
        for folder, lines in options.items():
            for line in filter(None, lines.split("\n")):
                path = os.path.normpath(os.path.join(base or here, line))
                logging.info("Adding extra search path %s %s", folder, path)
                folder_paths.add_model_folder_path(folder, path, is_default)


def add_output_roots() -> None:
    """Models that nodes saved are listed too."""
    for name in OUTPUT_FOLDERS:
        directory = os.path.join(folder_paths.get_output_directory(), name)
        folder_paths.add_model_folder_path(name, directory)


def pack_paths() -> list[Path]:
    """What may be a pack: directories and .py files in custom_nodes, except switched-off ones."""
    found: list[Path] = []
    for root in map(Path, folder_paths.get_folder_paths("custom_nodes")):
        if root.is_dir():
            found += sorted(
                p
                for p in root.iterdir()
                if p.name != "__pycache__" and p.suffix != ".disabled"
                if p.is_dir() or p.suffix == ".py"
            )
    return found


def run_prestartup_scripts() -> None:
    """Run each pack's `prestartup_script.py`, before anything of the server is imported."""
    for pack in pack_paths():
        script = pack / "prestartup_script.py"
        if script.is_file():
            try:
                _execute(str(script.with_suffix("")), script)
            except Exception:
                logging.exception("Failed to execute startup-script: %s", script)


async def load_packs() -> None:
    """Import every pack; print how long each took and which failed."""
    before = set(nodes.NODE_CLASS_MAPPINGS)
    lines: list[str] = []
    for pack in pack_paths():
        started = time.perf_counter()
        loaded = await load_pack(pack, before)
        note = "" if loaded else " (IMPORT FAILED)"
        lines.append(f"{time.perf_counter() - started:6.1f} seconds{note}: {pack}")
    if lines:
        logging.info("Import times for custom nodes:\n%s", "\n".join(lines))


async def load_pack(path: Path, reserved: set[str]) -> bool:
    """Import one pack, register its nodes and web directory. Names in ``reserved`` stay core's."""
    try:
        module = _import_pack(path)
        return await _register_nodes(module, path, reserved)
    except Exception:
        logging.exception("Cannot import %s module for custom nodes", path)
        return False


def _import_pack(path: Path) -> ModuleType:
    if path.is_file():
        name, directory = path.stem, path.parent
        module = _execute(str(path.with_suffix("")), path, register=True)
    else:
        name, directory = path.name, path
        # A dot in the module's name would make Python look for a parent package.
        module = _execute(str(path).replace(".", "_x_"), path / "__init__.py", register=True)
    nodes.LOADED_MODULE_DIRS[name] = os.path.abspath(directory)
    _register_web_directories(name, directory, module)
    return module


def _execute(name: str, file: Path, register: bool = False) -> ModuleType:
    package = [str(file.parent)] if file.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=package)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no module")
    module = importlib.util.module_from_spec(spec)
    if register:
        sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _register_web_directories(name: str, directory: Path, module: ModuleType) -> None:
    """Both ways to name one count. A pack that uses both is served, and its scripts run, twice."""
    project = _project(directory / "pyproject.toml")
    declared = project.get("tool", {}).get("comfy", {}).get("web")
    if declared and (directory / declared).is_dir():
        served_as = project.get("project", {}).get("name", name)
        nodes.EXTENSION_WEB_DIRS[served_as] = str(directory / declared)
    own = getattr(module, "WEB_DIRECTORY", None)
    if own is not None:
        web_directory = os.path.abspath(directory / own)
        if os.path.isdir(web_directory):
            nodes.EXTENSION_WEB_DIRS[name] = web_directory


def _project(file: Path) -> dict[str, Any]:
    if tomllib is None or not file.is_file():
        return {}
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except tomllib.TOMLDecodeError:
        logging.warning("Unable to parse %s", file)
        return {}


async def _register_nodes(module: ModuleType, path: Path, reserved: set[str]) -> bool:
    mappings = getattr(module, "NODE_CLASS_MAPPINGS", None)
    if mappings is not None:
        for name, node_class in mappings.items():
            if name not in reserved:
                nodes.NODE_CLASS_MAPPINGS[name] = node_class
                node_class.RELATIVE_PYTHON_MODULE = f"custom_nodes.{path.name}"
        nodes.NODE_DISPLAY_NAME_MAPPINGS.update(getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", {}))
        return True
    entry = getattr(module, "comfy_entrypoint", None)
    if entry is None:
        logging.warning("Skip %s: neither NODE_CLASS_MAPPINGS nor comfy_entrypoint.", path)
        return False
    extension = await entry() if inspect.iscoroutinefunction(entry) else entry()
    if not isinstance(extension, ComfyExtension):
        logging.warning("Skip %s: comfy_entrypoint did not return a ComfyExtension.", path)
        return False
    await extension.on_load()
    for v3_class in await extension.get_node_list():
        schema = v3_class.GET_SCHEMA()
        if schema.node_id not in reserved:
            nodes.NODE_CLASS_MAPPINGS[schema.node_id] = v3_class
            v3_class.RELATIVE_PYTHON_MODULE = f"custom_nodes.{path.name}"
        if schema.display_name is not None:
            nodes.NODE_DISPLAY_NAME_MAPPINGS[schema.node_id] = schema.display_name
    return True

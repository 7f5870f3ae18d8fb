"""What the editor learns of models and nodes: `/models`, `/embeddings`, `/object_info`."""

from __future__ import annotations

import logging
import os
from typing import Any

from aiohttp import web

import folder_paths
import nodes
from comfy_api.internal import _ComfyNodeInternal


def add_to(routes: web.RouteTableDef) -> None:
    """Register the routes of this module."""
    _add_models(routes)
    _add_nodes(routes)


def _add_models(routes: web.RouteTableDef) -> None:
    @routes.get("/embeddings")
    async def embeddings(request: web.Request) -> web.Response:
        names = folder_paths.get_filename_list("embeddings")
        return web.json_response([os.path.splitext(n)[0] for n in names])

    @routes.get("/models")
    async def model_folders(request: web.Request) -> web.Response:
        return web.json_response(list(folder_paths.folder_names_and_paths))

    @routes.get("/models/{folder}")
    async def model_names(request: web.Request) -> web.Response:
        folder = request.match_info["folder"]
        if folder not in folder_paths.folder_names_and_paths:
            return web.Response(status=404)
        return web.json_response(folder_paths.get_filename_list(folder))

    @routes.get("/experiment/models")
    async def library_folders(request: web.Request) -> web.Response:
        entries = folder_paths.folder_names_and_paths.items()
        return web.json_response(
            [
                {"name": name, "folders": paths, "extensions": sorted(extensions)}
                for name, (paths, extensions) in entries
                if name not in ("configs", "custom_nodes")
            ]
        )

    @routes.get("/experiment/models/{folder}")
    async def library_files(request: web.Request) -> web.Response:
        folder = request.match_info["folder"]
        if folder not in folder_paths.folder_names_and_paths:
            return web.Response(status=404)
        return web.json_response(_library_files(folder))


def _library_files(folder: str) -> list[dict[str, Any]]:
    roots, extensions = folder_paths.folder_names_and_paths[folder]
    files: list[dict[str, Any]] = []
    for index, root in enumerate(roots):
        names, _ = folder_paths.recursive_search(root, excluded_dir_names=[".git"])
        for name in folder_paths.filter_files_extensions(names, extensions):
            status = os.stat(os.path.join(root, name))
            files.append(
                {
                    "name": name,
                    "pathIndex": index,
                    "modified": status.st_mtime,
                    "created": status.st_ctime,
                    "size": status.st_size,
                }
            )
    return files


def _add_nodes(routes: web.RouteTableDef) -> None:
    @routes.get("/object_info")
    async def object_info(request: web.Request) -> web.Response:
        answer: dict[str, Any] = {}
        with folder_paths.cache_helper:
            for name in nodes.NODE_CLASS_MAPPINGS:
                try:
                    answer[name] = node_info(name)
                except Exception:
                    logging.exception("Node %s cannot describe itself", name)
        return web.json_response(answer)

    @routes.get("/object_info/{node}")
    async def one_object_info(request: web.Request) -> web.Response:
        name = request.match_info["node"]
        known = name in nodes.NODE_CLASS_MAPPINGS
        return web.json_response({name: node_info(name)} if known else {})


def node_info(name: str) -> dict[str, Any]:
    """What the editor needs to draw a node."""
    node_class: Any = nodes.NODE_CLASS_MAPPINGS[name]
    if issubclass(node_class, _ComfyNodeInternal):
        return node_class.GET_NODE_INFO_V1()
    inputs = node_class.INPUT_TYPES()
    outputs = node_class.RETURN_TYPES
    info = {
        "input": inputs,
        "input_order": {group: list(entries) for group, entries in inputs.items()},
        "is_input_list": getattr(node_class, "INPUT_IS_LIST", False),
        "output": outputs,
        "output_is_list": getattr(node_class, "OUTPUT_IS_LIST", [False] * len(outputs)),
        "output_name": getattr(node_class, "RETURN_NAMES", outputs),
        "name": name,
        "display_name": nodes.NODE_DISPLAY_NAME_MAPPINGS.get(name, name),
        "description": getattr(node_class, "DESCRIPTION", ""),
        "python_module": getattr(node_class, "RELATIVE_PYTHON_MODULE", "nodes"),
        "category": getattr(node_class, "CATEGORY", "sd"),
        "output_node": getattr(node_class, "OUTPUT_NODE", False) is True,
        "has_intermediate_output": getattr(node_class, "HAS_INTERMEDIATE_OUTPUT", False) is True,
        "search_aliases": getattr(node_class, "SEARCH_ALIASES", []),
    }
    for flag in ("DEPRECATED", "EXPERIMENTAL", "DEV_ONLY"):
        if getattr(node_class, flag, False):
            info[flag.lower()] = True
    for extra in ("OUTPUT_TOOLTIPS", "API_NODE", "ESSENTIALS_CATEGORY"):
        if hasattr(node_class, extra):
            info[extra.lower()] = getattr(node_class, extra)
    return info

"""The routes the frontend asks while it starts, and those it asks in daily use.

Answers are real where an extension or a test can notice (settings, user data, models, node
classes, translations), and empty but well-formed where the editor only needs an answer to go on:
an unanswered route costs its start several seconds.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import comfyui_workflow_templates_json
import psutil
from aiohttp import web

import folder_paths
import model_routes
import nodes
import user_routes

if TYPE_CHECKING:
    from server import PromptServer

CORE_VERSION = "0.28.1"
FRONTEND_VERSION = metadata.version("comfyui-frontend-package")

FEATURES: dict[str, Any] = {
    "supports_preview_metadata": True,
    "supports_model_type_tags": True,
    "max_upload_size": 100 * 1024 * 1024,
    "extension": {"manager": {"supports_v4": True}},
    "node_replacements": True,
    "assets": False,
}
"""What core says it can do. ``assets`` is off there too unless asked for on the command line."""

TEMPLATES = Path(comfyui_workflow_templates_json.__file__).parent / "templates"
LOCALE_PARTS = ("nodeDefs", "commands", "settings")
EXAMPLE_FOLDERS = ("example_workflows", "example", "examples", "workflow", "workflows")
BLANK_IMAGE = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,"
)
BLANK_IMAGE += b"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"


def add_to(server: PromptServer) -> None:
    """Register all routes of this module on the server's table."""
    routes = server.routes
    _add_page(routes, server.web_root)
    model_routes.add_to(routes)
    _add_packs(routes)
    _add_queue(routes, server)
    user_routes.add_to(routes)

    @routes.get("/features")
    async def features(request: web.Request) -> web.Response:
        return web.json_response(FEATURES)

    @routes.get("/system_stats")
    async def system_stats(request: web.Request) -> web.Response:
        return web.json_response(_system_stats())

    # Answers that are empty on a fresh core.
    for path in ("/global_subgraphs", "/node_replacements"):
        _add_empty(routes, path)


def _add_empty(routes: web.RouteTableDef, path: str) -> None:
    @routes.get(path)
    async def empty(request: web.Request) -> web.Response:
        return web.json_response({})


def _add_page(routes: web.RouteTableDef, web_root: str) -> None:
    @routes.get("/")
    async def page(request: web.Request) -> web.FileResponse:
        headers = {"Cache-Control": "no-store, must-revalidate", "Pragma": "no-cache"}
        return web.FileResponse(os.path.join(web_root, "index.html"), headers=headers)

    @routes.get("/extensions")
    async def extensions(request: web.Request) -> web.Response:
        return web.json_response(_script_urls(web_root))

    @routes.get("/user.css")
    async def old_style_sheet(request: web.Request) -> web.Response:
        """The page asks for one here too; core answers 404, which only clutters the console."""
        return web.Response(content_type="text/css")


def _script_urls(web_root: str) -> list[str]:
    """Every script below a web directory: the frontend imports each one as a module."""
    found = [("/", os.path.join(web_root, "extensions"), web_root)]
    found += [(f"/extensions/{quote(n)}/", d, d) for n, d in nodes.EXTENSION_WEB_DIRS.items()]
    urls: list[str] = []
    for prefix, directory, relative_to in found:
        for script in sorted(Path(directory).rglob("*.js")):
            urls.append(prefix + script.relative_to(relative_to).as_posix())
    return urls


async def serve_template(request: web.Request) -> web.StreamResponse:
    """A template or the index of templates.

    Their pictures come in packages of several hundred megabytes: a blank one stands in.
    """
    path = (TEMPLATES / request.match_info["path"]).resolve()
    if path.is_relative_to(TEMPLATES.resolve()) and path.is_file():
        return web.FileResponse(path)
    if path.suffix in (".webp", ".png", ".jpg", ".gif", ".svg"):
        return web.Response(body=BLANK_IMAGE, content_type="image/gif")
    raise web.HTTPNotFound


def _add_packs(routes: web.RouteTableDef) -> None:
    @routes.get("/i18n")
    async def translations(request: web.Request) -> web.Response:
        return web.json_response(_translations())

    @routes.get("/workflow_templates")
    async def pack_workflows(request: web.Request) -> web.Response:
        found: dict[str, list[str]] = {}
        for pack in _pack_directories():
            for example in EXAMPLE_FOLDERS:
                for file in sorted((pack / example).glob("*.json")):
                    found.setdefault(pack.name, []).append(file.stem)
        return web.json_response(found)

    @routes.get("/workflow_templates/{pack}/{file}")
    async def pack_workflow(request: web.Request) -> web.StreamResponse:
        path = _pack_workflow(request.match_info["pack"], request.match_info["file"])
        if path is None:
            raise web.HTTPNotFound
        return web.FileResponse(path)


def _pack_workflow(pack: str, file: str) -> Path | None:
    directory = nodes.LOADED_MODULE_DIRS.get(pack)
    for example in EXAMPLE_FOLDERS if directory else ():
        path = Path(directory or "", example, os.path.basename(file))
        if path.is_file():
            return path
    return None


def _pack_directories() -> list[Path]:
    roots = [Path(r) for r in folder_paths.get_folder_paths("custom_nodes")]
    return sorted(d for root in roots if root.is_dir() for d in root.iterdir() if d.is_dir())


def _translations() -> dict[str, Any]:
    """`locales/<lang>/*.json` of all packs, merged; ``main.json`` is a language's top level."""
    merged: dict[str, Any] = {}
    for pack in _pack_directories():
        for language in sorted(pack.glob("locales/*/")):
            texts = _json_or_empty(language / "main.json")
            for part in LOCALE_PARTS:
                if more := _json_or_empty(language / f"{part}.json"):
                    texts[part] = more
            if texts:
                merged[language.name] = _merge(merged.get(language.name, {}), texts)
    return merged


def _json_or_empty(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError:
        logging.error("%s is not JSON", path)
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _merge(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in more.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        result[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return result


def _add_queue(routes: web.RouteTableDef, server: PromptServer) -> None:
    @routes.get("/prompt")
    async def queue_length(request: web.Request) -> web.Response:
        return web.json_response(server.get_queue_info())

    @routes.get("/queue")
    async def queue_content(request: web.Request) -> web.Response:
        running, pending = server.prompt_queue.get_current_queue()
        return web.json_response({"queue_running": running, "queue_pending": pending})

    @routes.get("/history")
    async def history(request: web.Request) -> web.Response:
        return web.json_response(server.prompt_queue.get_history())

    @routes.get("/history/{prompt_id}")
    async def one_history(request: web.Request) -> web.Response:
        return web.json_response(server.prompt_queue.get_history(request.match_info["prompt_id"]))

    @routes.get("/jobs")
    async def jobs(request: web.Request) -> web.Response:
        wanted = [s for s in request.query.get("status", "").split(",") if s]
        found = [j for j in _jobs(server) if not wanted or j["status"] in wanted]
        limit = int(request.query.get("limit", 0)) or None
        page = {"offset": 0, "limit": limit, "total": len(found), "has_more": False}
        return web.json_response({"jobs": found, "pagination": page})

    for path in ("/interrupt", "/free", "/queue", "/history"):

        @routes.post(path)
        async def accepted(request: web.Request) -> web.Response:
            return web.Response()

    @routes.get("/view")
    async def view(request: web.Request) -> web.StreamResponse:
        query = request.query
        path = _viewable(
            query.get("type", "output"), query.get("subfolder", ""), query.get("filename", "")
        )
        if path is None:
            raise web.HTTPNotFound
        return web.FileResponse(path)


def _viewable(kind: str, subfolder: str, name: str) -> Path | None:
    directory = folder_paths.get_directory_by_type(kind)
    if directory is None:
        return None
    path = Path(directory, subfolder, os.path.basename(name)).resolve()
    inside = path.is_relative_to(Path(directory).resolve())
    return path if inside and path.is_file() else None


def _jobs(server: PromptServer) -> list[dict[str, Any]]:
    running, pending = server.prompt_queue.get_current_queue()
    found = [(item, "in_progress") for item in running] + [(item, "pending") for item in pending]
    for entry in server.prompt_queue.get_history().values():
        done = entry["status"]["completed"]
        found.append((entry["prompt"], "completed" if done else "failed"))
    jobs = [
        {
            "id": item[1],
            "status": state,
            "create_time": item[3]["create_time"],
            "priority": item[0],
            "outputs_count": 0,
        }
        for item, state in found
    ]
    return sorted(jobs, key=lambda job: job["create_time"], reverse=True)


def internal_app() -> web.Application:
    """Routes below `/internal`, which exist without the `/api` prefix only."""
    app = web.Application()

    async def roots(request: web.Request) -> web.Response:
        entries = folder_paths.folder_names_and_paths.items()
        return web.json_response({name: paths for name, (paths, _) in entries})

    async def files(request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        directory = folder_paths.get_directory_by_type(kind)
        if directory is None:
            return web.json_response({"error": "Invalid directory type"}, status=400)
        names = [e.name for e in os.scandir(directory) if e.is_file() and e.name[0] != "."]
        return web.json_response([f"{name} [{kind}]" for name in sorted(names)])

    async def logs(request: web.Request) -> web.Response:
        return web.json_response({"entries": [], "size": {"cols": 80, "rows": 24}})

    async def subscribe(request: web.Request) -> web.Response:
        return web.Response()

    app.router.add_get("/folder_paths", roots)
    app.router.add_get("/files/{kind}", files)
    app.router.add_get("/logs/raw", logs)
    app.router.add_patch("/logs/subscribe", subscribe)
    return app


def _system_stats() -> dict[str, Any]:
    memory = psutil.virtual_memory()
    templates = metadata.version("comfyui-workflow-templates-json")
    system = {
        "os": sys.platform,
        "ram_total": memory.total,
        "ram_free": memory.available,
        "comfyui_version": CORE_VERSION,
        # What is installed is also what is required, or the editor shows a warning about it.
        "required_frontend_version": FRONTEND_VERSION,
        "installed_templates_version": templates,
        "required_templates_version": templates,
        "python_version": sys.version,
        "pytorch_version": "none",
        "embedded_python": False,
        "argv": sys.argv,
    }
    device = {
        "name": "cpu",
        "type": "cpu",
        "index": None,
        "vram_total": memory.total,
        "vram_free": memory.available,
        "torch_vram_total": memory.total,
        "torch_vram_free": memory.available,
    }
    return {"system": system, "devices": [device]}

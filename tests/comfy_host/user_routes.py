"""The user's settings and files: `/users`, `/settings`, `/userdata`.

One user, `default`, as on a core without `--multi-user`; files are kept below `user/default`, so a
restart of the host finds them again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from aiohttp import web

import folder_paths

SETTINGS_FILE = "comfy.settings.json"
FIRST_SETTINGS: dict[str, Any] = {
    # Without these the editor opens with a tour, the template browser or the release notes on top.
    "Comfy.TutorialCompleted": True,
    "Comfy.InstalledVersion": "1.58.1",
}


def _home() -> Path:
    return Path(folder_paths.get_user_directory(), "default")


def prepare() -> None:
    """Make the directories and files the editor asks for at start, which it would else find
    missing.
    """
    for name in ("workflows", "subgraphs"):
        (_home() / name).mkdir(parents=True, exist_ok=True)
    (_home() / "user.css").touch()
    templates = _home() / "comfy.templates.json"
    if not templates.exists():
        templates.write_text("[]", "utf-8")


def read_settings() -> dict[str, Any]:
    try:
        return {**FIRST_SETTINGS, **json.loads((_home() / SETTINGS_FILE).read_text("utf-8"))}
    except FileNotFoundError:
        return dict(FIRST_SETTINGS)


def write_settings(changes: dict[str, Any]) -> None:
    path = _home() / SETTINGS_FILE
    path.write_text(json.dumps({**read_settings(), **changes}, indent=4), "utf-8")


def _inside(relative: str) -> Path:
    """A path below the user's directory; anything else is refused."""
    path = (_home() / relative).resolve()
    if not path.is_relative_to(_home().resolve()):
        raise web.HTTPForbidden
    return path


def _info(path: Path, relative_to: Path) -> dict[str, Any]:
    status = path.stat()
    return {
        "path": path.relative_to(relative_to).as_posix(),
        "size": status.st_size,
        "modified": int(status.st_mtime * 1000),
        "created": int(status.st_ctime * 1000),
    }


def _saved(request: web.Request, path: Path) -> web.Response:
    home = _home().resolve()
    full = request.query.get("full_info") == "true"
    return web.json_response(_info(path, home) if full else path.relative_to(home).as_posix())


def add_to(routes: web.RouteTableDef) -> None:
    """Register the routes of this module."""
    _add_settings(routes)
    _add_user_data(routes)

    @routes.get("/users")
    async def users(request: web.Request) -> web.Response:
        return web.json_response({"storage": "server", "migrated": True})


def _add_settings(routes: web.RouteTableDef) -> None:
    @routes.get("/settings")
    async def all_settings(request: web.Request) -> web.Response:
        return web.json_response(read_settings())

    @routes.post("/settings")
    async def change_settings(request: web.Request) -> web.Response:
        write_settings(await request.json())
        return web.Response()

    @routes.get("/settings/{id}")
    async def one_setting(request: web.Request) -> web.Response:
        return web.json_response(read_settings().get(request.match_info["id"]))

    @routes.post("/settings/{id}")
    async def change_setting(request: web.Request) -> web.Response:
        write_settings({request.match_info["id"]: await request.json()})
        return web.Response()


def _add_user_data(routes: web.RouteTableDef) -> None:
    @routes.get("/userdata")
    async def list_files(request: web.Request) -> web.Response:
        if not request.query.get("dir"):
            return web.Response(status=400, text="Directory not provided")
        directory = _inside(request.query["dir"])
        if not directory.exists():
            return web.Response(status=404, text="Directory not found")
        pattern = "**/*" if request.query.get("recurse") == "true" else "*"
        files = sorted(f for f in directory.glob(pattern) if f.is_file())
        if request.query.get("full_info") == "true":
            return web.json_response([_info(f, directory) for f in files])
        names = [f.relative_to(directory).as_posix() for f in files]
        if request.query.get("split") == "true":
            return web.json_response([[name, *name.split("/")] for name in names])
        return web.json_response(names)

    @routes.get("/userdata/{file}")
    async def read_file(request: web.Request) -> web.StreamResponse:
        path = _inside(request.match_info["file"])
        if not path.is_file():
            return web.Response(status=404)
        return web.FileResponse(path, headers={"Content-Disposition": "attachment"})

    @routes.post("/userdata/{file}")
    async def write_file(request: web.Request) -> web.Response:
        path = _inside(request.match_info["file"])
        if request.query.get("overwrite") == "false" and path.exists():
            return web.Response(status=409, text="File already exists")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(await request.read())
        return _saved(request, path)

    @routes.delete("/userdata/{file}")
    async def delete_file(request: web.Request) -> web.Response:
        path = _inside(request.match_info["file"])
        if not path.is_file():
            return web.Response(status=404)
        path.unlink()
        return web.Response(status=204)

    @routes.post("/userdata/{file}/move/{dest}")
    async def move_file(request: web.Request) -> web.Response:
        source, target = _inside(request.match_info["file"]), _inside(request.match_info["dest"])
        if not source.exists():
            return web.Response(status=404)
        if request.query.get("overwrite") == "false" and target.exists():
            return web.Response(status=409, text="File already exists")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
        return _saved(request, target)

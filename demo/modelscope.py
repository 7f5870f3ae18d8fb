"""ModelScope's host: as much of it as finding and fetching a file takes.

The API as its own client calls it:
https://github.com/modelscope/modelscope/blob/master/modelscope/hub/api.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

from .files import HubFile
from .options import HubOptions
from .request_log import Subject
from .storage import Storage
from .world import HubRepo, World

_BRANCH = "master"
_NOT_FOUND = 10010205001


class ModelScopeApi:
    """Handlers over a world's ``modelscope``; large files come from the storage host, by redirect."""

    def __init__(self, world: World, storage: Storage, options: HubOptions) -> None:
        self._repos = world.modelscope
        self._storage = storage
        self._options = options

    def middlewares(self) -> list[Middleware]:
        return []

    def routes(self) -> list[web.RouteDef]:
        repo = "{repo:[^/]+/[^/]+}"
        return [
            web.get(f"/api/v1/models/{repo}/repo/files", self.files, name="modelscope.files"),
            web.get(
                f"/models/{repo}/resolve/{{revision}}/{{path:.+}}", self.resolve, name="modelscope.resolve"
            ),
        ]

    def subject_of(self, request: web.Request) -> Subject:
        return Subject(request.match_info.get("repo"), request.match_info.get("path"))

    async def files(self, request: web.Request) -> web.Response:
        """``GET /api/v1/models/{owner}/{name}/repo/files?Revision=&Recursive=&Root=``: a listing.

        ``HubApi.get_model_files`` in
        https://github.com/modelscope/modelscope/blob/master/modelscope/hub/api.py.
        """
        repo = self._repo(request, request.query.get("Revision") or _BRANCH)
        if repo is None:
            return _missing()
        recursive = request.query.get("Recursive", "").lower() == "true"
        root = request.query.get("Root", "").strip("/")
        entries = repo.entries(root, recursive=recursive)
        described = await asyncio.to_thread(
            lambda: [self._describe(repo, path, file) for path, file in entries.items()]
        )
        return _answer({"Files": described})

    async def resolve(self, request: web.Request) -> web.Response:
        """``GET|HEAD /models/{owner}/{name}/resolve/{revision}/{path}``: 302 to storage, or a small file.

        https://modelscope.cn/docs/models/download.
        """
        repo = self._repo(request, request.match_info["revision"])
        file = repo.file(request.match_info["path"]) if repo else None
        if repo is None or file is None:
            return _missing()
        await asyncio.to_thread(lambda: file.sha256)
        if not file.is_lfs:
            return web.Response(body=file.content, content_type="text/plain")
        return web.Response(
            status=302, headers={"Location": self._storage.url_for(f"modelscope/{repo.id}", file)}
        )

    def _repo(self, request: web.Request, revision: str) -> HubRepo | None:
        repo = self._repos.get(request.match_info["repo"])
        return repo if repo and (revision == _BRANCH or repo.has_revision(revision)) else None

    def _describe(self, repo: HubRepo, path: str, file: HubFile | None) -> dict[str, Any]:
        return {
            "Name": path.rsplit("/", 1)[-1],
            "Path": path,
            "Type": "tree" if file is None else "blob",
            "Size": 0 if file is None else self._options.stated_size(file),
            "Sha256": "" if file is None else file.sha256,
            "IsLFS": file is not None and file.is_lfs,
            "Revision": repo.commit,
        }


def _answer(data: Any) -> web.Response:
    return web.json_response({"Code": 200, "Data": data, "Message": "success", "Success": True})


def _missing() -> web.Response:
    body = {"Code": _NOT_FOUND, "Data": None, "Message": "record not found", "Success": False}
    return web.json_response(body, status=404)

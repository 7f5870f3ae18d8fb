"""The API host: as much of Hugging Face's HTTP API as a download needs.

Endpoints: https://huggingface.co/docs/hub/en/api and
https://huggingface.co/.well-known/openapi.json. What a client reads out of the answers:
https://huggingface.co/docs/huggingface_hub/package_reference/file_download#huggingface_hub.get_hf_file_metadata
and, for refusals (``X-Error-Code``, ``X-Error-Message``),
https://huggingface.co/docs/huggingface_hub/package_reference/utilities#huggingface_hub.utils.hf_raise_for_status.

Left out on purpose: ``Link: …; rel="xet-auth"``, which invites clients to a protocol that this hub
does not speak.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from aiohttp import web

from .options import HubOptions
from .storage import Storage
from .world import HubFile, HubRepo, World


class Refusal(Exception):
    """An answer with a reason. ``code`` goes into ``X-Error-Code``; without one it is a bare refusal."""

    def __init__(
        self, status: int, message: str, code: str | None = None, *, commit: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.commit = commit

    def response(self) -> web.Response:
        headers = {"X-Error-Message": self.message}
        if self.code:
            headers["X-Error-Code"] = self.code
        if self.commit:
            headers["X-Repo-Commit"] = self.commit
        return web.json_response({"error": self.message}, status=self.status, headers=headers)


class HuggingFaceApi:
    """Handlers over a world; files themselves come from the storage host, by redirect."""

    def __init__(self, world: World, storage: Storage, options: HubOptions) -> None:
        self._world = world
        self._storage = storage
        self._options = options

    def routes(self) -> list[web.RouteDef]:
        """``web.get`` answers HEAD as well."""
        return [
            web.get("/{owner}/{name}/resolve/{revision}/{path:.+}", self.resolve),
            web.get("/api/models/{owner}/{name}", self.model_info),
            web.get("/api/whoami-v2", self.whoami),
        ]

    def file_of(self, request: web.Request) -> HubFile | None:
        """The file that a request asks for, whether it may have it or not."""
        repo = self._world.repos.get(_repo_id(request))
        return repo.file(request.match_info.get("path", "")) if repo else None

    @web.middleware
    async def refusals(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Turns a ``Refusal`` raised by a handler into its answer."""
        try:
            response: web.StreamResponse = await handler(request)
        except Refusal as refusal:
            return refusal.response()
        return response

    async def resolve(self, request: web.Request) -> web.Response:
        """``GET|HEAD /{owner}/{name}/resolve/{revision}/{path}``: 302 to the storage host.

        https://huggingface.co/docs/hub/models-downloading, and for gated repositories
        https://huggingface.co/docs/hub/models-gated.
        """
        token = self._token(request)
        repo = self._repo(request, token)
        self._check_access(repo, token)
        revision, path = request.match_info["revision"], request.match_info["path"]
        if not repo.has_revision(revision):
            raise Refusal(404, f"Invalid rev id: {quote(revision)}", "RevisionNotFound")
        file = repo.file(path)
        if file is None:
            raise Refusal(404, "Entry not found", "EntryNotFound", commit=repo.commit)
        await asyncio.to_thread(lambda: file.sha256)  # makes the content, off the loop
        return web.Response(
            status=302,
            headers={
                "Location": self._storage.url_for(repo, file),
                "X-Repo-Commit": repo.commit,
                "X-Linked-Size": str(file.size),
                "X-Linked-Etag": f'"{file.sha256}"',
                "X-Xet-Hash": file.xet_hash,
                # Of the entry in git, which is a pointer for a large file: not the content's SHA-256.
                "ETag": f'"{file.blob_id}"',
                "Accept-Ranges": "bytes",
            },
        )

    async def model_info(self, request: web.Request) -> web.Response:
        """``GET /api/models/{owner}/{name}``: what is in a repository, gated or not.

        ``blobs=true`` adds each file's size, git blob and LFS hash. The answer's fields:
        https://huggingface.co/docs/huggingface_hub/package_reference/hf_api#huggingface_hub.ModelInfo.
        """
        repo = self._repo(request, self._token(request))
        with_blobs = request.query.get("blobs", "").lower() in ("1", "true")
        siblings = await asyncio.to_thread(lambda: [_sibling(file, with_blobs) for file in repo.files])
        return web.json_response(
            {
                "_id": repo.commit[:24],
                "id": repo.id,
                "modelId": repo.id,
                "author": repo.id.partition("/")[0],
                "sha": repo.commit,
                "lastModified": "2026-01-01T00:00:00.000Z",
                "createdAt": "2026-01-01T00:00:00.000Z",
                "private": False,
                "disabled": False,
                "gated": repo.gated or False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "siblings": siblings,
            }
        )

    async def whoami(self, request: web.Request) -> web.Response:
        """``GET /api/whoami-v2``: whose token it is.

        https://huggingface.co/docs/huggingface_hub/package_reference/hf_api#huggingface_hub.HfApi.whoami.
        """
        if self._token(request) is None:
            raise Refusal(401, "Invalid username or password.")
        return web.json_response(
            {
                "type": "user",
                "id": "0" * 24,
                "name": "demo-user",
                "fullname": "Demo User",
                "isPro": False,
                "orgs": [],
                "auth": {"type": "access_token", "accessToken": {"displayName": "demo", "role": "read"}},
            }
        )

    def _token(self, request: web.Request) -> str | None:
        """The caller's token, None for an anonymous one; a bad one is refused for public files too.

        https://github.com/huggingface/huggingface_hub/pull/2847.
        """
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not (
            token.startswith("hf_") or token in self._options.granted_tokens
        ):
            raise Refusal(401, "Invalid credentials in Authorization header")
        return token

    def _repo(self, request: web.Request, token: str | None) -> HubRepo:
        """The path's repository. An anonymous caller is not told whether it is missing or private."""
        repo = self._world.repos.get(_repo_id(request))
        if repo is None and token is None:
            raise Refusal(401, "Invalid username or password.")
        if repo is None:
            raise Refusal(404, "Repository not found", "RepoNotFound")
        return repo

    def _check_access(self, repo: HubRepo, token: str | None) -> None:
        if repo.gated is None or token in self._options.granted_tokens:
            return
        if token is None:
            raise Refusal(
                401,
                f"Access to model {repo.id} is restricted. "
                "You must have access to it and be authenticated to access it. Please log in.",
                "GatedRepo",
            )
        raise Refusal(
            403,
            f"Access to model {repo.id} is restricted and you are not in the authorized list. "
            f"Visit https://huggingface.co/{repo.id} to ask for access.",
            "GatedRepo",
        )


def _repo_id(request: web.Request) -> str:
    return f"{request.match_info.get('owner')}/{request.match_info.get('name')}"


def _sibling(file: HubFile, with_blobs: bool) -> dict[str, Any]:
    """One file in a repository's listing."""
    if not with_blobs:
        return {"rfilename": file.path}
    return {
        "rfilename": file.path,
        "size": file.size,
        "blobId": file.blob_id,
        "lfs": {"sha256": file.sha256, "size": file.size, "pointerSize": len(file.pointer)},
    }

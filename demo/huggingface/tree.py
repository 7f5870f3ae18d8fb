"""What files a repository has: whole listings, and single paths."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from aiohttp import web

from ..files import HubFile
from ..options import HubOptions
from ..world import HubRepo
from .access import Access
from .models import timestamp
from .paging import flag, is_on, page_of
from .refusal import Refusal

_PAGE = 1000
_EXPANDED_PAGE = 50
_MAX_PATHS = 2000


class Tree:
    """Handlers over what ``Access`` lets be seen. The listing of a gated repository is public."""

    def __init__(self, access: Access, options: HubOptions) -> None:
        self._access = access
        self._options = options

    async def list(self, request: web.Request) -> web.Response:
        """``GET /api/models/{repo}/tree/{revision}[/{path}]``: a directory, ``recursive`` or not.

        Pages of 1,000 entries, of 50 with ``expand``:
        https://huggingface.co/docs/huggingface_hub/package_reference/hf_api#huggingface_hub.HfApi.list_repo_tree
        and https://huggingface.co/.well-known/openapi.json.
        """
        repo = self._repo(request)
        directory = request.match_info.get("path", "").strip("/")
        entries = repo.entries(directory, recursive=flag(request, "recursive"))
        if directory and not entries:
            raise Refusal(404, f"{directory} does not exist on this revision", "EntryNotFound")
        expand = flag(request, "expand")
        page, headers = page_of(request, list(entries.items()), _EXPANDED_PAGE if expand else _PAGE)
        described = await asyncio.to_thread(
            lambda: [self._describe(repo, path, file, expand) for path, file in page]
        )
        return web.json_response(described, headers=headers)

    async def paths_info(self, request: web.Request) -> web.Response:
        """``POST /api/models/{repo}/paths-info/{revision}``: these paths, as far as they exist.

        ``paths`` and ``expand``, as JSON or as a form:
        https://huggingface.co/docs/huggingface_hub/package_reference/hf_api#huggingface_hub.HfApi.get_paths_info
        and https://huggingface.co/.well-known/openapi.json.
        """
        repo = self._repo(request)
        paths, expand = await _wanted_paths(request)
        if len(paths) > _MAX_PATHS:
            raise Refusal(400, f'"paths" must contain less than or equal to {_MAX_PATHS} items')
        entries = repo.entries("", recursive=True)
        found = [(path, entries[path]) for path in paths if path in entries]
        return web.json_response(
            await asyncio.to_thread(lambda: [self._describe(repo, *entry, expand) for entry in found])
        )

    def _repo(self, request: web.Request) -> HubRepo:
        repo = self._access.repo(request, self._access.account(request))
        self._access.check_enabled(repo)
        self._access.check_revision(repo, request.match_info["revision"])
        return repo

    def _describe(self, repo: HubRepo, path: str, file: HubFile | None, expand: bool) -> dict[str, Any]:
        if file is None:
            oid = hashlib.sha1(f"{repo.commit} {path}".encode()).hexdigest()
            entry: dict[str, Any] = {"type": "directory", "oid": oid, "size": 0, "path": path}
        else:
            size = self._options.stated_size(file)
            entry = {"type": "file", "oid": file.blob_id, "size": size, "path": path}
            if file.is_lfs:
                entry["lfs"] = {"oid": file.sha256, "size": size, "pointerSize": len(file.pointer)}
                entry["xetHash"] = file.xet_hash
        if expand:
            entry["lastCommit"] = {"id": repo.commit, "title": "Upload", "date": timestamp(repo.day)}
            if file is not None:
                entry["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
        return entry


async def _wanted_paths(request: web.Request) -> tuple[list[str], bool]:
    if request.content_type == "application/json":
        try:
            body = await request.json()
            paths, expand = body["paths"], body.get("expand", False)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Refusal(400, '"paths" is required') from None
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise Refusal(400, '"paths" must be a list of paths')
        return paths, is_on(expand)
    form = await request.post()
    return [str(path) for path in form.getall("paths", [])], is_on(form.get("expand", ""))

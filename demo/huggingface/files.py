"""The files themselves: large ones by redirect to the storage host, small ones from a cache."""

from __future__ import annotations

import asyncio
from urllib.parse import quote, urlencode

from aiohttp import web

from ..files import HubFile
from ..options import HubOptions
from ..storage import Storage
from ..world import HubRepo
from .access import Access
from .refusal import Refusal


class Files:
    """Handlers. Left out on purpose: ``Link: …; rel="xet-auth"``, which invites clients to a protocol
    that this hub does not speak."""

    def __init__(self, access: Access, storage: Storage, options: HubOptions) -> None:
        self._access = access
        self._storage = storage
        self._options = options

    async def resolve(self, request: web.Request) -> web.Response:
        """``GET|HEAD /{repo}/resolve/{revision}/{path}``: 302 to storage, or 307 to the cache of small files.

        https://huggingface.co/docs/hub/models-downloading; the headers:
        https://huggingface.co/docs/huggingface_hub/package_reference/file_download#huggingface_hub.get_hf_file_metadata;
        gated repositories: https://huggingface.co/docs/hub/models-gated.
        """
        repo, file = self._file(request)
        await asyncio.to_thread(lambda: file.sha256)  # makes the content, off the loop
        if not file.is_lfs:
            # An empty value: the cache tells the answers of renamed files apart by it.
            query = urlencode({request.rel_url.raw_path: "", "etag": f'"{file.blob_id}"'})
            cached = f"/api/resolve-cache/models/{repo.id}/{repo.commit}/{quote(file.path)}?{query}"
            return web.Response(
                status=307,
                headers={
                    "Location": cached,
                    "X-Repo-Commit": repo.commit,
                    "ETag": f'"{file.blob_id}"',
                },
            )
        return web.Response(
            status=302,
            headers={
                "Location": self._storage.url_for(repo.id, file),
                "X-Repo-Commit": repo.commit,
                "X-Linked-Size": str(self._options.stated_size(file)),
                "X-Linked-Etag": f'"{file.sha256}"',
                "X-Xet-Hash": file.xet_hash,
                # Of the entry in git, which is a pointer for a large file: not the content's SHA-256.
                "ETag": f'"{file.blob_id}"',
                "Accept-Ranges": "bytes",
            },
        )

    async def cached(self, request: web.Request) -> web.Response:
        """``GET|HEAD /api/resolve-cache/models/{repo}/{revision}/{path}``: a small file's content.

        https://huggingface.co/docs/huggingface_hub/package_reference/file_download#huggingface_hub.hf_hub_download,
        whose client follows the relative redirect here.
        """
        repo, file = self._file(request)
        if file.is_lfs:
            raise Refusal(404, "Entry not found", "EntryNotFound", commit=repo.commit)
        return web.Response(
            body=file.content,
            content_type="text/plain",
            headers={"X-Repo-Commit": repo.commit, "ETag": f'"{file.blob_id}"'},
        )

    def _file(self, request: web.Request) -> tuple[HubRepo, HubFile]:
        account = self._access.account(request)
        repo = self._access.repo(request, account)
        self._access.check_files(repo, account)
        self._access.check_revision(repo, request.match_info["revision"])
        file = repo.file(request.match_info["path"])
        if file is None:
            raise Refusal(404, "Entry not found", "EntryNotFound", commit=repo.commit)
        return repo, file

"""Downloads: which file a URL means, who may have it, and the redirect to storage."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone

from aiohttp import web

from ..storage import Storage
from .access import Access
from .catalog import CivitaiFile, CivitaiModel, CivitaiVersion
from .refusal import Refusal


class Downloads:
    def __init__(
        self, versions: dict[int, tuple[CivitaiModel, CivitaiVersion]], storage: Storage, access: Access
    ) -> None:
        self._versions = versions
        self._storage = storage
        self._access = access

    async def download(self, request: web.Request) -> web.Response:
        """``GET /api/download/models/{version}?type=&format=&size=&fp=&fileId=``: 307 to storage.

        The query narrows down which of the version's files is meant; by default the primary one.
        https://education.civitai.com/civitais-guide-to-downloading-via-api; the refusals:
        https://github.com/civitai/civitai/blob/main/src/pages/api/download/models/%5BmodelVersionId%5D.ts.
        """
        found = self._versions.get(int(request.match_info["version"]))
        if found is None or not found[1].published or not self._access.shows(found[0]):
            raise Refusal(404, "File not found")
        model, version = found
        self._check(request, model, version)
        file = _wanted(request, version)
        if file is None:
            raise Refusal(404, "File not found")
        await asyncio.to_thread(lambda: file.file.sha256)  # makes the content, off the loop
        location = self._storage.url_for(f"civitai/{model.id}", file.file, attachment=True)
        return web.Response(status=307, headers={"Location": location})

    def _check(self, request: web.Request, model: CivitaiModel, version: CivitaiVersion) -> None:
        account = self._access.account(request)
        if model.mode is not None:
            raise Refusal(410, "Model archived, not available for download")
        if version.usage_control != "Download":
            raise Refusal(
                401, "Unauthorized", message="The creator of this asset has disabled downloads on this file"
            )
        early = version.early_access_until is not None and datetime.now(timezone.utc) < (
            version.early_access_until
        )
        if account is None and (version.needs_login or early):
            raise Refusal(
                401,
                "Unauthorized",
                message="The creator of this asset requires you to be logged in to download it",
            )
        if early and account is not None and version.id not in account.early_access:
            raise Refusal(
                403,
                "Early Access",
                deadline=str(version.early_access_until),
                message="This asset is in Early Access.",
            )


def _wanted(request: web.Request, version: CivitaiVersion) -> CivitaiFile | None:
    if file_id := request.query.get("fileId"):
        return version.file(int(file_id)) if file_id.isdecimal() else None
    wanted = {name: request.query[name] for name in ("format", "size", "fp") if name in request.query}
    kind = request.query.get("type")
    for file in version.files:
        if kind in (None, file.type) and wanted.items() <= file.metadata.items():
            return file
    return None

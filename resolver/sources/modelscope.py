"""ModelScope: another place for files of Hugging Face, where that is out of reach or slow. Off by default.

Many repositories are kept there under the id they have on Hugging Face. A file counts as the same only if
size and SHA-256 are equal; names alone make no mirror.
Source: ``HubApi.get_model_files`` in https://github.com/modelscope/modelscope/blob/master/modelscope/hub/api.py
and https://modelscope.cn/docs/models/download.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from ..errors import DownloadError, UrlRefused
from ..net.api import request_json
from ..net.client import HttpClient
from ..settings import HUGGING_FACE, MODELSCOPE
from .asking import Answered, Asker, Budget

_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)")
_BRANCH = "master"
_FORMAT = 1  # of what is remembered


class ModelScopeMirrors:
    """Tells where ModelScope has a file of Hugging Face. Runs on the engine's loop."""

    def __init__(self, client: HttpClient, asker: Asker, endpoint: str) -> None:
        self._client = client
        self._asker = asker
        self._endpoint = endpoint
        self._host = urlsplit(endpoint).netloc

    async def __call__(self, url: str, sha256: str, size: int, budget: Budget) -> str | None:
        """The URL of the file of Hugging Face's ``url``, if it is there with this very content.

        None as well if ModelScope does not answer: a mirror is a convenience, not worth an error.
        """
        match = _FILE.fullmatch(urlsplit(url).path) if url.startswith(f"{HUGGING_FACE}/") else None
        if match is None:
            return None
        repo, path = unquote(match[1]), unquote(match[2])
        try:
            files = await self._files(repo, path.rpartition("/")[0], budget)
        except (DownloadError, UrlRefused):
            return None
        if (files or {}).get(path) != [size, sha256.lower()]:
            return None
        return f"{MODELSCOPE}/models/{quote(repo)}/resolve/{_BRANCH}/{quote(path)}"

    async def _files(self, repo: str, directory: str, budget: Budget) -> Any:
        """``{path: [size, sha256]}`` of one directory; None if there is no such repository."""
        query = urlencode({"Revision": _BRANCH, "Recursive": "false", "Root": directory})
        url = f"{self._endpoint}/api/v1/models/{quote(repo)}/repo/files?{query}"

        async def send(etag: str | None) -> Answered:
            said = await request_json(self._client, url, etag=etag)
            return Answered(_listed(said.value), said.etag, said.unchanged)

        return await self._asker.ask(self._host, f"modelscope {_FORMAT} {url}", send, budget)


def _listed(answer: Any) -> dict[str, list[Any]] | None:
    """The files of ``{"Data": {"Files": [{"Path", "Type", "Size", "Sha256"}]}}``."""
    data = answer.get("Data") if isinstance(answer, dict) else None
    entries = data.get("Files") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        return None
    return {
        entry["Path"]: [entry.get("Size"), str(entry.get("Sha256")).lower()]
        for entry in entries
        if isinstance(entry, dict) and entry.get("Type") == "blob" and isinstance(entry.get("Path"), str)
    }

"""The storage (CDN) host: the bytes of the files, behind signed URLs.

How the hubs' storage behaves towards clients: https://huggingface.co/docs/hub/xet/legacy-git-lfs
and https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from urllib.parse import quote
from xml.sax.saxutils import escape

from aiohttp import web
from aiohttp.typedefs import Middleware

from .files import HubFile
from .options import HubOptions
from .ranges import RangeNotSatisfiable, parse_range
from .request_log import Subject
from .signing import SignatureRefused, Signer

_CHUNK = 1 << 20
_PACED_CHUNK = 1 << 16
_DISPOSITION = "response-content-disposition"


class Storage:
    """Hands out URLs for files (``url_for``) and serves them (``routes``)."""

    def __init__(self, base_url: str, options: HubOptions) -> None:
        self._base_url = base_url
        self._options = options
        self._signer = Signer()
        self._objects: dict[str, tuple[str, HubFile]] = {}
        self._dropped: set[str] = set()

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/{bucket}/{repo}/{hash}", self.read, name="storage.read")]

    def middlewares(self) -> list[Middleware]:
        return []

    def url_for(self, repo: str, file: HubFile, *, attachment: bool = False) -> str:
        """A URL that serves the file to GET requests for ``expire_after`` seconds.

        ``repo``: the id of what holds it. ``attachment``: how its name is put, to be saved or shown.
        """
        path = f"/xet-bridge-demo/{hashlib.sha256(repo.encode()).hexdigest()[:24]}/{file.xet_hash}"
        self._objects[path] = repo, file
        # S3 and CloudFront answer with the headers that the signed query asks for; the hub puts the
        # name there, in both forms of RFC 6266.
        manner = "attachment" if attachment else "inline"
        disposition = f"{manner}; filename*=UTF-8''{quote(file.name)}; filename=\"{file.name}\";"
        query = self._signer.sign("GET", path, {_DISPOSITION: disposition}, self._options.expire_after)
        return f"{self._base_url}{path}?{query}"

    def subject_of(self, request: web.Request) -> Subject:
        repo, file = self._objects.get(request.path, (None, None))
        return Subject(repo, file.path if file else None)

    async def read(self, request: web.Request) -> web.StreamResponse:
        """``GET /{bucket}/{repo}/{hash}``: 200, 206, 400, 403 or 416. A HEAD is 403, see ``signing``.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html.
        """
        if "Authorization" in request.headers:
            # S3 takes a signed query or the header, never both: "InvalidArgument" in
            # https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
            return _error(400, "InvalidArgument", "Only one auth mechanism allowed")
        try:
            self._signer.check(request.method, request.path, request.query)
        except SignatureRefused as refused:
            return _error(403, "AccessDenied", str(refused))
        _, file = self._objects[request.path]  # url_for alone signs, and it has noted the file
        body = memoryview(await asyncio.to_thread(self._body, file))
        headers = {
            # Not the SHA-256 of the content: https://huggingface.co/docs/xet/hashing
            "ETag": f'"{file.xet_hash}"',
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
            "Content-Disposition": request.query[_DISPOSITION],
            "Cache-Control": "public, max-age=31536000",
        }
        try:
            # RFC 9110, section 13.1.5: a range of another version gets the whole of this one.
            stale = request.headers.get("If-Range", headers["ETag"]) != headers["ETag"]
            part = None if stale else parse_range(request.headers.get("Range"), file.size)
        except RangeNotSatisfiable:
            return web.Response(status=416, headers={**headers, "Content-Range": f"bytes */{file.size}"})
        if part is not None:
            headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{file.size}"
            body = body[part.start : part.stop]
        response = web.StreamResponse(status=200 if part is None else 206, headers=headers)
        response.content_length = len(body)
        await response.prepare(request)
        # Whoever has enough of a transfer hangs up; that is no failure of ours.
        with suppress(ConnectionResetError):
            await self._send(request, response, body, self._cut(file, len(body)))
        return response

    def _body(self, file: HubFile) -> bytes:
        if not self._options.is_corrupt(file):
            return file.content
        content = bytearray(file.content)
        content[-1] ^= 1  # in the weights: the header stays readable, so only a hash can tell
        return bytes(content)

    def _cut(self, file: HubFile, length: int) -> int | None:
        """After how many bytes this transfer is to be cut off; None for not at all."""
        after = self._options.drop_after(file)
        if after is None or after >= length or file.path in self._dropped:
            return None
        self._dropped.add(file.path)
        return after

    async def _send(
        self, request: web.Request, response: web.StreamResponse, body: memoryview, cut: int | None
    ) -> None:
        """The body, paced, or its first ``cut`` bytes and then the end of the connection."""
        rate = self._options.bytes_per_second
        step = _PACED_CHUNK if rate else _CHUNK
        end = len(body) if cut is None else cut
        loop = asyncio.get_running_loop()
        started = loop.time()
        for begin in range(0, end, step):
            if rate:
                await asyncio.sleep(started + begin / rate - loop.time())
            await response.write(body[begin : min(begin + step, end)])
        if cut is not None and request.transport is not None:
            # What is buffered still goes out; then the client sees the end, too early.
            request.transport.close()


def _error(status: int, code: str, message: str) -> web.Response:
    """An error as S3 writes it (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html)."""
    body = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return web.Response(status=status, text=body, content_type="application/xml")

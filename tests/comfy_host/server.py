"""The HTTP and websocket server: the module an extension imports as ``server``.

``PromptServer.instance.routes`` is where a pack adds routes while it is imported; ``add_routes()``
then serves each of them under both `/x` and `/api/x`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import mimetypes
import struct
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import comfyui_frontend_package
from aiohttp import ClientSession, ClientTimeout, WSMsgType, web

import boot_routes
import nodes
import request_guard
from prompt_queue import PromptQueue
from prompt_validation import validate_prompt

MAX_UPLOAD_BYTES = 100 * 1024 * 1024
SHUTDOWN_SECONDS = 1.0
"""How long open streams may hold up the end."""


class PromptServer:
    """The one server of the process, reachable as ``PromptServer.instance``."""

    instance: ClassVar[PromptServer]

    def __init__(self, loop: asyncio.AbstractEventLoop, cors_origin: str | None = None) -> None:
        PromptServer.instance = self
        # The system's table may call scripts text/plain, which a browser will not run as a module.
        mimetypes.add_type("application/javascript; charset=utf-8", ".js")
        mimetypes.add_type("image/webp", ".webp")
        self.loop = loop
        self.messages: asyncio.Queue[tuple[Any, Any, str | None]] = asyncio.Queue()
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.sockets_metadata: dict[str, dict[str, Any]] = {}
        self.client_session: ClientSession | None = None
        self.client_id: str | None = None
        self.last_node_id: str | None = None
        self.number = 0
        self.supports = ["custom_nodes_from_web"]
        self.on_prompt_handlers: list[Callable[[dict[str, Any]], dict[str, Any]]] = []
        self.prompt_queue = PromptQueue(self)
        self.web_root = str(Path(comfyui_frontend_package.__file__).parent / "static")
        guard = (
            request_guard.cross_origin_headers(cors_origin)
            if cors_origin
            else request_guard.origin_check
        )
        self.app = web.Application(
            client_max_size=MAX_UPLOAD_BYTES,
            middlewares=[request_guard.no_store_for_code, guard],
        )
        self.routes = web.RouteTableDef()
        self.routes.get("/ws")(self._websocket)
        self.routes.post("/prompt")(self._post_prompt)
        boot_routes.add_to(self)

    # -- routes ------------------------------------------------------------------------------------

    def add_routes(self) -> None:
        """Serve what packs registered, their web directories, and the frontend. Called once."""
        for route in self.routes:
            # A pack's static directory is served where the pack put it, not below /api as well.
            if isinstance(route, web.RouteDef):
                handler, options = route.handler, dict(route.kwargs)
                self.app.router.add_route(route.method, "/api" + route.path, handler, **options)
        self.app.add_routes(self.routes)
        self.app.add_subapp("/internal", boot_routes.internal_app())
        for name, directory in nodes.EXTENSION_WEB_DIRS.items():
            self.app.add_routes([web.static("/extensions/" + name, directory)])
        self.app.router.add_get("/templates/{path:.*}", boot_routes.serve_template)
        self.app.add_routes([web.static("/", self.web_root)])

    async def _post_prompt(self, request: web.Request) -> web.Response:
        body = self.trigger_on_prompt(await request.json())
        if "prompt" not in body:
            message = "No prompt provided"
            error = {"type": "no_prompt", "message": message, "details": message, "extra_info": {}}
            return web.json_response({"error": error, "node_errors": {}}, status=400)
        if "number" in body:
            number = float(body["number"])
        else:
            number = -self.number if body.get("front") else self.number
            self.number += 1
        prompt_id = str(body.get("prompt_id") or uuid.uuid4())
        prompt = body["prompt"]
        verdict = validate_prompt(prompt, body.get("partial_execution_targets"))
        if verdict.error is not None:
            logging.warning("invalid prompt: %s", verdict.error)
            refusal = {"error": verdict.error, "node_errors": verdict.node_errors}
            return web.json_response(refusal, status=400)
        extra = {**(body.get("extra_data") or {}), "create_time": int(time.time() * 1000)}
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        self.prompt_queue.put((number, prompt_id, prompt, extra, verdict.outputs))
        answer = {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}
        return web.json_response(answer)

    def add_on_prompt_handler(self, handler: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Let a pack see, and change, each prompt before it is checked."""
        self.on_prompt_handlers.append(handler)

    def trigger_on_prompt(self, body: dict[str, Any]) -> dict[str, Any]:
        for handler in self.on_prompt_handlers:
            try:
                body = handler(body)
            except Exception:
                logging.exception("A pack's prompt handler failed")
        return body

    def get_queue_info(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": self.prompt_queue.get_tasks_remaining()}}

    # -- websocket ---------------------------------------------------------------------------------

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sid = request.query.get("clientId") or uuid.uuid4().hex
        self.sockets[sid] = socket
        self.sockets_metadata[sid] = {"feature_flags": {}}
        try:
            await self.send("status", {"status": self.get_queue_info(), "sid": sid}, sid)
            first = True
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    await self._from_client(sid, message.data, first)
                    first = False
        finally:
            # A page that reconnected under the same id has put its new socket here already.
            if self.sockets.get(sid) is socket:
                del self.sockets[sid]
                del self.sockets_metadata[sid]
        return socket

    async def _from_client(self, sid: str, text: str, first: bool) -> None:
        try:
            message = json.loads(text)
        except json.JSONDecodeError:
            logging.warning("Not JSON, from client %s: %s", sid, text)
            return
        if first and message.get("type") == "feature_flags":
            self.sockets_metadata[sid]["feature_flags"] = message.get("data", {})
            await self.send("feature_flags", boot_routes.FEATURES, sid)

    def send_sync(self, event: Any, data: Any, sid: str | None = None) -> None:
        """Send to one client, or to all. May be called from any thread; returns at once."""
        self.loop.call_soon_threadsafe(self.messages.put_nowait, (event, data, sid))

    async def send(self, event: Any, data: Any, sid: str | None = None) -> None:
        if sid is None:
            targets = list(self.sockets.values())
        else:
            targets = [self.sockets[sid]] if sid in self.sockets else []
        for socket in targets:
            try:
                if isinstance(data, bytes | bytearray):
                    await socket.send_bytes(struct.pack(">I", event) + data)
                else:
                    await socket.send_json({"type": event, "data": data})
            except ConnectionError as reason:
                logging.warning("send error: %s", reason)

    def queue_updated(self) -> None:
        self.send_sync("status", {"status": self.get_queue_info()})

    async def publish_loop(self) -> None:
        """Take what ``send_sync`` left and send it, in order, for ever."""
        while True:
            await self.send(*await self.messages.get())

    # -- life --------------------------------------------------------------------------------------

    async def serve(self, address: str, port: int, started: Callable[[int], None]) -> None:
        """Listen, say so with the port (0 picks a free one), and publish until cancelled."""
        self.client_session = ClientSession(timeout=ClientTimeout(total=None))
        runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        site = web.TCPSite(runner, address, port)
        try:
            await site.start()
            self.address, self.port = address, runner.addresses[0][1]
            self.prompt_queue.start()
            started(self.port)
            await self.publish_loop()
        finally:
            for socket in list(self.sockets.values()):
                await socket.close()
            await runner.cleanup()
            await self.client_session.close()

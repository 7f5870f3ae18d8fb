"""The routes on ComfyUI's own port, spoken to over real sockets."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.hub import running_hub
from demo.world import World
from resolver.http.table import PREFIX
from tests.comfy_host.driver import ComfyHostProcess, read_template

CHECKOUT = Path(__file__).resolve().parent.parent
TEMPLATE = "basic_switch_node"
JSON = {"Content-Type": "application/json"}
NDJSON = "application/x-ndjson"
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
FORM_HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="w"\r\n\r\n'


@pytest.fixture(scope="module")
def world() -> World:
    return World.for_workflow(read_template(TEMPLATE))


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory, world: World) -> Iterator[ComfyHostProcess]:
    """The test host with this checkout as a pack of an odd folder name, and the embedded hub."""
    environment = {"CMR_DISK_RESERVE": "1MB"}
    with (
        running_hub(world) as hub,
        ComfyHostProcess(
            tmp_path_factory.mktemp("base"),
            packs={"some folder-name.v2": CHECKOUT},
            env={**hub.environment(), **environment},
        ) as process,
    ):
        yield process


def ask(
    host: ComfyHostProcess, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """(status, parsed answer, or its text); NDJSON becomes a list of its lines."""
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    given = {**(JSON if body is not None and not isinstance(body, bytes) else {}), **(headers or {})}
    request = urllib.request.Request(host.url + path, data=data, headers=given, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, content, kind = answer.status, answer.read(), answer.headers.get_content_type()
    except urllib.error.HTTPError as error:
        status, content, kind = error.code, error.read(), error.headers.get_content_type()
    if kind == NDJSON:
        return status, [json.loads(line) for line in content.splitlines()]
    if kind != "application/json":
        return status, content.decode() or None
    return status, json.loads(content)


def code(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


def wait_for(host: ComfyHostProcess, ids: set[str]) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        downloads = [
            download
            for download in ask(host, "GET", f"{PREFIX}/downloads")[1]["downloads"]
            if download["id"] in ids
        ]
        if all(download["status"] in ("completed", "failed", "cancelled") for download in downloads):
            return downloads
        time.sleep(0.1)
    pytest.fail(f"still unfinished: {downloads}")

"""No secret leaves the program: not in its logs, answers, events, store, scripts, or on the screen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from demo.hub import Hub, running_hub
from demo.world import World
from resolver.http.table import PREFIX
from tests.graphs import metadata, node, workflow
from tests.secret_search import WORD
from tests.standalone_server import CHECKOUT, Server, serving

URL = "https://huggingface.co/o/r/resolve/main/x.safetensors"
WORLD = World.for_urls([URL], sizes=10_000)

PLANTED = {
    "CMR_API_TOKEN": "PLANTED-caller",
    "CMR_HF_TOKEN": "hf_PLANTED_setting",
    "CMR_CIVITAI_API_KEY": "PLANTEDcivitaiKey",
    "CMR_REDIS_URL": "redis://me:PLANTED-redis@127.0.0.1:1/0",
}
STORED = "hf_PLANTED_stored"
IN_URLS = (
    f"{URL}?token=PLANTEDquery",
    f"{URL}?X-Amz-Signature=PLANTEDsignature&X-Amz-Credential=PLANTEDcredential",
    "https://me:PLANTEDpassword@huggingface.co/o/r/resolve/main/x.safetensors",
    "https://civitai.com/api/download/models/1?token=PLANTEDcivitai",
)


def drawn() -> dict[str, Any]:
    """A workflow whose metadata has URLs with secrets in them, as people paste them."""
    names = [(f"{number}.safetensors", url) for number, url in enumerate(IN_URLS, 1)]
    nodes = [
        node(number, "VAELoader", [name], properties=metadata(name, "vae", url))
        for number, (name, url) in enumerate(names)
    ]
    return workflow(*nodes)


def exercise(server: Server) -> list[str]:
    """Everything that is answered to calls of all kinds, right and wrong ones."""
    said = []

    def ask(method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        answer = server.ask(method, PREFIX + path, body, headers)
        said.append(f"{method} {path}: {answer}")
        return answer[1]

    ask("PUT", "/credentials/huggingface", {"token": STORED})
    ask("PUT", "/credentials/huggingface", {"token": "hf_PLANTED with a space"})
    ask("PUT", "/credentials/huggingface", {"token": ["hf_PLANTED"]})
    ask("POST", "/credentials/huggingface/check", {"url": IN_URLS[0]})
    ask("POST", "/credentials/civitai/check", {})
    for method, path in (
        ("GET", "/credentials"),
        ("GET", "/settings"),
        ("GET", "/health"),
        ("GET", "/metrics"),
        ("GET", "/folders"),
        ("GET", "/library"),
        ("GET", "/openapi.json"),
    ):
        ask(method, path)
    ask("GET", "/settings", headers={"Authorization": "Bearer PLANTED-wrong"})
    ask("PATCH", "/settings", {"CMR_HF_TOKEN": "hf_PLANTED_changed"})
    ask("PATCH", "/settings", {"CMR_LOG_LEVEL": "DEBUG"})
    for path in ("/analyze", "/resolve"):
        ask("POST", path, {"workflow": drawn()})
    items = [
        {"folder": "vae", "filename": f"{number}.safetensors", "url": url}
        for number, url in enumerate(IN_URLS)
    ]
    for item in items:
        ask("POST", "/downloads", {"items": [item]})
        ask("POST", "/downloads", {"items": [{**item, "filename": "../x", "mirrors": [item["url"]]}]})
    for _ in range(100):
        downloads = server.ask("GET", f"{PREFIX}/downloads")[1]["downloads"]
        if all(download["status"] in ("completed", "failed") for download in downloads):
            break
        time.sleep(0.1)
    assert {download["status"] for download in downloads} >= {"completed"}
    said.append(str(downloads))
    for form in ("bash", "powershell", "python", "aria2", "json", "lock"):
        ask("POST", "/export", {"workflow": drawn(), "format": form})
    ask("POST", "/embed", {"workflow": workflow(node(1, "VAELoader", ["x.safetensors"]))})
    return said


def listened(server: Server, into: list[str]) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    request = urllib.request.Request(f"{server.url}{PREFIX}/events", headers=headers)
    with urllib.request.urlopen(request, timeout=60) as events:
        into.extend(line.decode() for line in events)


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_server_keeps_every_secret(tmp_path: Path, form: str) -> None:
    root = tmp_path / "ComfyUI"
    events: list[str] = []
    environment = {name: value for name, value in PLANTED.items() if name != "CMR_API_TOKEN"}
    with (
        running_hub(WORLD) as hub,
        serving(
            root,
            hub,
            token=PLANTED["CMR_API_TOKEN"],
            CMR_LOG_FORMAT=form,
            CMR_LOG_LEVEL="INFO",
            **environment,
        ) as server,
    ):
        listener = threading.Thread(target=listened, args=(server, events))
        listener.start()
        said = exercise(server)
        assert server.stop() == 0
        listener.join(20)
        sent = [str(entry.headers) for entry in hub.log.entries()]
        assert any(STORED in headers for headers in sent), "it was sent where it belongs"
    assert events, "downloads were told of"
    assert [line for line in said if WORD in line] == []
    assert [line for line in events if WORD in line] == []
    assert [line for line in server.errors().splitlines() if WORD in line] == []
    assert holders(root) == {"user/__model_resolver/credentials.json"}, "which is for that"


def holders(root: Path) -> set[str]:
    """The files below ``root`` with a secret in them."""
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and WORD.encode() in path.read_bytes()
    }


def run(root: Path, hub: Hub, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    outcome = subprocess.run(
        [sys.executable, "-m", "resolver", *arguments, "--comfyui-root", str(root)],
        cwd=CHECKOUT,
        env={**_environment(), **hub.environment(), **PLANTED, "CMR_LOG_LEVEL": "DEBUG", **extra},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert outcome.returncode in (0, 1, 2), outcome.stderr
    return outcome


def _environment() -> dict[str, str]:
    return {**os.environ, "CMR_DISK_RESERVE": "1MB", "PYTHONDONTWRITEBYTECODE": "1"}


def test_the_command_line_keeps_every_secret(tmp_path: Path) -> None:
    root, file = tmp_path / "ComfyUI", tmp_path / "drawn.json"
    (root / "models").mkdir(parents=True)
    file.write_text(json.dumps(drawn()))
    with running_hub(WORLD) as hub:
        # What the workflow itself states is shown to whoever gave it; all else is searched.
        resolved = [
            run(root, hub, "resolve", str(file), "--download", "--yes"),
            run(root, hub, "resolve", str(file), "--json"),
        ]
        proxy = {"HTTPS_PROXY": "http://me:PLANTEDproxy@127.0.0.1:1"}
        others = [
            *(run(root, hub, "download", url, "--folder", "loras") for url in IN_URLS),
            run(root, hub, "download", URL, "--folder", "gligen", **proxy),
            run(root, hub, "download", URL, "--folder", "gligen", CMR_API_PORT="PLANTED-port"),
            run(root, hub, "library", "scan"),
        ]
    said = [text for one in (*resolved, *others) for text in (one.stdout, one.stderr)]
    assert [line for text in said for line in text.splitlines() if WORD in line] == []
    assert holders(root) == set()

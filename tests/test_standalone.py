"""Our own server: who gets in, what it says of itself, and how it ends."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from demo.hub import running_hub
from demo.world import World
from resolver.http.table import PREFIX, ROUTES
from resolver.schemas import DownloadStatus
from tests.standalone_server import Server, serving

URL = "https://huggingface.co/o/r/resolve/main/big.safetensors"
SIZE = 12 * 1024 * 1024
ITEM = {"folder": "vae", "filename": "big.safetensors", "url": URL}


def until(condition: Callable[[], Any]) -> Any:
    for _ in range(300):
        if found := condition():
            return found
        time.sleep(0.1)
    pytest.fail("it did not happen within 30 seconds")


def download_of(server: Server) -> dict[str, Any]:
    (download,) = server.ask("GET", f"{PREFIX}/downloads")[1]["downloads"]
    return dict(download)


def test_stopped_in_mid_download_it_leaves_what_the_next_one_goes_on_from(tmp_path: Path) -> None:
    world = World.for_urls([URL], sizes=SIZE)
    held = world.file_at(URL)
    assert held is not None
    root = tmp_path / "ComfyUI"
    with running_hub(world, bytes_per_second=3_000_000) as hub, serving(root, hub) as server:
        assert server.ask("POST", f"{PREFIX}/downloads", {"items": [ITEM]})[0] == 202
        with urllib.request.urlopen(f"{server.url}{PREFIX}/events", timeout=30) as page:
            until(lambda: download_of(server)["received"] > SIZE // 3)
            assert server.stop() == 0
            assert b"event: download" in page.read(), "an open page is told until the end, and let go"
        assert "Traceback" not in server.errors()
    assert not (root / "models/vae/big.safetensors").exists()
    (part,) = root.rglob("*.part")
    assert part.stat().st_size > 0
    with running_hub(world) as hub, serving(root, hub) as server:
        until(lambda: download_of(server)["status"] == "completed")
        assert (root / "models/vae/big.safetensors").read_bytes() == held.content
        ranges = [entry.headers.get("Range", "") for entry in hub.log.entries("storage")]
    assert ranges, "the rest was asked for"
    assert "bytes=0-" not in ranges, "and nothing that had come"


def test_health_is_told_at_the_root_too(tmp_path: Path) -> None:
    with serving(tmp_path / "ComfyUI") as server:
        for path in ("/health", f"{PREFIX}/health"):
            status, body = server.ask("GET", path)
            assert (status, body["status"], body["host"]) == (200, "ok", "standalone")
            assert 0 < body["uptime"] < 60
            assert 0 < body["metrics"]["memory_percent"] <= 100
            assert body["metrics"]["free_bytes"] > 0


def test_metrics_are_in_prometheus_text_format(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "ComfyUI") as server,
        urllib.request.urlopen(f"{server.url}{PREFIX}/metrics", timeout=10) as answer,
    ):
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = answer.read().decode()
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    samples = re.findall(r'^(\w+)(?:\{(\w+)="([^"]*)".*\})? ([-\d.e+]+)$', text, re.MULTILINE)
    assert set(kinds.values()) == {"gauge"}
    assert {name for name, *_ in samples} == set(kinds)
    assert len(samples) + 2 * len(kinds) == len(text.splitlines()), "and nothing else"
    statuses = [value for name, _, value, _ in samples if name == "model_resolver_downloads"]
    assert statuses == list(get_args(DownloadStatus))


def test_a_prompt_says_that_there_is_no_comfyui(tmp_path: Path) -> None:
    with serving(tmp_path / "ComfyUI") as server:
        status, answer = server.ask("POST", f"{PREFIX}/prompt", {"prompt": {}})
    assert (status, answer["error"]["code"]) == (501, "NO_COMFYUI")


def test_with_a_token_set_every_route_asks_for_it(tmp_path: Path) -> None:
    with serving(tmp_path / "ComfyUI", None, "--host", "0.0.0.0", token="secret-for-callers") as server:
        for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}):
            for route in [*ROUTES, None]:
                path = PREFIX + re.sub(r"{\w+}", "x", route.path) if route else "/health"
                method = route.method if route else "GET"
                body = None if method in ("GET", "DELETE") else {}
                status, answer = server.ask(method, path, body, headers)
                assert (status, answer["error"]["code"]) == (401, "TOKEN_REQUIRED"), path
        assert server.ask("GET", "/health")[0] == 200
        assert server.ask("GET", "/", headers={"Authorization": ""})[0] == 200, "the page asks for it itself"


@pytest.mark.parametrize("token", ["", "  "])
def test_an_empty_token_lets_no_other_machine_in(tmp_path: Path, token: str) -> None:
    with (
        pytest.raises(AssertionError, match="TOKEN_MISSING"),
        serving(tmp_path / "ComfyUI", None, "--host", "0.0.0.0", CMR_API_TOKEN=token),
    ):
        pass


def test_json_log_lines_say_when_and_which_download(tmp_path: Path) -> None:
    world = World.for_urls([URL], sizes=10_000)
    root = tmp_path / "ComfyUI"
    with running_hub(world) as hub, serving(root, hub, CMR_LOG_FORMAT="json") as server:
        bad = {**ITEM, "filename": "bad.safetensors", "sha256": "0" * 64}
        created = server.ask("POST", f"{PREFIX}/downloads", {"items": [ITEM, bad]})[1]["downloads"]
        ids = {download["filename"]: download["id"] for download in created}
        until(lambda: server.errors().count('"download": ') >= 2)
        server.stop()
    lines = [json.loads(line) for line in server.errors().splitlines()]
    for line in lines:
        moment = datetime.fromisoformat(line["timestamp"].replace("Z", "+00:00"))
        assert (line["timestamp"][-1], moment.utcoffset()) == ("Z", timedelta(0))
        assert {"level", "logger", "message"} <= line.keys()
    told = {(line["model"], line["level"], line["download"]) for line in lines if "ended" in line["message"]}
    assert told == {
        ("vae/big.safetensors", "INFO", ids["big.safetensors"]),
        ("vae/bad.safetensors", "WARNING", ids["bad.safetensors"]),
    }


def test_text_log_lines_are_for_people(tmp_path: Path) -> None:
    world = World.for_urls([URL], sizes=10_000)
    with running_hub(world) as hub, serving(tmp_path / "ComfyUI", hub) as server:
        server.ask("POST", f"{PREFIX}/downloads", {"items": [ITEM]})
        until(lambda: "vae/big.safetensors" in server.errors())
    assert re.search(
        r"^\d\d:\d\d:\d\d INFO    The download of vae/big\.safetensors ended: completed$",
        server.errors(),
        re.MULTILINE,
    )

"""The routes on ComfyUI's own port: what input is refused, and who."""

from __future__ import annotations

import re
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resolver.http.table import PREFIX, ROUTES
from tests.comfy_host.driver import ComfyHostProcess
from tests.graphs import metadata, node, workflow
from tests.route_calls import CHECKOUT, JSON, ask, code, comfyui, world

__all__ = ["comfyui", "world"]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/analyze", b"not json", (400, "WORKFLOW_NOT_JSON")),
        ("/analyze", b"[" * 10_000, (400, "WORKFLOW_TOO_DEEP")),
        ("/analyze", b'{"workflow":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001, (400, "WORKFLOW_TOO_DEEP")),
        ("/analyze", {"workflow": {}}, (400, "WORKFLOW_NOT_RECOGNISED")),
        ("/analyze", {"workflow": []}, (400, "BODY_INVALID")),
        ("/analyze", {"nodes": []}, (400, "BODY_INVALID")),
        ("/resolve", {}, (400, "BODY_INVALID")),
        ("/resolve", {"models": [{"folder": "vae", "name": "../x.pt"}]}, (400, "NAME_UNSAFE")),
        ("/resolve", {"models": [], "sources": ["nobody"]}, (400, "SOURCE_UNKNOWN")),
        ("/downloads", {"items": []}, (400, "BODY_INVALID")),
        ("/downloads", {"items": [{"folder": "vae"}]}, (400, "BODY_INVALID")),
        ("/downloads", b"{", (400, "BODY_NOT_JSON")),
        ("/analyze", None, (400, "WORKFLOW_NOT_JSON")),
        ("/library/hash", {"action": "explode"}, (400, "BODY_INVALID")),
        ("/library/hash", {"folder": "nowhere"}, (400, "FOLDER_UNKNOWN")),
        ("/downloads/nobody/cancel", None, (404, "DOWNLOAD_UNKNOWN")),
    ],
)
def test_bad_bodies_have_a_stable_code(
    comfyui: ComfyHostProcess, path: str, body: Any, expected: tuple[int, str]
) -> None:
    assert code(ask(comfyui, "POST", PREFIX + path, body, JSON if body else None)) == expected


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"folder": "nowhere"}, "FOLDER_UNKNOWN"),
        ({"folder": "custom_nodes"}, "FOLDER_UNKNOWN"),
        ({"filename": "../../x.safetensors"}, "NAME_UNSAFE"),
        ({"filename": "/etc/x.safetensors"}, "NAME_UNSAFE"),
        ({"filename": "x.py"}, "EXTENSION_NOT_ALLOWED"),
        ({"url": "https://evil.example/x.safetensors"}, "URL_HOST_NOT_ALLOWED"),
        ({"url": "file:///etc/passwd"}, "URL_SCHEME"),
        ({"url": "http://127.0.0.1:22/x.safetensors"}, "URL_HOST_NOT_ALLOWED"),
        ({"url": "http://huggingface.co/o/r/resolve/main/x.safetensors"}, "URL_SCHEME"),
        ({"url": "https://user:pw@huggingface.co/o/r/resolve/main/x.safetensors"}, "URL_CREDENTIALS"),
    ],
)
def test_a_bad_item_stops_its_whole_request(
    comfyui: ComfyHostProcess, item: dict[str, str], expected: str
) -> None:
    good = {
        "folder": "vae",
        "filename": "never.safetensors",
        "url": "https://huggingface.co/o/r/resolve/main/never.safetensors",
    }
    status, body = ask(
        comfyui, "POST", f"{PREFIX}/downloads", {"items": [good, {**good, "filename": "b.pt", **item}]}
    )
    assert (status, body["error"]["code"]) == (400, expected)
    downloads = ask(comfyui, "GET", f"{PREFIX}/downloads")[1]["downloads"]
    assert not [download for download in downloads if download["filename"] == "never.safetensors"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "multipart/form-data"}, b"x"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"garbage"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\nbad header\r\n\r\n\r\n--x--\r\n"),
        ({"Content-Type": "multipart/mixed; boundary=x"}, b"--x\r\n\r\n\r\n--x--\r\n"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, b"not gzip"),
    ],
)
def test_malformed_bodies_are_told_from_failures(
    comfyui: ComfyHostProcess, headers: dict[str, str], body: bytes
) -> None:
    status, answer = ask(comfyui, "POST", f"{PREFIX}/analyze", body, {**headers, "X-Model-Resolver": "1"})
    assert status in (400, 415), answer


def test_half_characters_are_answered(comfyui: ComfyHostProcess) -> None:
    body = b'{"workflow": {"nodes": [{"id": "\\ud800", "type": "\\udfff", "widgets_values": ["x.pt"]}]}}'
    assert ask(comfyui, "POST", f"{PREFIX}/analyze", body, JSON)[0] == 200
    assert ask(comfyui, "POST", f"{PREFIX}/resolve", body, JSON)[1][-1] == {"done": True}


def test_head_of_the_events_ends(comfyui: ComfyHostProcess) -> None:
    assert ask(comfyui, "HEAD", f"{PREFIX}/events")[0] in (200, 405)


def test_a_broken_setting_is_told_to_the_editor_only(tmp_path: Path) -> None:
    with ComfyHostProcess(tmp_path, packs={"resolver": CHECKOUT}, env={"CMR_API_PORT": "many"}) as host:
        assert code(ask(host, "GET", f"{PREFIX}/health")) == (500, "SETTINGS_INVALID")
        assert code(ask(host, "GET", f"{PREFIX}/health", headers={"Host": "evil.example"})) == (
            403,
            "HOST_NOT_TRUSTED",
        )


def test_a_body_of_a_hundred_megabytes_is_refused(comfyui: ComfyHostProcess) -> None:
    try:
        answer = ask(comfyui, "POST", f"{PREFIX}/analyze", b" " * 100_000_000, JSON)
    except (ConnectionResetError, BrokenPipeError, urllib.error.URLError):
        return  # it hung up on us in the midst of it, which refuses it as well
    assert code(answer) == (413, "WORKFLOW_TOO_LARGE")


def test_hostile_workflows_are_answered_not_failed(comfyui: ComfyHostProcess) -> None:
    hostile = workflow(
        node(1, "VAELoader", ["../../../etc/passwd.pt"], properties=None),
        {"id": 2, "type": None},
        node(3, "CheckpointLoaderSimple", None, properties={"models": [None, {"name": "x"}, {"name": 1}]}),
        node(4, "VAELoader", ["x.safetensors"], properties=metadata("x.safetensors", "../../etc")),
    )
    status, analysis = ask(comfyui, "POST", f"{PREFIX}/analyze", {"workflow": hostile})
    assert status == 200
    assert {warning["code"] for warning in analysis["warnings"]} == {"NAME_UNSAFE", "NODE_SKIPPED"}
    assert [model["folder"] for model in analysis["models"]] == ["vae"]


# --- who is refused -----------------------------------------------------------------------------

EVIL = "http://evil.example"
ATTACKS = {
    "another origin": ({"Origin": EVIL}, 403),
    "origin null": ({"Origin": "null"}, 403),
    "dns rebinding": ({"Host": "evil.example", "Origin": EVIL}, 403),
    "dns rebinding without origin": ({"Host": "evil.example"}, 403),
    "lan host, other origin": ({"Host": "192.168.1.5:8188", "Origin": EVIL}, 403),
    "cross-site": ({"Sec-Fetch-Site": "cross-site"}, 403),
    "another port of this machine": ({"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"}, 403),
    "text/plain": ({"Content-Type": "text/plain"}, 415),
    "a form": ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
}
CHANGING = [route for route in ROUTES if route.method != "GET"]


@pytest.fixture(scope="module", params=["as started", "--enable-cors-header"])
def target(
    request: pytest.FixtureRequest, comfyui: ComfyHostProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComfyHostProcess]:
    if request.param == "as started":
        yield comfyui
        return
    with ComfyHostProcess(
        tmp_path_factory.mktemp("cors"), packs={"resolver": CHECKOUT}, cors_origin="*"
    ) as process:
        yield process


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_web_page_can_change_anything(target: ComfyHostProcess, attack: str) -> None:
    headers, expected = ATTACKS[attack]
    for route in CHANGING:
        if expected == 415 and route.method == "DELETE":
            continue  # carries no body; a page cannot send one to another origin without asking first
        path = PREFIX + re.sub(r"{\w+}", "x", route.path)
        status, _ = ask(target, route.method, path, b"{}", {**JSON, **headers})
        assert status == expected, (route, status)


@pytest.mark.parametrize("attack", [name for name, (_, status) in ATTACKS.items() if status == 403])
def test_no_web_page_can_read_anything(target: ComfyHostProcess, attack: str) -> None:
    for route in ROUTES:
        if route.method == "GET":
            status, _ = ask(
                target, "GET", PREFIX + re.sub(r"{\w+}", "x", route.path), headers=ATTACKS[attack][0]
            )
            assert status == 403, route


def test_the_same_requests_from_the_editor_work(target: ComfyHostProcess) -> None:
    editor = {"Origin": target.url, "Sec-Fetch-Site": "same-origin"}
    for route in ROUTES:
        if route.path == "/events":
            continue  # never ends
        status, _ = ask(
            target,
            route.method,
            PREFIX + re.sub(r"{\w+}", "x", route.path),
            None if route.method in ("GET", "DELETE") else {},
            editor,
        )
        assert status in (200, 400, 404), (route, status)

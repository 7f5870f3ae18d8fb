"""The routes on ComfyUI's own port, spoken to over real sockets: the contract, and who is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from demo.hub import running_hub
from demo.world import World
from resolver.http.table import PREFIX, ROUTES
from tests.comfy_host.driver import ComfyHostProcess, read_template
from tests.graphs import metadata, node, workflow

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
    """(status, parsed answer); NDJSON becomes a list of its lines."""
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
    return status, json.loads(content) if content else None


def code(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_health_says_where_it_runs(comfyui: ComfyHostProcess, prefix: str) -> None:
    status, body = ask(comfyui, "GET", f"{prefix}{PREFIX}/health")
    assert status == 200
    assert (body["status"], body["host"]) == ("ok", "comfyui")
    assert set(body["metrics"]) == {
        "cpu_percent",
        "memory_percent",
        "active_downloads",
        "queued_downloads",
        "free_bytes",
    }


def test_a_template_is_analysed_resolved_and_downloaded(comfyui: ComfyHostProcess, world: World) -> None:
    template = read_template(TEMPLATE)
    status, analysis = ask(comfyui, "POST", f"{PREFIX}/analyze", {"workflow": template})
    assert status == 200
    assert analysis["summary"]["missing"] == 4
    missing = {model["id"]: model for model in analysis["models"] if model["status"] == "missing"}
    assert set(missing) == {
        "loras/pixel_art_style_z_image_turbo.safetensors",
        "diffusion_models/z_image_turbo_bf16.safetensors",
        "text_encoders/qwen_3_4b.safetensors",
        "vae/ae.safetensors",
    }
    assert missing["vae/ae.safetensors"]["references"][0]["node_id"] == "64:53"

    status, lines = ask(comfyui, "POST", f"{PREFIX}/resolve", {"workflow": template})
    assert lines.pop() == {"done": True}
    assert {
        line["id"]: (line["state"], line["candidates"][0]["confidence"]) for line in lines
    } == dict.fromkeys(missing, ("resolved", "exact"))
    assert all(line["candidates"][0]["sha256"] and line["candidates"][0]["size"] for line in lines)

    items = [
        {
            "folder": missing[line["id"]]["folder"],
            "filename": missing[line["id"]]["name"],
            "url": line["candidates"][0]["url"],
        }
        for line in lines
    ]
    status, created = ask(comfyui, "POST", f"{PREFIX}/downloads", {"items": items})
    assert status == 202
    ended = wait_for(comfyui, {download["id"] for download in created["downloads"]})
    assert [(download["status"], download["verified"]) for download in ended] == [("completed", True)] * 4
    for download in ended:
        held = world.file_at(download["url"])
        assert held is not None
        assert Path(download["path"]).read_bytes() == held.content

    _, again = ask(comfyui, "POST", f"{PREFIX}/analyze", {"workflow": template})
    assert again["summary"] == {"total": 4, "present": 4, "missing": 0, "elsewhere": 0, "unknown": 0}
    _, files = ask(comfyui, "GET", f"{PREFIX}/library?folder=vae&query=AE")
    assert [file["name"] for file in files["files"]] == ["ae.safetensors"]
    # ComfyUI itself does not complain any more.
    assert comfyui.get("/api/object_info/VAELoader")[1]["VAELoader"]["input"]["required"]["vae_name"][0]

    status, refused = ask(comfyui, "POST", f"{PREFIX}/downloads", {"items": items[:1]})
    assert (status, refused["error"]["code"]) == (409, "FILE_EXISTS")


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


def test_a_file_may_be_sent_as_a_form(comfyui: ComfyHostProcess) -> None:
    content = json.dumps(workflow(node(1, "VAELoader", ["gone.safetensors"]))).encode()
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="w.json"\r\n\r\n'
        + content
        + b"\r\n--x--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert code(ask(comfyui, "POST", f"{PREFIX}/analyze", body, headers)) == (415, "CONTENT_TYPE")
    status, analysis = ask(comfyui, "POST", f"{PREFIX}/analyze", body, {**headers, "X-Model-Resolver": "1"})
    assert (status, [model["id"] for model in analysis["models"]]) == (200, ["vae/gone.safetensors"])


def test_what_the_user_states_counts_once_asked_afresh(comfyui: ComfyHostProcess) -> None:
    body = {"workflow": workflow(node(1, "Stack", {"first": "a.safetensors"}))}

    def folder_of(path: str) -> Any:
        return ask(comfyui, "POST", PREFIX + path, body)[1]["models"][0]["folder"]

    assert folder_of("/analyze") is None
    stated = comfyui.base / "user" / "model_resolver_folders.yaml"
    stated.write_text("Stack: {first: loras}")
    try:
        assert folder_of("/analyze") is None
        assert folder_of("/analyze?afresh=true") == "loras"
    finally:
        stated.unlink()
        assert folder_of("/analyze?afresh=true") is None


def test_a_picture_with_a_workflow_may_be_sent(comfyui: ComfyHostProcess) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", json.dumps(workflow(node(1, "VAELoader", ["in-picture.safetensors"]))))
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG", pnginfo=info)
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="w.png"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x", "X-Model-Resolver": "1"}
    body = head + picture.getvalue() + b"\r\n--x--\r\n"
    _, analysis = ask(comfyui, "POST", f"{PREFIX}/analyze", body, headers)
    assert [model["id"] for model in analysis["models"]] == ["vae/in-picture.safetensors"]


def test_the_models_of_a_file_are_resolved_with_what_its_notes_say(
    comfyui: ComfyHostProcess, world: World
) -> None:
    repo, held = next((repo, file) for repo in world.repos.values() for file in repo.files)
    link = f"https://huggingface.co/{repo.id}/resolve/main/{held.path}"
    name = held.path.rsplit("/", 1)[-1]
    content = workflow(
        node(1, "VAELoader", [name]),
        node(2, "MarkdownNote", [f"[the model]({link})"]),
        node(3, "VAELoader", ["x.pt"]),
    )
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", json.dumps(content))
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG", pnginfo=info)
    body = FORM_HEAD + picture.getvalue() + b"\r\n--x--\r\n"
    assert code(ask(comfyui, "POST", f"{PREFIX}/resolve", body, FORM)) == (415, "CONTENT_TYPE")
    status, lines = ask(comfyui, "POST", f"{PREFIX}/resolve", body, {**FORM, "X-Model-Resolver": "1"})
    assert (status, lines.pop()) == (200, {"done": True})
    found = {line["id"]: line for line in lines}
    assert set(found) == {f"vae/{name}", "vae/x.pt"}
    best = found[f"vae/{name}"]["candidates"][0]
    assert (best["url"], "note_link" in best["evidence"]) == (link, True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{", (400, "WORKFLOW_NOT_JSON")),
        (b'{"some": "thing"}', (400, "WORKFLOW_NOT_RECOGNISED")),
        (b"\x89PNG\r\n\x1a\n", (400, "FILE_DAMAGED")),
        (bytes(64 * 1024 * 1024 + 1), (413, "WORKFLOW_TOO_LARGE")),
    ],
)
@pytest.mark.parametrize("path", ["/analyze", "/resolve"])
def test_a_file_without_a_workflow_is_refused_with_a_code(
    comfyui: ComfyHostProcess, path: str, content: bytes, expected: tuple[int, str]
) -> None:
    body = FORM_HEAD + content + b"\r\n--x--\r\n"
    assert code(ask(comfyui, "POST", PREFIX + path, body, {**FORM, "X-Model-Resolver": "1"})) == expected


def test_openapi_says_which_bodies_may_be_forms(comfyui: ComfyHostProcess) -> None:
    _, document = ask(comfyui, "GET", f"{PREFIX}/openapi.json")
    forms = {
        path
        for path, methods in document["paths"].items()
        if "multipart/form-data" in methods.get("post", {}).get("requestBody", {}).get("content", {})
    }
    assert forms == {f"{PREFIX}/analyze", f"{PREFIX}/resolve"}


def test_folders_say_where_a_file_would_go(comfyui: ComfyHostProcess) -> None:
    _, answer = ask(comfyui, "GET", f"{PREFIX}/folders")
    folders = {folder["name"]: folder for folder in answer["folders"]}
    assert folders["diffusion_models"]["default_root"].endswith("models/diffusion_models"), "not models/unet"
    assert "custom_nodes" not in folders
    outputs = [root for root in folders["checkpoints"]["roots"] if "/output/" in root["path"]]
    assert [root["writable"] for root in outputs] == [False]
    assert all(root["free_bytes"] > 0 for folder in folders.values() for root in folder["roots"])


def hash_and_wait(host: ComfyHostProcess, body: Any = None) -> dict[str, Any]:
    status, state = ask(host, "POST", f"{PREFIX}/library/hash", body)
    assert status == 200, state
    deadline = time.monotonic() + 60
    while state["state"] != "idle":
        assert time.monotonic() < deadline, state
        time.sleep(0.05)
        state = ask(host, "GET", f"{PREFIX}/library/hash")[1]
    return dict(state)


def test_the_library_is_hashed_and_then_judged_by_content(comfyui: ComfyHostProcess) -> None:
    content = b"the same in both"
    for place in ("style_models/first.safetensors", "gligen/second.safetensors"):
        path = comfyui.base / "models" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()

    def shown() -> dict[str, str | None]:
        files = ask(comfyui, "GET", f"{PREFIX}/library")[1]["files"]
        return {file["name"]: file["sha256"] for file in files}

    assert shown()["first.safetensors"] is None
    state = hash_and_wait(comfyui, {"folder": "style_models"})
    assert (state["folder"], state["done"], state["total"], state["failed"]) == ("style_models", 1, 1, 0)
    assert (shown()["first.safetensors"], shown()["second.safetensors"]) == (sha256, None)
    hash_and_wait(comfyui)
    assert shown()["second.safetensors"] == sha256

    _, duplicates = ask(comfyui, "GET", f"{PREFIX}/library/duplicates")
    group = next(group for group in duplicates["groups"] if group["sha256"] == sha256)
    assert (group["copies"], group["wasted"]) == (2, len(content))
    assert {file["folder"] for file in group["files"]} == {"style_models", "gligen"}
    _, found = ask(comfyui, "GET", f"{PREFIX}/library?query={sha256[:10]}")
    assert {file["name"] for file in found["files"]} == {"first.safetensors", "second.safetensors"}

    stated = metadata("renamed.safetensors", "style_models", hash=sha256, hash_type="SHA256")
    asked = workflow(node(1, "StyleModelLoader", ["renamed.safetensors"], properties=stated))
    _, analysis = ask(comfyui, "POST", f"{PREFIX}/analyze", {"workflow": asked})
    (model,) = analysis["models"]
    assert model["status"] == "elsewhere"
    assert [(a["folder"], a["name"], a["same_content"], a["score"]) for a in model["alternatives"]] == [
        ("style_models", "first.safetensors", True, 1.0),
        ("gligen", "second.safetensors", True, 0.85),
    ]


def test_hashing_is_paused_resumed_and_cancelled_by_request(comfyui: ComfyHostProcess) -> None:
    endless = comfyui.base / "models/gligen/endless.safetensors"
    endless.write_bytes(b"")
    os.truncate(endless, 1 << 40)  # more than can be read during the test

    def tell(action: str, **extra: str) -> Any:
        return ask(comfyui, "POST", f"{PREFIX}/library/hash", {"action": action, **extra})[1]

    try:
        tell("start")
        paused = tell("pause")
        assert paused["state"] == "paused"
        refused = ask(comfyui, "POST", f"{PREFIX}/library/hash", {"folder": "vae"})
        assert code(refused) == (409, "HASHING_RUNS")
        # Whether ComfyUI or a download is at work, it may be waiting.
        assert tell("resume")["state"] in ("running", "waiting")
        with urllib.request.urlopen(f"{comfyui.url}{PREFIX}/events", timeout=30) as events:
            told = next(json.loads(line.removeprefix(b"data: ")) for line in events if b'"hashing"' in line)
        assert set(told["hashing"]) >= {"state", "done", "total", "bytes_done", "bytes_total"}
    finally:
        ended = tell("cancel")
        endless.unlink()
    assert (ended["state"], ended["done"] < ended["total"]) == ("idle", True)


def test_settings_show_no_secret(comfyui: ComfyHostProcess) -> None:
    _, answer = ask(comfyui, "GET", f"{PREFIX}/settings")
    settings = {setting["name"]: setting for setting in answer["settings"]}
    assert settings["CMR_HF_TOKEN"]["value"] is None
    assert settings["CMR_DISK_RESERVE"]["source"] == "environment"


def test_openapi_describes_every_route(comfyui: ComfyHostProcess) -> None:
    _, document = ask(comfyui, "GET", f"{PREFIX}/openapi.json")
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, PREFIX + route.path) for route in ROUTES}


# --- bad input ----------------------------------------------------------------------------------


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

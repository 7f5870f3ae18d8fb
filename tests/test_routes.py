"""The routes on ComfyUI's own port: the contract."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from demo.world import World
from resolver.http.table import PREFIX, ROUTES
from tests.comfy_host.driver import ComfyHostProcess, read_template
from tests.graphs import metadata, node, workflow
from tests.route_calls import FORM, FORM_HEAD, TEMPLATE, ask, code, comfyui, wait_for, world

__all__ = ["comfyui", "world"]


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
    for path in (comfyui.base / "models").rglob(name):
        path.unlink()  # another test's: under that name in another folder it would not be missing
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
    before = ask(comfyui, "GET", f"{PREFIX}/library/hash")[1]
    state = hash_and_wait(comfyui, {"folder": "style_models"})
    assert before["unhashed_files"] - state["unhashed_files"] == 1
    assert before["unhashed_bytes"] - state["unhashed_bytes"] == len(content)
    assert (state["folder"], state["done"], state["total"], state["failed"]) == ("style_models", 1, 1, 0)
    assert (shown()["first.safetensors"], shown()["second.safetensors"]) == (sha256, None)
    state = hash_and_wait(comfyui)
    assert (state["folder"], state["unhashed_files"], state["unhashed_bytes"]) == (None, 0, 0)
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
        progress = told["hashing"]
        assert set(progress) >= {"state", "folder", "done", "total", "bytes_done", "bytes_total"}
        assert progress["unhashed_files"] >= 1
        assert progress["unhashed_bytes"] >= 1 << 40, "however far it has been read"
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


def exported(host: ComfyHostProcess, **body: Any) -> tuple[int, str, str]:
    """(status, content type, text) of ``export``."""
    request = urllib.request.Request(
        f"{host.url}{PREFIX}/export",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get_content_type(), error.read().decode()


def test_export_gives_a_script_for_a_workflow(comfyui: ComfyHostProcess) -> None:
    name, url = "lacking.safetensors", "https://huggingface.co/o/lacking/resolve/main/lacking.safetensors"
    asked = workflow(node(1, "VAELoader", [name], properties=metadata(name, "vae", url)))
    status, kind, text = exported(comfyui, workflow=asked, format="bash", online=False)
    assert (status, kind, text.splitlines()[0]) == (200, "text/plain", "#!/usr/bin/env bash")
    assert f"fetch vae/{name} '' '' " in text
    assert url in text


@pytest.mark.parametrize("format_name", ["json", "lock"])
def test_export_gives_json_for_stated_models(comfyui: ComfyHostProcess, format_name: str) -> None:
    url = "https://huggingface.co/o/r/resolve/main/x.safetensors"
    model = {"folder": "unet", "name": "a\\x.safetensors", "url": url, "sha256": "ab" * 32, "size": 9}
    status, kind, text = exported(comfyui, models=[model], format=format_name, online=False)
    assert (status, kind) == (200, "application/json")
    (told,) = json.loads(text)["files" if format_name == "json" else "models"]
    assert (told["folder"], told["name"]) == ("diffusion_models", "a/x.safetensors")
    assert (told["sha256"], told["size"]) == ("ab" * 32, 9)
    assert url in (told.get("url"), *told.get("urls", ()))


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"models": [], "format": "exe"}, "BAD_FORMAT"),
        ({"format": "bash"}, "BODY_INVALID"),
        ({"models": [], "workflow": {}, "format": "bash"}, "BODY_INVALID"),
        ({"workflow": {"no": "workflow"}, "format": "bash"}, "WORKFLOW_NOT_RECOGNISED"),
        ({"models": [{"folder": "vae", "name": "../x.pt"}], "format": "bash"}, "NAME_UNSAFE"),
        ({"models": [{"folder": "custom_nodes", "name": "x.pt"}], "format": "bash"}, "FOLDER_UNKNOWN"),
    ],
)
def test_export_refuses_clearly(comfyui: ComfyHostProcess, body: Any, refusal: str) -> None:
    status, _, text = exported(comfyui, **body)
    assert (status, json.loads(text)["error"]["code"]) == (400, refusal)


def test_openapi_says_what_export_answers(comfyui: ComfyHostProcess) -> None:
    _, document = ask(comfyui, "GET", f"{PREFIX}/openapi.json")
    answer = document["paths"][f"{PREFIX}/export"]["post"]["responses"]["200"]
    assert set(answer["content"]) == {"text/plain", "application/json"}

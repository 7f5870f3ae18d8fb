"""In the real frontend: a workflow file dropped on the sidebar is looked at there, not opened."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image, PngImagePlugin
from playwright.sync_api import Locator, Page, Route, expect

from demo.hub import running_hub
from demo.world import World
from tests.comfy_host.driver import ComfyHostProcess, read_template, set_locale, set_theme, watch
from tests.editor_graphs import MISSING, TEMPLATE, one_loader
from tests.editor_page import CHECKOUT, RESERVE, open_panel, part, row, screenshot, tab, wait_until

PANEL = "model-resolver-panel"
CANVAS = "#graph-canvas"


@pytest.fixture(scope="module")
def world() -> World:
    return World.for_workflow(read_template(TEMPLATE))


@pytest.fixture
def host(tmp_path: Path, world: World) -> Iterator[ComfyHostProcess]:
    """A ComfyUI with this pack and a checkpoint, and the demo hub."""
    with running_hub(world) as hub:
        process = ComfyHostProcess(
            tmp_path / "comfy", packs={"model-resolver": CHECKOUT}, env={**hub.environment(), **RESERVE}
        )
        process.add_model("checkpoints/base.safetensors")
        process.add_model("loras/here/x.safetensors")
        with process:
            yield process


# -- files -------------------------------------------------------------------------------------------


def as_json(workflow: Any) -> bytes:
    return json.dumps(workflow).encode()


def as_png(workflow: Any) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", json.dumps(workflow))
    return picture("PNG", pnginfo=info)


def as_webp(workflow: Any) -> bytes:
    exif = Image.new("RGB", (1, 1)).getexif()
    exif[0x010F] = "workflow:" + json.dumps(workflow)
    return picture("WEBP", exif=exif)


def picture(form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (40, 90, 160)).save(out, form, **options)
    return out.getvalue()


def as_mp4(workflow: Any) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4", options={"movflags": "use_metadata_tags"}) as film:
        film.metadata["workflow"] = json.dumps(workflow)
        stream = film.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for frame in (av.VideoFrame(64, 64, "yuv420p"), None):
            film.mux(stream.encode(frame))
    return out.getvalue()


# -- steps -------------------------------------------------------------------------------------------


class Drag:
    """Files held over the page with the mouse, as the browser itself tells it: the events are trusted."""

    def __init__(self, page: Page, *files: Path) -> None:
        self._session = page.context.new_cdp_session(page)
        self._data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}

    def over(self, target: Locator) -> Drag:
        self._send("dragEnter", target)
        return self._send("dragOver", target)

    def drop(self, target: Locator) -> None:
        self.over(target)._send("drop", target)

    def _send(self, kind: str, target: Locator) -> Drag:
        box = target.bounding_box()
        assert box is not None
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + min(box["height"], 600) / 2}
        self._session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": self._data})
        return self


def saved(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def open_tabs(page: Page) -> list[str]:
    return page.evaluate("window.app.extensionManager.workflow.openWorkflows.map(({ path }) => path)")


def node_types(page: Page) -> list[str]:
    return page.evaluate("window.app.rootGraph.nodes.map(node => node.type).sort()")


# -- tests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "write"),
    [("w.json", as_json), ("art.png", as_png), ("art.webp", as_webp), ("film.mp4", as_mp4)],
)
def test_a_dropped_file_is_resolved_and_the_open_graph_stays(
    page: Page, host: ComfyHostProcess, tmp_path: Path, name: str, write: Any
) -> None:
    seen = watch(page)
    open_panel(page, host, one_loader("old/x.safetensors"))
    before = (open_tabs(page), node_types(page))
    file = saved(tmp_path, name, write(read_template(TEMPLATE)))

    Drag(page, file).drop(page.locator(PANEL))
    for model in MISSING:
        confidence = row(page, model).locator("[data-testid='model-resolver-confidence']")
        expect(confidence).to_have_text("Exact")  # by what the workflow in the file says
    expect(part(page, "file-bar")).to_contain_text(name)
    expect(row(page, "loras/old/x.safetensors")).to_have_count(0)
    expect(tab(page)).to_have_text("1")  # still of the graph
    page.wait_for_timeout(500)
    assert (open_tabs(page), node_types(page)) == before, "the editor did not take the file"

    part(page, "file-back").click()
    expect(row(page, "loras/old/x.safetensors")).to_be_visible()
    expect(part(page, "file-bar")).to_have_count(0)
    assert [error for error in seen.errors if "model-resolver" in error.lower()] == []


def test_the_panel_says_that_a_file_may_be_dropped_and_the_canvas_still_opens_it(
    page: Page, host: ComfyHostProcess, tmp_path: Path
) -> None:
    open_panel(page, host, one_loader("old/x.safetensors"))
    set_theme(page, "dark")
    file = saved(tmp_path, "art.png", as_png(read_template(TEMPLATE)))
    hint = page.locator(".drop-hint")
    drag = Drag(page, file).over(page.locator(PANEL))
    expect(hint).to_be_visible()
    expect(hint).to_have_text("Drop it to see which models it needs")
    screenshot(page, "drop-over-dark")
    drag.over(page.locator(CANVAS))
    expect(hint).to_be_hidden()

    drag.drop(page.locator(CANVAS))
    for model in MISSING:
        expect(row(page, model)).to_be_visible()
    expect(part(page, "file-bar")).to_have_count(0)
    assert any("art" in path for path in open_tabs(page)), "it is open in the editor"


def test_its_models_are_downloaded_and_its_nodes_are_not_those_on_the_canvas(
    page: Page, host: ComfyHostProcess, tmp_path: Path, world: World
) -> None:
    open_panel(page, host, one_loader("old/x.safetensors"))
    workflow = read_template(TEMPLATE)
    workflow["nodes"] += [
        {
            "id": 900,
            "type": "LoraLoaderModelOnly",
            "mode": 0,
            "inputs": [],
            "properties": {},
            "outputs": [{"name": "MODEL", "type": "MODEL", "links": [900]}],
            "widgets_values": ["old/x.safetensors", 1],
        },
        {
            "id": 901,
            "type": "PreviewAny",
            "mode": 0,
            "outputs": [],
            "properties": {},
            "inputs": [{"name": "source", "type": "*", "link": 900}],
        },
    ]
    workflow["links"].append([900, 900, 0, 901, 0, "MODEL"])
    Drag(page, saved(tmp_path, "w.json", as_json(workflow))).drop(page.locator(PANEL))

    elsewhere = row(page, "loras/old/x.safetensors")
    expect(elsewhere.locator("[data-testid='model-resolver-elsewhere']")).to_contain_text("here/x")
    expect(elsewhere.locator("[data-testid='model-resolver-relink']")).to_have_count(0)
    vae = row(page, "vae/ae.safetensors")
    vae.locator("[data-testid='model-resolver-toggle']").click()
    expect(vae.locator(".node")).to_contain_text("VAELoader")
    expect(vae.locator("[data-testid='model-resolver-node']")).to_have_count(0)
    expect(vae.locator("[data-testid='model-resolver-locate']")).to_have_count(0)
    set_theme(page, "dark")
    screenshot(page, "drop-file-dark")
    set_theme(page, "light")
    screenshot(page, "drop-file-light")

    expect(part(page, "download-all")).to_contain_text("4")
    part(page, "download-all").click()
    for model in MISSING:
        expect(row(page, model)).to_have_attribute("data-state", "completed")
        assert host.model_path(model).is_file()
    expect(tab(page)).to_have_text("1")


def test_the_file_can_be_opened_in_the_editor(page: Page, host: ComfyHostProcess, tmp_path: Path) -> None:
    open_panel(page, host, one_loader("old/x.safetensors"))
    Drag(page, saved(tmp_path, "art.webp", as_webp(read_template(TEMPLATE)))).drop(page.locator(PANEL))
    part(page, "file-open").click()
    expect(part(page, "file-bar")).to_have_count(0)
    expect(tab(page)).to_have_text("4")
    vae = row(page, "vae/ae.safetensors")
    vae.locator("[data-testid='model-resolver-toggle']").click()
    expect(vae.locator("[data-testid='model-resolver-node']")).to_be_visible()


def test_edits_of_the_graph_are_counted_while_a_file_is_shown(
    page: Page, host: ComfyHostProcess, tmp_path: Path
) -> None:
    open_panel(page, host, one_loader("old/x.safetensors"))
    expect(tab(page)).to_have_text("1")
    slow: list[Route] = []
    page.route("**/analyze?afresh=true", lambda route: slow.append(route))
    Drag(page, saved(tmp_path, "w.json", as_json(read_template(TEMPLATE)))).drop(page.locator(PANEL))
    expect(part(page, "file-bar")).to_be_visible()
    wait_until(page, lambda: len(slow) == 2)
    page.evaluate(
        """() => {
            window.app.rootGraph.getNodeById(2).widgets[0].value = 'here/x.safetensors'
            window.app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()
        }"""
    )
    expect(tab(page)).to_have_text("")
    for route in slow:  # of the file, and of the graph before it was edited
        route.continue_()
    expect(row(page, "vae/ae.safetensors")).to_be_visible()
    expect(tab(page)).to_have_text("")
    # The editor's button means the graph that is open.
    page.get_by_role("button", name="Resolve missing models").filter(has_text="Models").click()
    expect(page.get_by_text("All models are here")).to_be_visible()


def test_a_file_is_chosen_by_keyboard_as_well(page: Page, host: ComfyHostProcess, tmp_path: Path) -> None:
    open_panel(page, host, one_loader("old/x.safetensors"))
    file = saved(tmp_path, "w.json", as_json(read_template(TEMPLATE)))
    chooser = page.get_by_label("Look at a workflow file")
    with page.expect_file_chooser() as asked:
        chooser.press("Enter")
    asked.value.set_files(file)
    expect(row(page, "vae/ae.safetensors")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("photo.png", picture("PNG"), "WORKFLOW_NOT_IN_FILE"),
        ("cut.png", as_png({"nodes": []})[:60], "FILE_DAMAGED"),
        ("list.json", b'{"shopping": ["milk"]}', "WORKFLOW_NOT_RECOGNISED"),
        ("notes.txt", b"hello", "WORKFLOW_NOT_JSON"),
        ("large.mp4", bytes(64 * 1024 * 1024 + 1), "WORKFLOW_TOO_LARGE"),
        ("large.json", b'{"nodes": "' + bytes(11 * 1024 * 1024) + b'"}', "WORKFLOW_TOO_LARGE"),
    ],
)
def test_a_file_without_a_workflow_says_what_is_wrong_with_it(
    page: Page, host: ComfyHostProcess, tmp_path: Path, name: str, content: bytes, code: str
) -> None:
    open_panel(page, host, one_loader("old/x.safetensors"))
    Drag(page, saved(tmp_path, name, content)).drop(page.locator(PANEL))
    unreadable = part(page, "unreadable")
    expect(unreadable).to_contain_text("This file cannot be used")
    expect(unreadable).to_contain_text(code)
    expect(part(page, "file-open")).to_have_count(0)
    expect(part(page, "download-all")).to_have_count(0)
    if code == "WORKFLOW_NOT_IN_FILE":
        screenshot(page, "drop-unreadable")
        set_locale(page, "zh")
        expect(unreadable).to_contain_text("无法使用此文件")
        screenshot(page, "drop-unreadable-zh")
    part(page, "file-back").click()
    expect(row(page, "loras/old/x.safetensors")).to_be_visible()

"""In the real frontend: a model that a text names, or whose name comes out of a subgraph, is relinked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.comfy_host.driver import ComfyHostProcess
from tests.editor_graphs import checkpoint, graph, lora, node, preview
from tests.editor_page import CHECKOUT, RESERVE, expect_values, open_panel, part, row, tab, values

BEFORE = "a cat <lora:old/x:0.8>, (embedding:old/e:1.2) <LORA: old/x :1:0.5> old/x <lora:z:1>"
AFTER = "a cat <lora:x:0.8>, (embedding:new/e:1.2) <LORA: x :1:0.5> old/x <lora:z:1>"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ComfyHostProcess]:
    process = ComfyHostProcess(tmp_path / "comfy", packs={"model-resolver": CHECKOUT}, env=RESERVE)
    for name in ("checkpoints/base", "loras/sub/x", "loras/z", "embeddings/new/e"):
        process.add_model(f"{name}.safetensors")
    with process:
        yield process


def relink(page: Page, model: str) -> None:
    row(page, model).locator("[data-testid='model-resolver-relink']").click()


def prompt(node_id: int, text: str, wired: int | None = None) -> dict[str, Any]:
    inputs = [("clip", "CLIP", 1, False), ("text", "STRING", wired, True)]
    return node(node_id, "CLIPTextEncode", [text], inputs, [("CONDITIONING", [])])


def test_the_tags_in_a_text_are_set_and_nothing_else_of_it(page: Page, host: ComfyHostProcess) -> None:
    start = checkpoint(1, [])
    start["outputs"][1]["links"] = [1]
    open_panel(page, host, graph([start, prompt(2, BEFORE)], [[1, 1, 1, 2, 0, "CLIP"]]))
    expect(part(page, "relink-all")).to_have_text("Relink 2")
    part(page, "relink-all").click()
    expect_values(page, 2, [AFTER])
    expect(tab(page)).to_have_text("")
    page.keyboard.press("Control+z")
    expect_values(page, 2, [BEFORE])
    relink(page, "embeddings/old/e.safetensors")
    expect_values(page, 2, [BEFORE.replace("old/e", "new/e")])


def test_the_tags_in_a_text_that_is_wired_in_are_set_where_it_is_written(
    page: Page, host: ComfyHostProcess
) -> None:
    start = checkpoint(1, [])
    start["outputs"][1]["links"] = [1]
    text = node(3, "PrimitiveString", [BEFORE], [("value", "STRING", None, True)], [("STRING", [2])])
    workflow = graph(
        [start, prompt(2, "unused", wired=2), text], [[1, 1, 1, 2, 0, "CLIP"], [2, 3, 0, 2, 1, "STRING"]]
    )
    open_panel(page, host, workflow)
    part(page, "relink-all").click()
    expect_values(page, 3, [AFTER])
    page.keyboard.press("Control+z")
    expect_values(page, 3, [BEFORE])


def test_a_name_that_comes_out_of_a_subgraph_is_set_where_it_is_written(
    page: Page, host: ComfyHostProcess
) -> None:
    text = node(
        7, "PrimitiveString", ["old/x.safetensors"], [("value", "STRING", None, True)], [("STRING", [1])]
    )
    inside = {
        "id": "5e1ec7ed-0001-4000-8000-000000000000",
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": 9, "lastLinkId": 9, "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": "Name",
        "inputNode": {"id": -10, "bounding": [0, 0, 120, 100]},
        "outputNode": {"id": -20, "bounding": [900, 0, 120, 100]},
        "inputs": [],
        "outputs": [
            {"id": "5e1ec7ed-0001-4000-8000-000000000001", "name": "STRING", "type": "STRING", "linkIds": [1]}
        ],
        "widgets": [],
        "nodes": [text],
        "groups": [],
        "links": [
            {"id": 1, "origin_id": 7, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "STRING"}
        ],
        "extra": {},
    }
    workflow = graph(
        [
            checkpoint(1, [1]),
            lora(2, "unused.safetensors", 1, [2], named=5),
            preview(3, 2),
            node(4, inside["id"], [], [], [("STRING", [5])]),
        ],
        [[1, 1, 0, 2, 0, "MODEL"], [2, 2, 0, 3, 0, "MODEL"], [5, 4, 0, 2, 1, "STRING"]],
        [inside],
    )
    open_panel(page, host, workflow)
    written = "window.app.rootGraph.getNodeById(4).subgraph.nodes[0].widgets[0].value"
    relink(page, "loras/old/x.safetensors")
    page.wait_for_function(f"() => {written} === 'sub/x.safetensors'")
    assert values(page)["2"][0] == "unused.safetensors"
    page.keyboard.press("Control+z")
    page.wait_for_function(f"() => {written} === 'old/x.safetensors'")

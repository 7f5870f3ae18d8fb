"""The editor's page as the browser tests see it: where our parts are, and what it complains of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.comfy_host.driver import ComfyHostProcess, load_workflow, open_editor

CHECKOUT = Path(__file__).resolve().parent.parent
SHOTS = Path(__file__).resolve().parent / ".screenshots"
RESERVE = {"CMR_DISK_RESERVE": "1MB"}
"""So that a nearly full disk does not fail the tests."""

PATIENCE = 60_000
"""Milliseconds until what a page waits for has failed to come, on however busy a machine: see ``browser``."""

OUTLINED = """() => {
    const found = []
    const look = graph => graph.nodes.forEach(node => {
        if (node.has_errors) found.push(String(node.id))
        if (node.isSubgraphNode?.()) look(node.subgraph)
    })
    look(window.app.rootGraph)
    return found
}"""
"""A function of the page: ids of the nodes with a red outline, those in subgraphs too."""

VALUES = """() => Object.fromEntries(window.app.rootGraph.nodes
    .map(node => [String(node.id), (node.widgets ?? []).map(widget => widget.value)]))"""
"""A function of the page: the values of the root graph's widgets, by node id."""


def part(page: Page, name: str) -> Locator:
    """The parts of the panel by test id, without its prefix."""
    return page.locator(f"[data-testid='model-resolver-{name}']")


def row(page: Page, model: str) -> Locator:
    """A model's row, by the model's id."""
    return page.locator(f"[data-testid='model-resolver-row'][data-model-id='{model}']")


def tab(page: Page) -> Locator:
    """The tab's button in the sidebar; its text is the badge."""
    return page.locator(".side-tool-bar-container button[aria-label='Resolve missing models']")


def screenshot(page: Page, name: str) -> None:
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


def open_panel(page: Page, host: ComfyHostProcess, workflow: dict[str, Any]) -> None:
    open_editor(page, host.url)
    load_workflow(page, workflow)
    page.evaluate("window.app.extensionManager.sidebarTab.toggleSidebarTab('model-resolver')")
    expect(part(page, "badge")).to_be_visible()


def choose(page: Page, workflow: Mapping[str, Any]) -> None:
    """Choose a file that holds the workflow, on the page of the program's own server."""
    content = json.dumps(workflow).encode()
    part(page, "file").set_input_files({"name": "w.json", "mimeType": "application/json", "buffer": content})


def values(page: Page) -> dict[str, list[Any]]:
    return page.evaluate(VALUES)


def expect_values(page: Page, node_id: int, wanted: list[Any]) -> None:
    """Values also change by undo and redo, which load the graph anew."""
    page.wait_for_function(
        f"([id, wanted]) => JSON.stringify(({VALUES})()[id]) === wanted",
        arg=[str(node_id), json.dumps(wanted, separators=(",", ":"))],
    )


def wait_until(page: Page, condition: Callable[[], bool]) -> None:
    for _ in range(PATIENCE // 100):
        if condition():
            return
        page.wait_for_timeout(100)
    pytest.fail(f"it did not happen within {PATIENCE // 1000} seconds")

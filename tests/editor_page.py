"""The editor's page as the browser tests see it: where our parts are, and what it complains of."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Locator, Page

CHECKOUT = Path(__file__).resolve().parent.parent
SHOTS = Path(__file__).resolve().parent / ".screenshots"
RESERVE = {"CMR_DISK_RESERVE": "1MB"}
"""So that a nearly full disk does not fail the tests."""

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

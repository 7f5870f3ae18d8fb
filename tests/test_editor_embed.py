"""In the real frontend: ComfyUI's own panel offers what we embed, and misses nothing in what we relink."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from demo.hub import running_hub
from demo.world import World
from resolver.cli import main
from resolver.http.table import PREFIX
from tests.comfy_host.driver import ComfyHostProcess, load_workflow, open_editor, read_template, watch
from tests.editor_graphs import TEMPLATE
from tests.editor_page import CHECKOUT, RESERVE, screenshot
from tests.test_embed import nodes_of, stated, without_metadata

CANDIDATES = """() => (document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia
    ._s.get('missingModel').missingModelCandidates ?? [])
    .map(({ name, directory, url, hash, hashType }) => [name, directory, url, hash, hashType])"""
"""What the native panel knows of each missing model."""


@pytest.fixture(scope="module")
def world() -> World:
    return World.for_workflow(read_template(TEMPLATE))


@pytest.fixture
def host(tmp_path: Path, world: World) -> Iterator[ComfyHostProcess]:
    with (
        running_hub(world) as hub,
        ComfyHostProcess(
            tmp_path / "comfy", packs={"model-resolver": CHECKOUT}, env={**hub.environment(), **RESERVE}
        ) as process,
    ):
        yield process


def open_native_panel(page: Page) -> None:
    page.get_by_test_id("error-overlay-see-errors").click()
    expect(page.get_by_test_id("missing-model-locate").first).to_be_visible()


def test_the_native_panel_offers_the_very_files_that_were_embedded(
    page: Page, host: ComfyHostProcess, world: World
) -> None:
    seen = watch(page)
    bare = without_metadata(read_template(TEMPLATE))
    open_editor(page, host.url)
    load_workflow(page, bare, "bare")
    open_native_panel(page)
    expect(page.get_by_test_id("missing-model-download")).to_have_count(0)
    assert all(url is None for _, _, url, _, _ in page.evaluate(CANDIDATES))
    screenshot(page, "native-panel-bare")

    status, embedded = host.post(f"{PREFIX}/embed", {"workflow": bare})
    assert status == 200
    wanted = {
        (entry["name"], entry["directory"], entry["url"], entry["hash"], "SHA256")
        for entry in stated(embedded).values()
    }
    load_workflow(page, embedded, "embedded")
    open_native_panel(page)
    offered = page.get_by_test_id("missing-model-download")
    expect(offered).to_have_count(4)
    assert {tuple(one) for one in page.evaluate(CANDIDATES)} == wanted
    for name, _, url, _, _ in wanted:
        assert world.file_at(url) is not None
        expect(page.get_by_role("button", name=f"Download {name}")).to_be_visible()
    screenshot(page, "native-panel-embedded")
    assert seen.errors == []


def test_the_editor_keeps_what_was_embedded(page: Page, host: ComfyHostProcess) -> None:
    _, embedded = host.post(f"{PREFIX}/embed", {"workflow": without_metadata(read_template(TEMPLATE))})
    wanted = stated(embedded)
    open_editor(page, host.url)
    load_workflow(page, embedded)
    assert by_number(stated(saved(page))) == by_number(wanted)

    count = "() => window.app.rootGraph.nodes.length"
    before = page.evaluate(count)
    page.evaluate("""() => {
        const tracker = window.app.extensionManager.workflow.activeWorkflow.changeTracker
        window.app.rootGraph.add(window.LiteGraph.createNode('PreviewAny'))
        tracker.captureCanvasState?.() ?? tracker.checkState()
    }""")
    assert page.evaluate(count) == before + 1
    page.evaluate("() => window.app.extensionManager.command.execute('Comfy.Undo')")
    page.wait_for_function(f"({count})() === {before}")
    undone = saved(page)
    assert by_number(stated(undone)) == by_number(wanted)

    # A page that knows nothing of it loads the file.
    page.goto("about:blank")
    open_editor(page, host.url)
    load_workflow(page, undone, "saved")
    assert by_number(stated(saved(page))) == by_number(wanted)


def saved(page: Page) -> dict[str, Any]:
    """The graph as the editor writes it into a file."""
    content: dict[str, Any] = json.loads(
        page.evaluate("() => JSON.stringify(window.app.rootGraph.serialize())")
    )
    return content


def by_number(entries: dict[tuple[Any, str], Any]) -> dict[tuple[str, str], Any]:
    """The frontend turns ids into texts."""
    return {(str(node_id), name): entry for (node_id, name), entry in entries.items()}


def test_a_relinked_file_misses_nothing_in_the_native_panel(
    page: Page, host: ComfyHostProcess, tmp_path: Path
) -> None:
    template = read_template(TEMPLATE)
    places = {
        entry["name"]: f"{entry['directory']}/some/{entry['name']}" for entry in stated(template).values()
    }
    for place in places.values():
        host.add_model(place)
    file = tmp_path / "w.json"
    file.write_text(json.dumps(template))
    assert main(["relink", str(file), "--comfyui-root", str(host.base)]) == 0
    relinked = json.loads((tmp_path / "w.relinked.json").read_text())

    open_editor(page, host.url)
    load_workflow(page, template, "before")
    open_native_panel(page)
    missing = {name for name, *_ in page.evaluate(CANDIDATES)}
    assert missing == set(places)
    screenshot(page, "native-panel-before-relinking")

    load_workflow(page, relinked, "after")
    page.wait_for_function(f"({CANDIDATES})().length === 0")
    expect(page.get_by_test_id("missing-model-locate")).to_have_count(0)
    expect(page.get_by_test_id("error-overlay")).to_have_count(0)
    screenshot(page, "native-panel-after-relinking")
    assert {entry["name"] for entry in stated(relinked).values()} == {f"some/{name}" for name in places}
    assert len(list(nodes_of(relinked))) == len(list(nodes_of(template)))

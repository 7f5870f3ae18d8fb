"""In the real frontend, with nodes that have other widgets than the workflow was saved with: the editor puts
the values into the wrong ones, and what counts is the workflow as it was loaded, until the user edits it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.comfy_host.driver import ComfyHostProcess, load_workflow
from tests.editor_graphs import checkpoint, graph, lora, node, preview, subgraph, subgraph_id
from tests.editor_page import CHECKOUT, RESERVE, expect_values, open_panel, part, row, tab, values

OLD_PACK = """
import folder_paths


class StyledLoader:
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "load"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("MODEL",),
                "lora_name": (folder_paths.get_filename_list("loras"),),
                "note": ("STRING", {"default": ""}),
            }
        }

    def load(self, **inputs):
        return (None,)


NODE_CLASS_MAPPINGS = {"StyledLoader": StyledLoader}
"""
"""A node as it was before it got the inputs ``mode`` (in front) and ``second`` (at the end)."""

# What is said of a relink is taken back by the next scan, which may follow at once.
NOTE_PROBLEMS = """(element) => {
  const root = element.getRootNode()
  window.problemsSeen = []
  new MutationObserver(() => {
    const problems = root.querySelectorAll("[data-testid='model-resolver-relink-problem']")
    window.problemsSeen.push(...[...problems].map(({ dataset }) => dataset.code))
  }).observe(root, { attributes: true, childList: true, subtree: true })
}"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ComfyHostProcess]:
    pack = tmp_path / "old-pack"
    pack.mkdir()
    (pack / "__init__.py").write_text(OLD_PACK)
    process = ComfyHostProcess(
        tmp_path / "comfy", packs={"model-resolver": CHECKOUT, "old": pack}, env=RESERVE
    )
    process.add_model("checkpoints/base.safetensors")
    process.add_model("loras/here/x.safetensors")
    process.add_model("loras/other.safetensors")
    with process:
        yield process


def styled(node_id: int, name: str, model: int | None, out: list[int], **extra: Any):  # type: ignore[no-untyped-def]
    """As the newer version of the node was saved: one widget more in front, one more at the end."""
    second = extra.pop("second", "")
    inputs = [
        ("model", "MODEL", model, False),
        ("mode", "COMBO", None, True),
        ("lora_name", "COMBO", None, True),
        ("note", "STRING", None, True),
        ("second", "STRING", None, True),
    ]
    return node(node_id, "StyledLoader", ["fast", name, "a", second], inputs, [("MODEL", out)], **extra)


def shifted(name: str = "old/x.safetensors", **extra: Any) -> dict[str, Any]:
    """Two nodes whose values the editor shifts, one of them in a subgraph, and one that it does not."""
    inside = subgraph(1, styled(7, "inner.safetensors", 1, [3]))
    inside["inputs"] = inside["inputs"][:1]
    inside["links"] = [link for link in inside["links"] if link["id"] != 2]
    host_node = node(4, subgraph_id(1), [], [("model", "MODEL", 3, False)], [("MODEL", [4])])
    return {
        **graph(
            [
                checkpoint(1, [1]),
                styled(2, name, 1, [2], **extra),
                lora(3, "plain.safetensors", 2, [3]),
                host_node,
                preview(6, 4),
            ],
            [
                [1, 1, 0, 2, 0, "MODEL"],
                [2, 2, 0, 3, 0, "MODEL"],
                [3, 3, 0, 4, 0, "MODEL"],
                [4, 4, 0, 6, 0, "MODEL"],
            ],
            [inside],
        )
    }


def analysis_of(host: ComfyHostProcess, workflow: Any) -> set[tuple[str, str, str]]:
    """What the server says of a workflow that is not present: (model, node, input)."""
    status, answer = host.post("/model-resolver/analyze", {"workflow": workflow})
    assert status == 200, answer
    return {
        (model["id"], reference["node_id"], reference["input"])
        for model in answer["models"]
        if model["status"] != "present"
        for reference in model["references"]
    }


def serialized(page: Page) -> Any:
    return page.evaluate("JSON.parse(JSON.stringify(window.app.rootGraph.serialize()))")


def expect_models(page: Page, ids: set[str]) -> None:
    """Exactly these rows, whatever their order."""
    rows = "[data-testid='model-resolver-row']:not([data-state='present'])"
    page.wait_for_function(
        """([rows, wanted]) => {
            const panel = document.querySelector('model-resolver-panel')
            const ids = [...panel.shadowRoot.querySelectorAll(rows)].map(row => row.dataset.modelId)
            return JSON.stringify(ids.sort()) === JSON.stringify(wanted)
        }""",
        arg=[rows, sorted(ids)],
    )


def set_widget(page: Page, node_id: int, name: str, value: str) -> None:
    """As the user does it in the node, with a step of undo."""
    page.evaluate(
        """([id, name, value]) => {
            const node = window.app.rootGraph.getNodeById(id)
            const widget = node.widgets.find(widget => widget.name === name)
            const tracker = window.app.extensionManager.workflow.activeWorkflow.changeTracker
            tracker.beforeChange()
            widget.value = value
            widget.callback?.(value, window.app.canvas, node)
            tracker.afterChange()
        }""",
        [node_id, name, value],
    )


AS_LOADED = {"loras/old/x.safetensors", "loras/plain.safetensors", "loras/inner.safetensors"}


def test_an_untouched_graph_is_analysed_as_it_was_loaded(page: Page, host: ComfyHostProcess) -> None:
    workflow = shifted()
    open_panel(page, host, workflow)
    live = serialized(page)
    expected = analysis_of(host, workflow)
    assert {model for model, _, _ in expected} == AS_LOADED
    assert analysis_of(host, live) != expected, "the editor has shifted the values"

    expect_models(page, AS_LOADED)
    expect(tab(page)).to_have_text("3")
    for model, node_id, _ in expected:
        row(page, model).locator("[data-testid='model-resolver-toggle']").click()
        node_button = row(page, model).locator("[data-testid='model-resolver-node']")
        expect(node_button).to_have_attribute("data-node-id", node_id)


def test_an_edited_node_counts_as_it_is_now_and_the_others_as_loaded(
    page: Page, host: ComfyHostProcess
) -> None:
    open_panel(page, host, shifted())
    expect_models(page, AS_LOADED)
    set_widget(page, 2, "lora_name", "mine.safetensors")
    expect_models(page, (AS_LOADED - {"loras/old/x.safetensors"}) | {"loras/mine.safetensors"})

    page.keyboard.press("Control+z")
    expect_models(page, AS_LOADED)
    page.keyboard.press("Control+y")
    expect_models(page, (AS_LOADED - {"loras/old/x.safetensors"}) | {"loras/mine.safetensors"})
    page.keyboard.press("Control+z")
    expect_models(page, AS_LOADED)

    page.evaluate("window.app.rootGraph.remove(window.app.rootGraph.getNodeById(2))")
    page.evaluate("window.app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()")
    expect_models(page, AS_LOADED - {"loras/old/x.safetensors"})


def test_bypassing_and_rewiring_a_node_leaves_it_as_loaded(page: Page, host: ComfyHostProcess) -> None:
    open_panel(page, host, shifted())
    expect_models(page, AS_LOADED)
    page.evaluate(
        """() => {
            const node = window.app.rootGraph.getNodeById(2)
            node.mode = 4
            node.disconnectInput(0)
            window.app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()
        }"""
    )
    part(page, "inactive").get_by_role("button").click()
    expect(row(page, "loras/old/x.safetensors")).to_have_attribute("data-active", "false")
    expect(tab(page)).to_have_text("2")


def test_relinking_sets_the_widget_of_that_name(page: Page, host: ComfyHostProcess) -> None:
    open_panel(page, host, shifted())
    before = values(page)["2"]
    assert before[0] != "old/x.safetensors"
    row(page, "loras/old/x.safetensors").locator("[data-testid='model-resolver-relink']").click()
    expect_values(page, 2, ["here/x.safetensors", *before[1:]])
    expect_models(page, AS_LOADED - {"loras/old/x.safetensors"})

    page.keyboard.press("Control+z")
    expect_values(page, 2, before)
    expect_models(page, AS_LOADED)


def test_a_widget_the_node_no_longer_has_is_no_place(page: Page, host: ComfyHostProcess) -> None:
    entry = {"name": "old/x.safetensors", "url": "https://huggingface.co/o/r/resolve/main/x.safetensors"}
    workflow = shifted(
        "other.safetensors",
        second="old/x.safetensors",
        properties={"models": [{**entry, "directory": "loras"}]},
    )
    open_panel(page, host, workflow)
    before = values(page)["2"]
    row(page, "loras/old/x.safetensors").evaluate(NOTE_PROBLEMS)
    row(page, "loras/old/x.safetensors").locator("[data-testid='model-resolver-relink']").click()
    page.wait_for_function("() => window.problemsSeen.includes('no_place')")
    assert values(page)["2"] == before


def test_a_widget_that_was_edited_meanwhile_is_not_overwritten(page: Page, host: ComfyHostProcess) -> None:
    open_panel(page, host, shifted())
    use = row(page, "loras/old/x.safetensors").locator("[data-testid='model-resolver-relink']")
    expect(use).to_be_visible()
    use.evaluate(NOTE_PROBLEMS)
    # Set without a word to anybody, and clicked before any scan could notice.
    use.evaluate(
        "button => {"
        " window.app.rootGraph.getNodeById(2).widgets[0].value = 'other.safetensors';"
        " button.click() }"
    )
    page.wait_for_function("() => window.problemsSeen.includes('no_place')")
    assert values(page)["2"][0] == "other.safetensors"


def test_each_tab_keeps_what_was_loaded_in_it(page: Page, host: ComfyHostProcess) -> None:
    open_panel(page, host, shifted())
    expect_models(page, AS_LOADED)
    load_workflow(page, shifted("new.safetensors"), "second")
    second = (AS_LOADED - {"loras/old/x.safetensors"}) | {"loras/new.safetensors"}
    expect_models(page, second)
    set_widget(page, 3, "lora_name", "edited.safetensors")
    second = (second - {"loras/plain.safetensors"}) | {"loras/edited.safetensors"}
    expect_models(page, second)

    page.get_by_role("tab", name="test").click()
    expect_models(page, AS_LOADED)
    page.get_by_role("tab", name="second").click()
    expect_models(page, second)


def test_a_workflow_that_another_extension_loads_is_taken_as_it_says(
    page: Page, host: ComfyHostProcess
) -> None:
    open_panel(page, host, shifted())
    expect_models(page, AS_LOADED)
    # The same graph as the editor holds it now, handed in as a workflow of its own: that is what it says.
    live = serialized(page)
    page.evaluate("graph => window.app.loadGraphData(graph)", live)
    expect_models(page, {model for model, _, _ in analysis_of(host, live)})


def test_nodes_that_become_a_subgraph_are_found_under_their_new_ids(
    page: Page, host: ComfyHostProcess
) -> None:
    open_panel(page, host, shifted())
    expect_models(page, AS_LOADED)
    made = page.evaluate(
        """() => {
            const { rootGraph } = window.app
            const { node } = rootGraph.convertToSubgraph(new Set([rootGraph.getNodeById(3)]))
            window.app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()
            return [String(node.id), String(node.subgraph.nodes[0].id)]
        }"""
    )
    plain = row(page, "loras/plain.safetensors")
    plain.locator("[data-testid='model-resolver-toggle']").click()
    expect(plain.locator("[data-testid='model-resolver-node']")).to_have_attribute(
        "data-node-id", ":".join(made)
    )
    expect_models(page, AS_LOADED)


def test_the_list_of_models_at_the_top_outlives_undo_and_tabs(page: Page, host: ComfyHostProcess) -> None:
    stated = [
        {
            "name": "plain.safetensors",
            "url": "https://huggingface.co/o/r/resolve/main/plain.safetensors",
            "directory": "loras",
        }
    ]
    asked: list[Any] = []
    page.on(
        "request",
        lambda request: (
            asked.append(request.post_data_json["workflow"].get("models"))
            if request.url.endswith("/model-resolver/analyze")
            else None
        ),
    )
    open_panel(page, host, {**shifted(), "models": stated})
    expect_models(page, AS_LOADED)
    assert asked[-1] == stated
    set_widget(page, 2, "lora_name", "mine.safetensors")
    expect_models(page, (AS_LOADED - {"loras/old/x.safetensors"}) | {"loras/mine.safetensors"})
    assert asked[-1] == stated
    page.keyboard.press("Control+z")
    expect_models(page, AS_LOADED)
    assert asked[-1] == stated

    load_workflow(page, shifted("new.safetensors"), "second")
    expect(row(page, "loras/new.safetensors")).to_be_visible()
    assert asked[-1] is None, "another workflow has none"
    page.get_by_role("tab", name="test").click()
    expect_models(page, AS_LOADED)
    assert asked[-1] == stated


AS_OLD_EDITORS_KEEP_IT = """async name => {
    const { LoadedGraphs } = await import('/extensions/model-resolver/loaded.js')
    const shown = [['7', 'lora_name']]
    const inner = value => ({ id: 7, type: 'LoraLoaderModelOnly', widgets_values: [value, 1] })
    const workflow = (values, proxyWidgets, value) => ({
        nodes: [{ id: 4, type: 'style', widgets_values: values, properties: { proxyWidgets } }],
        definitions: { subgraphs: [{ id: 'style', nodes: [inner(value)], inputs: [], links: [] }] }
    })
    const [loaded, owner] = [new LoadedGraphs(), {}]
    loaded.begin(workflow(['old.safetensors'], undefined, 'default.safetensors'), owner)
    const live = value => workflow([], shown, value)
    loaded.settle(live('old.safetensors'))
    loaded.end(live('old.safetensors'), owner)
    const { nodes, definitions } = loaded.origin(live(name), owner)
    return [nodes[0].widgets_values, definitions.subgraphs[0].nodes[0].widgets_values[0]]
}"""
"""A function of the page: what is told of a subgraph once its promoted widget shows ``name``, where the
editor (seen in 1.45.21) keeps no values in the instance, but puts them into the nodes inside."""


def test_where_the_editor_keeps_a_promoted_value_inside_the_subgraph_it_counts_there(
    page: Page, host: ComfyHostProcess
) -> None:
    open_panel(page, host, shifted())
    untouched = page.evaluate(AS_OLD_EDITORS_KEEP_IT, "old.safetensors")
    assert untouched == [["old.safetensors"], "default.safetensors"], "the workflow as it was loaded"
    assert page.evaluate(AS_OLD_EDITORS_KEEP_IT, "style/old.safetensors") == [[], "style/old.safetensors"]

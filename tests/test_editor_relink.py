"""In the real frontend: a model that is here under another name is used with one click, undone with one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.comfy_host.driver import (
    ComfyHostProcess,
    current_prompt,
    load_workflow,
    open_editor,
    set_locale,
    set_theme,
    watch,
)
from tests.editor_graphs import chain, checkpoint, graph, instance, lora, node, one_loader, preview, subgraph
from tests.editor_page import (
    CHECKOUT,
    OUTLINED,
    RESERVE,
    expect_values,
    open_panel,
    part,
    row,
    screenshot,
    tab,
    values,
)

NATIVE = """() => document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia
    ._s.get('missingModel').missingModelCandidates?.length ?? 0"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ComfyHostProcess]:
    """A ComfyUI with this pack, a checkpoint, a few LoRAs in subfolders, and a node with an object value."""
    stack = tmp_path / "stack-pack"
    (stack / "js").mkdir(parents=True)
    (stack / "__init__.py").write_text(STACK_PACK)
    (stack / "js" / "stack.js").write_text(STACK_SCRIPT)
    process = ComfyHostProcess(
        tmp_path / "comfy", packs={"model-resolver": CHECKOUT, "stack": stack}, env=RESERVE
    )
    process.add_model("checkpoints/base.safetensors")
    process.add_model("loras/sub/x.safetensors")
    process.add_model("loras/sub/y.safetensors")
    with process:
        yield process


# -- steps -------------------------------------------------------------------------------------------


def use_it(page: Page, model: str):  # type: ignore[no-untyped-def]
    return row(page, model).locator("[data-testid='model-resolver-relink']")


def refused(page: Page, host: ComfyHostProcess) -> dict[str, Any]:
    """What ComfyUI says against a run of the graph on the canvas, by node."""
    _, answer = host.post("/api/prompt", {"prompt": current_prompt(page)})
    return answer["node_errors"]


def save_and_reload(page: Page) -> None:
    page.evaluate(
        """async () => {
            const saved = JSON.parse(JSON.stringify(window.app.rootGraph.serialize()))
            await window.app.loadGraphData(saved, true, true, 'again')
        }"""
    )


def is_modified(page: Page) -> bool:
    return page.evaluate("window.app.extensionManager.workflow.activeWorkflow.isModified")


# -- tests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sub\\x.safetensors", "style/x.safetensors", "x.safetensors"])
def test_one_click_sets_the_widget_and_all_complaints_go(
    page: Page, host: ComfyHostProcess, name: str
) -> None:
    seen = watch(page)
    wanted = f"loras/{name}".replace("\\", "/")
    open_panel(page, host, one_loader(name))
    expect(tab(page)).to_have_text("1")
    assert refused(page, host)["2"]["errors"][0]["type"] == "value_not_in_list"
    page.evaluate("window.app.queuePrompt(0)")  # a refused run leaves errors of its own
    page.wait_for_function("() => window.app.extensionManager.lastNodeErrors?.['2']")
    page.wait_for_function(f"({OUTLINED})().includes('2')")
    assert not is_modified(page)

    use_it(page, wanted).click()

    expect_values(page, 2, ["sub/x.safetensors", 1])
    expect(tab(page)).to_have_text("")
    expect(page.get_by_text("All models are here")).to_be_visible()
    page.wait_for_function(f"({OUTLINED})().length === 0")
    page.wait_for_function(f"({NATIVE})() === 0")
    assert refused(page, host) == {}
    assert is_modified(page)
    save_and_reload(page)
    assert values(page)["2"] == ["sub/x.safetensors", 1]
    assert [error for error in seen.errors if "model-resolver" in error.lower()] == []


def test_undo_takes_one_click_back_in_one_step_and_redo_repeats_it(
    page: Page, host: ComfyHostProcess
) -> None:
    workflow = graph(
        [
            checkpoint(1, [1]),
            lora(2, "old/x.safetensors", 1, [2]),
            lora(3, "old/x.safetensors", 2, [3]),
            lora(4, "y.safetensors", 3, [4]),
            lora(5, "y.safetensors", None, [], mode=4),
            preview(6, 4),
        ],
        [
            [1, 1, 0, 2, 0, "MODEL"],
            [2, 2, 0, 3, 0, "MODEL"],
            [3, 3, 0, 4, 0, "MODEL"],
            [4, 4, 0, 6, 0, "MODEL"],
        ],
    )
    open_panel(page, host, workflow)
    # An edit of the user's that the editor has not recorded yet must not be undone with it.
    page.evaluate("window.app.rootGraph.getNodeById(4).widgets[1].value = 0.5")
    expect(part(page, "relink-all")).to_have_text("Relink 2")
    # A mouse button that goes up would have it recorded.
    part(page, "relink-all").dispatch_event("click")
    x, y = "sub/x.safetensors", "sub/y.safetensors"
    expect_values(page, 4, [y, 0.5])
    now = values(page)
    assert (now["2"], now["3"], now["5"]) == ([x, 1], [x, 1], [y, 1]), "a bypassed node, too"
    expect(tab(page)).to_have_text("")

    page.keyboard.press("Control+z")
    expect_values(page, 2, ["old/x.safetensors", 1])
    back = values(page)
    assert (back["3"][0], back["4"], back["5"][0]) == (
        "old/x.safetensors", ["y.safetensors", 0.5], "y.safetensors",
    )  # fmt: skip
    expect(tab(page)).to_have_text("2")

    page.keyboard.press("Control+y")
    expect_values(page, 2, [x, 1])
    again = values(page)
    assert (again["3"][0], again["4"], again["5"][0]) == (x, [y, 0.5], y)
    expect(tab(page)).to_have_text("")


@pytest.mark.parametrize("depth", [1, 2])
def test_of_two_instances_of_a_subgraph_only_the_one_concerned_changes(
    page: Page, host: ComfyHostProcess, depth: int
) -> None:
    definitions = [subgraph(1, lora(7, "inner.safetensors", 1, [3], named=2))]
    if depth == 2:
        definitions.append(subgraph(2, instance(8, 1, "inner.safetensors", 1, [3], inner=7, named=2)))
    inner = 7 if depth == 1 else 8
    workflow = graph(
        [
            checkpoint(1, [1]),
            instance(2, depth, "old/x.safetensors", 1, [2], inner),
            instance(3, depth, "sub/y.safetensors", 2, [3], inner),
            instance(4, depth, "sub\\y.safetensors", 3, [4], inner),
            preview(6, 4),
        ],
        [
            [1, 1, 0, 2, 0, "MODEL"],
            [2, 2, 0, 3, 0, "MODEL"],
            [3, 3, 0, 4, 0, "MODEL"],
            [4, 4, 0, 6, 0, "MODEL"],
        ],
        definitions,
    )
    open_panel(page, host, workflow)
    failing = "2:7" if depth == 1 else "2:8:7"
    assert failing in refused(page, host)
    inside = "window.app.rootGraph.getNodeById(2).subgraph.nodes[0].widgets[0].value"
    shared = page.evaluate(inside)

    use_it(page, "loras/old/x.safetensors").click()
    expect_values(page, 2, ["sub/x.safetensors"])
    assert [values(page)[key] for key in ("3", "4")] == [["sub/y.safetensors"], ["sub\\y.safetensors"]]
    assert failing not in refused(page, host)
    assert page.evaluate(inside) == shared, "what all instances have in common stays as it is"

    use_it(page, "loras/sub/y.safetensors").click()
    expect_values(page, 4, ["sub/y.safetensors"])
    expect(tab(page)).to_have_text("")
    page.wait_for_function(f"({OUTLINED})().length === 0")
    page.wait_for_function(f"({NATIVE})() === 0")
    assert refused(page, host) == {}

    page.keyboard.press("Control+z")
    expect_values(page, 4, ["sub\\y.safetensors"])
    assert values(page)["2"] == ["sub/x.safetensors"], "each click is a step of its own"
    page.keyboard.press("Control+y")
    expect_values(page, 4, ["sub/y.safetensors"])
    save_and_reload(page)
    assert [values(page)[key] for key in ("2", "3", "4")] == [
        ["sub/x.safetensors"], ["sub/y.safetensors"], ["sub/y.safetensors"],
    ]  # fmt: skip
    assert refused(page, host) == {}


def test_a_primitive_node_is_set_along_and_does_not_bring_the_old_name_back(
    page: Page, host: ComfyHostProcess
) -> None:
    primitive = node(8, "PrimitiveNode", ["old/x.safetensors", "fixed", ""], [], [("COMBO", [5])])
    primitive["outputs"][0]["widget"] = {"name": "lora_name"}
    workflow = graph(
        [checkpoint(1, [1]), lora(2, "old/x.safetensors", 1, [2], named=5), preview(3, 2), primitive],
        [[1, 1, 0, 2, 0, "MODEL"], [2, 2, 0, 3, 0, "MODEL"], [5, 8, 0, 2, 1, "COMBO"]],
    )
    open_panel(page, host, workflow)
    use_it(page, "loras/old/x.safetensors").click()
    expect_values(page, 2, ["sub/x.safetensors", 1])
    assert values(page)["8"][0] == "sub/x.safetensors"
    page.wait_for_function(f"({OUTLINED})().length === 0")
    page.wait_for_function(f"({NATIVE})() === 0")
    assert refused(page, host) == {}, "making the prompt has the primitive hand on its value"
    save_and_reload(page)
    assert refused(page, host) == {}


def test_a_name_wired_in_is_set_where_it_is_written(page: Page, host: ComfyHostProcess) -> None:
    text = node(
        8, "PrimitiveString", ["old/x.safetensors"], [("value", "STRING", None, True)], [("STRING", [5, 6])]
    )
    workflow = graph(
        [
            checkpoint(1, [1]),
            instance(2, 1, "unused.safetensors", 1, [2], inner=7, named=5),
            lora(3, "unused.safetensors", 2, [3], named=6),
            preview(6, 3),
            text,
        ],
        [
            [1, 1, 0, 2, 0, "MODEL"],
            [2, 2, 0, 3, 0, "MODEL"],
            [3, 3, 0, 6, 0, "MODEL"],
            [5, 8, 0, 2, 1, "STRING"],
            [6, 8, 0, 3, 1, "STRING"],
        ],
        [subgraph(1, lora(7, "inner.safetensors", 1, [3], named=2))],
    )
    open_panel(page, host, workflow)
    use_it(page, "loras/old/x.safetensors").click()
    expect_values(page, 8, ["sub/x.safetensors"])
    assert (values(page)["2"], values(page)["3"][0]) == (["unused.safetensors"], "unused.safetensors")
    page.keyboard.press("Control+z")
    expect_values(page, 8, ["old/x.safetensors"])


def test_a_name_that_is_passed_on_is_set_where_it_is_written(page: Page, host: ComfyHostProcess) -> None:
    workflow = graph(
        [
            checkpoint(1, [1]),
            lora(2, "unused.safetensors", 1, [2], named=5),
            preview(3, 2),
            node(
                8,
                "PrimitiveString",
                ["old/x.safetensors"],
                [("value", "STRING", None, True)],
                [("STRING", [6])],
            ),
            node(9, "PassText", [], [("text", "STRING", 6, False)], [("STRING", [5])]),
        ],
        [
            [1, 1, 0, 2, 0, "MODEL"],
            [2, 2, 0, 3, 0, "MODEL"],
            [5, 9, 0, 2, 1, "STRING"],
            [6, 8, 0, 9, 0, "STRING"],
        ],
    )
    open_panel(page, host, workflow)
    use_it(page, "loras/old/x.safetensors").click()
    expect_values(page, 8, ["sub/x.safetensors"])
    assert values(page)["2"][0] == "unused.safetensors"
    page.keyboard.press("Control+z")
    expect_values(page, 8, ["old/x.safetensors"])


def test_a_node_that_is_not_installed_is_left_alone(page: Page, host: ComfyHostProcess) -> None:
    entry = {"name": "old/x.safetensors", "url": "https://huggingface.co/o/r/resolve/main/x.safetensors"}
    stranger = node(
        4, "StrangerLoader", ["old/x.safetensors"], properties={"models": [{**entry, "directory": "loras"}]}
    )
    open_panel(page, host, graph([checkpoint(1, []), stranger], []))
    use_it(page, "loras/old/x.safetensors").click()
    problem = row(page, "loras/old/x.safetensors").locator("[data-testid='model-resolver-relink-problem']")
    expect(problem).to_have_attribute("data-code", "no_place")
    saved = page.evaluate("window.app.rootGraph.serialize().nodes.find(node => node.id == 4).widgets_values")
    assert saved == ["old/x.safetensors"]
    assert not is_modified(page)


STACK_PACK = """
class LoraStack:
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "load"
    CATEGORY = "test"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}, "optional": {}}

    def load(self, **inputs):
        return (None,)

class PassText:
    RETURN_TYPES = ("STRING",)
    FUNCTION = "give"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"forceInput": True})}}

    def give(self, text):
        return (text,)

NODE_CLASS_MAPPINGS = {"LoraStack": LoraStack, "PassText": PassText}
WEB_DIRECTORY = "js"
"""
STACK_SCRIPT = """
import { app } from '/scripts/app.js'

app.registerExtension({
    name: 'test.stack',
    nodeCreated(node) {
        if (node.comfyClass !== 'LoraStack') return
        for (const name of ['lora_1', 'lora_2', 'stack']) {
            node.addCustomWidget({
                name, type: 'custom', value: {}, options: {}, y: 0, calls: 0,
                draw() {}, computeSize: () => [200, 24], callback() { this.calls += 1 }
            })
        }
    }
})
"""


def test_a_name_inside_an_object_is_set_there_and_nothing_else_of_it(
    page: Page, host: ComfyHostProcess
) -> None:
    one = {"on": True, "lora": "old/x.safetensors", "strength": 0.7}
    two = {"on": False, "lora": "sub\\y.safetensors", "strength": 1}
    stack = {"loras": [{"name": "old/x.safetensors", "active": True, "strength": 0.3}]}
    workflow = graph(
        [
            checkpoint(1, [1]),
            node(2, "LoraStack", [one, two, stack], [("model", "MODEL", 1, False)], [("MODEL", [])]),
        ],
        [[1, 1, 0, 2, 0, "MODEL"]],
    )
    open_panel(page, host, workflow)
    part(page, "relink-all").click()
    wanted = [
        {**one, "lora": "sub/x.safetensors"},
        {**two, "lora": "sub/y.safetensors"},
        {"loras": [{**stack["loras"][0], "name": "sub/x.safetensors"}]},
    ]
    expect_values(page, 2, wanted)
    calls = page.evaluate("window.app.rootGraph.getNodeById(2).widgets.map(widget => widget.calls)")
    assert calls == [1, 1, 1], "each widget is told"
    expect(tab(page)).to_have_text("")
    page.keyboard.press("Control+z")
    expect_values(page, 2, [one, two, stack])
    page.keyboard.press("Control+y")
    expect_values(page, 2, wanted)
    save_and_reload(page)
    assert values(page)["2"] == wanted


def test_a_file_that_came_later_is_found_after_refreshing_the_combos(
    page: Page, host: ComfyHostProcess
) -> None:
    workflow = one_loader("old/z.safetensors")
    open_editor(page, host.url)
    host.add_model("loras/sub/z.safetensors")  # the editor does not list it yet
    load_workflow(page, workflow)
    listed = page.evaluate("window.app.rootGraph.getNodeById(2).widgets[0].options.values")
    assert "sub/z.safetensors" not in listed
    page.evaluate("window.app.extensionManager.sidebarTab.toggleSidebarTab('model-resolver')")
    use_it(page, "loras/old/z.safetensors").click()
    expect_values(page, 2, ["sub/z.safetensors", 1])
    expect(tab(page)).to_have_text("")


def test_a_file_the_combo_does_not_list_changes_nothing_and_says_so(
    page: Page, host: ComfyHostProcess
) -> None:
    respell(page, "sub/x.safetensors", "of/another/list.safetensors")
    open_panel(page, host, one_loader("old/x.safetensors"))
    use_it(page, "loras/old/x.safetensors").click()
    problem = row(page, "loras/old/x.safetensors").locator("[data-testid='model-resolver-relink-problem']")
    expect(problem).to_have_attribute("data-code", "not_listed")
    assert values(page)["2"] == ["old/x.safetensors", 1]
    assert not is_modified(page)


def test_on_a_server_with_backslashes_the_names_get_backslashes(page: Page, host: ComfyHostProcess) -> None:
    """What ComfyUI on Windows lists; the rest of the host is as it is."""
    respell(page, "sub/x.safetensors", "sub\\x.safetensors")
    open_panel(page, host, one_loader("old/x.safetensors"))
    use_it(page, "loras/old/x.safetensors").click()
    expect_values(page, 2, ["sub\\x.safetensors", 1])


def respell(page: Page, name: str, other: str) -> None:
    """The editor is told other names for the combos than the host lists."""

    def answer(route: Route) -> None:
        told = route.fetch().text().replace(json.dumps(name), json.dumps(other))
        route.fulfill(body=told, content_type="application/json")

    page.route("**/api/object_info", answer)


def test_of_several_files_the_user_chooses_and_other_folders_are_out_of_reach(
    page: Page, host: ComfyHostProcess
) -> None:
    host.add_model("loras/a/twin.safetensors", b"one")
    host.add_model("loras/b/twin.safetensors", b"other")
    host.add_model("embeddings/far.safetensors")
    names = ("twin.safetensors", "far.safetensors", "sub\\x.safetensors", "old/y.safetensors")
    open_panel(page, host, chain(*names))
    set_theme(page, "dark")
    far = row(page, "loras/far.safetensors")
    expect(far.locator("[data-testid='model-resolver-other-folder']")).to_contain_text("loras")
    expect(use_it(page, "loras/far.safetensors")).to_have_count(0)
    expect(part(page, "relink-all")).to_have_text("Relink 2")

    twin = row(page, "loras/twin.safetensors")
    expect(twin.locator(".warn")).to_be_visible()
    twin.locator("[data-testid='model-resolver-more']").click()
    twin.locator("[data-testid='model-resolver-alternative'] input").nth(1).check()
    expect(part(page, "relink-all")).to_have_text("Relink 3")
    screenshot(page, "relink-dark")
    set_theme(page, "light")
    screenshot(page, "relink-light")
    set_theme(page, "dark")
    use_it(page, "loras/twin.safetensors").click()
    expect_values(page, 2, ["b/twin.safetensors", 1])
    expect(tab(page)).to_have_text("3")
    part(page, "relink-all").click()
    expect_values(page, 5, ["sub/y.safetensors", 1])
    expect(tab(page)).to_have_text("1")
    assert values(page)["3"] == ["far.safetensors", 1]

    page.keyboard.press("Control+z")
    expect_values(page, 5, ["old/y.safetensors", 1])
    set_locale(page, "zh")
    expect(use_it(page, "loras/old/y.safetensors")).to_have_text("使用它")
    screenshot(page, "relink-zh")

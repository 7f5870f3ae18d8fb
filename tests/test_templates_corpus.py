"""The official templates as corpus: with their metadata stripped, every model value is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from resolver.folders import FolderKnowledge
from resolver.folders.learned import Learned, learn, snapshot
from resolver.templates import installed_templates, template_workflows
from resolver.workflow import Workflow
from resolver.workflow.align import named_values
from resolver.workflow.references import find_references, has_model_extension

Named = tuple[str, Workflow]
Found = set[tuple[str, str, str | None]]


@pytest.fixture(scope="module")
def templates() -> list[Named]:
    found = installed_templates()
    assert found is not None, "the dev group installs the templates"
    workflows = list(template_workflows(found[1]))
    assert len(workflows) > 600
    return workflows


def test_the_reader_drops_no_metadata(templates: list[Named]) -> None:
    """Counted in the raw JSON, so that what is measured below is not what the reader happens to see."""
    found = installed_templates()
    assert found is not None
    for name, workflow in templates:
        raw = json.loads((found[1] / f"{name}.json").read_text(encoding="utf-8"))
        graphs = [raw, *(raw.get("definitions") or {}).get("subgraphs", [])]
        entries = {
            (entry["name"], entry.get("directory"))
            for graph in graphs
            for node in graph["nodes"]
            for entry in (node.get("properties") or {}).get("models") or []
        }
        assert entries == {(entry.name, entry.directory) for entry in workflow.embedded()}, name


def without_metadata(workflow: Workflow) -> Workflow:
    return replace(workflow, models=(), nodes=tuple(replace(node, models=()) for node in workflow.nodes))


def stated(workflow: Workflow) -> Found:
    """(node, value, folder) of every metadata entry that is a value of its node."""
    return {
        (node.id, entry.name, entry.directory)
        for node in workflow.nodes
        for entry in node.models
        if entry.name in named_values(node, ()).values()
    }


def found_in(workflow: Workflow, learned: Learned) -> Found:
    knowledge = FolderKnowledge(learned=learned.nodes, by_input=learned.by_input)
    return {
        (reference.node.id, reference.value, reference.folders[0] if reference.folders else None)
        for reference in find_references(without_metadata(workflow), knowledge)
        if has_model_extension(reference.value)
    }


def measure(templates: Iterable[Named], learned: Callable[[str], Learned]) -> tuple[int, int, int, int]:
    """(wanted, found, found with the right folder, found besides)."""
    wanted = found = right = besides = 0
    for name, workflow in templates:
        truth, got = stated(workflow), found_in(workflow, learned(name))
        places = {(node, value) for node, value, _ in got}
        wanted += len(truth)
        found += sum((node, value) in places for node, value, _ in truth)
        right += len(truth & got)
        besides += len(places - {(node, value) for node, value, _ in truth})
    return wanted, found, right, besides


def test_every_model_value_is_found_with_its_folder(templates: list[Named]) -> None:
    kept = snapshot()
    wanted, found, right, besides = measure(templates, lambda name: kept)
    print(f"references {found}/{wanted}, folder right {right}/{wanted}, besides {besides}")
    assert wanted > 1100
    assert (found, right) == (wanted, wanted)
    assert besides == 0


def test_folders_carry_over_to_a_template_never_seen(templates: list[Named]) -> None:
    """Learned from all other templates, so that nothing is known only because it was learned by heart."""
    workflows = dict(templates)

    def others(name: str) -> Learned:
        return learn(workflow for other, workflow in workflows.items() if other != name)

    with_models = [(name, workflow) for name, workflow in templates if stated(workflow)][::10]
    wanted, found, right, _ = measure(with_models, others)
    print(f"left out: references {found}/{wanted}, folder right {right}/{wanted}")
    assert found == wanted
    assert right >= 0.99 * wanted

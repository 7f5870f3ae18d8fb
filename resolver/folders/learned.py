"""Learning from workflows that name both a file and its folder.

The official templates carry ``properties.models`` with a directory for each file. Where such a file is
also a widget's value, that widget of that node type loads from that directory. What the templates
taught is kept in ``learned.json`` beside this module (made anew with ``make learned``), so that it is
known where the templates are not installed.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..host import canonical_folder
from ..names import to_posix
from ..templates import installed_templates, template_workflows
from ..workflow import Node, Workflow
from ..workflow.align import named_values
from . import NodeInputs

SNAPSHOT = Path(__file__).with_name("learned.json")

# Names that say nothing of the folder: what one node type loads by them tells nothing of another.
_GENERIC = frozenset({"name", "model", "model_name", "model_file", "file", "file_name", "filename", "path"})


@dataclass(frozen=True)
class Learned:
    """``nodes``: by node type; ``by_input``: folder by input name where all node types agree."""

    nodes: Mapping[str, NodeInputs] = field(default_factory=dict)
    by_input: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "nodes": {
                node_type: {
                    "order": list(inputs.order),
                    "folders": {name: list(folders) for name, folders in sorted(inputs.folders.items())},
                }
                for node_type, inputs in sorted(self.nodes.items())
            },
            "by_input": dict(sorted(self.by_input.items())),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Learned:
        return cls(
            nodes={
                node_type: NodeInputs(
                    tuple(entry["order"]),
                    {name: tuple(folders) for name, folders in entry["folders"].items()},
                )
                for node_type, entry in content["nodes"].items()
            },
            by_input=content["by_input"],
        )


def learn(workflows: Iterable[Workflow]) -> Learned:
    """What the metadata of these workflows teaches.

    Each (type, input) takes the folder most of its values have. Two passes: the orders of widgets first,
    which give the second pass the names of values that are listed by position.
    """
    nodes = [node for workflow in workflows for node in workflow.nodes]
    orders = _orders(nodes)
    votes: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for node in nodes:
        if not node.models:
            continue
        directories = {to_posix(entry.name): entry.directory for entry in node.models if entry.directory}
        for name, value in named_values(node, orders.get(node.type, ())).items():
            directory = directories.get(to_posix(value)) if isinstance(value, str) else None
            if directory is not None:
                votes[node.type, name][canonical_folder(directory)] += 1

    folders: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    by_input: dict[str, set[str]] = defaultdict(set)
    for (node_type, name), counts in votes.items():
        folder = counts.most_common(1)[0][0]
        folders[node_type][name] = (folder,)
        if name not in _GENERIC and not name.startswith("#"):
            by_input[name].add(folder)
    return Learned(
        nodes={
            node_type: NodeInputs(orders.get(node_type, ()), inputs) for node_type, inputs in folders.items()
        },
        by_input={name: next(iter(seen)) for name, seen in by_input.items() if len(seen) == 1},
    )


def snapshot() -> Learned:
    """What was learned when this version was released."""
    return Learned.from_json(json.loads(SNAPSHOT.read_text(encoding="utf-8")))


def _orders(nodes: Iterable[Node]) -> dict[str, tuple[str, ...]]:
    """The widget names of each type: the list most of its nodes state in full."""
    seen: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for node in nodes:
        if node.named and not node.positional:
            seen[node.type][tuple(node.named)] += 1
    return {node_type: counts.most_common(1)[0][0] for node_type, counts in seen.items()}


def main() -> None:
    """Write ``learned.json`` from the installed templates."""
    found = installed_templates()
    if found is None:
        raise SystemExit("comfyui-workflow-templates-json is not installed: nothing to learn from.")
    learned = learn(workflow for _, workflow in template_workflows(found[1]))
    SNAPSHOT.write_text(json.dumps(learned.as_json(), indent=1) + "\n", encoding="utf-8")
    print(f"{SNAPSHOT}: {len(learned.nodes)} node types from {found[0]}")


if __name__ == "__main__":
    main()

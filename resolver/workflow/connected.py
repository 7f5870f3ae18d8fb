"""Which nodes take part in a run: those that some output node needs, however far upstream.

ComfyUI starts at the output nodes and asks each input for its origin (``execution.py``,
``validate_prompt``); what none of them reaches is never run, so its models are not needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from . import Node, Workflow

# Nodes of this kind (cg-use-everywhere) give what they take to inputs that no link shows.
_BROADCASTS = "Everywhere"


class OutputKnowledge(Protocol):
    """What is known of output nodes (``resolver.folders.FolderKnowledge``)."""

    def is_output(self, node_type: str) -> bool | None: ...


def taking_part(workflow: Workflow, knowledge: OutputKnowledge) -> Workflow:
    """``workflow`` with every node inactive that no active output node needs.

    Where no active node can be an output, nothing is known and all stays as it is.
    """
    outputs = [node.id for node in workflow.nodes if node.active and _is_output(node, knowledge)]
    if not outputs:
        return workflow
    reached = _reached(outputs, workflow.needs)
    return replace(
        workflow,
        nodes=tuple(
            replace(node, active=False) if node.active and node.id not in reached else node
            for node in workflow.nodes
        ),
    )


def _is_output(node: Node, knowledge: OutputKnowledge) -> bool:
    if _BROADCASTS in node.type:
        return True
    known = knowledge.is_output(node.type)
    return node.may_be_output if known is None else known


def _reached(starts: Iterable[str], needs: Mapping[str, tuple[str, ...]]) -> set[str]:
    reached = set(starts)
    waiting = list(reached)
    while waiting:
        for point in needs.get(waiting.pop(), ()):
            if point not in reached:
                reached.add(point)
                waiting.append(point)
    return reached

"""The UI format: what the editor saves. Nodes, and subgraph definitions that nodes are instances of.

Source: ``workflowSchema.ts`` and ``SubgraphNode.ts`` of ComfyUI's frontend. In short:

- ``nodes[].type`` is a node class, or the id of a definition in ``definitions.subgraphs``.
- ``nodes[].mode``: 2 muted, 4 bypassed; a subgraph node's mode holds for all inside it.
- ``widgets_values`` goes by position. Names come from ``inputs[].widget.name`` where the node lists
  its widgets there; ``control_after_generate`` widgets have no input of their own.
- A subgraph's inputs that lead to a widget inside are *promoted*: the instance's ``widgets_values``
  holds one value for each, in the order of the definition's inputs, and they count, not the inner
  ones. Older editors wrote ``properties.proxyWidgets``, and their values in that order, or no values:
  then the inner ones count. What the editor could not bring over from there by its node is in
  ``properties.proxyWidgetErrorQuarantine``, and counts where it says which input it was for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from . import EmbeddedModel, Node, ReadWarning, Wired, Workflow
from .align import align
from .graph import Graph, Scope, as_list, widget_name, wires
from .groups import Group, group_nodes, instance
from .metadata import embedded_models
from .promoted import Promoted, Proxied, by_proxy, set_aside
from .wiring import BYPASSED, MUTED, Wiring, may_be_output, unused_outputs

_MAX_DEPTH = 64
_MAX_NODES = 200_000
_MAX_ENTERED = 40  # subgraphs that are followed through at once, each by a wire into the one before
_NOTE_TYPES = frozenset({"Note", "MarkdownNote"})


def is_ui_format(content: Any) -> TypeGuard[dict[str, Any]]:
    """Whether ``content`` is a graph as the editor saves it."""
    return isinstance(content, dict) and isinstance(content.get("nodes"), list)


def read_ui(content: dict[str, Any]) -> Workflow:
    """Flatten a UI-format workflow, each subgraph instance on its own."""
    reader = _Reader(content)
    reader.walk(Scope(Graph(content)), active=True, unused=frozenset(), path=())
    return Workflow(
        "ui",
        tuple(reader.nodes),
        models=embedded_models(content.get("models")),
        notes=tuple(reader.notes),
        warnings=tuple(reader.warnings),
        needs=reader.wiring.needs(),
    )


class _Reader:
    def __init__(self, content: Mapping[str, Any]) -> None:
        self.nodes: list[Node] = []
        self.notes: list[str] = []
        self.warnings: list[ReadWarning] = []
        self._definitions: dict[str, Graph] = {}
        definitions = content.get("definitions")
        for raw in as_list(definitions.get("subgraphs")) if isinstance(definitions, dict) else ():
            if isinstance(raw, dict) and isinstance(raw.get("id"), str):
                self._definitions[raw["id"]] = Graph(raw)
        self.wiring = Wiring(self._definitions)
        self._groups: dict[str, Group] = group_nodes(content)
        self._visited = 0
        self._full = False
        self._scopes: dict[str, Scope] = {}
        self._entered = 0
        self._widget_slots: dict[tuple[int, int], bool] = {}
        self._promoted: dict[int, list[Promoted]] = {}

    def walk(
        self,
        scope: Scope,
        *,
        active: bool,
        unused: frozenset[int],
        path: tuple[str, ...],
    ) -> None:
        """Add the nodes of ``scope``.

        ``unused``: the graph's outputs that lead nowhere; ``path``: the definitions we are inside of.
        """
        graph, prefix = scope.graph, scope.prefix
        for node_id, raw in graph.nodes.items():
            # Counts instances too, not only what is kept: a few definitions that contain each other
            # twice would otherwise unfold for ever.
            self._visited += 1 + len(graph.into.get(node_id, ()))
            if self._visited > _MAX_NODES:
                if not self._full:
                    self._full = True
                    self._warn("TOO_MANY_NODES", f"Only the first {_MAX_NODES} nodes were read.", None)
                return
            node_type = raw.get("type")
            if not isinstance(node_type, str):
                self._warn("NODE_SKIPPED", "A node without a type was skipped.", prefix + node_id)
                continue
            node_active = active and raw.get("mode") not in (MUTED, BYPASSED)
            definition = self._definitions.get(node_type)
            if node_type in self._groups and node_type not in path:
                group = Graph(instance(self._groups[node_type], raw))
                self.wiring.add_group(graph, prefix, raw, group)
                self.walk(
                    Scope(group, f"{prefix}{node_id}:"),
                    active=node_active,
                    unused=frozenset(),
                    path=(*path, node_type),
                )
            elif definition is None:
                self._add(scope, raw, node_active, unused)
            elif node_type in path or len(path) >= _MAX_DEPTH:
                self._warn("SUBGRAPH_CYCLE", "A subgraph that contains itself is not read.", prefix + node_id)
            else:
                self.wiring.add_subgraph(graph, prefix, raw, definition)
                self.walk(
                    self._inside(scope, raw, definition),
                    active=node_active,
                    unused=unused_outputs(graph, raw, definition, unused),
                    path=(*path, node_type),
                )

    def _add(self, scope: Scope, raw: dict[str, Any], active: bool, unused: frozenset[int]) -> None:
        graph, prefix = scope.graph, scope.prefix
        node_type = raw["type"]
        if node_type in _NOTE_TYPES:
            values = raw.get("widgets_values")
            texts = values.values() if isinstance(values, dict) else as_list(values)
            self.notes.extend(text for text in texts if isinstance(text, str))
            return
        self.wiring.add_node(graph, prefix, raw)
        properties = raw.get("properties")
        models: tuple[EmbeddedModel, ...] = ()
        if isinstance(properties, dict):
            models = embedded_models(properties.get("models"), active=active)
        named, positional = _widget_values(raw)
        given = {**wires(scope, raw, self._enter), **scope.promoted.get(str(raw["id"]), {})}
        wired = {name: value for name, value in given.items() if isinstance(value, Wired)}
        stated = {name: value for name, value in given.items() if name not in wired}
        self.nodes.append(
            Node(
                id=f"{prefix}{raw['id']}",
                type=node_type,
                active=active,
                named={**named, **stated},
                positional=positional,
                wired=wired,
                models=models,
                may_be_output=may_be_output(graph, raw, unused),
            )
        )

    def _enter(self, scope: Scope, raw: Mapping[str, Any]) -> Scope | None:
        """The inside of a node that is an instance of a subgraph, for following a wire into it."""
        definition = self._definitions.get(str(raw.get("type")))
        if definition is None or self._entered >= _MAX_ENTERED or self._visited > _MAX_NODES:
            return None
        return self._inside(scope, raw, definition)

    def _inside(self, scope: Scope, raw: Mapping[str, Any], definition: Graph) -> Scope:
        """``definition`` as the instance ``raw`` of it has it; each instance is looked at once."""
        prefix = f"{scope.prefix}{raw['id']}:"
        inside = self._scopes.get(prefix)
        if inside is None:
            # Without the host's values while these are looked for, which ends a cycle.
            self._scopes[prefix] = Scope(definition, prefix, {}, (scope, raw))
            self._entered += 1
            promoted = self._host_values(scope, raw, definition)
            self._entered -= 1
            inside = self._scopes[prefix] = Scope(definition, prefix, promoted, (scope, raw))
        return inside

    def _host_values(
        self, scope: Scope, raw: Mapping[str, Any], definition: Graph
    ) -> dict[str, dict[str, Any]]:
        """Values for widgets inside ``definition``, as this instance of it (in ``scope``) states them.

        What the host of ``scope`` states for its nodes, the instance included, wins.
        """
        widgets = self._promoted_widgets(definition)
        # What it costs to look at an instance counts as well, or few large ones would take for ever.
        self._visited += 1 + sum(len(widget.targets) for widget in widgets)
        stated, by_widget = self._stated(raw, widgets)
        stated.update(set_aside(raw))
        stated.update(wires(scope, raw, self._enter))
        stated.update(scope.promoted.get(str(raw["id"]), {}))
        values: dict[str, dict[str, Any]] = {}
        for (target, input_name), value in by_widget.items():
            values.setdefault(target, {})[input_name] = value
        for widget in widgets:
            if widget.name in stated:
                for target, input_name in widget.targets:
                    values.setdefault(target, {})[input_name] = stated[widget.name]
        return values

    def _promoted_widgets(self, definition: Graph) -> list[Promoted]:
        """The inputs of a definition that lead to widgets inside, in order."""
        key = id(definition)
        if key not in self._promoted:
            self._promoted[key] = [
                Promoted(
                    str(definition.inputs[slot].get("name")),
                    tuple(
                        (target, name)
                        for target, index in definition.targets(slot)
                        if (name := self._input_name(definition, target, index)) is not None
                    ),
                )
                for slot in range(len(definition.inputs))
                if self._is_widget(definition, slot)
            ]
        return self._promoted[key]

    def _stated(self, raw: Mapping[str, Any], widgets: list[Promoted]) -> Proxied:
        """The instance's own values by the names of the definition's inputs, or by widgets inside."""
        names = [widget.name for widget in widgets]
        values = raw.get("widgets_values")
        if not isinstance(values, (dict, list)) or values == []:
            values = raw.get("widgets_values_named")
        if isinstance(values, dict):
            return Proxied({name: values[name] for name in names if name in values}, {})
        if not isinstance(values, list):
            return Proxied({}, {})
        found = by_proxy(raw, values, widgets)
        if any(found):
            return found
        return Proxied(
            {name: value for name, value in zip(names, values, strict=False) if value is not None}, {}
        )

    def _is_widget(self, graph: Graph, slot: int) -> bool:
        """Whether input ``slot`` of a definition leads to a widget inside, however deep."""
        key = (id(graph), slot)
        if key not in self._widget_slots:
            self._widget_slots[key] = False  # holds while we look, which ends a cycle
            self._widget_slots[key] = any(
                self._leads_to_widget(graph, target, index) for target, index in graph.targets(slot)
            )
        return self._widget_slots[key]

    def _leads_to_widget(self, graph: Graph, target: str, index: int) -> bool:
        node = graph.nodes.get(target)
        inner = self._definitions.get(str(node.get("type"))) if node else None
        if inner is not None:
            return index < len(inner.inputs) and self._is_widget(inner, index)
        return isinstance(self._input(graph, target, index).get("widget"), dict)

    def _input_name(self, graph: Graph, target: str, index: int) -> str | None:
        """The name under which the widget behind an inner input takes its value."""
        node = graph.nodes.get(target)
        inner = self._definitions.get(str(node.get("type"))) if node else None
        if inner is not None:
            name = inner.inputs[index].get("name") if index < len(inner.inputs) else None
            return name if isinstance(name, str) else None
        return widget_name(self._input(graph, target, index))

    @staticmethod
    def _input(graph: Graph, target: str, index: int) -> dict[str, Any]:
        inputs = as_list((graph.nodes.get(target) or {}).get("inputs"))
        entry = inputs[index] if 0 <= index < len(inputs) else None
        return entry if isinstance(entry, dict) else {}

    def _warn(self, code: str, message: str, node_id: str | None) -> None:
        if len(self.warnings) < 100:
            self.warnings.append(ReadWarning(code, message, node_id))


def _widget_values(raw: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """A node's values: by name where it states names, else by position."""
    values = raw.get("widgets_values")
    if isinstance(values, dict):
        return {str(name): value for name, value in values.items()}, ()
    named = raw.get("widgets_values_named")
    if isinstance(named, dict):
        # The editor itself goes by position; the names are sure where both lists are of one length.
        if not isinstance(values, list):
            return {str(name): value for name, value in named.items()}, ()
        if len(named) == len(values):
            return dict(zip(map(str, named), values, strict=True)), ()
    if not isinstance(values, list):
        return {}, ()
    names = [name for entry in as_list(raw.get("inputs")) if (name := widget_name(entry)) is not None]
    aligned = align(names, values, complete=False)
    return (aligned, ()) if aligned is not None else ({}, tuple(values))

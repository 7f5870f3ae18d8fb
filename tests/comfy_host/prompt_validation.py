"""What `POST /prompt` checks before it queues anything, and the errors it answers with.

The part that matters here is a model that is not in its combo: ``value_not_in_list`` with
``extra_info.input_name`` and ``extra_info.received_value``. The answer's other shapes are core's
too, so that code which reads them meets the real thing.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import nodes

Prompt = dict[str, dict[str, Any]]
Error = dict[str, Any]

LONG_LIST = 20
"""A combo with more options than this is not sent back with the error."""

GROWING_TYPES = {"COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3", "COMFY_DYNAMICSLOT_V3"}
"""Inputs whose names depend on what is connected; they are not looked at."""

CONVERSIONS: dict[str, type] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


@dataclass
class Verdict:
    """``error`` is None when at least one output can run; ``node_errors`` may hold others even
    then.
    """

    error: Error | None = None
    outputs: list[str] = field(default_factory=list)
    node_errors: dict[str, Any] = field(default_factory=dict)


def _error(kind: str, message: str, details: str, **extra: Any) -> Error:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def validate_prompt(prompt: Prompt, targets: list[str] | None = None) -> Verdict:
    """Check every output node (or only ``targets`` among them) and all that feeds it."""
    outputs: list[str] = []
    for node_id, node in prompt.items():
        class_type = node.get("class_type")
        node_class = nodes.NODE_CLASS_MAPPINGS.get(class_type) if class_type else None
        if node_class is None:
            return Verdict(error=_unknown_node(node_id, node, class_type))
        if getattr(node_class, "OUTPUT_NODE", False) is True and (
            not targets or node_id in targets
        ):
            outputs.append(node_id)
    if not outputs:
        return Verdict(error=_error("prompt_no_outputs", "Prompt has no outputs", ""))
    check = _Check(prompt)
    verdict = Verdict()
    details: list[str] = []
    for node_id in outputs:
        if check.node(node_id):
            verdict.outputs.append(node_id)
            continue
        details += [f"{e['message']}: {e['details']}" for e in check.errors[node_id]]
        for bad_id, errors in check.errors.items():
            if errors:
                entry = verdict.node_errors.setdefault(
                    bad_id,
                    {
                        "errors": errors,
                        "dependent_outputs": [],
                        "class_type": prompt[bad_id]["class_type"],
                    },
                )
                entry["dependent_outputs"].append(node_id)
    if not verdict.outputs:
        verdict.error = _error(
            "prompt_outputs_failed_validation",
            "Prompt outputs failed validation",
            "\n".join(details),
        )
    return verdict


def _unknown_node(node_id: str, node: dict[str, Any], class_type: str | None) -> Error:
    title = node.get("_meta", {}).get("title") or class_type or f"#{node_id}"
    return _error(
        "missing_node_type",
        f"Node '{title}' is not installed." if class_type else f"Node '{title}' has no class_type.",
        f"Node ID '#{node_id}'",
        node_id=node_id,
        class_type=class_type,
        node_title=title,
    )


class _Check:
    """One pass over a prompt. A node is checked once, its sources before itself."""

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt
        self.errors: dict[str, list[Error]] = {}
        self._good: dict[str, bool] = {}
        self._path: list[str] = []

    def node(self, node_id: str) -> bool:
        if node_id in self._good:
            return self._good[node_id]
        errors = self.errors.setdefault(node_id, [])
        if node_id in self._path:
            cycle = [*self._path[self._path.index(node_id) :], node_id]
            errors.append(
                _error("dependency_cycle", "Dependency cycle detected", " -> ".join(cycle))
            )
            return False
        self._path.append(node_id)
        good = self._inputs(node_id, errors)
        self._path.pop()
        self._good[node_id] = good and not errors
        return self._good[node_id]

    def _inputs(self, node_id: str, errors: list[Error]) -> bool:
        node = self.prompt[node_id]
        node_class = nodes.NODE_CLASS_MAPPINGS[node["class_type"]]
        given: dict[str, Any] = node.setdefault("inputs", {})
        types: dict[str, Any] = node_class.INPUT_TYPES()  # type: ignore[attr-defined]
        own = _OwnValidation(node_class)
        sources_good = True
        for group in ("required", "optional"):
            for name, spec in types.get(group, {}).items():
                kind, options = spec[0], (spec[1] if len(spec) > 1 else {})
                if kind in GROWING_TYPES if isinstance(kind, str) else False:
                    continue
                if name not in given:
                    if group == "required" and not options.get("socketless"):
                        errors.append(
                            _error(
                                "required_input_missing",
                                "Required input is missing",
                                name,
                                input_name=name,
                            )
                        )
                    continue
                value = given[name]
                if isinstance(value, list):
                    sources_good = self._link(name, kind, options, value, errors) and sources_good
                else:
                    error = _value(given, name, kind, options, own.covers(name))
                    if error:
                        errors.append(error)
        errors += own.run(given)
        return sources_good

    def _link(
        self, name: str, kind: Any, options: dict[str, Any], link: list[Any], errors: list[Error]
    ) -> bool:
        if len(link) != 2 or link[0] not in self.prompt:
            errors.append(
                _error(
                    "bad_linked_input",
                    "Bad linked input, must be a length-2 list of [node_id, slot_index]",
                    name,
                    input_name=name,
                    input_config=(kind, options),
                    received_value=link,
                )
            )
            return True
        source_class = nodes.NODE_CLASS_MAPPINGS[self.prompt[link[0]]["class_type"]]
        received = source_class.RETURN_TYPES[link[1]]  # type: ignore[attr-defined]
        if not _fits(received, kind):
            errors.append(
                _error(
                    "return_type_mismatch",
                    "Return type mismatch between linked nodes",
                    f"{name}, received_type({received}) mismatch input_type({kind})",
                    input_name=name,
                    input_config=(kind, options),
                    received_type=received,
                    linked_node=link,
                )
            )
            return True
        return self.node(link[0])


def _fits(received: Any, wanted: Any) -> bool:
    """Whether an output's type may feed an input; types that match anything always may."""
    loose = ("*", "COMFY_MATCHTYPE_V3")
    # Packs have types that differ from none, which ``==`` does not tell.
    differs = received != wanted
    if not differs or received in loose or wanted in loose:
        return True
    if isinstance(received, str) and isinstance(wanted, str):
        return bool(set(received.split(",")) & set(wanted.split(",")))
    return isinstance(received, list) and wanted == "COMBO"


def _value(
    given: dict[str, Any], name: str, kind: Any, options: dict[str, Any], own: bool
) -> Error | None:
    """Check a value that is written in the prompt; numbers and text are converted in place."""
    value = given[name]
    if isinstance(value, dict) and "__value__" in value:
        value = given[name] = value["__value__"]
    convert = CONVERSIONS.get(kind) if isinstance(kind, str) else None
    config = (kind, options)
    if convert is not None:
        try:
            value = given[name] = convert(value)
        except (TypeError, ValueError) as reason:
            return _error(
                "invalid_input_type",
                f"Failed to convert an input value to a {kind} value",
                f"{name}, {value}, {reason}",
                input_name=name,
                input_config=config,
                received_value=value,
                exception_message=str(reason),
            )
    if own:
        return None
    for bound, wrong, word in (
        ("min", lambda v, b: v < b, "smaller"),
        ("max", lambda v, b: v > b, "bigger"),
    ):
        if bound in options and wrong(value, options[bound]):
            return _error(
                f"value_{word}_than_{bound}",
                f"Value {value} {word} than {bound} of {options[bound]}",
                name,
                input_name=name,
                input_config=config,
                received_value=value,
            )
    if not isinstance(kind, list) and kind != "COMBO":
        return None
    choices = kind if isinstance(kind, list) else options.get("options", [])
    many = value if options.get("multiselect") and isinstance(value, list) else [value]
    wrong_ones = [v for v in many if v not in choices]
    if not wrong_ones:
        return None
    long = len(choices) > LONG_LIST
    shown = f"(list of length {len(choices)})" if long else str(choices)
    return _error(
        "value_not_in_list",
        "Value not in list",
        f"{name}: {', '.join(map(repr, wrong_ones))} not in {shown}",
        input_name=name,
        input_config=None if long else config,
        received_value=value,
    )


class _OwnValidation:
    """A node class's own check: ``VALIDATE_INPUTS`` (V1) or ``validate_inputs`` (V3).

    An input that the function names is taken out of the server's range and combo checks.
    """

    def __init__(self, node_class: type) -> None:
        self._function = getattr(node_class, "VALIDATE_INPUTS", None) or getattr(
            node_class, "validate_inputs", None
        )
        self._names: set[str] = set()
        self._any = False
        if self._function is not None:
            spec = inspect.getfullargspec(self._function)
            self._names = set(spec.args) - {"cls", "self"}
            self._any = spec.varkw is not None

    def covers(self, name: str) -> bool:
        return self._any or name in self._names

    def run(self, given: dict[str, Any]) -> list[Error]:
        if self._function is None:
            return []
        passed = {k: v for k, v in given.items() if self.covers(k) and not isinstance(v, list)}
        answer = self._function(**passed)
        if answer is True or not passed:
            return []
        return [
            _error(
                "custom_validation_failed",
                "Custom validation failed for node",
                name if answer is False else f"{name} - {answer}",
                input_name=name,
            )
            for name in passed
        ]

"""Observing the installed node classes.

ComfyUI states nowhere which combo draws from which folder. But every class makes its lists by asking
ComfyUI for a folder's files, so while the answer is a marker that names the folder, the marker turns
up in the inputs that use it, whatever is on disk. (V1: ``INPUT_TYPES()``; V3: ``GET_NODE_INFO_V1()``.)
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..host import FolderSpec, Host, canonical_folder
from ..names import to_posix
from . import LISTS_DIRECTORIES, NodeInputs

log = logging.getLogger(__name__)

# One marker for each extension, as nodes filter their lists by it; the name survives sorting,
# splitting off the extension, and joining with other folders' lists.
_MARKER = "model-resolver-marker~{folder}~{extension}"
_MARKED = re.compile(r"((?:[\w.-]+[/\\])*)model-resolver-marker~([^~]+)~")
_EXTENSIONS = (".safetensors", ".gguf", ".ckpt", ".pt", ".pth", ".bin", ".onnx", ".sft", ".yaml")
WIDGET_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})


def observe(host: Host) -> dict[str, NodeInputs]:
    """What every installed node class lists, by node type. Takes some 50 ms for ComfyUI's own nodes.

    A class that fails to say its inputs is left out, as ComfyUI itself leaves it out.
    """
    found: dict[str, NodeInputs] = {}
    classes = dict(host.node_classes())
    folders = host.folders()
    for node_type, node_class in classes.items():
        try:
            # Some classes keep the first list they see: it must be the real one.
            declared_inputs(node_class)
        except Exception as error:
            log.debug("The node %s does not say its inputs: %s", node_type, error)
    with host.listing(_markers):
        for node_type, node_class in classes.items():
            try:
                inputs = _inputs(declared_inputs(node_class), folders)
                found[node_type] = replace(inputs, is_output=_is_output(node_class))
            except Exception as error:
                log.debug("The node %s does not say its inputs: %s", node_type, error)
    return found


def options(host: Host, node_type: str, input_name: str) -> frozenset[str] | None:
    """What ComfyUI offers for a combo right now, its special values included; ``None`` if unknown."""
    node_class = host.node_classes().get(node_type)
    if node_class is None:
        return _directories(host, node_type, input_name)
    try:
        for name, spec in _specs(declared_inputs(node_class)):
            if name == input_name:
                choices = _choices(spec)
                return None if choices is None else frozenset(str(choice) for choice in choices)
    except Exception as error:
        log.debug("The node %s does not say its inputs: %s", node_type, error)
    return None


def _is_output(node_class: Any) -> bool:
    describe = getattr(node_class, "GET_NODE_INFO_V1", None)
    if describe is not None:
        return bool(describe().get("output_node"))
    return bool(getattr(node_class, "OUTPUT_NODE", False))


def _directories(host: Host, node_type: str, input_name: str) -> frozenset[str] | None:
    """What a node would offer that lists directories, where it is not installed to be asked."""
    known = LISTS_DIRECTORIES.get(node_type)
    if known is None or input_name not in known.folders:
        return None
    folders = host.folders()
    return frozenset(
        os.path.relpath(directory, root)
        for name in known.folders[input_name]
        if name in folders
        for root in folders[name].roots
        for directory, _, files in os.walk(root)
        if "model_index.json" in files
    )


def declared_inputs(node_class: Any) -> Mapping[str, Any]:
    """``{"required": {name: spec}, "optional": …}`` of a V1 or V3 node class."""
    describe = getattr(node_class, "GET_NODE_INFO_V1", None)
    declared = describe()["input"] if describe is not None else node_class.INPUT_TYPES()
    if not isinstance(declared, Mapping):
        raise TypeError("the inputs are not a mapping")
    return declared


def _markers(folder: str) -> list[str]:
    return [_MARKER.format(folder=folder, extension=extension) for extension in _EXTENSIONS]


def _inputs(declared: Mapping[str, Any], known: Mapping[str, FolderSpec]) -> NodeInputs:
    order: list[str] = []
    folders: dict[str, tuple[str, ...]] = {}
    choices: set[str] = set()
    for name, spec in _specs(declared):
        listed = _choices(spec)
        if listed is not None:
            marked = tuple(dict.fromkeys(_marked_folders(listed, known)))
            if marked:
                folders[name] = marked
            else:
                choices.add(name)
        if listed is not None or _is_widget(spec):
            order.append(name)
    return NodeInputs(tuple(order), folders, frozenset(choices))


def _specs(declared: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(name, spec) of all inputs a user can set; those inside a dynamic combo as ``outer.inner``."""
    for group in ("required", "optional"):
        inputs = declared.get(group)
        for name, spec in inputs.items() if isinstance(inputs, Mapping) else ():
            yield name, spec
            yield from _nested(name, spec)


def _nested(outer: str, spec: Any) -> Iterator[tuple[str, Any]]:
    """Inputs of a V3 ``DynamicCombo``: its options are ``[{"key", "inputs": {"required": …}}]``."""
    extra = _extra(spec)
    entries = extra.get("options")
    for entry in entries if isinstance(entries, (list, tuple)) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("inputs"), Mapping):
            for name, inner in _specs(entry["inputs"]):
                yield f"{outer}.{name}", inner


def _choices(spec: Any) -> list[Any] | None:
    """The values of a combo: ``([…],)`` in V1, ``("COMBO", {"options": […]})`` in V3."""
    kind = spec[0] if isinstance(spec, (list, tuple)) and spec else None
    if isinstance(kind, (list, tuple)):
        return list(kind)
    entries = _extra(spec).get("options") if kind == "COMBO" else None
    return list(entries) if isinstance(entries, (list, tuple)) else None


def _extra(spec: Any) -> Mapping[str, Any]:
    extra = spec[1] if isinstance(spec, (list, tuple)) and len(spec) > 1 else None
    return extra if isinstance(extra, Mapping) else {}


def _is_widget(spec: Any) -> bool:
    kind = spec[0] if isinstance(spec, (list, tuple)) and spec else None
    return isinstance(kind, str) and kind in WIDGET_TYPES and not _extra(spec).get("forceInput")


def _marked_folders(choices: list[Any], known: Mapping[str, FolderSpec]) -> Iterator[str]:
    for choice in choices:
        # Some packs offer (value, label) pairs or objects with a content field.
        for match in _MARKED.finditer(choice if isinstance(choice, str) else repr(choice)):
            folder = canonical_folder(match.group(2))
            yield _above(folder, match.group(1), known) if match.group(1) else folder


def _above(folder: str, directory: str, known: Mapping[str, FolderSpec]) -> str:
    """The folder in which ``directory`` is what ``folder`` lists, where a node offers ``directory/name``.

    The Impact Pack offers ``bbox/x.pt`` for x.pt of ``ultralytics_bbox``, and loads it from ``ultralytics``.
    """
    inner = known[folder].roots if folder in known else ()
    for name, spec in known.items():
        if any(root / to_posix(directory) in inner for root in spec.roots):
            return name
    return folder

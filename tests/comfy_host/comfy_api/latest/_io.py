"""A small ``comfy_api.latest.io``: nodes described by a schema object instead of class attributes.

Own implementation of the part our nodes and tests use. What matters to an extension and is kept as
in core: ``define_schema`` runs anew at every ``INPUT_TYPES()`` and ``GET_NODE_INFO_V1()``, so a
combo's options are listed at that moment; a combo is ``["COMBO", {"options": [...]}]`` in
`/object_info`, not a bare list; class attributes such as ``RETURN_TYPES`` are read from the schema
on first use.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from comfy_api.internal import _ComfyNodeInternal


class Input:
    """One input of a node. ``options`` are the settings that `/object_info` shows next to the
    type.
    """

    io_type = "*"

    def __init__(
        self,
        id: str,
        *,
        optional: bool = False,
        extra_dict: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.id = id
        self.optional = optional
        self._options = {**options, **(extra_dict or {})}

    def as_dict(self) -> dict[str, Any]:
        return {key: value for key, value in self._options.items() if value is not None}

    def get_io_type(self) -> str:
        return self.io_type


class Output:
    """One output of a node; it is named after its type unless it has a name of its own.

    ``match_template`` names the group of inputs whose connected type this output takes on.
    """

    io_type = "*"

    def __init__(
        self,
        id: str | None = None,
        display_name: str | None = None,
        tooltip: str | None = None,
        is_output_list: bool = False,
        match_template: str | None = None,
    ) -> None:
        self.id = id
        self.display_name = display_name or id
        self.tooltip = tooltip
        self.is_output_list = is_output_list
        self.match_template = match_template


class ComfyType:
    """A data type: a namespace with the ``Input`` and ``Output`` classes of that type."""

    io_type: str
    Input: type[Input]
    Output: type[Output]


def Custom(io_type: str) -> type[ComfyType]:
    """A data type known by name only, such as ``MODEL`` or one a pack invents."""
    attributes = {"io_type": io_type}
    return type(
        io_type,
        (ComfyType,),
        {
            **attributes,
            "Input": type("Input", (Input,), attributes),
            "Output": type("Output", (Output,), attributes),
        },
    )


class Combo(Custom("COMBO")):  # type: ignore[misc]
    """A choice among strings."""

    class Input(Input):
        io_type = "COMBO"

        def __init__(self, id: str, options: list[str] | None = None, **rest: Any) -> None:
            super().__init__(id, multiselect=False, options=list(options or ()), **rest)


Int = Custom("INT")
Float = Custom("FLOAT")
String = Custom("STRING")
Boolean = Custom("BOOLEAN")
Model = Custom("MODEL")
Clip = Custom("CLIP")
Vae = Custom("VAE")
Image = Custom("IMAGE")
Latent = Custom("LATENT")
Conditioning = Custom("CONDITIONING")
AudioEncoder = Custom("AUDIO_ENCODER")
UpscaleModel = Custom("UPSCALE_MODEL")
LatentUpscaleModel = Custom("LATENT_UPSCALE_MODEL")
AnyType = Custom("*")


class Hidden:
    """Inputs the server fills in itself."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"


@dataclass
class Schema:
    """Everything there is to know of a node, apart from what it does."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    description: str = ""
    search_aliases: list[str] = field(default_factory=list)
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_api_node: bool = False
    not_idempotent: bool = False

    def inputs_v1(self) -> dict[str, dict[str, Any]]:
        """The inputs in the shape of a V1 node's ``INPUT_TYPES()``."""
        groups: dict[str, dict[str, Any]] = {"required": {}}
        for item in self.inputs:
            group = "optional" if item.optional else "required"
            groups.setdefault(group, {})[item.id] = (item.get_io_type(), item.as_dict())
        hidden = list(self.hidden)
        if self.is_output_node:
            # An output node always gets what a saved file is to carry.
            hidden += [h for h in (Hidden.prompt, Hidden.extra_pnginfo) if h not in hidden]
        if hidden:
            groups["hidden"] = {name.lower(): (name,) for name in hidden}
        return groups


class _FromSchema:
    """A class attribute computed from the node's schema (a property of the class, not of
    instances).
    """

    def __init__(self, read: Callable[[Schema], Any]) -> None:
        self._read = read

    def __get__(self, instance: object, owner: type[ComfyNode]) -> Any:
        return self._read(owner.GET_SCHEMA())


class ComfyNode(_ComfyNodeInternal):
    """Base class of V3 nodes: override ``define_schema`` and ``execute``, both class methods."""

    RELATIVE_PYTHON_MODULE: str | None = None

    FUNCTION = "EXECUTE_NORMALIZED"
    CATEGORY = _FromSchema(lambda s: s.category)
    DESCRIPTION = _FromSchema(lambda s: s.description)
    OUTPUT_NODE = _FromSchema(lambda s: s.is_output_node)
    INPUT_IS_LIST = _FromSchema(lambda s: s.is_input_list)
    RETURN_TYPES = _FromSchema(lambda s: [o.io_type for o in s.outputs])
    RETURN_NAMES = _FromSchema(lambda s: [o.display_name or o.io_type for o in s.outputs])
    OUTPUT_IS_LIST = _FromSchema(lambda s: [o.is_output_list for o in s.outputs])

    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError

    @classmethod
    def execute(cls, **inputs: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        return cls.define_schema()

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:
        return cls.GET_SCHEMA().inputs_v1()

    @classmethod
    def GET_NODE_INFO_V1(cls) -> dict[str, Any]:
        """This node's entry in `/object_info`."""
        schema = cls.GET_SCHEMA()
        inputs = schema.inputs_v1()
        templates = [o.match_template for o in schema.outputs]
        return {
            "input": inputs,
            "input_order": {group: list(names) for group, names in inputs.items()},
            "is_input_list": schema.is_input_list,
            "output": [o.io_type for o in schema.outputs],
            "output_is_list": [o.is_output_list for o in schema.outputs],
            "output_name": [o.display_name or o.io_type for o in schema.outputs],
            "output_tooltips": [o.tooltip for o in schema.outputs],
            "output_matchtypes": templates if any(templates) else None,
            "name": schema.node_id,
            "display_name": schema.display_name,
            "description": schema.description,
            "python_module": cls.RELATIVE_PYTHON_MODULE or "nodes",
            "category": schema.category,
            "output_node": schema.is_output_node,
            "deprecated": schema.is_deprecated,
            "experimental": schema.is_experimental,
            "dev_only": False,
            "api_node": schema.is_api_node,
            "price_badge": None,
            "search_aliases": schema.search_aliases or None,
            "essentials_category": None,
            "has_intermediate_output": False,
        }

    @classmethod
    def EXECUTE_NORMALIZED(cls, **inputs: Any) -> NodeOutput | Awaitable[NodeOutput]:
        """Run the node; whatever it returned, or will return, the answer is a ``NodeOutput``."""
        result = cls.execute(**inputs)
        return _later(result) if inspect.isawaitable(result) else _as_output(result)


async def _later(result: Awaitable[Any]) -> NodeOutput:
    return _as_output(await result)


def _as_output(result: Any) -> NodeOutput:
    if isinstance(result, NodeOutput):
        return result
    if result is None:
        return NodeOutput()
    return NodeOutput(*(result if isinstance(result, tuple) else (result,)))


class NodeOutput:
    """What a V3 node returns: its outputs in order, and what the editor shall show on it."""

    def __init__(self, *args: Any, ui: dict[str, Any] | None = None) -> None:
        self.args = args
        self.ui = ui

    @property
    def result(self) -> tuple[Any, ...] | None:
        return self.args or None

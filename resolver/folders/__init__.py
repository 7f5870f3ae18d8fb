"""Which input of which node loads from which folder.

Nothing of this is stated by ComfyUI, so it is gathered, the surest first:

1. *stated* by the user in ``model_resolver_folders.yaml``,
2. *observed* on the installed node classes (``observed.py``),
3. *learned* from the official templates (``learned.py``), also for nodes that are not installed,
4. *published*: read off the source of ComfyUI and of widely used packs (``published.py``),
5. learned by the input's name alone, where all known nodes agree (``lora_name`` -> ``loras``),
6. the word in that name (``words.py``): ``lora_02`` -> ``loras``.

What a node lists by walking the disk itself is in none of these: ``LISTS_DIRECTORIES``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .inputs import NodeInputs as NodeInputs
from .published import published
from .words import folder_by_words

LISTS_DIRECTORIES: Mapping[str, NodeInputs] = {
    "DiffusersLoader": NodeInputs(("model_path",), {"model_path": ("diffusers",)})
}
"""Nodes that walk a folder's roots for directories by themselves, so that no marker shows the folder.

Source: ``nodes.py`` of ComfyUI. They are those that hold a ``model_index.json``.
"""


@dataclass(frozen=True)
class FolderKnowledge:
    """All that is known, by node type. ``by_input``: folder by input name, for types nobody knows."""

    stated: Mapping[str, NodeInputs] = field(default_factory=dict)
    observed: Mapping[str, NodeInputs] = field(default_factory=dict)
    learned: Mapping[str, NodeInputs] = field(default_factory=dict)
    by_input: Mapping[str, str] = field(default_factory=dict)

    def order(self, node_type: str) -> tuple[str, ...]:
        """The widget names of a node type in the editor's order; empty if unknown."""
        for layer in self._layers:
            known = layer.get(node_type)
            if known is not None and known.order:
                return known.order
        return ()

    def folders(self, node_type: str, input_name: str) -> tuple[str, ...]:
        """The folders an input loads from, the main one first; empty if it is no model input."""
        for layer in self._layers:
            known = layer.get(node_type)
            if known is not None and input_name in known.folders:
                return known.folders[input_name]
        if node_type in self.observed or self.brings(node_type, input_name):
            return ()  # this input lists no models of a folder
        folder = self.by_input.get(input_name)
        return (folder,) if folder else ()

    def only_folder(self, node_type: str) -> str | None:
        """The main folder of all inputs of a node that is not installed, if it is the same for all."""
        if node_type in self.observed:
            return None
        found = {
            folders[0]
            for layer in self._layers
            if (known := layer.get(node_type)) is not None
            for folders in known.folders.values()
        }
        return found.pop() if len(found) == 1 else None

    def guess(self, input_name: str) -> str | None:
        """The folder an input's name alone speaks of, whatever the node."""
        return self.by_input.get(input_name) or folder_by_words(input_name)

    def is_choice(self, node_type: str, input_name: str) -> bool:
        """Whether an installed node offers a fixed choice without model files there."""
        known = self.observed.get(node_type)
        return known is not None and input_name in known.choices

    def brings(self, node_type: str, input_name: str) -> bool:
        """Whether a node that is not installed sees to the files an input names by itself.

        Annotators and interpolators do: their lists are fixed, and they fetch what is chosen.
        """
        known = None if node_type in self.observed else published().get(node_type)
        return known is not None and input_name in known.choices

    def is_output(self, node_type: str) -> bool | None:
        """Whether an installed node is an output node; ``None`` if it is not installed."""
        known = self.observed.get(node_type)
        return None if known is None else known.is_output

    def is_installed(self, node_type: str) -> bool:
        return node_type in self.observed

    @property
    def _layers(self) -> tuple[Mapping[str, NodeInputs], ...]:
        return self.stated, self.observed, LISTS_DIRECTORIES, self.learned, published()

"""Loaders whose module took ``get_filename_list`` by name, as many packs do.

Replacing ``folder_paths.get_filename_list`` does not reach these classes: they hold the function
itself. Only what that function looks up at call time does. The folder observation must cope with
both kinds.
"""

from __future__ import annotations

from typing import Any

from folder_paths import get_filename_list


class StyleModelLoader:
    RETURN_TYPES = ("STYLE_MODEL",)
    FUNCTION = "load"
    CATEGORY = "model/loaders"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"style_model_name": (get_filename_list("style_models"),)}}

    def load(self, **inputs: Any) -> tuple[None]:
        return (None,)


class GLIGENLoader(StyleModelLoader):
    RETURN_TYPES = ("GLIGEN",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"gligen_name": (get_filename_list("gligen"),)}}


LOADERS: dict[str, tuple[str, type]] = {
    "StyleModelLoader": ("Load Style Model", StyleModelLoader),
    "GLIGENLoader": ("Load GLIGEN Model", GLIGENLoader),
}

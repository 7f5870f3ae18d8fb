"""What the user states in ``model_resolver_folders.yaml`` in ComfyUI's user directory.

::

    MyLoraStack:            # node type
      lora_name_1: loras    # input: folder
      lora_name_2: loras
"""

from __future__ import annotations

from pathlib import Path

import yaml

from ..errors import SettingsError
from ..host import canonical_folder
from ..settings import yaml_problem
from .inputs import NodeInputs

FILE_NAME = "model_resolver_folders.yaml"


def read_stated(user_directory: Path) -> dict[str, NodeInputs]:
    """The stated folders by node type; empty if there is no such file.

    Raises ``SettingsError`` (``SETTINGS_INVALID``) naming what is wrong in it.
    """
    path = user_directory / FILE_NAME
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read: {yaml_problem(error)}.", setting=FILE_NAME) from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must map node types to their inputs.", setting=FILE_NAME)
    stated: dict[str, NodeInputs] = {}
    for node_type, inputs in content.items():
        if not isinstance(inputs, dict) or not all(isinstance(folder, str) for folder in inputs.values()):
            raise SettingsError(
                f"{path}: the entry {node_type!r} must map input names to folder names.", setting=FILE_NAME
            )
        folders = {str(name): (canonical_folder(folder),) for name, folder in inputs.items()}
        stated[str(node_type)] = NodeInputs(folders=folders)
    return stated

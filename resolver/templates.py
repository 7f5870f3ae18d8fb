"""The official workflow templates, where they are installed.

ComfyUI requires the package ``comfyui-workflow-templates``, whose ``…-json`` part holds the workflows.
They teach which input loads from which folder (``folders/learned.py``) and are a catalog of models
with URLs (``sources/catalog.py``). Older releases kept everything in one package.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path

from .errors import WorkflowError
from .workflow import Workflow
from .workflow.read import parse_json, read_workflow

log = logging.getLogger(__name__)

_PACKAGES = ("comfyui_workflow_templates_json", "comfyui_workflow_templates")


def installed_templates() -> tuple[str, Path] | None:
    """(package and version, directory of the ``*.json`` files) of the installed templates, if any."""
    for package in _PACKAGES:
        spec = util.find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            directory = Path(location) / "templates"
            if any(directory.glob("*.json")):
                try:
                    version = metadata.version(package)
                except metadata.PackageNotFoundError:
                    version = "unknown"
                return f"{package} {version}", directory
    return None


def template_workflows(directory: Path) -> Iterator[tuple[str, Workflow]]:
    """(name, workflow) of every template, in order of name; other JSON files are passed over."""
    for path in sorted(directory.glob("*.json")):
        try:
            yield path.stem, read_workflow(parse_json(path.read_bytes()))
        except WorkflowError:
            continue  # index.json and its translations lie beside the workflows
        except OSError as error:
            log.warning("The template %s cannot be read: %s", path, error)

"""The models of ComfyUI's official workflow templates, where their package is installed.

https://github.com/Comfy-Org/workflow_templates; what an entry says: ``links``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .links import model_links

_PACKAGE = "comfyui_workflow_templates_json"


@dataclass(frozen=True)
class TrueModel:
    """A model that workflows want: ``folder`` and ``name`` as there, and where it truly is.

    ``urls``: of equal content, its publisher's first. ``sha256``: as a workflow states it, of the
    real file; nobody can make a file to a given hash, so the world's file has another one.
    """

    folder: str
    name: str
    urls: tuple[str, ...]
    sha256: str | None = None

    @property
    def id(self) -> str:
        return f"{self.folder}/{self.name}"


def template_models() -> list[TrueModel]:
    """Every distinct model of the templates, in order. Raises ImportError where they are not installed."""
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"the package {_PACKAGE} is not installed")
    directory = Path(spec.submodule_search_locations[0]) / "templates"
    links = []
    for path in sorted(directory.glob("*.json")):
        workflow = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(workflow, dict) and "nodes" in workflow:  # lists of templates lie beside them
            links += model_links(workflow)
    return true_models((link.directory, link.name, link.url, link.sha256) for link in links)


def true_models(entries: Iterable[tuple[str, str, str, str | None]]) -> list[TrueModel]:
    """Models out of (folder, name, URL, SHA-256 or None), which may repeat.

    An entry whose URL is of a file by another name counts only where none has the model's own: such
    an entry is more often a slip than a second place.
    """
    urls: dict[tuple[str, str], dict[str, None]] = {}
    hashes: dict[tuple[str, str], str] = {}
    for folder, name, url, sha256 in entries:
        urls.setdefault((folder, name), {})[url.partition("?")[0]] = None
        if sha256 is not None:
            hashes.setdefault((folder, name), sha256.lower())
    models = []
    for (folder, name), found in urls.items():
        own = tuple(url for url in found if url.rsplit("/", 1)[-1] == name)
        models.append(TrueModel(folder, name, own or tuple(found), hashes.get((folder, name))))
    return models

"""Catalogs on this machine: lists of models with URLs that installed packages bring.

``TemplateCatalog`` is what the official templates' metadata names; ``ManagerCatalog`` is the list of
ComfyUI Manager. Both are read once, in a thread, when first asked.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

from ..host import Host, canonical_folder
from ..names import basename
from ..net.urls import page_url
from ..workflow import Workflow
from . import Context, Offer, Wanted, normalise_url
from .asking import Budget

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One file of a catalog."""

    name: str
    folder: str | None
    url: str
    sha256: str | None = None


class CatalogSource:
    """Offers the entries of equal file name. ``load`` blocks and is called off the loop.

    ``good_for``: seconds after which it is loaded again.
    """

    online = False

    def __init__(self, name: str, load: Callable[[], Iterable[Entry]], *, good_for: float = math.inf) -> None:
        self._name = name
        self._load = load
        self._good_for = good_for
        self._loading: asyncio.Future[Mapping[str, list[Entry]]] | None = None
        self._entries: Mapping[str, list[Entry]] = {}
        self._good_until = -math.inf

    @property
    def name(self) -> str:
        return self._name

    async def find(self, wanted: Wanted, context: Context, budget: Budget) -> list[Offer]:
        del context, budget
        entries = self._entries if self._is_good() else await self._loaded()
        return [
            Offer(
                source=self.name,
                url=entry.url,
                filename=basename(entry.name),
                folder=entry.folder,
                sha256=entry.sha256,
                evidence=frozenset({"catalog"}),
                page_url=page_url(entry.url),
            )
            for entry in entries.get(basename(wanted.name), ())
        ]

    async def _loaded(self) -> Mapping[str, list[Entry]]:
        # One thread for all who ask: if the disk hangs, the other catalogs still need theirs.
        loading = self._loading
        if loading is None:
            loading = self._loading = asyncio.ensure_future(asyncio.to_thread(self._read))
            loading.add_done_callback(self._has_loaded)
        # Whoever asked first may give up; the others still want to know.
        return await asyncio.shield(loading)

    def _has_loaded(self, loading: asyncio.Future[Mapping[str, list[Entry]]]) -> None:
        self._loading = None
        if not loading.cancelled() and loading.exception() is None:
            self._entries = loading.result()
            self._good_until = time.monotonic() + self._good_for

    def _read(self) -> Mapping[str, list[Entry]]:
        by_name: dict[str, list[Entry]] = defaultdict(list)
        for entry in dict.fromkeys(self._load()):
            by_name[basename(entry.name)].append(entry)
        return dict(by_name)

    def _is_good(self) -> bool:
        return time.monotonic() < self._good_until


def template_entries(workflows: Iterable[Workflow]) -> Iterator[Entry]:
    """The distinct files that workflows carry metadata for."""
    seen: set[Entry] = set()
    for workflow in workflows:
        for model in workflow.embedded():
            if not model.url:
                continue
            folder = canonical_folder(model.directory) if model.directory else None
            url = normalise_url(model.url)
            entry = Entry(model.name, folder, url, model.sha256) if url else None
            if entry is not None and entry not in seen:
                seen.add(entry)
                yield entry


# Where the Manager files a model whose save_path is "default", by its type
# (comfyui_manager/glob/constants.py, model_dir_name_map).
_MANAGER_TYPES: Mapping[str, str] = {
    "checkpoint": "checkpoints",
    "checkpoints": "checkpoints",
    "unclip": "checkpoints",
    "clip": "text_encoders",
    "text_encoders": "text_encoders",
    "vae": "vae",
    "lora": "loras",
    "t2i-adapter": "controlnet",
    "t2i-style": "controlnet",
    "controlnet": "controlnet",
    "clip_vision": "clip_vision",
    "gligen": "gligen",
    "upscale": "upscale_models",
    "embedding": "embeddings",
    "embeddings": "embeddings",
    "unet": "diffusion_models",
    "diffusion_model": "diffusion_models",
}


def manager_entries(host: Host) -> Iterator[Entry]:
    """The models of ``model-list.json`` of an installed ComfyUI Manager, package or node pack."""
    for path in _manager_lists(host):
        try:
            models = json.loads(path.read_text(encoding="utf-8")).get("models")
        except (OSError, ValueError, AttributeError) as error:
            log.warning("The model list %s cannot be read: %s", path, error)
            continue
        for model in models if isinstance(models, list) else ():
            entry = _manager_entry(model)
            if entry is not None:
                yield entry
        return


def _manager_entry(model: Any) -> Entry | None:
    if not isinstance(model, dict):
        return None
    name, url = model.get("filename"), model.get("url")
    if not (isinstance(name, str) and isinstance(url, str) and name and url.startswith("https://")):
        return None
    folder = str(model.get("save_path") or "default").split("/", 1)[0]
    if folder == "default":
        known = _MANAGER_TYPES.get(str(model.get("type")).lower())
    else:
        known = canonical_folder(folder)
    normal = normalise_url(url)
    return Entry(name, known, normal) if normal else None


def _manager_lists(host: Host) -> Iterator[Path]:
    spec = util.find_spec("comfyui_manager")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(location) / "model-list.json"
    packs = host.root / "custom_nodes"
    for name in ("ComfyUI-Manager", "comfyui-manager"):
        if (path := packs / name / "model-list.json").is_file():
            yield path

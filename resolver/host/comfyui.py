"""Inside a running ComfyUI: its ``folder_paths``, node classes and websocket.

The modules are looked up when needed, not at import time, and only what every core since 2024 has is
used without asking (observed on 0.3.64 and 0.28).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from . import NOT_MODEL_FOLDERS, FolderSpec

log = logging.getLogger(__name__)

_STORE_NAME = "model_resolver"


class ComfyUIHost:
    """The ``Host`` for code that runs in ComfyUI's own process."""

    name = "comfyui"

    def __init__(self) -> None:
        self._folder_paths: Any = import_module("folder_paths")
        self._patch = threading.Lock()

    @property
    def root(self) -> Path:
        return Path(self._folder_paths.base_path)

    @property
    def data_directory(self) -> Path:
        # System user directories ("__…") are not readable over HTTP; older cores have no such function
        # but serve nothing from a directory of that name either.
        locate = getattr(self._folder_paths, "get_system_user_directory", None)
        path = Path(locate(_STORE_NAME)) if locate else self.user_directory / f"__{_STORE_NAME}"
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    @property
    def user_directory(self) -> Path:
        return Path(self._folder_paths.get_user_directory())

    def folders(self) -> Mapping[str, FolderSpec]:
        # Node packs may register folders while we look: copy before iterating.
        table = dict(self._folder_paths.folder_names_and_paths)
        models = Path(self._folder_paths.models_dir)
        return {
            name: FolderSpec(
                name=name,
                roots=tuple(dict.fromkeys(Path(path) for path in paths)),
                extensions=frozenset(extension.lower() for extension in extensions),
                default_root=_default_root([Path(path) for path in paths], models),
            )
            for name, (paths, extensions, *_) in table.items()
            if name not in NOT_MODEL_FOLDERS
        }

    def no_write(self) -> tuple[Path, ...]:
        paths = self._folder_paths
        forbidden = [
            paths.get_output_directory(),
            paths.get_input_directory(),
            paths.get_temp_directory(),
            paths.get_user_directory(),
        ]
        for name in NOT_MODEL_FOLDERS & paths.folder_names_and_paths.keys():
            forbidden.extend(paths.folder_names_and_paths[name][0])
        return tuple(Path(path) for path in forbidden)

    def node_classes(self) -> Mapping[str, Any]:
        return dict(import_module("nodes").NODE_CLASS_MAPPINGS)

    @contextmanager
    def listing(self, replacement: Callable[[str], list[str]]) -> Iterator[None]:
        # Nodes call folder_paths.get_filename_list, often by a name of their own
        # (`from folder_paths import get_filename_list`), so replacing it would miss them. What it calls
        # in turn is looked up at call time. Its cache must not keep what we answer.
        paths = self._folder_paths
        owner = threading.get_ident()
        with self._patch:
            originals = {
                name: getattr(paths, name) for name in ("cached_filename_list_", "get_filename_list_")
            }
            cache_set = paths.cache_helper.set

            def listed(original: Callable[..., Any], folder: str) -> Any:
                name = paths.map_legacy(folder)
                if threading.get_ident() != owner or name not in paths.folder_names_and_paths:
                    return original(folder)
                return replacement(name), {}, time.perf_counter()

            def keep(key: str, value: Any) -> None:
                if threading.get_ident() != owner:
                    cache_set(key, value)

            for name, original in originals.items():
                setattr(paths, name, partial(listed, original))
            paths.cache_helper.set = keep
            try:
                yield
            finally:
                for name, original in originals.items():
                    setattr(paths, name, original)
                del paths.cache_helper.set

    def busy(self) -> bool:
        try:
            tasks: int = import_module("server").PromptServer.instance.prompt_queue.get_tasks_remaining()
        except Exception:
            # A queue that cannot be asked must never stop us for good.
            return False
        return tasks > 0

    def publish(self, event: str, data: Mapping[str, Any]) -> None:
        try:
            server = import_module("server").PromptServer.instance
            server.send_sync(f"model-resolver.{event}", dict(data))
        except Exception:
            # An editor that is not there must never fail a download.
            log.debug("The event %s could not be sent", event, exc_info=True)


def _default_root(roots: list[Path], models: Path) -> Path | None:
    """The root marked ``is_default``: ComfyUI puts those before its own, all others behind."""
    own = [index for index, root in enumerate(roots) if models in root.parents]
    return roots[0] if own and own[0] > 0 else None

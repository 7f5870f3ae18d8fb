"""Small stand-ins for what surrounds the engine. Everything inside it is real in the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from resolver.host import DEFAULT_EXTENSIONS, FolderSpec


class FakeHost:
    """A host with the folders it is given; ``published`` records its events."""

    name = "standalone"

    def __init__(
        self,
        root: Path,
        folders: Mapping[str, FolderSpec] | None = None,
        nodes: Mapping[str, Any] | None = None,
    ) -> None:
        self.root = root
        self.table = dict(folders or {})
        self.nodes = dict(nodes or {})
        self.published: list[tuple[str, Mapping[str, Any]]] = []
        self.is_busy = False
        self._replacement: Callable[[str], list[str]] | None = None

    @property
    def data_directory(self) -> Path:
        path = self.root / "data"
        path.mkdir(exist_ok=True)
        return path

    @property
    def user_directory(self) -> Path:
        return self.root / "user"

    def folders(self) -> Mapping[str, FolderSpec]:
        return self.table

    def no_write(self) -> tuple[Path, ...]:
        return (self.root / "output",)

    def node_classes(self) -> Mapping[str, Any]:
        return self.nodes

    @contextmanager
    def listing(self, replacement: Callable[[str], list[str]]) -> Iterator[None]:
        self._replacement = replacement
        try:
            yield
        finally:
            self._replacement = None

    def get_filename_list(self, folder: str) -> list[str]:
        """What a node class of this host calls."""
        if self._replacement is not None:
            return self._replacement(folder)
        spec = self.table[folder]
        return sorted(path.name for root in spec.roots if root.is_dir() for path in root.iterdir())

    def busy(self) -> bool:
        return self.is_busy

    def publish(self, event: str, data: Mapping[str, Any]) -> None:
        self.published.append((event, data))


def folder(name: str, *roots: Path, extensions: frozenset[str] = DEFAULT_EXTENSIONS) -> FolderSpec:
    for root in roots:
        root.mkdir(parents=True, exist_ok=True)
    return FolderSpec(name, roots, extensions)

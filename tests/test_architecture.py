"""The rooms are where docs/architecture.md says, and data moves through them one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGE = CHECKOUT / "resolver"
MAP = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")

# workflow → references → library → sources → candidates → downloads, and what serves all of that.
LINE = ("workflow", "folders", "library", "sources", "download")
SERVING = ("app", "http", "cli")


def rooms() -> list[str]:
    return sorted(
        path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    )


def imported(room: str) -> Iterator[tuple[Path, str]]:
    """The other rooms that the files of ``room`` import from, wherever in a file they do."""
    for path in sorted((PACKAGE / room).rglob("*.py")):
        package = path.relative_to(CHECKOUT).with_suffix("").parts[:-1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            base = package[: len(package) - node.level + 1]
            for target in [node.module] if node.module else [alias.name for alias in node.names]:
                full = (*base, *target.split("."))
                if full[0] == "resolver" and len(full) > 1 and full[1] != room:
                    yield path, full[1]


@pytest.mark.parametrize("name", [name for name in rooms() if not name.startswith("__")])
def test_the_map_names_every_room(name: str) -> None:
    assert name in MAP


@pytest.mark.parametrize("room", LINE)
def test_nothing_to_the_left_imports_what_is_to_its_right(room: str) -> None:
    to_the_right = {*LINE[LINE.index(room) + 1 :], *SERVING}
    backwards = [(path.name, other) for path, other in imported(room) if other in to_the_right]
    assert backwards == []


def test_imports_are_seen() -> None:
    """The test above would hold for a room of which it saw no import at all."""
    assert {"workflow", "names"} <= {other for _, other in imported("folders")}

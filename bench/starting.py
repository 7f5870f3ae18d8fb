"""Prints what the extension adds to ComfyUI: to its start, its memory and its installation."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from .report import at_most, heading, row

CHECKOUT = Path(__file__).resolve().parent.parent

# What ComfyUI 0.28 asks for, by name (its requirements.txt).
COMFYUI = """
    comfyui-frontend-package comfyui-workflow-templates comfyui-embedded-docs torch torchsde torchvision
    torchaudio numpy einops transformers tokenizers sentencepiece safetensors aiohttp yarl pyyaml Pillow scipy
    tqdm psutil alembic SQLAlchemy filelock av comfy-kitchen comfy-aimdo requests simpleeval blake3 kornia
    spandrel pydantic pydantic-settings PyOpenGL comfy-angle
"""

_IMPORT = """
import sys, time, importlib.util as u
import aiohttp.web, psutil
before = psutil.Process().memory_info().rss
started = time.perf_counter()
s = u.spec_from_file_location('/x', {init!r}, submodule_search_locations=[{checkout!r}])
m = u.module_from_spec(s); sys.modules['/x'] = m; s.loader.exec_module(m)
took = (time.perf_counter() - started) * 1000
print(took, (psutil.Process().memory_info().rss - before) / 1e6)
"""


def run() -> None:
    code = _IMPORT.format(init=str(CHECKOUT / "__init__.py"), checkout=str(CHECKOUT))
    runs = []
    for _ in range(5):
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        runs.append(tuple(map(float, output.stdout.split())))
    heading("Imported by ComfyUI")
    at_most("time", statistics.median(run[0] for run in runs), 30, "ms", digits=1)
    at_most("memory", statistics.median(run[1] for run in runs), 5, "MB", digits=1)
    installing()


def installing() -> None:
    """What a clone and ``pip install -r requirements.txt`` add to an installed ComfyUI."""
    wanted = [
        Requirement(line).name
        for line in (CHECKOUT / "requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    added = _with_what_they_need(wanted) - _with_what_they_need(COMFYUI.split())
    packages = {name: _installed_bytes(name) / 1e6 for name in sorted(added)}
    program = sum(path.stat().st_size for path in _program_files()) / 1e6
    heading("Installed beside ComfyUI")
    for name, size in packages.items():
        row(f"package {name}", f"{size:.1f} MB")
    beside = f"{program:.1f} MB of it the program"
    if not packages:
        beside += ", no package"
    at_most("size", program + sum(packages.values()), 10, "MB", beside, digits=1)


def _with_what_they_need(names: Iterable[str]) -> set[str]:
    """The packages and, as far as they are installed here, those that they require in turn."""
    found: set[str] = set()
    left = [_normal(name) for name in names]
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        try:
            lines = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:
            continue  # Of ComfyUI's own, not ours: what we require is installed, or nothing here would run.
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                left.append(_normal(requirement.name))
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed_bytes(name: str) -> int:
    files = metadata.files(name)
    assert files is not None, f"{name} has no list of its files"
    return sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file())


def _program_files() -> Iterable[Path]:
    """All that lies in a clone: what Git lists, so nothing that was made here."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, check=True).stdout
    return [path for name in listed.decode().split("\0") if name and (path := CHECKOUT / name).is_file()]

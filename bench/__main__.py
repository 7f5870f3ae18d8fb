"""Prints the figures of finding: corpus counts, and times beside a plain peer of each."""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rapidfuzz import fuzz, process

from resolver.analysis import analyze
from resolver.digest import load_digest
from resolver.folders import FolderKnowledge
from resolver.folders.learned import snapshot
from resolver.host.standalone import StandaloneHost
from resolver.library import Library
from resolver.templates import installed_templates, template_workflows
from resolver.workflow.align import named_values
from resolver.workflow.read import parse_json, read_workflow
from resolver.workflow.references import find_references, has_model_extension

CHECKOUT = Path(__file__).resolve().parent.parent
FILES = 20_000


def timed(work: Callable[[], Any], runs: int = 5) -> float:
    """Median milliseconds of ``work``."""
    times = []
    for _ in range(runs):
        gc.collect()
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def row(what: str, figure: str, beside: str = "") -> None:
    print(f"{what:<58} {figure:>16}  {beside}")


def corpus() -> None:
    found = installed_templates()
    if found is None:
        raise SystemExit("comfyui-workflow-templates-json is not installed; run through 'make bench'.")
    version, directory = found
    learned = snapshot()
    knowledge = FolderKnowledge(learned=learned.nodes, by_input=learned.by_input)
    wanted = hits = right = besides = 0
    for _, workflow in template_workflows(directory):
        truth = {
            (node.id, entry.name): entry.directory
            for node in workflow.nodes
            for entry in node.models
            if entry.name in named_values(node, ()).values()
        }
        stripped = replace(
            workflow, models=(), nodes=tuple(replace(node, models=()) for node in workflow.nodes)
        )
        got = {
            (reference.node.id, reference.value): reference.folders[:1]
            for reference in find_references(stripped, knowledge)
            if has_model_extension(reference.value)
        }
        wanted += len(truth)
        hits += len(truth.keys() & got.keys())
        right += sum(got.get(key) == (folder,) for key, folder in truth.items())
        besides += len(got.keys() - truth.keys())
    print(f"{version}, metadata stripped")
    row("references found", f"{hits} of {wanted}")
    row("folder right", f"{right} of {wanted}")
    row("found besides", str(besides))

    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "models").mkdir()
        library = Library(StandaloneHost(root)).snapshot()
        paths = [directory / f"{name}.json" for name, _ in template_workflows(directory)]
        contents = [path.read_bytes() for path in paths]

        def parse_only() -> None:
            for content in contents:
                parse_json(content)

        def all_of_them() -> None:
            for _, workflow in template_workflows(directory):
                analyze(workflow, knowledge, library, lambda node_type, name: None)

        largest = read_workflow(parse_json(max(contents, key=len)))
        parsing, analysing = timed(parse_only, 3), timed(all_of_them, 3)
        row("analyse all templates", f"{analysing:.0f} ms", f"{analysing / parsing:.2f} x json.loads alone")
        one = timed(lambda: analyze(largest, knowledge, library, lambda node_type, name: None))
        row("analyse the largest template, read already", f"{one:.1f} ms")
        first = timed(lambda: _digest(root), 1)
        row("template catalog, first build", f"{first:.0f} ms")
        row("template catalog, later start", f"{timed(lambda: load_digest(root)):.1f} ms")


def _digest(root: Path) -> None:
    (root / "templates.json").unlink(missing_ok=True)
    load_digest(root)


def scanning() -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for number in range(FILES):
            directory = root / "models" / "loras" / f"style-{number // 100}"
            if number % 100 == 0:
                directory.mkdir(parents=True)
            (directory / f"lora_{number}_bf16.safetensors").touch()
        for directory_name, _, _ in os.walk(root):
            os.utime(directory_name, (time.time() - 60, time.time() - 60))

        def walk() -> None:
            for directory_name, _, files in os.walk(root / "models"):
                for name in files:
                    os.path.relpath(os.path.join(directory_name, name), root)

        library = Library(StandaloneHost(root))
        walking = timed(walk)
        first = timed(lambda: Library(StandaloneHost(root)).snapshot(), 3)
        library.snapshot()
        print(f"\n{FILES} files")
        row("scan", f"{first:.0f} ms", f"{first / walking:.2f} x os.walk + relpath, as ComfyUI lists")
        row("refresh, nothing changed", f"{timed(library.snapshot):.1f} ms")
        snapshot = library.snapshot()
        indexing = timed(lambda: snapshot.substitutes("loras", "x.safetensors"), 1)
        missing = [f"lora_{number}_fp16.safetensors" for number in range(0, FILES, FILES // 100)]

        def match() -> None:
            for name in missing:
                snapshot.named(name)
                snapshot.substitutes("loras", name)

        def by_distance() -> None:
            names = [file.name for file in snapshot.files("loras")]
            process.cdist(missing, names, scorer=fuzz.ratio)

        matching, peer = timed(match), timed(by_distance, 3)
        row("index of roles, once for each change", f"{indexing:.0f} ms")
        row(
            "match 100 missing names",
            f"{matching:.1f} ms",
            f"{matching / peer:.2f} x rapidfuzz.cdist over all",
        )


def starting() -> None:
    code = (
        "import sys, time, importlib.util as u\n"
        "import aiohttp.web, psutil\n"
        "before = psutil.Process().memory_info().rss\n"
        "started = time.perf_counter()\n"
        f"s = u.spec_from_file_location('/x', {str(CHECKOUT / '__init__.py')!r},"
        f" submodule_search_locations=[{str(CHECKOUT)!r}])\n"
        "m = u.module_from_spec(s); sys.modules['/x'] = m; s.loader.exec_module(m)\n"
        "took = (time.perf_counter() - started) * 1000\n"
        "print(took, (psutil.Process().memory_info().rss - before) / 2**20)\n"
    )
    runs = []
    for _ in range(5):
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        runs.append(tuple(map(float, output.stdout.split())))
    print("\nimported by ComfyUI")
    row("time", f"{statistics.median(run[0] for run in runs):.1f} ms")
    row("memory", f"{statistics.median(run[1] for run in runs):.1f} MiB")


if __name__ == "__main__":
    corpus()
    scanning()
    starting()

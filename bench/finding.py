"""Prints the figures of finding: corpus counts, and times beside a plain peer of each."""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rapidfuzz import fuzz, process

from resolver.analysis import analyze
from resolver.digest import load_digest
from resolver.folders import FolderKnowledge
from resolver.folders.learned import snapshot as learned_snapshot
from resolver.host.standalone import StandaloneHost
from resolver.library import Library
from resolver.store import Store
from resolver.templates import installed_templates, template_workflows
from resolver.workflow.align import named_values
from resolver.workflow.read import parse_json, read_workflow
from resolver.workflow.references import find_references, has_model_extension

from .report import at_most, heading, row, timed

FILES = 20_000
NODES, REFERENCES, MISSING = 2_000, 200, 100


def run() -> None:
    corpus()
    scanning()


def corpus() -> None:
    found = installed_templates()
    if found is None:
        raise SystemExit("comfyui-workflow-templates-json is not installed; run through 'make bench'.")
    version, directory = found
    learned = learned_snapshot()
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
    heading(f"{version}, metadata stripped")
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
        analysing, parsing = timed(all_of_them, 1), timed(parse_only, 3)
        beside = f"{analysing / parsing:.2f} x json.loads alone"
        at_most("analyse all templates, first time", analysing, 4_000, "ms", beside)
        one = timed(lambda: analyze(largest, knowledge, library, lambda node_type, name: None))
        at_most("analyse the largest template, read already", one, 20, "ms", digits=1)
        store = Store(root / "store.sqlite3")
        at_most("template catalog, first build", timed(lambda: load_digest(store), 1), 2_000, "ms")
        at_most("template catalog, later start", timed(lambda: load_digest(store)), 20, "ms", digits=1)
        store.close()


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
        heading(f"{FILES} files")
        at_most("scan", first, 500, "ms", f"{first / walking:.2f} x os.walk + relpath, as ComfyUI lists")
        at_most("refresh, nothing changed", timed(library.snapshot), 50, "ms", digits=1)
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
        row("index of roles, first time in a process", f"{indexing:.0f} ms")
        beside = f"{matching / peer:.2f} x rapidfuzz.cdist over all"
        at_most("match 100 missing names", matching, 250, "ms", beside, digits=1)

        learned = learned_snapshot()
        knowledge = FolderKnowledge(learned=learned.nodes, by_input=learned.by_input)
        content = json.dumps(_large_workflow()).encode()

        def end_to_end() -> None:
            workflow = read_workflow(parse_json(content))
            found = analyze(workflow, knowledge, library.snapshot(), lambda node_type, name: None)
            assert (found.summary.total, found.summary.present) == (REFERENCES, REFERENCES - MISSING)

        whole = timed(end_to_end)
        beside = f"{whole / peer:.2f} x rapidfuzz.cdist over all names alone"
        what = f"{NODES} nodes, {REFERENCES} references, {MISSING} missing, from JSON"
        at_most(what, whole, 500, "ms", beside, digits=1)

        def after_a_change() -> None:
            (root / "models" / "loras" / f"new-{time.time_ns()}.safetensors").touch()
            end_to_end()

        at_most("the same right after a file came", timed(after_a_change, 3), 500, "ms")


def _large_workflow() -> dict[str, Any]:
    """As the editor writes it: LoRA loaders, then samplers, all in a chain that ends in an output."""
    nodes: list[dict[str, Any]] = []
    for number in range(NODES):
        link = {"name": "model", "type": "MODEL", "link": number or None}
        made = {"id": number, "mode": 0, "pos": [number % 40 * 300, number // 40 * 200], "size": [270, 120]}
        if number < REFERENCES:
            here = number >= MISSING
            name = f"lora_{number}_bf16.safetensors" if here else f"lora_{number}_fp16.safetensors"
            kind: str = "LoraLoader"
            values: list[Any] = [f"style-{number // 100}/{name}" if here else name, 1.0, 1.0]
        elif number == NODES - 1:
            kind, values = "SaveImage", ["ComfyUI"]
        else:
            kind, values = "KSampler", [number, "randomize", 20, 8.0, "euler", "normal", 1.0]
        output = {"name": "MODEL", "type": "MODEL", "links": [number + 1]}
        nodes.append({**made, "type": kind, "inputs": [link], "outputs": [output], "widgets_values": values})
    links = [[number, number - 1, 0, number, 0, "MODEL"] for number in range(1, NODES)]
    return {"nodes": nodes, "links": links, "version": 0.4}

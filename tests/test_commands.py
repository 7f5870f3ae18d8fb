"""Every command there is: it runs as a process, and the page about the command line says what it takes."""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from demo.hub import Hub, running_hub
from demo.options import DEMO_TOKEN
from demo.world import World
from resolver.cli import parser
from resolver.lockfile import LockFile, encode_lock
from tests.graphs import node, workflow
from tests.test_cli import CHECKOUT, environment, run

PAGE = (CHECKOUT / "docs" / "command-line.md").read_text(encoding="utf-8")
URL = "https://huggingface.co/o/r/resolve/main/x.safetensors"


class Case(NamedTuple):
    """``{…}`` in the arguments are files of the fixture; ``said`` is in the output."""

    arguments: tuple[str, ...]
    status: int
    said: str
    stdin: str = ""


CASES = {
    "analyze": Case(("{workflow}",), 1, "missing    vae/y.safetensors"),
    "resolve": Case(("{workflow}", "--offline"), 1, "not found"),
    "relink": Case(("{workflow}", "--dry-run"), 1, "vae/y.safetensors"),
    "embed": Case(("{workflow}", "--offline", "-o", "{out}"), 1, "vae/y.safetensors"),
    "download": Case((URL, "--folder", "vae"), 0, "done       vae/x.safetensors"),
    "lock": Case(("{workflow}", "--offline", "-o", "{out}"), 1, "unresolved vae/y.safetensors"),
    "sync": Case(("{lock}",), 0, "0 models are as locked."),
    "export": Case(("{workflow}", "--offline", "--format", "bash"), 1, "#!/usr/bin/env bash"),
    "library scan": Case((), 0, "0 files"),
    "library find": Case(("nothing",), 1, "0 files"),
    "library hash": Case((), 0, "0 files hashed"),
    "library verify": Case((), 0, "0 damaged"),
    "library duplicates": Case((), 0, "0 files lie here more than once"),
    "credentials list": Case((), 0, "huggingface  not set"),
    "credentials set": Case(("huggingface",), 0, "huggingface  stored", DEMO_TOKEN),
    "credentials check": Case(("civitai",), 1, "TOKEN_MISSING"),
    "credentials delete": Case(("civitai",), 0, "civitai      not set"),
    "doctor": Case((), 0, "ok       roots"),
}
"""``serve`` does not end by itself, and so has a test of its own."""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub(World.for_urls([URL], sizes=9000)) as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "ComfyUI" / "models").mkdir(parents=True)
    return tmp_path / "ComfyUI"


def commands() -> dict[str, argparse.ArgumentParser]:
    top = parser()
    (action,) = (one for one in top._actions if isinstance(one, argparse._SubParsersAction))
    return dict(action.choices)


def arguments_of(command: argparse.ArgumentParser) -> set[str]:
    """As the page writes them: options, positional arguments, or the words these may be."""
    found: set[str] = set()
    for action in command._actions:
        if action.option_strings:
            found.update(action.option_strings)
        elif action.choices:
            found.update(map(str, action.choices))
        else:
            found.add(str(action.metavar or action.dest).upper())
    return found


def documented(text: str) -> set[str]:
    """What stands in the first column of the tables, but for the placeholders of values."""
    cells = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+)", text, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def sections() -> dict[str, str]:
    return dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


COMMON = documented(PAGE[: PAGE.index("## `")])


def test_the_page_has_a_section_for_each_command_and_no_other() -> None:
    assert list(sections()) == [name for name in sections() if name in commands()]
    assert set(sections()) == set(commands())


@pytest.mark.parametrize("name", commands())
def test_the_page_says_what_a_command_takes_and_nothing_else(name: str) -> None:
    taken = arguments_of(commands()[name])
    assert taken >= COMMON, "every command takes these"
    assert documented(sections()[name]) == taken - COMMON


def test_every_command_is_run_by_a_test() -> None:
    wanted = set()
    for name, command in commands().items():
        actions = next((one for one in command._actions if one.dest == "action"), None)
        wanted |= {f"{name} {word}" for word in actions.choices or ()} if actions else {name}
    assert set(CASES) | {"serve"} == wanted


@pytest.mark.parametrize("name", CASES)
def test_it_runs(name: str, root: Path, hub: Hub, tmp_path: Path) -> None:
    files = {key: str(tmp_path / key) for key in ("workflow", "lock", "out")}
    Path(files["workflow"]).write_text(json.dumps(workflow(node(1, "VAELoader", ["y.safetensors"]))))
    Path(files["lock"]).write_bytes(encode_lock(LockFile(workflows=[], models=[])))
    case = CASES[name]
    arguments = [argument.format(**files) for argument in case.arguments]
    outcome = run(*name.split(), *arguments, "--comfyui-root", str(root), hub=hub, stdin=case.stdin)
    assert (outcome.returncode, case.said in outcome.stdout) == (case.status, True), outcome
    assert "Traceback" not in outcome.stderr
    as_json = run(*name.split(), *arguments, "--json", "--comfyui-root", str(root), hub=hub, stdin=case.stdin)
    for line in as_json.stdout.splitlines():
        assert isinstance(json.loads(line), dict), "with --json nothing else is on standard output"


def test_serve_runs_until_it_is_told_to_stop(root: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "resolver", "serve", "--port", "0", "--comfyui-root", str(root)],
        cwd=CHECKOUT,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert "answers at http://127.0.0.1:" in process.stdout.readline()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0

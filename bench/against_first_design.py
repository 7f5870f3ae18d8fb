"""Prints what installing and starting cost, beside the stack that the first design of this program chose.

That was FastAPI, Uvicorn and httpx, with a page made by Gradio; it promised 60 % less to install, a start
40 % faster and 30 % less memory than such tools usually need. Ours is the whole program; theirs only answer
``/health``: an empty program, one that has at least imported what a program of this kind works with (as the
first design listed it), and that one with its page. Every stack gets an environment of its own in a temporary
folder, filled from the package registry that pip is set up for.
"""

from __future__ import annotations

import http.client
import os
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from .report import heading, machine, row

CHECKOUT = Path(__file__).resolve().parent.parent
SECONDS_TO_START = 60.0

_HELLO = """
import httpx
from fastapi import FastAPI

app = FastAPI()

@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}
"""
_NEEDS = ["aiofiles", "huggingface-hub", "psutil", "pydantic-settings", "pyyaml", "redis", "tqdm"]
_IMPORTS = """
import aiofiles, psutil, redis.asyncio, tqdm, yaml
from huggingface_hub import hf_hub_download
from pydantic_settings import BaseSettings
"""
_PAGE = """
import gradio

with gradio.Blocks() as page:
    gradio.Markdown("Hello")
app = gradio.mount_gradio_app(app, page, path="/page")
"""


@dataclass
class Stack:
    """Something that can be installed and started, and what that cost.

    ``app``: the module that Uvicorn serves; None for our program. Times in seconds, sizes in bytes.
    """

    name: str
    requirements: Sequence[str]
    app: str | None = None
    fetched: float = 0.0
    packages: int = 0
    size: int = 0
    installs: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    @property
    def installed(self) -> float:
        return self.fetched + statistics.median(self.installs)


@dataclass(frozen=True)
class Promise:
    """A figure, and how much less of it than the others the first design promised (0.6: 60 %)."""

    name: str
    less: float
    value: Callable[[Stack], float]
    shown: Callable[[Stack], str]


PROMISES = (
    Promise("installing", 0.6, lambda stack: stack.installed, lambda stack: f"{stack.installed:.1f} s"),
    Promise("installed size", 0.6, lambda stack: stack.size, lambda stack: f"{stack.size / 1e6:.0f} MB"),
    Promise(
        "start, to the first answer",
        0.4,
        lambda stack: statistics.median(stack.starts),
        lambda stack: f"{statistics.median(stack.starts) * 1000:.0f} ms",
    ),
    Promise(
        "memory then",
        0.3,
        lambda stack: statistics.median(stack.memory),
        lambda stack: f"{statistics.median(stack.memory) / 1e6:.0f} MB",
    ),
)


def run(rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-start-") as name:
        folder = Path(name)
        lean = ["fastapi", "uvicorn", "httpx"]
        ours = Stack("ours", [str(_wheel(folder / "wheel"))])
        stacks = [
            ours,
            Stack("FastAPI, Uvicorn, httpx", lean, _HELLO),
            Stack("these and what it works with", [*lean, *_NEEDS], _IMPORTS + _HELLO),
            Stack("all these and Gradio", [*lean, *_NEEDS, "gradio"], _IMPORTS + _HELLO + _PAGE),
        ]
        for number, stack in enumerate(stacks):
            _fetch(stack, folder / f"wheels-{number}")
        for turn in range(rounds):
            for number, stack in _turns(stacks, turn):
                _install(stack, folder / f"venv-{number}", folder / f"wheels-{number}")
        # Once without counting: the first start reads what was only just written.
        for turn in range(rounds * 3 + 1):
            for number, stack in _turns(stacks, turn):
                _start(stack, folder / f"venv-{number}", folder / f"run-{number}", counts=turn > 0)
    _report(ours, stacks)


def _turns(stacks: Sequence[Stack], turn: int) -> list[tuple[int, Stack]]:
    """Each time another one first, so that none always follows the same."""
    numbered = list(enumerate(stacks))
    first = turn % len(numbered)
    return numbered[first:] + numbered[:first]


def _report(ours: Stack, stacks: Sequence[Stack]) -> None:
    heading("Installing and starting, beside the first design's stack")
    for stack in stacks:
        figures = ", ".join(f"{promise.name} {promise.shown(stack)}" for promise in PROMISES)
        row(stack.name, f"{stack.packages} packages", f"{figures}; {stack.fetched:.1f} s of it fetching")
    for other in stacks[1:]:
        heading(f"Ours beside {other.name}")
        for promise in PROMISES:
            ratio = promise.value(ours) / promise.value(other)
            row(
                promise.name,
                f"{ratio:.2f} ×",
                f"{promise.shown(ours)}, theirs {promise.shown(other)}",
                target=f"≤ {1 - promise.less:.2f} ×",
                met=ratio <= 1 - promise.less,
            )


def _wheel(folder: Path) -> Path:
    """Our program as it would come from a registry."""
    source = folder / "source"
    kept = shutil.ignore_patterns("__pycache__")
    for name in ("resolver", "web", "locales"):
        shutil.copytree(CHECKOUT / name, source / name, ignore=kept)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(source))
    (wheel,) = folder.glob("*.whl")
    return wheel


def _fetch(stack: Stack, folder: Path) -> None:
    started = time.perf_counter()
    _pip("download", "--no-cache-dir", "--dest", str(folder), *stack.requirements)
    stack.fetched = time.perf_counter() - started
    stack.packages = len(list(folder.iterdir()))


def _install(stack: Stack, venv: Path, wheels: Path) -> None:
    """Into a new environment without pip, so that only the stack itself counts."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", venv], check=True)
    python = str(venv / "bin" / "python")
    started = time.perf_counter()
    _pip("--python", python, "install", "--no-index", "--find-links", str(wheels), *stack.requirements)
    stack.installs.append(time.perf_counter() - started)
    # lib64 is a link to lib.
    files = (path for path in (venv / "lib").rglob("*") if path.is_file() and not path.is_symlink())
    stack.size = sum(path.stat().st_size for path in files)


def _start(stack: Stack, venv: Path, folder: Path, *, counts: bool) -> None:
    (folder / "ComfyUI" / "models").mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    programs = venv / "bin"
    command: list[str | Path]
    if stack.app is None:
        path = "/model-resolver/health"
        command = [programs / "comfy-model-resolver", "serve", "--comfyui-root", "ComfyUI"]
    else:
        path = "/health"
        (folder / "app.py").write_text(stack.app, encoding="utf-8")
        command = [programs / "uvicorn", "app:app", "--app-dir", folder, "--host", "127.0.0.1"]
    started = time.perf_counter()
    server = subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _answers(port, path):
            if server.poll() is not None or time.perf_counter() - started > SECONDS_TO_START:
                raise SystemExit(f"{stack.name} did not start: {command}")
            time.sleep(0.002)
        took = time.perf_counter() - started
        memory = psutil.Process(server.pid).memory_info().rss
        if counts:
            stack.starts.append(took)
            stack.memory.append(memory)
    finally:
        server.terminate()
        server.wait()


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _environment() -> dict[str, str]:
    """Ours, less settings of the program; nothing that starts may call home."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("CMR_", "HF_"))}
    return {**own, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    outcome = subprocess.run(command, capture_output=True, text=True)
    if outcome.returncode != 0:
        raise SystemExit(f"{outcome.stderr}\n{shlex.join(command)} failed.")


if __name__ == "__main__":
    print(machine(), flush=True)
    run(int(os.environ.get("ROUNDS", "3")))

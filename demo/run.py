"""``make demo``: our command line against the hub, from nothing there to nothing missing.

Serves the example workflow's models slowly enough for progress bars to be seen, has the command
line fetch them, checks what landed against the world's own hashes, and asks once more what is
missing. The models folder is kept below ``demo/.run``: run again, and there is nothing to fetch;
``--fresh`` starts over.

Exit status: 0 if all went as it should, else 1, with a line for everything that did not.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .__main__ import EXAMPLE
from .hub import running_hub
from .links import ModelLink, load_workflow, model_links
from .world import World

REPOSITORY = Path(__file__).parent.parent
RUN = Path(__file__).parent / ".run"
COMMAND = (sys.executable, "-m", "resolver")

FOLDERS = ("checkpoints", "diffusion_models", "embeddings", "loras", "text_encoders", "upscale_models", "vae")
"""The ones of ComfyUI's model folders that the demonstration's installation has."""

MB_PER_SECOND = 2.0
"""For each connection: the largest file takes six seconds over one."""


@dataclass(frozen=True)
class Landed:
    """What became of one model of the workflow."""

    link: ModelLink
    state: str
    size: int | None
    problem: bool


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m demo.run", description="Our program against the demo hub."
    )
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs downloaded")
    parser.add_argument(
        "--rate", type=float, default=MB_PER_SECOND, metavar="MB/s", help="of each connection (%(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.fresh:
        shutil.rmtree(RUN, ignore_errors=True)
    return demonstrate(RUN / "ComfyUI", megabytes_per_second=options.rate)


def demonstrate(
    root: Path,
    *,
    workflow: Path = EXAMPLE,
    command: Sequence[str] = COMMAND,
    megabytes_per_second: float = MB_PER_SECOND,
) -> int:
    """Runs it all with ``root`` as ComfyUI's folder, made if need be; gives the exit status.

    ``command``: how to call our command line.
    """
    kept = root.exists()
    for folder in FOLDERS:
        (root / "models" / folder).mkdir(parents=True, exist_ok=True)
    world = World.for_workflow(workflow)
    links = model_links(load_workflow(workflow))
    resolve = [*command, "resolve", str(workflow), "--comfyui-root", str(root)]
    problems = []
    with running_hub(world, bytes_per_second=megabytes_per_second * 1e6) as hub:
        environment = _environment(hub.environment())
        _say(f"A hub with {len(links)} models listens on {hub.endpoint}, its storage on {hub.storage}.")
        _say(
            f"ComfyUI's folder: {root}" + (" (kept from an earlier run; --fresh starts over)" if kept else "")
        )
        status = _run([*resolve, "--download", "--yes"], environment)
        if status != 0:
            problems.append(f"the first resolve ended with status {status}, not 0")
        landed = [check(link, root, world) for link in links]
        _say("\nWhat landed where:\n" + table(landed))
        problems += [f"{row.link.directory}/{row.link.name}: {row.state}" for row in landed if row.problem]
        problems += [f"{path}: nobody asked for this file" for path in strangers(links, root)]
        status = _run(resolve, environment)
        if status != 0:
            problems.append(f"the second resolve ended with status {status}: it still misses something")
    for problem in problems:
        _say(f"demo failed: {problem}")
    if not problems:
        _say("\nThe demonstration went as it should.")
    return 1 if problems else 0


def check(link: ModelLink, root: Path, world: World) -> Landed:
    """Compare the file at a model's place with the world's. A bypassed one may be absent, not wrong."""
    path = root / "models" / link.directory / link.name
    expected = world.file_at(link.url)
    if expected is None:
        return Landed(link, "not a file of this hub", None, problem=True)
    if not path.is_file():
        return Landed(link, "missing" if link.active else "not needed: bypassed", None, problem=link.active)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != expected.sha256:
        return Landed(link, "wrong content", len(content), problem=True)
    return Landed(link, f"verified, SHA-256 {expected.sha256[:12]}…", len(content), problem=False)


def strangers(links: Sequence[ModelLink], root: Path) -> list[Path]:
    """Model files that the workflow does not name, such as a part that ComfyUI would list."""
    named = {root / "models" / link.directory / link.name for link in links}
    return sorted(set((root / "models").rglob("*.safetensors")) - named)


def table(rows: Sequence[Landed]) -> str:
    """One line a model: its place below models/, its size in MB, its state."""
    places = [f"{row.link.directory}/{row.link.name}" for row in rows]
    width = max(map(len, places), default=0)
    sizes = ["" if row.size is None else f"{row.size / 1e6:.1f} MB" for row in rows]
    return "\n".join(
        f"  {place:<{width}}  {size:>8}  {row.state}"
        for place, size, row in zip(places, sizes, rows, strict=True)
    )


def _environment(hub: Mapping[str, str]) -> dict[str, str]:
    """Ours, less what could point elsewhere: the program's settings, proxies, the user's tokens."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("CMR_", "HF_")) and not name.upper().endswith("_PROXY")
    }
    # An empty token outranks one in a .env file, which is the user's own.
    return {**own, "CMR_HF_TOKEN": "", **hub}


def _run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    shown = ["python" if word == sys.executable else word for word in command]
    _say(f"\n$ {shlex.join(shown)}")
    return subprocess.run(command, env=environment, cwd=REPOSITORY, check=False).returncode


def _say(text: str) -> None:
    """Flushed, so that it stays in order with what the command line prints."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""``python -m demo``: serves the models of a workflow, or look-alikes of many, until it is stopped.

Prints ``ready`` and then, one a line, the environment variables that point our program at the hubs.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from .hub import Hub
from .lookalikes import build
from .options import DEMO_TOKEN
from .templates import template_models
from .world import World

EXAMPLE = Path(__file__).parent / "workflows" / "text-to-image.json"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m demo", description=__doc__.splitlines()[0].partition(": ")[2]
    )
    parser.add_argument(
        "--workflow", type=Path, default=EXAMPLE, metavar="FILE", help="whose models to serve (%(default)s)"
    )
    parser.add_argument(
        "--lookalikes",
        action="store_true",
        help="serve the models of all official templates instead, each among files easily taken for it",
    )
    parser.add_argument(
        "--port", type=int, default=0, metavar="N", help="of the API host (default: any free one)"
    )
    parser.add_argument(
        "--rate", type=float, metavar="MB/s", help="speed of each connection (default: no limit)"
    )
    parser.add_argument(
        "--gated", action="append", default=[], metavar="REPO", help=f"open only to the token {DEMO_TOKEN}"
    )
    parser.add_argument(
        "--corrupt", action="append", default=[], metavar="NAME", help="serve this file with a wrong bit"
    )
    options = parser.parse_args(arguments)
    try:
        world = build(template_models()).world if options.lookalikes else World.for_workflow(options.workflow)
    except ImportError as error:
        parser.error(str(error))
    except (OSError, ValueError) as error:
        parser.error(f"{options.workflow} cannot be read: {error}")
    if unknown := set(options.gated) - set(world.repos):
        parser.error(f"there is no repository {sorted(unknown)}; there are {sorted(world.repos)}")
    world = world.with_gated(options.gated)
    names = {name for repo in world.repos.values() for file in repo.files for name in (file.name, file.path)}
    if unknown := set(options.corrupt) - names:
        parser.error(f"there is no file {sorted(unknown)}")
    hub = Hub(
        world,
        port=options.port,
        bytes_per_second=options.rate * 1e6 if options.rate else None,
        corrupt=frozenset(options.corrupt),
    )
    asyncio.run(_serve(hub))
    return 0


async def _serve(hub: Hub) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await hub.start()
    print("ready", *(f"{name}={value}" for name, value in hub.environment().items()), sep="\n", flush=True)
    await stopped.wait()
    await hub.stop()


if __name__ == "__main__":
    sys.exit(main())

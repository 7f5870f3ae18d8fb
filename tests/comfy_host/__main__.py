"""Start the host: ``python -m tests.comfy_host --base DIR --port N [--enable-cors-header
[ORIGIN]]``.

Prints ``ready http://127.0.0.1:PORT`` on stdout once it answers; everything else goes to stderr.
Listens on 127.0.0.1 only. SIGTERM and SIGINT end it with status 0.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

ADDRESS = "127.0.0.1"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.comfy_host")
    parser.add_argument(
        "--base", required=True, type=Path, help="models/, custom_nodes/, user/, ..."
    )
    parser.add_argument("--port", type=int, default=8188, help="0 picks a free one")
    parser.add_argument("--enable-cors-header", nargs="?", const="*", metavar="ORIGIN")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    base = arguments.base.resolve()
    for name in ("models", "custom_nodes", "input", "output", "temp", "user"):
        (base / name).mkdir(parents=True, exist_ok=True)
    # Packs import these modules by their bare names, as they do in ComfyUI's own process.
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    os.environ["COMFY_HOST_BASE"] = str(base)
    run(base, arguments.port, arguments.enable_cors_header)


def run(base: Path, port: int, cors_origin: str | None) -> None:
    """Set up in ComfyUI's order, then serve until told to stop."""
    import pack_loading

    extra = base / "extra_model_paths.yaml"
    if extra.is_file():
        pack_loading.add_extra_model_paths(extra)
    pack_loading.add_output_roots()
    pack_loading.run_prestartup_scripts()

    import user_routes
    from server import PromptServer

    user_routes.prepare()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    server = PromptServer(loop, cors_origin)
    loop.run_until_complete(pack_loading.load_packs())
    server.add_routes()

    def ready(actual_port: int) -> None:
        print(f"ready http://{ADDRESS}:{actual_port}", flush=True)

    serving = loop.create_task(server.serve(ADDRESS, port, ready))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    try:
        loop.run_until_complete(serving)
    except asyncio.CancelledError:
        logging.info("Stopped server")
    finally:
        loop.close()


if __name__ == "__main__":
    main()

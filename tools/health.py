"""Asks the standalone server whether it is healthy; exit status 0 if it is, else 1 with the reason.

Needs nothing but Python, so that a container image, a service manager or ``deploy.sh`` can run it.
Takes the same ``CMR_API_HOST``, ``CMR_API_PORT`` and ``CMR_API_TOKEN`` as the server; ``--free``
asks instead whether that address can be listened on.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import sys

PATH = "/model-resolver/health"
SECONDS = 5.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
"""Addresses to listen on that none can be asked at, and what to ask at instead."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    parser.add_argument("--free", action="store_true", help="whether the address can be listened on")
    options = parser.parse_args(arguments)
    host = os.environ.get("CMR_API_HOST") or "127.0.0.1"
    try:
        port = int(os.environ.get("CMR_API_PORT") or 5002)
        if options.free:
            listen(host, port)
        else:
            ask(EVERYWHERE.get(host, host), port, os.environ.get("CMR_API_TOKEN") or None)
    except (OSError, ValueError, http.client.HTTPException) as error:
        if not options.quiet:
            print(f"{host}: {error}", file=sys.stderr)
        return 1
    return 0


def ask(host: str, port: int, token: str | None) -> None:
    """Raise ``ValueError`` unless the server at ``host`` says ``{"status": "ok"}``."""
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    try:
        connection.request("GET", PATH, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        body = answer.read(64 * 1024)
    finally:
        connection.close()
    if answer.status != 200:
        raise ValueError(f"{PATH} answers with status {answer.status}")
    said = json.loads(body)
    if not isinstance(said, dict) or said.get("status") != "ok":
        raise ValueError(f"{PATH} does not say that it is well")


def listen(host: str, port: int) -> None:
    """Raise ``OSError`` unless ``host`` and ``port`` are free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        # As the server does: what lingers of connections that have ended is no obstacle.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
        server.listen(1)


if __name__ == "__main__":
    sys.exit(main())

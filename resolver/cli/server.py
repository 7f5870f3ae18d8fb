"""``serve``: the page and the HTTP API."""

from __future__ import annotations

import argparse
import asyncio

from .console import Console
from .session import OK, Commands, open_resolver


def add_commands(commands: Commands) -> None:
    serve = commands.add("serve", _serve, "Serve the page and the HTTP API.")
    serve.add_argument("--host", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)")
    serve.add_argument("--port", metavar="PORT", type=int, help="port to listen on (default: 5002)")


def _serve(arguments: argparse.Namespace, console: Console) -> int:
    from ..http.standalone import serve

    with open_resolver(arguments, serves=True, api_host=arguments.host, api_port=arguments.port) as resolver:
        resolver.go_on_hashing()
        asyncio.run(serve(resolver, lambda url: console.note(f"Model Resolver answers at {url}")))
    return OK

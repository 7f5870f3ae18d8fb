"""``credentials``: access tokens for Hugging Face and Civitai."""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import get_args

from ..net.urls import Provider
from .console import Console
from .session import INCOMPLETE, OK, Commands, open_resolver


def add_commands(commands: Commands) -> None:
    credentials = commands.add(
        "credentials", _credentials, "Store, check or forget access tokens for Hugging Face and Civitai."
    )
    credentials.add_argument("action", choices=["list", "set", "check", "delete"])
    credentials.add_argument(
        "provider",
        nargs="?",
        choices=get_args(Provider),
        help="whose token (all where left out: list, check)",
    )
    credentials.add_argument("--url", metavar="URL", help="a file that should be to be had with it (check)")


def _credentials(arguments: argparse.Namespace, console: Console) -> int:
    from ..credentials import check
    from ..errors import BadInput

    provider: Provider | None = arguments.provider
    if provider is None and arguments.action in ("set", "delete"):
        raise BadInput("Say whose: huggingface or civitai.", code="ARGUMENT_INVALID")
    asked: tuple[Provider, ...] = (provider,) if provider else get_args(Provider)
    complete = True
    with open_resolver(arguments) as resolver:
        for name in asked:
            if arguments.action == "set":
                state = resolver.credentials.put(name, _token(name))
            elif arguments.action == "delete":
                state = resolver.credentials.delete(name)
            elif arguments.action == "list":
                state = resolver.credentials.state(name)
            else:
                work = check(resolver.credentials, resolver.client, name, arguments.url)
                found = resolver.engine.submit(work).result()
                complete = complete and found.code is None
                console.credential_check(found)
                continue
            console.credential(state)
    return OK if complete else INCOMPLETE


def _token(provider: str) -> str:
    """From the terminal without showing it, else a line of standard input: arguments are seen by all."""
    if sys.stdin.isatty():
        return getpass.getpass(f"Token for {provider}: ")
    return sys.stdin.readline()

"""What every command shares: its common arguments, and the program opened for it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from ..host.standalone import StandaloneHost
from ..logs import configure_logging
from ..settings import LoadedSettings, load_settings
from .console import Console

if TYPE_CHECKING:
    from ..app import Resolver

OK, INCOMPLETE, USAGE = 0, 1, 2

Run = Callable[[argparse.Namespace, Console], int]
"""A command: returns its exit status."""


class Commands:
    """Takes up the commands of a parser, each with the arguments that all have."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._common = argparse.ArgumentParser(add_help=False)
        self._common.add_argument(
            "--comfyui-root", metavar="DIR", type=Path, help="ComfyUI's folder (default: CMR_COMFYUI_ROOT)"
        )
        self._common.add_argument("--json", action="store_true", help="print JSON lines instead of text")
        self._parsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(self, name: str, run: Run, text: str) -> argparse.ArgumentParser:
        """The parser of a new command, to add its own arguments to."""
        added: argparse.ArgumentParser = self._parsers.add_parser(
            name, parents=[self._common], help=text, description=text
        )
        added.set_defaults(run=run)
        return added


@contextmanager
def open_resolver(
    arguments: argparse.Namespace, *, serves: bool = False, **overrides: Any
) -> Iterator[Resolver]:
    """A started Resolver for the ComfyUI folder that the arguments or the settings name.

    ``overrides``: settings that the command line states. ``serves``: see ``Resolver``.
    """
    from ..app import Resolver

    first = load_settings({"comfyui_root": arguments.comfyui_root, **overrides}, dotenv=Path(".env"))
    root = first.values.comfyui_root
    if root is None:
        raise BadInput("Name ComfyUI's folder with --comfyui-root or CMR_COMFYUI_ROOT.", code="ROOT_MISSING")
    host = StandaloneHost(root)
    settings: LoadedSettings = load_settings(
        {"comfyui_root": root, **overrides}, user_directory=host.user_directory, dotenv=Path(".env")
    )
    configure_logging(settings.values)
    resolver = Resolver(settings, host, serves=serves)
    resolver.start()
    try:
        yield resolver
    finally:
        resolver.close()

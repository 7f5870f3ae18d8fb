"""``library``: the model files that are here."""

from __future__ import annotations

import argparse

from ..errors import BadInput
from .console import Console, human_size
from .session import INCOMPLETE, OK, Commands, open_resolver


def add_commands(commands: Commands) -> None:
    library = commands.add("library", _library, "List or search the model files that are here.")
    library.add_argument("action", choices=["scan", "find"])
    library.add_argument("query", nargs="*", help="words the name must hold (find)")
    library.add_argument("--folder", metavar="F", help="only this model folder")


def _library(arguments: argparse.Namespace, console: Console) -> int:
    from ..host.roots import folder_spec

    with open_resolver(arguments) as resolver:
        folder = folder_spec(resolver.host, arguments.folder).name if arguments.folder else None
        query = " ".join(arguments.query)
        if arguments.action == "find" and not query:
            raise BadInput("Say what to find.", code="ARGUMENT_INVALID")
        files = resolver.files(folder, query if arguments.action == "find" else "")
        for file in files:
            if console.as_json:
                console.json({"folder": file.folder, "name": file.name, "path": file.path, "size": file.size})
            else:
                console.note(f"{human_size(file.size):>9}  {file.folder}/{file.name}")
        if not console.as_json:
            console.note(f"{len(files)} files, {human_size(sum({f.path: f.size for f in files}.values()))}")
        return OK if files or arguments.action == "scan" else INCOMPLETE

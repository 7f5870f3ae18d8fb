"""``export``: a script or list that fetches models on another machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import BadInput, Conflict
from .console import Console
from .inputs import Reading, add_files
from .locking import hashed_now, located_in
from .rewriting import write_new
from .session import INCOMPLETE, OK, USAGE, Commands, open_resolver


def add_commands(commands: Commands) -> None:
    export = commands.add(
        "export", _export, "Write a script, or a list, that fetches the missing models of workflows."
    )
    add_files(export)
    export.add_argument(
        "--format",
        metavar="F",
        required=True,
        help="bash, powershell, python (scripts), aria2 (for aria2c -i), json, or lock (see lock)",
    )
    export.add_argument("-o", "--output", metavar="OUT", type=Path, help="file (default: standard output)")
    export.add_argument("--force", action="store_true", help="overwrite what is there")
    export.add_argument("--all", action="store_true", help="also what is here, for another machine")
    export.add_argument("--offline", action="store_true", help="ask no server; only what is on this machine")


def _export(arguments: argparse.Namespace, console: Console) -> int:
    from ..exporting import export, parse_format

    format_name = parse_format(arguments.format)
    target: Path | None = arguments.output
    with open_resolver(arguments) as resolver:
        reader = Reading()
        # A lock states what workflows need, wherever it is; a script fetches what is not here.
        with_present = arguments.all or format_name == "lock"
        files, located = located_in(resolver, reader, arguments, console, present=with_present)
        if reader.failed:
            return USAGE
        if format_name == "lock":
            located = hashed_now(resolver, located)
        names = [Path(file).name for file in files]
        exported = export(format_name, located, names, resolver.client.policy)
    if target is not None:
        try:
            write_new(target, exported.text.encode(), force=arguments.force)
        except Conflict as error:
            raise BadInput(error.message, code=error.code) from None
        except OSError as error:
            raise BadInput(f"{target}: {error.strerror or error}", code="FILE_UNWRITABLE") from None
    left_out = [one.model_dump() for one in exported.left_out]
    if console.as_json:
        content = exported.text if target is None else None
        output = str(target) if target else None
        console.json(
            {
                "format": format_name,
                "output": output,
                "content": content,
                "files": exported.files,
                "left_out": left_out,
            }
        )
    elif target is None:
        # In UTF-8 and with its own line ends, whatever the terminal's are.
        sys.stdout.buffer.write(exported.text.encode())
        sys.stdout.buffer.flush()
    if not console.as_json:
        for one in exported.left_out:
            print(f"  left out   {one.id}  {one.message} [{one.code}]", file=sys.stderr, flush=True)
    return INCOMPLETE if left_out else OK

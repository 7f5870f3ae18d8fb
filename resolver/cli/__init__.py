"""The command line: ``comfy-model-resolver``, or ``python -m resolver`` in a checkout.

One module a group of commands, each with an ``add_commands`` that states its arguments; ``session.py``
opens the program for them, ``inputs.py`` reads workflows, ``console.py`` says how results look.

Exit status: 0 everything is there, 1 something is still missing or failed, 2 wrong usage or
unreadable input, 130 interrupted (what has come so far is kept).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import BadInput, ResolverError, SettingsError
from . import credentials, doctor, downloads, exporting, library, locking, rewriting, server, workflows
from .console import Console
from .session import INCOMPLETE, USAGE, Commands


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = parser().parse_args(argv)
    console = Console(as_json=arguments.json)
    try:
        status: int = arguments.run(arguments, console)
    except (BadInput, SettingsError) as error:
        console.error(error)
        return USAGE
    except ResolverError as error:
        console.error(error)
        return INCOMPLETE
    except KeyboardInterrupt:
        console.note("Interrupted. What has come so far is kept; the same command goes on from there.")
        return 130
    except BrokenPipeError:
        # The reader of a pipe has gone (`… | head`): nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INCOMPLETE
    return status


def parser() -> argparse.ArgumentParser:
    """All commands with their arguments."""
    top = argparse.ArgumentParser(
        prog="comfy-model-resolver",
        description="Find the models a ComfyUI workflow is missing, and download them to the right folder.",
        epilog="Exit status: 0 all is there, 1 something is missing or failed, 2 wrong usage or input.",
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = Commands(top)
    groups = (workflows, rewriting, downloads, locking, exporting, library, credentials, server, doctor)
    for group in groups:
        group.add_commands(commands)
    return top

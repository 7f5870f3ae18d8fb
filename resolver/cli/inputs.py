"""Reading the workflows that a command is given."""

from __future__ import annotations

import argparse
import glob
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import schemas
from ..errors import BadInput
from ..workflow import Workflow
from .console import Console

if TYPE_CHECKING:
    from ..app import Resolver

STDIN = "-"
_PATTERN = "*.json"
_NO_WORKFLOWS = frozenset({"WORKFLOW_NOT_RECOGNISED", "WORKFLOW_NOT_IN_FILE"})


def add_files(parser: argparse.ArgumentParser) -> None:
    """The arguments of a command that reads workflows."""
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="workflow, or a file with one in it; a directory means the .json files in it, a pattern "
        "('*.png', '**/*.json') the files it fits; - is standard input",
    )


@dataclass(frozen=True)
class Input:
    """One workflow that was read, with its analysis."""

    file: str
    workflow: Workflow
    analysis: schemas.Analysis


class Reading:
    """Reads workflows one by one; ``failed`` once one could not be read, which is reported at once."""

    def __init__(self) -> None:
        self.failed = False

    def inputs(self, resolver: Resolver, files: Sequence[str], console: Console) -> Iterator[Input]:
        from ..workflow.files import read_file

        for file, named in self._expanded(files, console):
            try:
                if file == STDIN:
                    workflow = read_file(io.BytesIO(sys.stdin.buffer.read()))
                else:
                    with Path(file).open("rb") as opened:
                        # A pipe, as of a shell's <(…), cannot be gone back in.
                        workflow = read_file(opened if opened.seekable() else io.BytesIO(opened.read()))
                analysis = resolver.analyze(workflow)
            except OSError as error:
                self._fail(console, file, BadInput(error.strerror or str(error), code="FILE_UNREADABLE"))
            except BadInput as error:
                # Other JSON lies about in directories; what was named must be a workflow.
                if named or error.code not in _NO_WORKFLOWS:
                    self._fail(console, file, error)
            else:
                yield Input(file, workflow, analysis)

    def _expanded(self, files: Sequence[str], console: Console) -> Iterator[tuple[str, bool]]:
        """Each file once, and whether it was named itself; patterns as a shell would (Windows' does not)."""
        seen: set[str] = set()
        for given in files:
            path = Path(given)
            if given == STDIN or path.is_file():
                found, named = [given], True
            elif path.is_dir():
                within = path.glob(_PATTERN)
                found, named = sorted(str(file) for file in within if file.is_file()), False
            elif glob.has_magic(given):
                fitting = glob.glob(given, recursive=True)
                found, named = sorted(file for file in fitting if Path(file).is_file()), True
            else:
                found, named = [given], True  # opening it says what is wrong
            if not found:
                self._fail(console, given, BadInput("There is no such file.", code="FILE_UNREADABLE"))
            for file in found:
                if file not in seen:
                    seen.add(file)
                    yield file, named

    def _fail(self, console: Console, file: str, error: BadInput) -> None:
        self.failed = True
        console.unreadable(file, error)

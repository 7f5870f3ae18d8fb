"""Reading the workflows that a command is given."""

from __future__ import annotations

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

        for file in files:
            try:
                if file == "-":
                    workflow = read_file(io.BytesIO(sys.stdin.buffer.read()))
                else:
                    with Path(file).open("rb") as opened:
                        workflow = read_file(opened)
                analysis = resolver.analyze(workflow)
            except OSError as error:
                self.failed = True
                console.unreadable(file, BadInput(error.strerror or str(error), code="FILE_UNREADABLE"))
            except BadInput as error:
                self.failed = True
                console.unreadable(file, error)
            else:
                yield Input(file, workflow, analysis)

"""``doctor``: what stands in the way of models arriving, and what to do about it."""

from __future__ import annotations

import argparse

from .console import Console
from .session import INCOMPLETE, OK, Commands, open_resolver


def add_commands(commands: Commands) -> None:
    commands.add("doctor", _doctor, "Check folders, space, tokens, servers and settings; say what to do.")


def _doctor(arguments: argparse.Namespace, console: Console) -> int:
    from ..doctor import examine

    sound = True
    with open_resolver(arguments) as resolver:
        for finding in examine(resolver):
            sound = sound and finding.level != "problem"
            if console.as_json:
                console.json(finding.model_dump(mode="json"))
                continue
            console.note(f"{finding.level:<8} {finding.area:<9} {finding.message}")
            if finding.advice:
                console.note(f"{'':<18} {finding.advice}")
    return OK if sound else INCOMPLETE

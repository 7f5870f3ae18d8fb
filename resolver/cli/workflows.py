"""``analyze`` and ``resolve``: what workflows want, and getting it."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from .. import schemas
from .console import Console
from .downloads import fetch_all
from .inputs import Input, Reading, add_files
from .session import INCOMPLETE, OK, USAGE, Commands, open_resolver

if TYPE_CHECKING:
    from ..app import Resolver


def add_commands(commands: Commands) -> None:
    analyze = commands.add(
        "analyze", _analyze, "List the models that workflows want, and whether they are here."
    )
    add_files(analyze)

    resolve = commands.add("resolve", _resolve, "Find the missing models of workflows, and download them.")
    add_files(resolve)
    resolve.add_argument(
        "--download", action="store_true", help="download what was found (exact or probable)"
    )
    resolve.add_argument("--yes", action="store_true", help="do not ask before downloading")
    resolve.add_argument("--dry-run", action="store_true", help="say what would be downloaded, and stop")
    resolve.add_argument("--offline", action="store_true", help="ask no server; only what is on this machine")


def _analyze(arguments: argparse.Namespace, console: Console) -> int:
    with open_resolver(arguments) as resolver:
        reading = Reading()
        analyses = []
        for item in reading.inputs(resolver, arguments.files, console):
            analyses.append(item.analysis)
            if console.as_json:
                console.json({"file": item.file, **item.analysis.model_dump(mode="json")})
            else:
                console.analysis(item.file, item.analysis)
        return USAGE if reading.failed else status_of(analyses)


def _resolve(arguments: argparse.Namespace, console: Console) -> int:
    from ..fetch import item_for

    with open_resolver(arguments) as resolver:
        reading = Reading()
        items: dict[tuple[str, str], schemas.DownloadItem] = {}
        complete = True
        for item in reading.inputs(resolver, arguments.files, console):
            if not console.as_json:
                console.analysis(item.file, item.analysis)
            models = {model.id: model for model in item.analysis.models}
            complete = complete and not any(
                model.active and model.status == "elsewhere" for model in item.analysis.models
            )
            for resolution in resolver.engine.submit(_found(resolver, item, arguments.offline)).result():
                if console.as_json:
                    console.json({"file": item.file, **resolution.model_dump(mode="json")})
                else:
                    console.resolution(resolution)
                chosen = item_for(models[resolution.id], resolution)
                if chosen is None:
                    complete = False
                else:
                    items[chosen.folder, chosen.filename] = chosen
        wanted = list(items.values())
        if wanted and (arguments.dry_run or not arguments.download):
            console.plan(wanted, dry_run=arguments.dry_run)
            complete = False
        elif wanted:
            agreed = arguments.yes or console.confirm(wanted)
            complete = agreed and fetch_all(resolver, wanted, console) and complete
        elif complete and not reading.failed:
            console.note("Nothing is missing.")
        if reading.failed:
            return USAGE
        return OK if complete else INCOMPLETE


async def _found(resolver: Resolver, item: Input, offline: bool) -> list[schemas.Resolution]:
    wanted, context = resolver.wanted(item.workflow, item.analysis)
    found: AsyncIterator[schemas.Resolution] = resolver.resolve(wanted, context, online=not offline)
    return sorted([resolution async for resolution in found], key=lambda resolution: resolution.id)


def status_of(analyses: Sequence[schemas.Analysis]) -> int:
    models = [model for analysis in analyses for model in analysis.models if model.active]
    return OK if all(model.status == "present" for model in models) else INCOMPLETE

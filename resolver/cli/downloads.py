"""``download``: one file by its URL."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import schemas
from ..errors import BadInput
from .console import Console
from .progress import progress, step_of
from .session import INCOMPLETE, OK, Commands, open_resolver

if TYPE_CHECKING:
    from ..app import Resolver


def add_commands(commands: Commands) -> None:
    download = commands.add("download", _download, "Download one file to a model folder.")
    download.add_argument("url", metavar="URL")
    download.add_argument("--folder", required=True, metavar="F", help="model folder, e.g. loras")
    download.add_argument("--filename", metavar="N", help="name to give it (default: the URL's)")
    download.add_argument("--sha256", metavar="H", help="the SHA-256 it must have")


def _download(arguments: argparse.Namespace, console: Console) -> int:
    from pydantic import ValidationError

    from ..sources import url_file_name

    name = arguments.filename or url_file_name(arguments.url)
    if not name:
        raise BadInput("The URL has no file name. Give one with --filename.", code="FILENAME_MISSING")
    try:
        item = schemas.DownloadItem(
            folder=arguments.folder, filename=name, url=arguments.url, sha256=arguments.sha256
        )
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        raise BadInput(f"--{problem['loc'][0]}: {problem['msg']}.", code="ARGUMENT_INVALID") from None
    with open_resolver(arguments) as resolver:
        return OK if fetch_all(resolver, [item], console) else INCOMPLETE


def fetch_all(resolver: Resolver, items: Sequence[schemas.DownloadItem], console: Console) -> bool:
    """Download all of ``items``, showing progress; whether all arrived."""
    from ..fetch import fetch

    final: dict[str, schemas.Download] = {}
    with progress() as show:
        for download in resolver.engine.iterate(lambda: fetch(resolver, items)):
            if download is not None:
                final[download.id] = download
                show(step_of(download))
    for download in final.values():
        if console.as_json:
            console.json({"download": download.model_dump(mode="json")})
        else:
            console.finished(download)
    return all(download.status == "completed" for download in final.values())

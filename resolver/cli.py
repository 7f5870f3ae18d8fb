"""The command line: ``comfy-model-resolver``, or ``python -m resolver`` in a checkout.

Exit status: 0 everything is there, 1 something is still missing or failed, 2 wrong usage or
unreadable input.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import __version__, schemas
from .console import Console, human_size
from .errors import BadInput, ResolverError, SettingsError
from .host.standalone import StandaloneHost
from .logs import configure_logging
from .settings import LoadedSettings, load_settings

OK, INCOMPLETE, USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = _parser().parse_args(argv)
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


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--comfyui-root", metavar="DIR", type=Path, help="ComfyUI's folder (default: CMR_COMFYUI_ROOT)"
    )
    common.add_argument("--json", action="store_true", help="print JSON lines instead of text")
    parser = argparse.ArgumentParser(
        prog="comfy-model-resolver",
        description="Find the models a ComfyUI workflow is missing, and download them to the right folder.",
        epilog="Exit status: 0 all is there, 1 something is missing or failed, 2 wrong usage or input.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(
            name, parents=[common], help=text, description=text
        )
        added.set_defaults(run=run)
        return added

    analyze = command("analyze", _analyze, "List the models that workflows want, and whether they are here.")
    analyze.add_argument(
        "files", metavar="FILE", nargs="+", help="workflow, or a file with one in it; - is standard input"
    )

    resolve = command("resolve", _resolve, "Find the missing models of workflows, and download them.")
    resolve.add_argument(
        "files", metavar="FILE", nargs="+", help="workflow, or a file with one in it; - is standard input"
    )
    resolve.add_argument(
        "--download", action="store_true", help="download what was found (exact or probable)"
    )
    resolve.add_argument("--yes", action="store_true", help="do not ask before downloading")
    resolve.add_argument("--dry-run", action="store_true", help="say what would be downloaded, and stop")
    resolve.add_argument("--offline", action="store_true", help="ask no server; only what is on this machine")

    download = command("download", _download, "Download one file to a model folder.")
    download.add_argument("url", metavar="URL")
    download.add_argument("--folder", required=True, metavar="F", help="model folder, e.g. loras")
    download.add_argument("--filename", metavar="N", help="name to give it (default: the URL's)")
    download.add_argument("--sha256", metavar="H", help="the SHA-256 it must have")

    library = command("library", _library, "List or search the model files that are here.")
    library.add_argument("action", choices=["scan", "find"])
    library.add_argument("query", nargs="*", help="words the name must hold (find)")
    library.add_argument("--folder", metavar="F", help="only this model folder")

    serve = command("serve", _serve, "Serve the page and the HTTP API.")
    serve.add_argument("--host", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)")
    serve.add_argument("--port", metavar="PORT", type=int, help="port to listen on (default: 5002)")
    return parser


# --- commands -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Input:
    """One workflow that was read, with its analysis."""

    file: str
    workflow: Any
    analysis: schemas.Analysis


def _analyze(arguments: argparse.Namespace, console: Console) -> int:
    with _resolver(arguments) as resolver:
        reading = _Reading()
        analyses = []
        for item in reading.inputs(resolver, arguments.files, console):
            analyses.append(item.analysis)
            if console.as_json:
                console.json({"file": item.file, **item.analysis.model_dump(mode="json")})
            else:
                console.analysis(item.file, item.analysis)
        return USAGE if reading.failed else _status_of(analyses)


def _resolve(arguments: argparse.Namespace, console: Console) -> int:
    with _resolver(arguments) as resolver:
        reading = _Reading()
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
                chosen = _choice(models[resolution.id], resolution)
                if chosen is None:
                    complete = False
                else:
                    items[chosen.folder, chosen.filename] = chosen
        wanted = list(items.values())
        if wanted and (arguments.dry_run or not arguments.download):
            console.plan(wanted, dry_run=arguments.dry_run)
            complete = False
        elif wanted:
            if not arguments.yes and not console.confirm(wanted):
                return INCOMPLETE
            complete = _fetch(resolver, wanted, console) and complete
        elif complete and not reading.failed:
            console.note("Nothing is missing.")
        if reading.failed:
            return USAGE
        return OK if complete else INCOMPLETE


def _download(arguments: argparse.Namespace, console: Console) -> int:
    from pydantic import ValidationError

    from .sources import url_file_name

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
    with _resolver(arguments) as resolver:
        return OK if _fetch(resolver, [item], console) else INCOMPLETE


def _library(arguments: argparse.Namespace, console: Console) -> int:
    from .host.roots import folder_spec

    with _resolver(arguments) as resolver:
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


def _serve(arguments: argparse.Namespace, console: Console) -> int:
    from .http.standalone import serve

    with _resolver(arguments, api_host=arguments.host, api_port=arguments.port) as resolver:
        asyncio.run(serve(resolver, lambda url: console.note(f"Model Resolver answers at {url}")))
    return OK


# --- helpers ------------------------------------------------------------------------------------


@contextmanager
def _resolver(arguments: argparse.Namespace, **overrides: Any) -> Iterator[Any]:
    """A started Resolver for the ComfyUI folder that the arguments or the settings name."""
    from .app import Resolver

    first = load_settings({"comfyui_root": arguments.comfyui_root, **overrides}, dotenv=Path(".env"))
    root = first.values.comfyui_root
    if root is None:
        raise BadInput("Name ComfyUI's folder with --comfyui-root or CMR_COMFYUI_ROOT.", code="ROOT_MISSING")
    host = StandaloneHost(root)
    settings: LoadedSettings = load_settings(
        {"comfyui_root": root, **overrides}, user_directory=host.user_directory, dotenv=Path(".env")
    )
    configure_logging(settings.values)
    resolver = Resolver(settings, host)
    resolver.start()
    try:
        yield resolver
    finally:
        resolver.close()


class _Reading:
    """Reads workflows one by one; ``failed`` once one could not be read, which is reported at once."""

    def __init__(self) -> None:
        self.failed = False

    def inputs(self, resolver: Any, files: Sequence[str], console: Console) -> Iterator[_Input]:
        from .workflow.files import read_file

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
                yield _Input(file, workflow, analysis)


async def _found(resolver: Any, item: _Input, offline: bool) -> list[schemas.Resolution]:
    wanted, context = resolver.wanted(item.workflow, item.analysis)
    found: AsyncIterator[schemas.Resolution] = resolver.resolve(wanted, context, online=not offline)
    return sorted([resolution async for resolution in found], key=lambda resolution: resolution.id)


def _choice(model: schemas.Model, resolution: schemas.Resolution) -> schemas.DownloadItem | None:
    """What to download for a model without asking: only what was found for certain, and is to be had."""
    if resolution.state != "resolved" or model.folder is None:
        return None
    best = resolution.candidates[0]
    if best.needs is not None:
        return None
    return schemas.DownloadItem(
        folder=model.folder,
        filename=model.name,
        url=best.url,
        mirrors=best.mirrors[:16],
        sha256=best.sha256 or model.sha256,
        size=best.size,
    )


def _status_of(analyses: Sequence[schemas.Analysis]) -> int:
    models = [model for analysis in analyses for model in analysis.models if model.active]
    return OK if all(model.status == "present" for model in models) else INCOMPLETE


def _fetch(resolver: Any, items: Sequence[schemas.DownloadItem], console: Console) -> bool:
    """Download all of ``items``, showing progress; whether all arrived."""
    from .fetch import fetch

    final: dict[str, schemas.Download] = {}
    with console.progress() as show:
        for download in resolver.engine.iterate(lambda: fetch(resolver, items)):
            if download is not None:
                final[download.id] = download
                show(download)
    for download in final.values():
        if console.as_json:
            console.json({"download": download.model_dump(mode="json")})
        else:
            console.finished(download)
    return all(download.status == "completed" for download in final.values())

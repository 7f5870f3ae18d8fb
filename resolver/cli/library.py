"""``library``: the model files that are here, and their content."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from .console import Console
from .progress import Step, human_size, progress, reading
from .session import INCOMPLETE, OK, Commands, open_resolver

if TYPE_CHECKING:
    from ..app import Resolver


def add_commands(commands: Commands) -> None:
    library = commands.add("library", _library, "The model files that are here, and their content.")
    library.add_argument(
        "action",
        choices=list(_ACTIONS),
        help="scan: list all; find: by words of the name, SHA-256 or AutoV2; hash: read what has no known "
        "SHA-256; verify: read all again and report what is damaged; duplicates: report equal content",
    )
    library.add_argument("query", nargs="*", help="what to find: words the name must hold, or a hash (find)")
    library.add_argument("--folder", metavar="F", help="only this model folder")
    library.add_argument("--sha256", metavar="H", help="only files of this SHA-256, or its beginning (find)")


def _library(arguments: argparse.Namespace, console: Console) -> int:
    from ..host.roots import folder_spec

    if arguments.action != "find" and (arguments.query or arguments.sha256):
        raise BadInput("Only 'library find' takes words or --sha256.", code="ARGUMENT_INVALID")
    with open_resolver(arguments) as resolver:
        folder = folder_spec(resolver.host, arguments.folder).name if arguments.folder else None
        return _ACTIONS[arguments.action](resolver, folder, arguments, console)


def _scan(resolver: Resolver, folder: str | None, arguments: argparse.Namespace, console: Console) -> int:
    _list(resolver, resolver.files(folder, ""), console)
    return OK


def _find(resolver: Resolver, folder: str | None, arguments: argparse.Namespace, console: Console) -> int:
    query, sha256 = " ".join(arguments.query), (arguments.sha256 or "").lower()
    if bool(query) == bool(sha256):
        raise BadInput("Say what to find: words of its name, a hash, or --sha256.", code="ARGUMENT_INVALID")
    if sha256 and not re.fullmatch("[0-9a-f]{8,64}", sha256):
        raise BadInput("--sha256: 8 to 64 hexadecimal digits.", code="ARGUMENT_INVALID")
    files = resolver.files_with(folder, sha256) if sha256 else resolver.files(folder, query)
    _list(resolver, files, console)
    return OK if files else INCOMPLETE


def _hash(resolver: Resolver, folder: str | None, arguments: argparse.Namespace, console: Console) -> int:
    hashing = resolver.hashing
    # This process is there for the run, so nobody goes on with it unasked.
    hashing.start(folder, lasting=False)
    with progress(at_once=False) as show:
        while not hashing.wait(0.25):
            now = hashing.progress()
            state = now.state if now.state != "running" else ""
            show(Step("read", now.bytes_done, now.bytes_total, note=state))
    ended = resolver.hashing_state()
    if console.as_json:
        console.json({"hashing": ended.model_dump(mode="json")})
    where = f" in {folder}" if folder else ""
    failed = f", {ended.failed} could not be read" if ended.failed else ""
    console.note(f"{ended.done} files hashed{where} ({human_size(ended.bytes_done)}){failed}")
    if ended.unhashed_files:
        left = f"{ended.unhashed_files} files ({human_size(ended.unhashed_bytes)})"
        console.note(f"{left} have no known hash yet, in all folders")
    return OK if ended.done == ended.total and not ended.failed else INCOMPLETE


def _verify(resolver: Resolver, folder: str | None, arguments: argparse.Namespace, console: Console) -> int:
    from ..verification import verify

    files = resolver.library.snapshot().files(folder)
    total = sum({file.path: file.size for file in files}.values())
    counts = dict.fromkeys(("ok", "sound", "damaged", "unreadable"), 0)
    with reading(total) as turn:
        for found in verify(files, resolver.hashes, resolver.store, turn):
            counts[found.verdict] += 1
            file = found.file
            if console.as_json:
                told = {"folder": file.folder, "name": file.name, "path": file.path, "size": file.size}
                what = {"sha256": found.sha256, "expected": found.expected, "reason": found.reason}
                console.json({**told, "verdict": found.verdict, **what})
            elif found.reason:
                console.note(
                    f"{found.verdict:<10}  {file.folder}/{file.name}: {found.reason}  -> {file.path}"
                )
    console.note(
        f"{counts['ok']} files as they were, {counts['sound']} sound (no hash was known), "
        f"{counts['damaged']} damaged, {counts['unreadable']} could not be read"
    )
    return INCOMPLETE if counts["damaged"] or counts["unreadable"] else OK


def _duplicates(
    resolver: Resolver, folder: str | None, arguments: argparse.Namespace, console: Console
) -> int:
    found = resolver.duplicates(folder)
    if console.as_json:
        for group in found.groups:
            console.json(group.model_dump(mode="json"))
    else:
        for group in found.groups:
            console.note(f"{human_size(group.size):>9}  {group.copies} copies  {group.sha256}")
            for file in group.files:
                console.note(f"             {file.folder}/{file.name}  -> {file.path}")
    console.note(
        f"{len(found.groups)} files lie here more than once; the copies take {human_size(found.wasted)}"
    )
    if found.unhashed:
        console.note(
            f"{found.unhashed} more have the size of another: 'library hash' tells whether they differ"
        )
    return OK


_Action = Callable[["Resolver", "str | None", argparse.Namespace, Console], int]
_ACTIONS: dict[str, _Action] = {
    "scan": _scan,
    "find": _find,
    "hash": _hash,
    "verify": _verify,
    "duplicates": _duplicates,
}


def _list(resolver: Resolver, files: list[Any], console: Console) -> None:
    library = resolver.library.snapshot()
    shown = resolver.shown(files)
    for file in shown:
        if console.as_json:
            console.json(file.model_dump(mode="json", exclude={"modified"}))
        else:
            known = f"  {file.sha256}" if file.sha256 else ""
            loaded = library.find(file.folder, file.name)
            # Its name is that of another file.
            hidden = f"  {file.path}" if loaded is None or loaded.path != file.path else ""
            console.note(f"{human_size(file.size):>9}  {file.folder}/{file.name}{known}{hidden}")
    if not console.as_json:
        whole = {file.path: file.size for file in shown}
        console.note(f"{len(files)} files, {human_size(sum(whole.values()))}")
        unhashed = {file.path: file.size for file in shown if file.sha256 is None}
        if unhashed:
            size = human_size(sum(unhashed.values()))
            console.note(f"{len(unhashed)} of them ({size}) have no known hash: 'library hash' reads them")

"""``lock`` and ``sync``: the very same models on another machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import lockfile
from ..errors import BadInput, Conflict
from .console import Console
from .downloads import fetch_all
from .inputs import Reading, add_files
from .progress import human_size, reading
from .rewriting import write_new
from .session import INCOMPLETE, OK, USAGE, Commands, open_resolver

if TYPE_CHECKING:
    from .. import schemas
    from ..app import Resolver
    from ..lockfile import LockFile
    from ..locking import Located
    from ..syncing import Checked


def add_commands(commands: Commands) -> None:
    lock = commands.add(
        "lock", _lock, "Write down what workflows need: folders, names, SHA-256 and where each can be had."
    )
    add_files(lock)
    lock.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        type=Path,
        default=Path(lockfile.FILE_NAME),
        help=f"lock file to write (default: {lockfile.FILE_NAME})",
    )
    lock.add_argument("--partial", action="store_true", help="write it although something is not known")
    lock.add_argument("--offline", action="store_true", help="ask no server; only what is on this machine")

    sync = commands.add("sync", _sync, "Download what a lock file names and is missing; verify the rest.")
    sync.add_argument("lock", metavar="LOCK", type=Path, help=f"lock file, as {lockfile.FILE_NAME}")
    sync.add_argument(
        "--frozen",
        action="store_true",
        help="for builds: use no URL but the lock's, and begin nothing unless all can be as locked",
    )
    sync.add_argument(
        "--prune", action="store_true", help="also list the model files that the lock does not name"
    )
    sync.add_argument("--dry-run", action="store_true", help="say what would be downloaded, and stop")


def _lock(arguments: argparse.Namespace, console: Console) -> int:
    with open_resolver(arguments) as resolver:
        reader = Reading()
        files, located = located_in(resolver, reader, arguments, console, present=True)
        if reader.failed:
            return USAGE
        located = hashed_now(resolver, located)
        unresolved = [one for one in located if one.problem is not None]
        written = None
        if not unresolved or arguments.partial:
            models = [model for one in located if (model := one.locked()) is not None]
            names = [Path(file).name for file in files]
            written = _write(arguments.output, lockfile.LockFile(workflows=names, models=models))
        _show_lock(console, arguments.output, located, written=written)
        return INCOMPLETE if unresolved else OK


def located_in(
    resolver: Resolver,
    reader: Reading,
    arguments: argparse.Namespace,
    console: Console,
    *,
    present: bool,
) -> tuple[list[str], list[Located]]:
    """The files that could be read, and all that they need; with ``present`` also what is here."""
    from ..locking import locate, merged, needs_of

    files, located = [], []
    for item in reader.inputs(resolver, arguments.files, console):
        files.append(item.file)
        needs = needs_of(resolver, item.workflow, item.analysis, present=present)
        located += resolver.engine.submit(locate(resolver, needs, online=not arguments.offline)).result()
    return files, merged(located)


def hashed_now(resolver: Resolver, located: Sequence[Located]) -> list[Located]:
    """What is here and nobody states the hash of is read now."""
    from ..locking import hash_file, hashed

    library = resolver.library.snapshot()
    unknown = {one.path for one in located if one.path is not None and one.sha256 is None}
    total = sum(file.size for file in library.files() if file.path in unknown)
    with reading(total) as turn:
        return [hashed(resolver, one, lambda path: hash_file(resolver, path, turn)) for one in located]


def _write(path: Path, lock: LockFile) -> bool:
    """Write the lock file, unless it says just that already. Raises ``BadInput``, ``Conflict``."""
    data = lockfile.encode_lock(lock)
    try:
        if path.exists():
            if path.read_bytes() == data:
                return False
            lockfile.read_lock(path)
        write_new(path, data, force=True)
    except BadInput as error:
        if error.code != "LOCK_INVALID":
            raise
        raise Conflict(
            f"{path} is there already, and is no lock file. Choose another name with -o.", code="FILE_EXISTS"
        ) from None
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}", code="FILE_UNWRITABLE") from None
    return True


def _show_lock(console: Console, path: Path, located: Sequence[Located], *, written: bool | None) -> None:
    unresolved = unresolved_of(located)
    if console.as_json:
        console.json(
            {
                "lock": None if written is None else str(path),
                "changed": bool(written),
                "models": len(located) - len(unresolved),
                "unresolved": unresolved,
            }
        )
        return
    for one in unresolved:
        console.note(f"  unresolved {one['id']}  {one['message']} [{one['code']}]")
    if written is None:
        console.note(
            f"{len(unresolved)} models are not known; nothing is written. --partial writes the rest."
        )
    else:
        state = "written to" if written else "unchanged in"
        console.note(f"{len(located) - len(unresolved)} models, {state} {path}")


def unresolved_of(located: Sequence[Located]) -> list[dict[str, str]]:
    """Those of which something is not known, with the reason."""
    return [
        {"id": one.id, "code": one.problem.code, "message": one.problem.message}
        for one in located
        if one.problem is not None
    ]


def _sync(arguments: argparse.Namespace, console: Console) -> int:
    from ..syncing import check, not_in_lock, to_read

    lock = lockfile.read_lock(arguments.lock)
    with open_resolver(arguments) as resolver:
        with reading(to_read(resolver, lock)) as turn:
            checked = list(check(resolver, lock, turn))
        for one in checked:
            _show_checked(console, one)
        missing = [one for one in checked if one.state == "missing"]
        complete = all(one.state in ("ok", "missing") for one in checked)
        fetchable = [one for one in missing if one.urls]
        unfetchable = len(fetchable) < len(missing)
        if arguments.dry_run:
            console.plan([one.item() for one in fetchable], dry_run=True)
            complete = complete and not missing
        elif arguments.frozen and (not complete or unfetchable):
            complete = False
            console.note("Not everything can be as locked, so nothing is downloaded (--frozen).")
        elif missing:
            complete = _fetch_missing(resolver, missing, console, frozen=arguments.frozen) and complete
        if arguments.prune:
            for file in not_in_lock(resolver, lock):
                if console.as_json:
                    told = {"folder": file.folder, "name": file.name, "path": file.path, "size": file.size}
                    console.json({"not_in_lock": told})
                else:
                    name = f"{file.folder}/{file.name}"
                    console.note(f"  not locked {name}  {human_size(file.size)}  {file.path}")
        if complete:
            console.note(f"{len(lock.models)} models are as locked.")
        return OK if complete else INCOMPLETE


def _fetch_missing(resolver: Resolver, missing: Sequence[Checked], console: Console, *, frozen: bool) -> bool:
    """Fetch from the lock's URLs, then, unless ``frozen``, from wherever else the same content is."""
    from ..syncing import elsewhere

    left = {one.model.id: one for one in missing}
    _fetch(resolver, [one for one in missing if one.urls], left, console)
    if left and not frozen:
        models = [one.model for one in left.values()]
        found = resolver.engine.submit(elsewhere(resolver, models)).result()
        others = []
        for key, urls in found.items():
            new = tuple(url for url in urls if url not in left[key].urls)
            if new:
                others.append(replace(left[key], urls=new))
        if others and not console.as_json:
            console.note(f"{len(others)} files are looked for where else the same content is.")
        _fetch(resolver, others, left, console)
    return not left


def _fetch(resolver: Resolver, chosen: Sequence[Checked], left: dict[str, Checked], console: Console) -> None:
    """Download; what has arrived as locked is taken out of ``left``."""
    from ..syncing import check

    if not chosen:
        return
    fetch_all(resolver, [one.item() for one in chosen], console)
    wanted = lockfile.LockFile(workflows=[], models=[one.model for one in chosen])
    with reading(0) as turn:
        for now in check(resolver, wanted, turn):
            if now.state == "ok":
                del left[now.model.id]


def _show_checked(console: Console, checked: Checked) -> None:
    problem: schemas.ErrorBody | None = checked.problem
    if console.as_json:
        shown = problem.model_dump(include={"code", "message"}) if problem else None
        console.json({"id": checked.model.id, "state": checked.state, "path": checked.path, "error": shown})
    else:
        reason = f"  {problem.message} [{problem.code}]" if problem else ""
        console.note(f"  {checked.state:<9}  {checked.model.id}{reason}")

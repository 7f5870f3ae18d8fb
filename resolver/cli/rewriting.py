"""``relink`` and ``embed``: workflows written anew, each into a new file."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, Conflict
from .console import Console
from .session import INCOMPLETE, OK, USAGE, Commands, open_resolver

if TYPE_CHECKING:
    from ..app import Resolver
    from ..library import LibraryFile
    from ..relinking import Relinked
    from ..workflow.document import Document

_FILES = "workflow, or a file with one in it, beside which a .json is written"


def add_commands(commands: Commands) -> None:
    relink = commands.add(
        "relink", _relink, "Write workflows anew, naming the models that are here under another name."
    )
    _add_common(relink, "relinked")
    relink.add_argument("--dry-run", action="store_true", help="say what would be changed, and stop")
    relink.add_argument(
        "--set",
        metavar="OLD=NEW",
        action="append",
        default=[],
        help="name another file for a model, e.g. loras/old.safetensors=loras/style/new.safetensors",
    )
    relink.add_argument(
        "--substitutes", action="store_true", help="also take the same model in another precision"
    )

    embed = commands.add(
        "embed", _embed, "Write workflows anew, with ComfyUI's own metadata: where each model can be had."
    )
    _add_common(embed, "embedded")
    embed.add_argument("--offline", action="store_true", help="ask no server; only what is on this machine")


def _add_common(parser: argparse.ArgumentParser, word: str) -> None:
    parser.set_defaults(word=word)
    parser.add_argument("files", metavar="FILE", nargs="+", help=_FILES)
    parser.add_argument(
        "-o", "--output", metavar="OUT", type=Path, help=f"file or folder (default: FILE.{word}.json)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def _relink(arguments: argparse.Namespace, console: Console) -> int:
    with open_resolver(arguments) as resolver:
        by_hand = _by_hand(resolver, arguments.set)
        used: set[str] = set()

        def rewrite(document: Document) -> tuple[bool, dict[str, Any], bool]:
            results: dict[str, Relinked] = {}
            for part in document.parts():
                for one in resolver.relink(part, by_hand=by_hand, substitutes=arguments.substitutes):
                    # Parts are the same graph in two formats; what one of them has left is left.
                    if one.id not in results or one.outcome == "left":
                        results[one.id] = one
            used.update(results)
            if not console.as_json:
                _show(console, list(results.values()), dry_run=arguments.dry_run)
            shown = {"models": [asdict(one) for one in results.values()]}
            changed = any(one.outcome == "relinked" and one.references for one in results.values())
            left = any(one.outcome == "left" and one.active for one in results.values())
            return changed, shown, not left

        status = _rewrite_all(arguments, console, rewrite, dry_run=arguments.dry_run)
        if unused := sorted(set(by_hand) - used):
            raise BadInput(f"No workflow names {unused[0]}, so --set has no use.", code="MODEL_NOT_NAMED")
        return status


def _show(console: Console, results: Sequence[Relinked], *, dry_run: bool) -> None:
    for one in results:
        if one.outcome == "relinked":
            word = "would be" if dry_run else "now"
            places = "1 place" if one.references == 1 else f"{one.references} places"
            console.note(f"  relinked   {one.id}  {word} {one.to}  ({places})")
        else:
            inactive = "" if one.active else "  (not active)"
            console.note(f"  left       {one.id}{inactive}  {one.message} [{one.code}]")


def _by_hand(resolver: Resolver, pairs: Sequence[str]) -> Mapping[str, LibraryFile]:
    """``--set``: model ids with the files to name for them. Raises ``BadInput``."""
    chosen: dict[str, LibraryFile] = {}
    library = resolver.library.snapshot()
    for pair in pairs:
        old, new = "", ""
        # File names may hold "=" themselves: the split that names a file is meant.
        for index, char in enumerate(pair):
            if char == "=":
                old, new = pair[:index].strip(), pair[index + 1 :].strip().replace("\\", "/")
                folder, _, name = new.partition("/")
                file = library.find(folder, name)
                if file is not None:
                    chosen[old.replace("\\", "/")] = file
                    break
        else:
            if not old or "/" not in new:
                raise BadInput(f"--set {pair}: say it as FOLDER/OLD=FOLDER/NEW.", code="ARGUMENT_INVALID")
            raise BadInput(f"--set {pair}: there is no file {new}.", code="FILE_UNKNOWN")
    return chosen


def _embed(arguments: argparse.Namespace, console: Console) -> int:
    with open_resolver(arguments) as resolver:

        def rewrite(document: Document) -> tuple[bool, dict[str, Any], bool]:
            embedding = resolver.embedding(document.content)
            resolving = resolver.resolved(embedding, online=not arguments.offline)
            count = embedding.write(resolver.engine.submit(resolving).result())
            lacking = embedding.without_url()
            if not console.as_json:
                console.note(f"  {count} entries added or completed")
                for model in lacking:
                    console.note(f"  left       {model}  its source is not known for certain")
            return count > 0, {"embedded": count, "left": lacking}, not lacking

        return _rewrite_all(arguments, console, rewrite, dry_run=False)


def _rewrite_all(
    arguments: argparse.Namespace,
    console: Console,
    rewrite: Callable[[Document], tuple[bool, dict[str, Any], bool]],
    *,
    dry_run: bool,
) -> int:
    """Read, change and write each file; one that cannot be is reported and does not stop the others.

    ``rewrite`` changes a document, and says whether it did, what to show, and whether nothing is left.
    """
    from ..workflow.document import read_document

    failed, complete = False, True
    for source, target in list(_targets(arguments)):
        try:
            if not dry_run:
                _refuse_existing(target, force=arguments.force)
            with source.open("rb") as opened:
                document = read_document(opened)
            if not console.as_json:
                console.note(f"{source}:")
            changed, shown, whole = rewrite(document)
            complete = complete and whole
            # A name that was asked for is written in any case: whoever reads it next counts on it.
            written = not dry_run and (changed or arguments.output is not None)
            if written:
                write_new(target, document.encode(), force=arguments.force)
        except OSError as error:
            failed = True
            problem = BadInput(error.strerror or str(error), code="FILE_UNREADABLE")
            console.unreadable(str(source), problem)
        except (BadInput, Conflict) as problem:
            failed = True
            console.unreadable(str(source), problem)
        else:
            output = str(target) if written else None
            if console.as_json:
                console.json({"file": str(source), "output": output, **shown})
            elif not dry_run:
                console.note(f"  written to {output}" if output else "  Nothing to write.")
    if failed:
        return USAGE
    return OK if complete else INCOMPLETE


def _targets(arguments: argparse.Namespace) -> Iterator[tuple[Path, Path]]:
    """Each file with where it goes. Raises ``BadInput``."""
    output: Path | None = arguments.output
    into_folder = output is not None and output.is_dir()
    if output is not None and len(arguments.files) > 1 and not into_folder:
        raise BadInput("For several files, -o must be a folder that exists.", code="ARGUMENT_INVALID")
    taken: set[Path] = set()
    for file in map(Path, arguments.files):
        name = f"{file.stem}.{arguments.word}.json"
        target = file.with_name(name) if output is None else output / name if into_folder else output
        if target in taken:
            raise BadInput(f"Two files would be written to {target}.", code="ARGUMENT_INVALID")
        taken.add(target)
        yield file, target


def _refuse_existing(target: Path, *, force: bool) -> None:
    """Raises ``Conflict`` (``FILE_EXISTS``)."""
    if not force and target.exists():
        raise Conflict(f"{target} is there already; --force overwrites it.", code="FILE_EXISTS")


def write_new(target: Path, data: bytes, *, force: bool) -> None:
    """Write a file whole or not at all.

    Raises ``Conflict`` (``FILE_EXISTS``) if there is one and not ``force``; ``OSError``.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        if force:
            os.replace(temporary, target)
            return
        try:
            os.link(temporary, target)
        except OSError:
            # It is there, or the file system has no hard links: then look, and rename.
            _refuse_existing(target, force=False)
            os.rename(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _umask() -> int:
    """What the user's shell takes away from a new file's mode; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask

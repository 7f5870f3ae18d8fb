"""Making this machine hold what a lock file says: what to do for each model, and doing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from . import schemas
from .app import Resolver
from .errors import ResolverError, UrlRefused
from .host.roots import folder_spec, root_to_write
from .library import LibraryFile
from .library.reading import FileChanged
from .lockfile import LockedModel, LockFile
from .locking import hash_file
from .sources import Context, Wanted

State = Literal["ok", "missing", "differs", "failed"]

_MOST_MIRRORS = 16


@dataclass(frozen=True)
class Checked:
    """``ok``: it is here, with this very content; ``missing``: it can be fetched; ``differs``: another
    content lies there, which stays; ``failed``: it can be neither fetched nor verified. ``problem`` says
    why. ``urls``: those of the lock that may be fetched from.
    """

    model: LockedModel
    state: State
    path: str | None = None
    problem: schemas.ErrorBody | None = None
    urls: tuple[str, ...] = ()

    def item(self) -> schemas.DownloadItem:
        """What to download for one that is ``missing`` and has a URL."""
        return schemas.DownloadItem(
            folder=self.model.folder,
            filename=self.model.name,
            url=self.urls[0],
            mirrors=list(self.urls[1 : 1 + _MOST_MIRRORS]),
            sha256=self.model.sha256,
            size=self.model.size,
        )


def check(resolver: Resolver, lock: LockFile, turn: Callable[[int], None]) -> Iterator[Checked]:
    """Each model of the lock, compared with what is here. Reads the files whose hash is not known; ``turn``
    gets the bytes as they are read. Blocks."""
    library = resolver.library.snapshot()
    for model in lock.models:
        file = library.find(model.folder, model.name)
        yield _present(resolver, model, file, turn) if file else _missing(resolver, model)


def to_read(resolver: Resolver, lock: LockFile) -> int:
    """How many bytes ``check`` will read. Blocks."""
    library = resolver.library.snapshot()
    total = 0
    for model in lock.models:
        file = library.find(model.folder, model.name)
        if file and model.size in (None, file.size) and not resolver.library.sha256_of(file.path):
            total += file.size
    return total


def not_in_lock(resolver: Resolver, lock: LockFile) -> list[LibraryFile]:
    """The files of the library that the lock does not name, in any folder that lists them."""
    library = resolver.library.snapshot()
    named = {
        file.path for model in lock.models if (file := library.find(model.folder, model.name)) is not None
    }
    others = {file.path: file for file in library.files() if file.path not in named}
    return sorted(others.values(), key=lambda file: (file.folder, file.name))


async def elsewhere(resolver: Resolver, models: Sequence[LockedModel]) -> dict[str, tuple[str, ...]]:
    """Other URLs of the same contents than the lock has, by model id; on the engine's loop."""
    wanted = [
        Wanted(model.id, model.folder, model.name, sha256=model.sha256, size=model.size)
        for model in models
        if model.sha256 is not None
    ]
    contents = {model.id: model.sha256 for model in wanted}
    found: dict[str, tuple[str, ...]] = {}
    async for resolution in resolver.resolve(wanted, Context()):
        urls = [
            url
            for candidate in resolution.candidates
            # Nothing but the very content will do, whatever its name says.
            if candidate.sha256 == contents[resolution.id] and candidate.needs is None
            for url in (candidate.url, *candidate.mirrors)
        ]
        if urls:
            found[resolution.id] = tuple(dict.fromkeys(urls))
    return found


def _present(
    resolver: Resolver, model: LockedModel, file: LibraryFile, turn: Callable[[int], None]
) -> Checked:
    if model.sha256 is None:
        return _incomplete(model, file.path)
    different = (
        f"{file.path} is not the file that was locked, and stays as it is. Move it away, then sync again."
    )
    if model.size not in (None, file.size):
        return Checked(model, "differs", file.path, _problem("FILE_DIFFERS", different))
    try:
        sha256 = hash_file(resolver, file.path, turn)
    except FileChanged:
        return Checked(model, "failed", file.path, _problem("FILE_CHANGED", "It is being written to."))
    except OSError as error:
        reason = f"{file.path} cannot be read: {error.strerror or error}."
        return Checked(model, "failed", file.path, _problem("FILE_UNREADABLE", reason))
    if sha256 != model.sha256:
        return Checked(model, "differs", file.path, _problem("FILE_DIFFERS", different))
    return Checked(model, "ok", file.path)


def _missing(resolver: Resolver, model: LockedModel) -> Checked:
    if model.sha256 is None:
        return _incomplete(model, None)
    try:
        root_to_write(resolver.host, folder_spec(resolver.host, model.folder))
    except ResolverError as error:
        return Checked(model, "failed", None, _problem(error.code, error.message))
    urls, refused = [], None
    for url in model.urls:
        try:
            resolver.client.policy.fetch_url(url)
        except UrlRefused as error:
            refused = refused or _problem(error.code, error.message)
        else:
            urls.append(url)
    if not urls:
        nowhere = _problem("LOCK_INCOMPLETE", "The lock does not say where it can be had.")
        return Checked(model, "missing", None, refused or nowhere)
    return Checked(model, "missing", None, None, tuple(urls))


def _incomplete(model: LockedModel, path: str | None) -> Checked:
    text = "The lock does not state its SHA-256, so nothing can be verified. Lock again."
    return Checked(model, "failed", path, _problem("LOCK_INCOMPLETE", text))


def _problem(code: str, message: str) -> schemas.ErrorBody:
    return schemas.ErrorBody(code=code, message=message)

"""ComfyUI nodes of this pack."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .resolver.app import Resolver
    from .resolver.errors import ResolverError
    from .resolver.lockfile import LockFile
    from .resolver.schemas import Download, DownloadItem

_EXAMPLE = """# folder/name  URL  [SHA-256], one model a line; or the content of a models.lock.json
vae/ae.safetensors https://huggingface.co/Comfy-Org/z_image_turbo/resolve/main/split_files/vae/ae.safetensors"""


_STOPPED = ("paused", "completed", "failed", "cancelled")


class _AnyType(str):
    """The type that fits every other. Newer cores know ``*``; older ones only ask whether the types differ
    (``comfy_execution.validation``), and that this one never does."""

    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        return False


_ANY = _AnyType("*")


class EnsureModels:
    """Fetches the models a workflow needs before it goes on.

    For headless and API users, whose workflow can state what it needs. Any value passes through, so
    that nodes behind it wait. (ComfyUI leaves out what depends on loaders of missing files before any node
    runs: send such a prompt to `model-resolver/prompt`, or send it twice.)
    """

    CATEGORY = "loaders"
    DESCRIPTION = (
        "Downloads the listed models that are missing, verified, and passes the value through. "
        "Lists lines of folder/name, URL and SHA-256, or a lock file."
    )
    FUNCTION = "ensure"
    OUTPUT_NODE = True
    RETURN_TYPES = (_ANY,)
    RETURN_NAMES = ("value",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"models": ("STRING", {"multiline": True, "default": "", "placeholder": _EXAMPLE})},
            "optional": {"value": (_ANY, {})},
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(cls, models: str | None, **_: Any) -> str | float:
        """Which files are here: ComfyUI runs the node again when that changes. ``models`` is None where
        another node states them: then it runs each time, as it does when they cannot be read."""
        from .resolver.errors import BadInput
        from .resolver.lockfile import LockFile
        from .resolver.model_list import parse_list
        from .server_routes import get_resolver

        listed = None
        with suppress(BadInput):
            listed = None if models is None else parse_list(models)
        if listed is None:
            # A new one each time: ComfyUI takes one and the same NaN for equal.
            return float("nan")
        library = get_resolver().library.snapshot()
        places = (
            [(model.folder, model.name) for model in listed.models]
            if isinstance(listed, LockFile)
            else [(item.folder, item.filename) for item in listed]
        )
        files = [library.find(*place) for place in places]
        return ",".join(f"{file.size}:{file.modified}" if file else "-" for file in files)

    def ensure(self, models: str, value: Any = None, unique_id: str | None = None) -> tuple[Any]:
        from .resolver.errors import ResolverError
        from .resolver.lockfile import LockFile
        from .resolver.model_list import parse_list
        from .server_routes import get_resolver

        try:
            listed = parse_list(models)
            resolver = get_resolver()
        except ResolverError as error:
            # ComfyUI shows the class with its module, which is a path: one that everybody knows.
            raise RuntimeError(error.message) from None
        if isinstance(listed, LockFile):
            items = _missing_of_lock(resolver, listed)
        else:
            library = resolver.library.snapshot()
            here = [(item, library.find(item.folder, item.filename)) for item in listed]
            _require_contents(resolver, [(item, file.path) for item, file in here if file is not None])
            items = [item for item, file in here if file is None]
        if items:
            _fetch(resolver, items, unique_id)
        return (value,)


def _missing_of_lock(resolver: Resolver, lock: LockFile) -> list[DownloadItem]:
    """What a lock names that is not here. Raises for a file whose content is not the lock's."""
    from .resolver.syncing import check

    stop_if_interrupted = _interruption()
    checked = list(check(resolver, lock, lambda read: stop_if_interrupted()))
    problems = [
        f"{found.model.id}: {found.problem.message}" for found in checked if found.problem is not None
    ]
    if problems:
        raise RuntimeError("\n".join(["Not all models are as the lock says.", *problems]))
    return [found.item() for found in checked if found.state == "missing"]


def _require_contents(resolver: Resolver, files: list[tuple[DownloadItem, str]]) -> None:
    """Raises for a file whose content is not what its line states. One of unknown hash is read."""
    from .resolver.library.reading import FileChanged
    from .resolver.locking import hash_file

    stop_if_interrupted = _interruption()
    problems = []
    for item, path in files:
        if item.sha256 is None:
            continue
        try:
            found = hash_file(resolver, path, lambda read: stop_if_interrupted())
        except (FileChanged, OSError) as error:
            problems.append(f"{item.folder}/{item.filename}: {path} cannot be verified: {error}")
            continue
        if found != item.sha256.lower():
            problems.append(
                f"{item.folder}/{item.filename}: {path} has another content (SHA-256 {found}), and stays. "
                "Move it away, or correct the line."
            )
    if problems:
        raise RuntimeError("\n".join(["Not all models are as the list says.", *problems]))


def _fetch(resolver: Resolver, items: list[DownloadItem], unique_id: str | None) -> None:
    """Fetch ``items``, showing progress on the node. Raises ``RuntimeError`` that names those that failed."""
    from .resolver.errors import Conflict, ResolverError
    from .resolver.fetch import fetch

    show, stop_if_interrupted = _progress(unique_id), _interruption()
    running = {download.id for download in _downloads(resolver) if download.status not in _STOPPED}
    state: dict[str, Download] = {}
    try:
        for download in resolver.engine.iterate(lambda: fetch(resolver, items)):
            stop_if_interrupted()
            if download is not None:
                state[download.id] = download
                show(list(state.values()))
    except ResolverError as error:
        raise RuntimeError(_refusal(error, items)) from None
    except BaseException:
        # The run was cancelled: keep what has come, so that the next run goes on from there. What
        # somebody else has running goes on, and one that has just ended cannot be paused. They are looked
        # up: more may have begun than were told of.
        places = _places(items)
        for download in _downloads(resolver):
            if (download.folder, download.filename) in places and download.id not in running:
                with suppress(Conflict):
                    resolver.engine.submit(resolver.downloads.pause(download.id)).result()
        raise
    failed = [download for download in state.values() if download.status != "completed"]
    if failed:
        reasons = [f"{d.folder}/{d.filename}: {d.error.message if d.error else d.status}" for d in failed]
        raise RuntimeError("\n".join(["Not all models could be fetched.", *reasons]))


def _downloads(resolver: Resolver) -> list[Download]:
    return resolver.engine.submit(resolver.downloads.list()).result()


def _places(items: list[DownloadItem]) -> set[tuple[str, str]]:
    """Folder and name of each as the queue writes them."""
    from .resolver.errors import UnsafeName
    from .resolver.host import canonical_folder
    from .resolver.names import parse_model_name

    places = set()
    for item in items:
        with suppress(UnsafeName):
            places.add((canonical_folder(item.folder), parse_model_name(item.filename)))
    return places


def _refusal(error: ResolverError, items: list[DownloadItem]) -> str:
    """What is wrong with which of ``items``."""
    refused = error.details.get("items")
    if not isinstance(refused, list):
        return f"{', '.join(f'{item.folder}/{item.filename}' for item in items)}: {error.message}"
    return "\n".join(f"{items[one['index']].folder}/{one['filename']}: {one['message']}" for one in refused)


def _progress(unique_id: str | None) -> Callable[[list[Download]], None]:
    """A function that shows the downloads' progress on the node."""
    try:
        from comfy.utils import ProgressBar  # type: ignore[import-not-found]
    except ImportError:
        return lambda downloads: None
    bar = ProgressBar(1, node_id=unique_id)

    def show(downloads: list[Download]) -> None:
        total = sum(download.size or 0 for download in downloads)
        done = sum(
            (download.size or 0) if download.status == "completed" else download.received
            for download in downloads
        )
        if total:
            bar.update_absolute(min(done, total), total)

    return show


def _interruption() -> Callable[[], None]:
    """A function that raises once the user has cancelled the run."""
    try:
        from comfy import model_management
    except ImportError:
        return lambda: None
    stop: Callable[[], None] = model_management.throw_exception_if_processing_interrupted
    return stop


NODE_CLASS_MAPPINGS: dict[str, Any] = {"ModelResolverEnsureModels": EnsureModels}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {"ModelResolverEnsureModels": "Ensure Models"}

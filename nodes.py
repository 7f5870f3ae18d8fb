"""ComfyUI nodes of this pack."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

_EXAMPLE = """# folder/name  URL  [SHA-256], one model a line
vae/ae.safetensors https://huggingface.co/Comfy-Org/z_image_turbo/resolve/main/split_files/vae/ae.safetensors"""


class EnsureModels:
    """Fetches the models a workflow needs before it goes on.

    For headless and API users, whose workflow can state what it needs. Any value passes through, so
    that nodes behind it wait. (ComfyUI refuses a prompt whose loaders name missing files before any node
    runs: put the loaders into a prompt of their own, or resolve the workflow beforehand.)
    """

    CATEGORY = "loaders"
    DESCRIPTION = "Downloads the listed models that are missing, verified, and passes the value through."
    FUNCTION = "ensure"
    OUTPUT_NODE = True
    RETURN_TYPES = ("*",)
    RETURN_NAMES = ("value",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"models": ("STRING", {"multiline": True, "default": "", "placeholder": _EXAMPLE})},
            "optional": {"value": ("*", {})},
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(cls, models: str, **_: Any) -> str:
        """Which of the files are here: ComfyUI runs the node again when that changes."""
        from .server_routes import get_resolver

        library = get_resolver().library.snapshot()
        return ",".join(str(library.find(item.folder, item.filename) is not None) for item in _items(models))

    def ensure(self, models: str, value: Any = None, unique_id: str | None = None) -> tuple[Any]:
        from .resolver.errors import Conflict
        from .resolver.fetch import fetch
        from .server_routes import get_resolver

        resolver = get_resolver()
        library = resolver.library.snapshot()
        items = [item for item in _items(models) if library.find(item.folder, item.filename) is None]
        show, stop_if_interrupted = _progress(unique_id), _interruption()
        before = {download.id for download in resolver.engine.submit(resolver.downloads.list()).result()}
        state: dict[str, Any] = {}
        try:
            for download in resolver.engine.iterate(lambda: fetch(resolver, items)) if items else ():
                stop_if_interrupted()
                if download is not None:
                    state[download.id] = download
                    show(list(state.values()))
        except BaseException:
            # The run was cancelled: keep what has come, so that the next run goes on from there. What
            # somebody else had begun goes on, and one that has just ended cannot be paused.
            for name in state.keys() - before:
                with suppress(Conflict):
                    resolver.engine.submit(resolver.downloads.pause(name)).result()
            raise
        failed = [download for download in state.values() if download.status != "completed"]
        if failed:
            reasons = [f"{d.folder}/{d.filename}: {d.error.message if d.error else d.status}" for d in failed]
            raise RuntimeError("Not all models could be fetched.\n" + "\n".join(reasons))
        return (value,)


def _items(text: str) -> list[Any]:
    """The lines of the list as download items. Raises ``ValueError`` naming the line that is wrong."""
    from .resolver.host import canonical_folder
    from .resolver.schemas import DownloadItem

    items = []
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        folder, _, name = parts[0].replace("\\", "/").partition("/")
        if len(parts) not in (2, 3) or not folder or not name:
            raise ValueError(f"Line {number} of the list must be: folder/name  URL  [SHA-256]")
        try:
            items.append(
                DownloadItem(
                    folder=canonical_folder(folder),
                    filename=name,
                    url=parts[1],
                    sha256=parts[2] if len(parts) == 3 else None,
                )
            )
        except ValueError:
            raise ValueError(f"Line {number} of the list has no valid SHA-256.") from None
    return items


def _progress(unique_id: str | None) -> Callable[[list[Any]], None]:
    """A function that shows the downloads' progress on the node."""
    try:
        from comfy.utils import ProgressBar  # type: ignore[import-not-found]
    except ImportError:
        return lambda downloads: None
    bar = ProgressBar(1, node_id=unique_id)

    def show(downloads: list[Any]) -> None:
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

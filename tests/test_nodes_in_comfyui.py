"""The Ensure Models node as ComfyUI's own executor uses it: its progress bar, its cancel button."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from demo.hub import running_hub
from demo.world import World

CHECKOUT = Path(__file__).resolve().parent.parent
URL = "https://huggingface.co/o/r/resolve/main/vae/big.safetensors"
OTHER = "https://huggingface.co/o/r/resolve/main/vae/other.safetensors"
SIZE = 6_000_000
WORLD = World.for_urls([URL, OTHER], sizes=SIZE)


class Interrupted(BaseException):
    """As ``comfy.model_management.InterruptProcessingException``."""


@pytest.fixture
def pack() -> Iterator[Callable[[str], Any]]:
    """A module of this checkout, loaded as ComfyUI loads it: as a package of a name of its own."""
    place = CHECKOUT / "__init__.py"
    spec = importlib.util.spec_from_file_location("a_pack", place, submodule_search_locations=[str(CHECKOUT)])
    assert spec is not None
    sys.modules["a_pack"] = importlib.util.module_from_spec(spec)
    yield lambda name: importlib.import_module(f"a_pack.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "a_pack"]:
        del sys.modules[name]


@pytest.fixture
def resolver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[str], Any]) -> Iterator[Any]:
    """What the node works with, on an empty ComfyUI folder and a slow hub."""
    (tmp_path / "models").mkdir()
    # One connection: what several fetch between two looks could be the rest of the file.
    calm = {"CMR_DISK_RESERVE": "1MB", "CMR_CONNECTIONS_PER_DOWNLOAD": "1"}
    with running_hub(WORLD, bytes_per_second=2_000_000) as hub:
        for name, value in {**hub.environment(), **calm}.items():
            monkeypatch.setenv(name, value)
        host = pack("resolver.host.standalone").StandaloneHost(tmp_path)
        running = pack("resolver.app").Resolver(pack("resolver.settings").load_settings(), host)
        running.start()
        monkeypatch.setattr(pack("server_routes"), "get_resolver", lambda: running)
        yield running
        running.close()


@pytest.fixture
def ensure(resolver: Any, pack: Callable[[str], Any]) -> Callable[..., Any]:
    run: Callable[..., Any] = pack("nodes").EnsureModels().ensure
    return run


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """What the progress bars of nodes were set to: (node id, value, total)."""
    told: list[tuple[str, int, int]] = []

    class ProgressBar:
        """The part of ``comfy.utils.ProgressBar`` (ComfyUI 0.28) that nodes use."""

        def __init__(self, total: int, node_id: str | None = None) -> None:
            self.node_id = str(node_id)

        def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
            told.append((self.node_id, value, total or 0))

    utils = ModuleType("comfy.utils")
    utils.ProgressBar = ProgressBar  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "comfy.utils", utils)
    return told


@pytest.fixture
def cancel(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], bool]], None]:
    """Presses the cancel button as soon as something holds."""
    state = SimpleNamespace(when=lambda: False)

    def throw_exception_if_processing_interrupted() -> None:
        if state.when():
            raise Interrupted

    comfy, management = ModuleType("comfy"), ModuleType("comfy.model_management")
    for name, value in {
        "throw_exception_if_processing_interrupted": throw_exception_if_processing_interrupted
    }.items():
        setattr(management, name, value)
    comfy.model_management = management  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "comfy", comfy)
    monkeypatch.setitem(sys.modules, "comfy.model_management", management)

    def press(when: Callable[[], bool]) -> None:
        state.when = when

    return press


def test_its_progress_is_shown_in_bytes_on_its_own_node(
    ensure: Callable[..., Any], cancel: object, shown: list[tuple[str, int, int]]
) -> None:
    value = object()
    assert ensure(URL, value, unique_id="17") == (value,)
    assert {(node, total) for node, _, total in shown} == {("17", SIZE)}
    values = [done for _, done, _ in shown]
    assert values == sorted(values)
    assert values[-1] == SIZE
    assert len(set(values)) > 3


def test_cancelling_the_run_keeps_what_has_come_for_the_next(
    resolver: Any,
    ensure: Callable[..., Any],
    shown: list[tuple[str, int, int]],
    cancel: Callable[[Callable[[], bool]], None],
) -> None:
    cancel(lambda: any(done > SIZE // 4 for _, done, _ in shown))
    with pytest.raises(Interrupted):
        ensure(URL)
    (download,) = resolver.engine.submit(resolver.downloads.list()).result()
    assert (download.status, download.received > SIZE // 4) == ("paused", True)
    kept = download.received
    cancel(lambda: False)
    shown.clear()
    ensure(URL)
    assert min(done for _, done, _ in shown) >= kept, "it goes on from there"
    assert (resolver.host.root / "models/vae/big.safetensors").stat().st_size == SIZE


def test_cancelling_again_keeps_it_again(
    resolver: Any,
    ensure: Callable[..., Any],
    shown: list[tuple[str, int, int]],
    cancel: Callable[[Callable[[], bool]], None],
) -> None:
    for quarter in (1, 2, 3):
        cancel(lambda: any(done > SIZE * quarter // 4 for _, done, _ in shown))  # noqa: B023
        with pytest.raises(Interrupted):
            ensure(URL)
        (download,) = resolver.engine.submit(resolver.downloads.list()).result()
        assert download.status == "paused", f"after {quarter} quarters"


def test_cancelling_at_once_leaves_none_of_several_going(
    resolver: Any, ensure: Callable[..., Any], cancel: Callable[[Callable[[], bool]], None]
) -> None:
    def begun() -> bool:
        return bool(resolver.engine.submit(resolver.downloads.list()).result())

    cancel(begun)
    with pytest.raises(Interrupted):
        ensure(f"{URL}\n{OTHER}")
    downloads = resolver.engine.submit(resolver.downloads.list()).result()
    assert [download.status for download in downloads] == ["paused", "paused"]


def test_cancelling_leaves_going_what_somebody_else_has_running(
    resolver: Any, ensure: Callable[..., Any], cancel: Callable[[Callable[[], bool]], None]
) -> None:
    item = {"folder": "vae", "filename": "big.safetensors", "url": URL}
    resolver.engine.submit(resolver.downloads.submit([resolver_item(resolver, item)])).result()
    cancel(lambda: True)
    with pytest.raises(Interrupted):
        ensure(URL)
    (download,) = resolver.engine.submit(resolver.downloads.list()).result()
    assert download.status in ("queued", "active")


def resolver_item(resolver: Any, item: dict[str, Any]) -> Any:
    schemas = sys.modules[type(resolver).__module__.removesuffix("app") + "schemas"]
    return schemas.DownloadItem(**item)


def test_its_value_fits_every_type_in_cores_that_know_no_any_type(pack: Callable[[str], Any]) -> None:
    """Up to 0.3.64 at least, ``validate_node_input`` lets a link pass if ``not received != wanted``."""
    node = pack("nodes").EnsureModels
    wanted, returned = node.INPUT_TYPES()["optional"]["value"][0], node.RETURN_TYPES[0]
    for other in ("IMAGE", "UPSCALE_MODEL", ["a", "b"]):
        assert (other != wanted, returned != other) == (False, False)
    assert (wanted, returned) == ("*", "*"), "what the editor gets to see"


def test_a_list_that_cannot_be_read_beforehand_makes_it_run(
    resolver: Any, pack: Callable[[str], Any]
) -> None:
    node = pack("nodes").EnsureModels
    for models in (None, "no list at all"):
        # Lists, as ComfyUI keeps the answers: in them one and the same NaN is equal to itself.
        assert [node.IS_CHANGED(models)] != [node.IS_CHANGED(models)]
    assert [node.IS_CHANGED(URL)] == [node.IS_CHANGED(URL)]

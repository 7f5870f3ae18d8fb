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
SIZE = 6_000_000
WORLD = World.for_urls([URL], sizes=SIZE)


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
    with running_hub(WORLD, bytes_per_second=4_000_000) as hub:
        for name, value in {**hub.environment(), "CMR_DISK_RESERVE": "1MB"}.items():
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

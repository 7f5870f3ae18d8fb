"""How far something is: bars on a terminal, elsewhere a line now and then. On standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..schemas import Download

_LINE_SECONDS = 10.0


@dataclass(frozen=True)
class Step:
    """How far one thing is: ``done`` of ``total`` bytes (None: unknown).

    ``verb``: what happens to it, ``read``; ``name``: which it is, where there may be several; ``speed`` in
    bytes a second; ``note``: its state, where it is not simply going on.
    """

    verb: str
    done: int
    total: int | None
    name: str = ""
    speed: float | None = None
    note: str = ""


Show = Callable[[Step], None]


@contextmanager
def progress(*, at_once: bool = True) -> Iterator[Show]:
    """A function that shows the newest step of each thing. Lines: each thing's first comes ``at_once``, or
    when it has taken as long as lines are apart."""
    if not sys.stderr.isatty():
        yield _Lines(at_once=at_once).show
        return
    bars = _Bars()
    try:
        yield bars.show
    finally:
        bars.close()


@contextmanager
def reading(total: int) -> Iterator[Callable[[int], None]]:
    """A function that gets each block's size while ``total`` bytes are read."""
    done = 0
    with progress(at_once=False) as show:

        def turn(count: int) -> None:
            nonlocal done
            done += count
            show(Step("read", done, total))

        yield turn


def step_of(download: Download) -> Step:
    """A download, as it is shown."""
    whole = download.status == "completed" and download.size is not None
    return Step(
        "fetching",
        download.size if whole and download.size is not None else download.received,
        download.size,
        f"{download.folder}/{download.filename}",
        speed=download.speed,
        note="" if download.status == "active" else download.status,
    )


def human_size(size: float | None) -> str:
    """``1536`` -> ``1.5 KiB``; a question mark where it is unknown."""
    if size is None:
        return "?"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


class _Bars:
    """One tqdm bar for each name."""

    def __init__(self) -> None:
        self._bars: dict[str, tqdm[Any]] = {}

    def show(self, step: Step) -> None:
        from tqdm import tqdm  # only where there is a terminal

        bar = self._bars.get(step.name)
        if bar is None:
            bar = self._bars[step.name] = tqdm(
                desc=_shortened(step.name.rpartition("/")[2]) if step.name else step.verb,
                total=step.total,
                initial=step.done,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                position=len(self._bars),
            )
        if step.total is not None:
            bar.total = step.total
        bar.n = step.done
        bar.set_postfix_str(step.note, refresh=False)
        if step.note or step.done == bar.total or time.time() - bar.last_print_t >= bar.mininterval:
            bar.last_print_t = time.time()
            bar.refresh()

    def close(self) -> None:
        for bar in self._bars.values():
            bar.close()


class _Lines:
    """For logs: at most one line of each name in ten seconds, and none while it waits or is done."""

    def __init__(self, *, at_once: bool) -> None:
        self._next: dict[str, float] = {}
        self._wait = 0.0 if at_once else _LINE_SECONDS

    def show(self, step: Step) -> None:
        now = time.monotonic()
        if step.note or now < self._next.setdefault(step.name, now + self._wait):
            return
        self._next[step.name] = now + _LINE_SECONDS
        name = f"  {step.name}" if step.name else ""
        total = "" if step.total is None else f" of {human_size(step.total)}"
        speed = f", {human_size(step.speed)}/s" if step.speed else ""
        print(f"  {step.verb:<9}{name}  {human_size(step.done)}{total}{speed}", file=sys.stderr, flush=True)


def _shortened(name: str, width: int = 36) -> str:
    """A long name with its middle left out, padded, so that bars stand below each other."""
    if len(name) > width:
        half = (width - 1) // 2
        name = f"{name[:half]}…{name[-half:]}"
    return f"{name:<{width}}"

"""How figures are printed: one a line, what it is compared with, and whether a target is met."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any


def heading(text: str) -> None:
    print(f"\n{text}", flush=True)


def row(what: str, figure: str, beside: str = "", *, target: str = "", met: bool | None = None) -> None:
    """``met``: whether ``figure`` reaches ``target``; None where there is none."""
    verdict = "" if met is None else f"  [target {target}: {'met' if met else 'NOT MET'}]"
    print(f"{what:<58} {figure:>16}  {beside}{verdict}", flush=True)


def at_most(what: str, value: float, limit: float, unit: str, beside: str = "", *, digits: int = 0) -> None:
    """A figure that must not exceed ``limit``."""
    row(what, f"{value:.{digits}f} {unit}", beside, target=f"≤ {limit:g} {unit}", met=value <= limit)


def timed(work: Callable[[], Any], runs: int = 5) -> float:
    """Median milliseconds of ``work``."""
    times = []
    for _ in range(runs):
        gc.collect()
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def quantile(values: Iterable[float], share: float) -> float:
    """The value that ``share`` of all are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine() -> str:
    """What a reader must know to judge the figures."""
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores, {os.uname().sysname} "
        f"{os.uname().release}, load {os.getloadavg()[0]:.1f}"
    )

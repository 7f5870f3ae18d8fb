"""How far reading files is: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from .console import human_size

_LINE_SECONDS = 10.0


@contextmanager
def reading(total: int) -> Iterator[Callable[[int], None]]:
    """A function that gets each block's size while ``total`` bytes are read."""
    if not total or not sys.stderr.isatty():
        due = time.monotonic() + _LINE_SECONDS
        done = 0

        def line(count: int) -> None:
            nonlocal due, done
            done += count
            if time.monotonic() >= due:
                due = time.monotonic() + _LINE_SECONDS
                print(f"  read {human_size(done)} of {human_size(total)}", file=sys.stderr, flush=True)

        yield line
        return
    with tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1024) as bar:

        def draw(count: int) -> None:
            bar.update(count)

        yield draw

"""How far our threads yield to those of the host, where the system can tell threads apart (Linux) or
processes (all)."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

BACKGROUND = 19
"""For work that nobody waits for."""

BESIDE_THE_HOST = 10
"""For work that somebody waits for, while the host's own loop still goes first: with more busy threads than
cores it would be woken several milliseconds late otherwise (``make bench-download ONLY=host``)."""


def lower_priority(niceness: int) -> None:
    """Give this thread that niceness, and with it its turn at the disk; never a lower one than it has."""
    if sys.platform == "linux":
        with suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, max(niceness, os.getpriority(os.PRIO_PROCESS, thread)))


def lower_priority_of_process(niceness: int) -> None:
    """Let this process, whose only thread is this one yet, yield that much more than the one that started it.

    On Windows, whoever starts it says so.
    """
    if sys.platform != "win32":
        with suppress(OSError):
            inherited = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, 0, min(BACKGROUND, inherited + niceness))

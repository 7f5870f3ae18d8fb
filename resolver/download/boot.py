"""Which run of this machine this is."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Equal as long as the machine has not been restarted; may also change without (then less is reused)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        # Imported here: only systems without /proc need it.
        import psutil

        return str(int(psutil.boot_time()))

"""The program: ``comfy-model-resolver`` where it is installed, ``python -m resolver`` in a checkout."""

from __future__ import annotations

import gc


def main() -> int:
    """Run the command line on this process's arguments; returns the exit status."""
    # What modules make while they are imported stays: looking through it for garbage at the usual pace
    # takes a tenth of the start.
    gc.set_threshold(50_000)
    from .cli import main as run

    return run()


if __name__ == "__main__":
    raise SystemExit(main())

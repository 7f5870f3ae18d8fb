"""The process that ``test_kill.py`` kills: the program as the command line opens it, with one download.

Kept apart from the tests, because each of its many starts would import what they import.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from resolver.app import Resolver
from resolver.fetch import fetch
from resolver.host.standalone import StandaloneHost
from resolver.schemas import DownloadItem
from resolver.settings import load_settings


def download(root: Path, place: str, fields: dict[str, Any], *, serves: bool = False) -> None:
    """Fetch one item, or go on with it. Exit status 0 if it is complete and verified then.

    ``serves``: as in ComfyUI, with a process beside this one.
    """
    os.environ["CMR_ALLOWED_HOSTS"], os.environ["CMR_DISK_RESERVE"] = place, "0"
    resolver = Resolver(load_settings(), StandaloneHost(root), serves=serves)
    resolver.start()
    # Killed after the last of it was written down: there is nothing to go on with.
    last = next(iter(resolver.engine.submit(resolver.downloads.list()).result()), None)
    if last is None or last.status != "completed":
        for state in resolver.engine.iterate(lambda: fetch(resolver, [DownloadItem(**fields)])):
            last = state or last
    resolver.close()
    if last is None or last.status != "completed" or not last.verified:
        sys.exit(f"not completed: {last}")

"""Our side of a benchmark, in a fresh process: a ``Resolver`` as ComfyUI has one, and its queue.

``python -m bench.driver`` reads one JSON object from standard input: ``root`` (a ComfyUI folder),
``items`` (as for ``POST downloads``), ``serves`` (as ``Resolver`` takes it), ``host_loop`` (also be a host
whose loop is watched), ``instead`` (arguments and standard input of a program that downloads in a process of
its own while the host is watched, and nothing of ours runs). It prints one JSON object. Settings come from
the environment. What is begun is taken up again, so that a killed run can be repeated.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

import psutil

from resolver.app import Resolver
from resolver.fetch import fetch
from resolver.host.standalone import StandaloneHost
from resolver.schemas import Download, DownloadItem
from resolver.settings import load_settings


async def main(job: dict[str, Any]) -> dict[str, Any]:
    return await (_beside(*job["instead"]) if "instead" in job else _ours(job))


async def _ours(job: dict[str, Any]) -> dict[str, Any]:
    resolver = await asyncio.to_thread(started_resolver, Path(job["root"]), serves=job["serves"])
    items = [DownloadItem(**item) for item in job["items"]]
    try:
        async with AsyncExitStack() as stack:
            loop_of_host = None
            gc.collect()
            if job.get("host_loop"):
                from .host_loop import WatchedHost

                loop_of_host = await stack.enter_async_context(WatchedHost())
            idle = _reset_peak()
            cpu, started = _cpu_seconds(), time.perf_counter()
            ended = await download(resolver, items)
            took, cpu = time.perf_counter() - started, _cpu_seconds() - cpu
            peak = _status("VmHWM") - idle
            # The one in which the bytes move; a host that is watched has others.
            for process in psutil.Process().children():
                if "download.worker" in " ".join(process.cmdline()):
                    used = process.cpu_times()
                    cpu += used.user + used.system
                    peak += _status("VmHWM", process.pid)
            return {
                "seconds": took,
                "cpu_seconds": cpu,
                "peak_bytes": peak,
                "ended": [[one.status, one.error.code if one.error else None, one.verified] for one in ended],
                "host": None if loop_of_host is None else await loop_of_host.figures(),
            }
    finally:
        await asyncio.to_thread(resolver.close)


async def _beside(arguments: Sequence[str], given: str) -> dict[str, Any]:
    from .host_loop import WatchedHost

    async with WatchedHost() as host:
        started = time.perf_counter()
        process = await asyncio.create_subprocess_exec(*arguments, stdin=asyncio.subprocess.PIPE)
        await process.communicate(given.encode())
        if process.returncode:
            raise SystemExit(f"{arguments[0]} ended with {process.returncode}")
        took = time.perf_counter() - started
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "seconds": took,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "host": await host.figures(),
        }


def started_resolver(root: Path, *, serves: bool) -> Resolver:
    """As in ComfyUI, in a thread: there is no event loop where it is made."""
    resolver = Resolver(load_settings(), StandaloneHost(root), serves=serves)
    resolver.start()
    return resolver


async def download(resolver: Resolver, items: Sequence[DownloadItem]) -> list[Download]:
    """The downloads for ``items`` once all have ended."""
    last: dict[str, Download] = {}
    async for state in resolver.engine.stream(lambda: fetch(resolver, items)):
        last[state.id] = state
    return list(last.values())


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _reset_peak() -> int:
    """Let the kernel begin the peak anew; returns the resident bytes now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str, process: int | Literal["self"] = "self") -> int:
    """A size in bytes from ``/proc/…/status``."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.load(sys.stdin)))))

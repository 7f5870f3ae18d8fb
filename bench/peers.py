"""Who downloads: ourselves, aria2c, curl and huggingface_hub, each in a fresh process.

Seconds are from asking to done: of ours and of ``hf_hub_download`` without the start of Python, of the
others with their own start, which takes milliseconds. CPU seconds are those of the downloading process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

CHECKOUT = Path(__file__).resolve().parent.parent

_HUB = """
import json, os, resource, sys, time
os.environ["HF_ENDPOINT"] = sys.argv.pop(1)
from huggingface_hub import hf_hub_download
usage = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
place, names = sys.argv[1], sys.argv[2:]
cpu, started = usage(), time.perf_counter()
for name in names:
    hf_hub_download("bench/bench", name, local_dir=place)
print(json.dumps({"seconds": time.perf_counter() - started, "cpu_seconds": usage() - cpu}))
"""


@dataclass(frozen=True)
class Task:
    """What to download. ``files``: URL and SHA-256 by name. ``hub``: an endpoint that has them, too."""

    files: Mapping[str, tuple[str, str]]
    size: int
    """Bytes of all files together."""
    certificate: Path
    hub: str = ""

    @property
    def hosts(self) -> str:
        return ",".join(sorted({url.split("/")[2] for url, _ in self.files.values()}))


@dataclass(frozen=True)
class Outcome:
    seconds: float
    cpu_seconds: float
    peak_bytes: int | None = None
    """Above idle; of ours only."""
    host: Mapping[str, float] | None = None
    """See ``host_loop``."""
    sync_seconds: float = 0.0
    """What ``fsync`` of the files takes afterwards. Ours are on the disk already when it says so."""


@dataclass
class Peer:
    """``command(task, place)``: arguments and standard input of a process that downloads to ``place``.

    ``reports``: it prints its own seconds as JSON. ``folder``: where below ``place`` the files arrive.
    """

    name: str
    command: Callable[[Task, Path], tuple[list[str], str]]
    settings: Mapping[str, str] = field(default_factory=dict)
    reports: bool = False
    folder: str = "."

    def _start(self, task: Task, place: Path) -> subprocess.Popen[str]:
        arguments, given = self.command(task, place)
        (place / self.folder).mkdir(parents=True, exist_ok=True)
        with self._complaints(place).open("w") as complaints:
            process = subprocess.Popen(
                arguments, cwd=CHECKOUT, env=_environment(task) | dict(self.settings), text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints,
            )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(given)
        process.stdin.close()
        return process

    def run(self, task: Task, place: Path) -> Outcome:
        """Download everything to the empty directory ``place``. Ends the benchmark if that fails."""
        started = time.perf_counter()
        process = self._start(task, place)
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            self._fail(process, place, output)
        arrived = sum(path.stat().st_size for path in self.arrived(task, place))
        if arrived != task.size:
            self._fail(process, place, f"{arrived} of {task.size} bytes arrived")
        sync = _sync_seconds(self.arrived(task, place))
        if not self.reports:
            return Outcome(took, usage.ru_utime + usage.ru_stime, sync_seconds=sync)
        report: dict[str, Any] = json.loads(output) | {"sync_seconds": sync}
        if any(ended != ["completed", None, True] for ended in report.pop("ended", ())):
            self._fail(process, place, output)
        return Outcome(**report)

    def arrived(self, task: Task, place: Path) -> list[Path]:
        return [path for name in task.files if (path := place / self.folder / name).exists()]

    def kill_at(self, task: Task, place: Path, written: int) -> None:
        """Begin the download and ``kill -9`` it once it has written that many bytes."""
        process = self._start(task, place)
        while _bytes_written(process.pid) < written:
            if process.poll() is not None:
                self._fail(process, place, "it ended before it was killed")
            time.sleep(0.002)
        process.kill()
        process.wait()

    def _complaints(self, place: Path) -> Path:
        return place / "stderr.txt"

    def _fail(self, process: subprocess.Popen[str], place: Path, what: str) -> None:
        complaints = self._complaints(place).read_text()
        raise SystemExit(f"{self.name} failed ({process.returncode}): {what}\n{complaints}")


def ours(
    name: str = "ours", *, host_loop: bool = False, beside_host: bool = True, **settings: object
) -> Peer:
    """``settings``: fields of our settings; the others have their defaults.

    ``host_loop``: a host's loop is watched meanwhile. ``beside_host``: bytes move in a process of their own,
    as in ComfyUI, else in threads of this one, as on the command line.
    """

    def command(task: Task, place: Path) -> tuple[list[str], str]:
        items = [
            {"folder": "loras", "filename": name, "url": url, "sha256": sha256}
            for name, (url, sha256) in task.files.items()
        ]
        job = {"root": str(place), "items": items, "host_loop": host_loop, "serves": beside_host}
        return [sys.executable, "-m", "bench.driver"], json.dumps(job)

    environment = {f"CMR_{name.upper()}": str(value) for name, value in settings.items()}
    return Peer(name, command, environment, reports=True, folder="models/loras")


def beside_a_host(peer: Peer) -> Peer:
    """``peer``, a program, in a process of its own, while a host that does nothing else is watched."""

    def command(task: Task, place: Path) -> tuple[list[str], str]:
        return [sys.executable, "-m", "bench.driver"], json.dumps({"instead": peer.command(task, place)})

    return Peer(f"{peer.name}, in a process of its own", command, reports=True)


def aria2c(connections: int, *, together: int = 1, check: bool = False) -> Peer:
    """``connections`` a file, ``together`` files at a time; ``check``: it compares the SHA-256, too."""

    def command(task: Task, place: Path) -> tuple[list[str], str]:
        lines = []
        for name, (url, sha256) in task.files.items():
            lines += [url, f"  out={name}"] + ([f"  checksum=sha-256={sha256}"] if check else [])
        arguments = [
            "aria2c", "--no-conf", "--quiet", f"-x{connections}", f"-s{connections}", "-k1M",
            f"-j{together}", "--file-allocation=none", "--continue", f"--ca-certificate={task.certificate}",
            "-d", str(place), "-i", "-",
        ]  # fmt: skip
        return arguments, "\n".join(lines) + "\n"

    many = f" -j{together}" if together > 1 else ""
    return Peer(f"aria2c -x{connections}{many}{' with its hash check' if check else ''}", command)


def curl(*, together: int = 1) -> Peer:
    def command(task: Task, place: Path) -> tuple[list[str], str]:
        lines = [f'url = "{url}"\noutput = "{place / name}"' for name, (url, _) in task.files.items()]
        parallel = ["--parallel", "--parallel-max", str(together)] if together > 1 else []
        arguments = ["curl", "-sSf", "--cacert", str(task.certificate), *parallel, "-K", "-"]
        return arguments, "\n".join(lines) + "\n"

    return Peer(f"curl -Z --parallel-max {together}" if together > 1 else "curl, one connection", command)


def hub() -> Peer:
    def command(task: Task, place: Path) -> tuple[list[str], str]:
        return [sys.executable, "-c", _HUB, task.hub, str(place), *task.files], ""

    return Peer("hf_hub_download", command, reports=True)


def _environment(task: Task) -> dict[str, str]:
    """The caller's, without what would change a peer; and the certificate and the host."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CMR_", "HF_")) and not name.lower().endswith("_proxy")
    }
    return kept | {
        "SSL_CERT_FILE": str(task.certificate),
        "CMR_ALLOWED_HOSTS": task.hosts,
        "CMR_DISK_RESERVE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def _sync_seconds(paths: Sequence[Path]) -> float:
    started = time.perf_counter()
    for path in paths:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    return time.perf_counter() - started


def _bytes_written(pid: int) -> int:
    """What the process and those it has started have passed to ``write`` and its like, whatever the file."""
    try:
        process = psutil.Process(pid)
        return sum(one.io_counters().write_chars for one in (process, *process.children()))
    except psutil.NoSuchProcess:
        return 0

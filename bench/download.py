"""Prints the figures of downloading, beside peers that take turns with us on the same servers.

Read from the environment: ``SIZE`` of the large file (``1G``), ``ROUNDS`` (3), ``ONLY`` (comma-separated
names of ``SCENES``), ``DIR`` (where to put files; five times ``SIZE`` is needed; the temporary directory).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from .peers import Outcome, Peer, Task, aria2c, beside_a_host, curl, hub, ours
from .report import at_most, heading, row
from .servers import Nginx, require_programs, running_nginx, running_shaper, stand_in_hub

GIB = 1 << 30
LARGE = "large.safetensors"
SMALL_FILES, SMALL_SIZE = 200, 2_000_000
_BLOCK = 16 << 20

Results = dict[str, list[Outcome]]


class Ground:
    """The files and the servers all scenes share. ``rounds``: how often each peer takes its turn."""

    def __init__(self, base: Path, size: int, rounds: int, stack: ExitStack) -> None:
        self.rounds = rounds
        self._base = base
        files = base / "files"
        files.mkdir()
        self._sha256 = {LARGE: _make_file(files / LARGE, size)}
        self.small = [f"small-{number:03}.safetensors" for number in range(SMALL_FILES)]
        for name in self.small:
            self._sha256[name] = _make_file(files / name, SMALL_SIZE)
        self.three = [f"large-{number}.safetensors" for number in range(3)]
        for name in self.three:
            self._sha256[name] = _make_file(files / name, size // 2)
        self.nginx: Nginx = stack.enter_context(running_nginx(base / "nginx", files))
        self._hub_plain = stack.enter_context(stand_in_hub(self.nginx, "plain"))
        self._hub_tls = stack.enter_context(stand_in_hub(self.nginx, "tls"))

    def task(self, server: str, names: Sequence[str] = (LARGE,), *, port: int | None = None) -> Task:
        """``port``: of a proxy before ``server``."""
        urls = {name: self.nginx.url(name, server) for name in names}
        if port is not None:
            urls = {name: f"http://127.0.0.1:{port}/{name}" for name in names}
        return Task(
            {name: (url, self._sha256[name]) for name, url in urls.items()},
            sum((self.nginx.files / name).stat().st_size for name in names),
            self.nginx.certificate,
            self._hub_tls if server == "tls" else self._hub_plain,
        )

    def place(self) -> Path:
        """An empty directory to download to; what earlier runs wrote has left memory for the disk."""
        place = self._base / "place"
        shutil.rmtree(place, ignore_errors=True)
        os.sync()
        place.mkdir()
        return place

    def take_turns(self, task: Task, peers: Sequence[Peer]) -> Results:
        """All peers one after the other, ``rounds`` times, each time another one first."""
        results: Results = {peer.name: [] for peer in peers}
        for number in range(self.rounds):
            for peer in (*peers[number % len(peers) :], *peers[: number % len(peers)]):
                results[peer.name].append(peer.run(task, self.place()))
        return results


def run() -> None:
    size, rounds = parse_size(os.environ.get("SIZE") or "1G"), int(os.environ.get("ROUNDS") or 3)
    wanted = [name for name in (os.environ.get("ONLY") or ",".join(SCENES)).split(",") if name]
    if unknown := [name for name in wanted if name not in SCENES]:
        raise SystemExit(f"ONLY has unknown names: {', '.join(unknown)}. There are {', '.join(SCENES)}.")
    require_programs("nginx", "aria2c", "curl")
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=os.environ.get("DIR") or None) as base,
        ExitStack() as stack,
    ):
        print(f"large file {size / GIB:g} GiB, medians of {rounds}, in {base}", flush=True)
        ground = Ground(Path(base), size, rounds, stack)
        for name in wanted:
            SCENES[name](ground)


def parse_size(text: str) -> int:
    """``128M`` or ``1G``, in MiB and GiB."""
    factor = {"M": 1 << 20, "G": GIB}.get(text[-1:].upper())
    if factor is None or not text[:-1].isdigit() or not int(text[:-1]):
        raise SystemExit(f"SIZE is like 128M or 1G, not {text!r}.")
    return int(text[:-1]) * factor


# --- the scenes -----------------------------------------------------------------------------------


def tls(ground: Ground) -> None:
    heading("One large file over TLS 1.3, SHA-256 verified by us")
    task = ground.task("tls")
    peers = [ours(), aria2c(16), aria2c(8), aria2c(16, check=True), curl(), hub()]
    results = ground.take_turns(task, peers)
    targets = {"aria2c -x16": 1.2, "hf_hub_download": 4.0, "curl, one connection": 0.8}
    _print_speeds(results, task.size, targets)
    _print_costs(results["ours"], task.size)


def plain(ground: Ground) -> None:
    heading("The same without TLS")
    task = ground.task("plain")
    results = ground.take_turns(task, [ours(), aria2c(16), aria2c(8), curl(), hub()])
    _print_speeds(results, task.size, {})
    _print_costs(results["ours"], task.size)


def cap(ground: Ground) -> None:
    heading("20 MB/s a connection (a proxy that counts connections: many requests do not escape it)")
    with running_shaper(ground.nginx.plain, rate=20_000_000) as port:
        task = ground.task("plain", port=port)
        results = ground.take_turns(task, [ours(), aria2c(16), aria2c(8)])
    _print_speeds(results, task.size, {"aria2c -x16": 1.0})
    heading("20 MB/s a request (limit_rate of nginx: many small requests do escape it; no verdict)")
    task = ground.task("capped")
    for peer in (ours(), aria2c(16)):
        ground.nginx.forget()
        outcome = peer.run(task, ground.place())
        gets = sum(method == "GET" for method, _ in ground.nginx.settled())
        row(peer.name, f"{task.size / outcome.seconds / 1e6:.0f} MB/s", f"{gets} requests")


def latency(ground: Ground) -> None:
    heading("40 ms away (a proxy that delays), windows of 2 MiB")
    with running_shaper(ground.nginx.plain, delay=0.02) as port:
        task = ground.task("plain", port=port)
        _print_speeds(ground.take_turns(task, [ours(), aria2c(16), aria2c(8)]), task.size, {})
        heading(f"{SMALL_FILES} files of 2 MB, 40 ms away, 8 at a time")
        task = ground.task("plain", ground.small, port=port)
        peers = [ours(max_concurrent_downloads=8), aria2c(1, together=8)]
        _print_seconds(ground.take_turns(task, peers), {})


def small(ground: Ground) -> None:
    heading(f"{SMALL_FILES} files of 2 MB, 8 at a time")
    task = ground.task("plain", ground.small)
    peers = [
        ours(max_concurrent_downloads=8),
        ours("ours, default settings"),
        aria2c(1, together=8),
        curl(together=8),
    ]
    _print_seconds(ground.take_turns(task, peers), {"aria2c -x1 -j8": 1.0})


def host(ground: Ground) -> None:
    heading("The event loop of the host (an aiohttp server) while three files come over TLS")
    task = ground.task("tls", ground.three)
    inside, outside = ours(host_loop=True), beside_a_host(curl(together=3))
    threads = ours("ours, in threads of the host", host_loop=True, beside_host=False)
    results = ground.take_turns(task, [inside, threads, outside])

    def figure(peer: Peer, name: str) -> float:
        return statistics.median(outcome.host[name] for outcome in results[peer.name] if outcome.host)

    for what, name, quantile, limit in (
        ("a coroutine is woken late, 99 of 100", "late", "p99", 5.0),
        ("a coroutine is woken late, worst", "late", "max", 20.0),
        ("a small route answers, 99 of 100", "route", "p99", 20.0),
        ("a small route answers, worst", "route", "max", 20.0),
        ("a websocket message is answered, 99 of 100", "websocket", "p99", 20.0),
        ("a websocket message is answered, worst", "websocket", "max", 20.0),
    ):
        beside = (
            f"{figure(threads, f'{name}_{quantile}'):.1f} ms beside threads of the same process, "
            f"{figure(outside, f'{name}_{quantile}'):.1f} beside curl -Z, "
            f"{figure(inside, f'{name}_alone_{quantile}'):.1f} with nothing to do"
        )
        at_most(what, figure(inside, f"{name}_{quantile}"), limit, "ms", beside, digits=1)


def kill(ground: Ground) -> None:
    heading("kill -9 at half of the file, then again (20 MB/s a request): fetched more than once")
    task = ground.task("capped")
    for peer in (ours(), aria2c(16)):
        shares = []
        for _ in range(ground.rounds):
            place = ground.place()
            ground.nginx.forget()
            peer.kill_at(task, place, task.size // 2)
            peer.run(task, place)
            _require_right(peer, task, place)
            sent = sum(count for method, count in ground.nginx.settled() if method == "GET")
            shares.append((sent - task.size) / task.size * 100)
        share, target = statistics.median(shares), (2.0 if peer.name == "ours" else None)
        beside = f"{share / 100 * task.size / 2**20:.1f} MiB"
        if target is None:
            row(peer.name, f"{share:.1f} %", beside)
        else:
            at_most(peer.name, share, target, "%", beside, digits=1)


SCENES: dict[str, Callable[[Ground], None]] = {
    scene.__name__: scene for scene in (tls, plain, cap, latency, small, host, kill)
}


# --- printing -------------------------------------------------------------------------------------


def _print_speeds(results: Results, size: int, targets: dict[str, float]) -> None:
    """MB/s of each; ``targets``: how many times as fast as that peer we must be."""
    own = _median(results["ours"])
    for name, outcomes in results.items():
        seconds = _median(outcomes)
        cpu = statistics.median(outcome.cpu_seconds for outcome in outcomes)
        synced = statistics.median(outcome.seconds + outcome.sync_seconds for outcome in outcomes)
        beside = f"{size / synced / 1e6:.0f} MB/s to the disk, {cpu * GIB / size:.1f} CPU s/GiB"
        speed = f"{size / seconds / 1e6:.0f} MB/s"
        _print_beside(name, speed, beside, seconds / own, targets.get(name))


def _print_seconds(results: Results, targets: dict[str, float]) -> None:
    own = _median(results["ours"])
    for name, outcomes in results.items():
        seconds = _median(outcomes)
        _print_beside(name, f"{seconds:.2f} s", "", seconds / own, targets.get(name))


def _print_beside(name: str, figure: str, beside: str, ratio: float, target: float | None) -> None:
    if name.startswith("ours"):
        row(name, figure, beside)
        return
    beside = f"{beside}{', ' if beside else ''}we are {ratio:.2f} x as fast"
    if target is None:
        row(name, figure, beside)
    else:
        row(name, figure, beside, target=f"≥ {target:g} x", met=ratio >= target)


def _print_costs(outcomes: Sequence[Outcome], size: int) -> None:
    cpu = statistics.median(outcome.cpu_seconds for outcome in outcomes) * GIB / size
    at_most("ours: CPU, hash included", cpu, 2.2, "s/GiB", digits=2)
    peak = max(outcome.peak_bytes or 0 for outcome in outcomes) / 2**20
    at_most("ours: memory above idle, worst", peak, 64, "MiB")


def _median(outcomes: Sequence[Outcome]) -> float:
    return statistics.median(outcome.seconds for outcome in outcomes)


# --- files ----------------------------------------------------------------------------------------


def _make_file(path: Path, size: int) -> str:
    """A file of random bytes; returns its SHA-256. Our side is told that, so that nothing else counts."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        while size:
            block = os.urandom(min(size, _BLOCK))
            digest.update(block)
            file.write(block)
            size -= len(block)
    return digest.hexdigest()


def _require_right(peer: Peer, task: Task, place: Path) -> None:
    """A figure of a download that went wrong would mean nothing."""
    for path in peer.arrived(task, place):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        if digest.hexdigest() != task.files[path.name][1]:
            raise SystemExit(f"{peer.name} made a wrong file after it was killed.")

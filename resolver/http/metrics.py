"""Health and downloads in Prometheus' text format, version 0.0.4
(https://prometheus.io/docs/instrumenting/exposition_formats/): simple enough to need no library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

from .. import schemas

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Samples = Sequence[tuple[Mapping[str, str], float | None]]


def encode_metrics(health: schemas.Health, downloads: Sequence[schemas.Download]) -> bytes:
    """All are gauges: downloads leave the history when the user says so."""
    by_status = Counter(download.status for download in downloads)
    under_way = [download for download in downloads if download.status == "active"]
    load = health.metrics
    families: list[tuple[str, str, _Samples]] = [
        ("info", "Always 1.", [({"version": health.version, "host": health.host}, 1)]),
        ("uptime_seconds", "Since the program started.", [({}, health.uptime)]),
        (
            "downloads",
            "Downloads by status, the finished ones in the history included.",
            [({"status": status}, by_status[status]) for status in get_args(schemas.DownloadStatus)],
        ),
        (
            "download_speed_bytes_per_second",
            "Of all downloads under way together.",
            [({}, sum(download.speed for download in under_way))],
        ),
        ("free_bytes", "Free space of ComfyUI's disk.", [({}, load.free_bytes)]),
        ("cpu_percent", "Of the machine.", [({}, load.cpu_percent)]),
        ("memory_percent", "Of the machine.", [({}, load.memory_percent)]),
    ]
    written = [_family(f"model_resolver_{name}", text, samples) for name, text, samples in families]
    return "".join(written).encode()


def _family(name: str, text: str, samples: _Samples) -> str:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
    lines += [f"{name}{_labels(labels)} {value}" for labels, value in samples if value is not None]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

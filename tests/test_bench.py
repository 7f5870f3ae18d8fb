"""The benchmarks say what they lack; their figures are for people and are not tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


def complaint(*topics: str, **environment: str) -> str:
    """What ``python -m bench`` ends with."""
    ended = subprocess.run(
        [sys.executable, "-m", "bench", *topics],
        cwd=CHECKOUT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 1
    return ended.stderr


def test_a_missing_program_is_named_with_the_package_that_has_it(tmp_path: Path) -> None:
    message = complaint("download", PATH=str(tmp_path))
    assert "apt-get install" in message
    assert "aria2 curl" in message


@pytest.mark.parametrize("size", ["1T", "G", "0G", "1.5G"])
def test_a_size_that_makes_no_sense_is_refused(size: str) -> None:
    assert f"not '{size}'" in complaint("download", SIZE=size)


def test_an_unknown_scene_is_named_with_those_there_are() -> None:
    message = complaint("download", ONLY="tls,nonsense")
    assert "unknown names: nonsense" in message
    assert "kill" in message


def test_an_unknown_topic_is_named_with_those_there_are() -> None:
    assert "finding, starting, download" in complaint("nonsense")

"""How far a command is: bars on a terminal, lines elsewhere; results never among them."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from demo.hub import Hub, running_hub
from demo.safetensors import make_safetensors
from demo.world import World
from tests.test_cli import CHECKOUT, environment, run

NAME = "a-name-that-is-longer-than-any-bar-has-room-for.safetensors"
URL = f"https://huggingface.co/o/r/resolve/main/{NAME}"
SIZE = 3_000_000
WORLD = World.for_urls([URL], sizes=SIZE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "ComfyUI" / "models" / "vae").mkdir(parents=True)
    return tmp_path / "ComfyUI"


def on_terminal(*arguments: str, hub: Hub | None = None) -> tuple[str, str]:
    """Standard output, which is no terminal, and what the terminal of standard error was sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "resolver", *arguments],
        cwd=CHECKOUT,
        env=environment(hub),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    shown = bytearray()

    def read() -> None:
        try:
            while block := os.read(ours, 65536):
                shown.extend(block)
        except OSError:
            pass  # the last writer has gone

    reader = threading.Thread(target=read)
    reader.start()
    output, _ = process.communicate(timeout=60)
    reader.join(10)
    os.close(ours)
    assert process.returncode == 0, shown.decode()
    return output, shown.decode()


def test_a_download_is_a_bar_on_a_terminal_and_a_line_elsewhere(root: Path) -> None:
    command = ("download", URL, "--folder", "vae", "--comfyui-root", str(root))
    with running_hub(WORLD, bytes_per_second=2_000_000) as hub:
        output, shown = on_terminal(*command, "--json", hub=hub)
        assert "a-name-that-is-lo…" in shown
        assert "100%" in shown
        assert shown.count("%|") > 3, "it moves"
        assert output.startswith('{"download"')
        (root / "models" / "vae" / NAME).unlink()
        told = run(*command, hub=hub)
    lines = [line for line in told.stderr.splitlines() if "fetching" in line]
    assert 1 <= len(lines) <= 2
    assert lines[0].startswith(f"  fetching   vae/{NAME}  ")
    assert lines[0].endswith((" B", " MiB", "/s")), "what is not known yet is left out"
    assert "%|" not in told.stderr + told.stdout
    assert "fetching" not in told.stdout


def test_reading_files_is_a_bar_on_a_terminal_and_short_runs_say_nothing_elsewhere(root: Path) -> None:
    for name, size in {"a": 5_000_000, "b": 1_000_000}.items():
        (root / "models" / "vae" / f"{name}.safetensors").write_bytes(make_safetensors(name, size))
    command = ("library", "verify", "--comfyui-root", str(root))
    output, shown = on_terminal(*command)
    assert "5.72M/5.72M" in shown, "in MiB, as sizes are told everywhere"
    assert "2 sound" in output
    told = run(*command)
    assert (told.stderr, told.returncode) == ("", 0)

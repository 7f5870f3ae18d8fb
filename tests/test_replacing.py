"""Small files of our own are replaced whole, for the right readers, and nothing is left beside them."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from resolver.replacing import replace_text


def test_content_and_permissions_are_the_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text("old")
    replace_text(path, "neu: ü", mode=0o600)
    assert path.read_text(encoding="utf-8") == "neu: ü"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["tokens.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokens.json"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_text(path, "new", mode=0o600)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["tokens.json"]


def test_what_a_killed_process_left_goes_when_it_is_old(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    old, young, foreign = (
        tmp_path / name for name in (".tokens.json.1.new", ".tokens.json.2.new", ".other.1.new")
    )
    for left in (old, young, foreign):
        left.write_text("half")
    long_ago = time.time() - 7200
    for left in (old, foreign):
        os.utime(left, (long_ago, long_ago))
    replace_text(path, "new", mode=0o600)
    assert not old.exists()
    assert young.exists(), "another process may be writing it"
    assert foreign.exists()

"""``library``, run as a process: what is here, by name and by content."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from demo.hub import Hub, running_hub
from demo.world import World
from tests.test_cli import CHECKOUT, EXAMPLE, environment, lines, run

ENDLESS = 1 << 40
"""Bytes of a file with nothing in it: to be read to its end, it takes longer than any test."""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub(World.for_workflow(EXAMPLE)) as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "ComfyUI" / "models").mkdir(parents=True)
    return tmp_path / "ComfyUI"


def put(root: Path, name: str, content: bytes) -> Path:
    path = root / "models" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def put_endless(root: Path) -> Path:
    path = put(root, "loras/endless.safetensors", b"")
    os.truncate(path, ENDLESS)
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def safetensors(values: bytes) -> bytes:
    """A sound file of one tensor."""
    header = json.dumps({"t": {"dtype": "U8", "shape": [len(values)], "data_offsets": [0, len(values)]}})
    return len(header).to_bytes(8, "little") + header.encode() + values


def library(root: Path, *arguments: str, **extra: Any) -> subprocess.CompletedProcess[str]:
    return run("library", *arguments, "--comfyui-root", str(root), **extra)


def test_hash_makes_files_findable_by_their_content(root: Path) -> None:
    put(root, "loras/a.safetensors", b"one")
    put(root, "vae/b.safetensors", b"two")
    assert lines(library(root, "scan", "--json"))[0]["sha256"] is None
    assert "2 of them (6 B) have no known hash" in library(root, "scan").stdout
    hashed = library(root, "hash", "--folder", "loras", "--json")
    state = lines(hashed)[0]["hashing"]
    assert (hashed.returncode, state["folder"], state["done"]) == (0, "loras", 1)
    assert (state["unhashed_files"], state["unhashed_bytes"]) == (1, 3), "vae's, as the text says"
    assert "1 files hashed in loras (3 B)\n" in hashed.stderr
    assert "1 files (3 B) have no known hash yet, in all folders" in hashed.stderr
    for asked in ([sha256(b"one")], [sha256(b"one")[:10].upper()], ["--sha256", sha256(b"one")]):
        found = lines(library(root, "find", *asked, "--json"))
        assert [(file["name"], file["sha256"]) for file in found] == [("a.safetensors", sha256(b"one"))]
    assert library(root, "find", sha256(b"two")).returncode == 1, "of that folder nothing was read"
    assert "1 files hashed (3 B)" in library(root, "hash").stdout
    assert "0 files hashed" in library(root, "hash").stdout, "nothing is read twice"
    assert library(root, "find", sha256(b"two")).returncode == 0
    assert "no known hash" not in library(root, "scan").stdout


def test_a_file_behind_another_of_its_name_is_found_by_its_content(root: Path) -> None:
    """ComfyUI loads the file of the first root; the other one takes its place on the disk all the same."""
    other = root.parent / "other"
    (root / "extra_model_paths.yaml").write_text(f"other:\n  loras: {other}\n")
    put(root, "loras/a.safetensors", b"one")
    other.mkdir()
    hidden = other / "a.safetensors"
    hidden.write_bytes(b"two")
    library(root, "hash")
    for asked in (sha256(b"two"), sha256(b"two")[:10]):
        found = lines(library(root, "find", asked, "--json"))
        assert [(file["name"], file["path"]) for file in found] == [("a.safetensors", str(hidden))]
    assert str(hidden) in library(root, "find", sha256(b"two")).stdout
    assert str(root) not in library(root, "find", sha256(b"one")).stdout
    assert [file["sha256"] for file in lines(library(root, "find", "a", "--json"))] == [sha256(b"one")]


def test_a_root_that_is_a_link_to_another_holds_no_files_of_its_own(root: Path) -> None:
    kept = put(root, "loras/a.safetensors", b"one")
    linked = root.parent / "linked"
    linked.symlink_to(kept.parent)
    (root / "extra_model_paths.yaml").write_text(f"other:\n  loras: {linked}\n")
    library(root, "hash")
    found = lines(library(root, "find", sha256(b"one"), "--json"))
    assert [file["path"] for file in found] == [str(kept)]


def test_interrupted_hashing_goes_on_from_there(root: Path) -> None:
    put(root, "loras/small.safetensors", b"small")
    endless = put_endless(root)
    process = subprocess.Popen(
        [sys.executable, "-m", "resolver", "library", "hash", "--comfyui-root", str(root)],
        cwd=CHECKOUT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_until_hashed(root, 1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in errors) == (130, False), errors
    endless.unlink()
    put(root, "loras/later.safetensors", b"later")
    assert "1 files hashed" in library(root, "hash").stdout


def wait_until_hashed(root: Path, count: int) -> None:
    """Until the store knows so many files' hashes."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(sqlite3.OperationalError, StopIteration):
            store = next(root.rglob("store.sqlite3"))
            with closing(sqlite3.connect(store)) as connection:
                if connection.execute("SELECT count(*) FROM file_hashes").fetchone()[0] >= count:
                    return
        time.sleep(0.05)
    pytest.fail("nothing was hashed")


def test_a_server_stops_at_once_while_it_is_hashing(root: Path) -> None:
    put(root, "loras/small.safetensors", b"small")
    put_endless(root)
    process = subprocess.Popen(
        [sys.executable, "-m", "resolver", "serve", "--port", "0", "--comfyui-root", str(root)],
        cwd=CHECKOUT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        request = urllib.request.Request(f"{url}/model-resolver/library/hash", method="POST")
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert json.load(answer)["state"] == "running"
        wait_until_hashed(root, 1)
        # Another process leaves it alone meanwhile.
        other = library(root, "hash")
        assert (other.returncode, "HASHING_RUNS" in other.stderr) == (1, True)
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in errors) == (0, False), errors


def test_what_was_downloaded_is_known_without_being_read(root: Path, hub: Hub) -> None:
    url, held = next(
        (f"https://huggingface.co/{repo.id}/resolve/main/{file.path}", file)
        for repo in World.for_workflow(EXAMPLE).repos.values()
        for file in repo.files
        if "vae" in file.path
    )
    came = run("download", url, "--folder", "vae", "--comfyui-root", str(root), hub=hub)
    assert came.returncode == 0, came.stdout + came.stderr
    assert [file["name"] for file in lines(library(root, "find", held.sha256, "--json"))] == [held.name]
    assert library(root, "verify").returncode == 0

    path = root / "models" / "vae" / held.name
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    for _ in range(2):
        outcome = library(root, "verify", "--json")
        (found,) = lines(outcome)
        assert (outcome.returncode, found["verdict"], found["expected"]) == (1, "damaged", held.sha256)
        assert library(root, "hash").returncode == 0, "which does not make it the file that was downloaded"


def test_verify_tells_the_damaged_from_the_sound(root: Path) -> None:
    put(root, "loras/known.safetensors", safetensors(b"known"))
    put(root, "loras/rots.safetensors", safetensors(b"rots"))
    assert library(root, "hash").returncode == 0
    put(root, "loras/rots.safetensors", safetensors(b"sorT"))
    put(root, "loras/new.safetensors", safetensors(b"new"))
    put(root, "loras/cut.safetensors", safetensors(b"is cut off")[:-3])
    put(root, "vae/page.safetensors", b"<!doctype html><title>Log in</title>")
    outcome = library(root, "verify", "--json")
    assert outcome.returncode == 1
    assert {file["name"]: file["verdict"] for file in lines(outcome)} == {
        "known.safetensors": "ok",
        "rots.safetensors": "damaged",
        "new.safetensors": "sound",
        "cut.safetensors": "damaged",
        "page.safetensors": "damaged",
    }
    text = library(root, "verify", "--folder", "loras").stdout
    assert "loras/cut.safetensors: " in text
    assert "2 files as they were, 0 sound (no hash was known), 2 damaged" in text, (
        "new.safetensors is known now"
    )
    assert "page.safetensors" not in text


def test_duplicates_are_reported_and_nothing_is_deleted(root: Path) -> None:
    one = put(root, "loras/a.safetensors", b"same")
    put(root, "vae/b.safetensors", b"same")
    os.link(one, root / "models/loras/hard.safetensors")
    before = sorted(path.name for path in root.rglob("*.safetensors"))
    assert "2 more have the size of another" in library(root, "duplicates").stdout
    assert library(root, "hash").returncode == 0
    outcome = library(root, "duplicates", "--json")
    (group,) = lines(outcome)
    assert outcome.returncode == 0
    assert (group["sha256"], group["copies"], group["wasted"], len(group["files"])) == (
        sha256(b"same"),
        2,
        4,
        3,
    )
    assert "the copies take 4 B" in library(root, "duplicates").stdout
    assert sorted(path.name for path in root.rglob("*.safetensors")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("find",),
        ("find", "words", "--sha256", "0" * 64),
        ("find", "--sha256", "xyz"),
        ("scan", "words"),
        ("hash", "--folder", "nowhere"),
        ("verify", "--sha256", "0" * 64),
    ],
)
def test_wrong_usage_is_told(root: Path, arguments: tuple[str, ...]) -> None:
    outcome = library(root, *arguments)
    assert (outcome.returncode, outcome.stderr.startswith("Error: ")) == (2, True)

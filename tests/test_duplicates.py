"""Equal content is reported with the space it takes; links take none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from resolver.library.duplicates import Duplicates, find_duplicates
from tests.fakes import folder
from tests.test_hashing import Bench, sha256


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.hashing.close()
    made.store.close()


def found(bench: Bench, *, hashed: bool = True) -> Duplicates:
    if hashed:
        bench.hash_all()
    return find_duplicates(bench.library.snapshot().on_disk(), bench.hashes)


def test_copies_are_grouped_and_what_wastes_most_comes_first(bench: Bench) -> None:
    for name in ("loras/a", "loras/sub/b", "vae/c"):
        bench.put(f"{name}.safetensors", b"small")
    for name in ("loras/x", "vae/y"):
        bench.put(f"{name}.safetensors", b"large" * 100)
    bench.put("loras/alone.safetensors", b"alone")
    duplicates = found(bench)
    assert [
        (group.sha256, group.copies, group.wasted, [file.name for file in group.files])
        for group in duplicates.groups
    ] == [
        (sha256(b"large" * 100), 2, 500, ["x.safetensors", "y.safetensors"]),
        (sha256(b"small"), 3, 10, ["a.safetensors", "sub/b.safetensors", "c.safetensors"]),
    ]
    assert (duplicates.wasted, duplicates.unhashed) == (510, 0)


def test_links_and_shared_roots_are_no_copies(bench: Bench) -> None:
    path = bench.put("loras/a.safetensors", b"same")
    os.link(path, bench.models / "vae/hard.safetensors")
    (bench.models / "vae/soft.safetensors").symlink_to(path)
    bench.host.table["again"] = folder("again", bench.models / "loras")
    assert found(bench).groups == ()
    bench.put("checkpoints/copy.safetensors", b"same")
    (group,) = found(bench).groups
    assert (group.copies, group.wasted) == (2, 4)
    assert {file.name for file in group.files} == {
        "a.safetensors",
        "hard.safetensors",
        "soft.safetensors",
        "copy.safetensors",
    }


def test_what_is_not_hashed_yet_is_counted_where_it_may_be_a_copy(bench: Bench) -> None:
    bench.put("loras/a.safetensors", b"1234")
    bench.put("loras/b.safetensors", b"5678")
    bench.put("loras/other-size.safetensors", b"123")
    assert found(bench, hashed=False) == Duplicates((), 2)
    assert found(bench) == Duplicates((), 0)


def test_empty_files_take_no_space(bench: Bench) -> None:
    bench.put("loras/a.safetensors", b"")
    bench.put("loras/b.safetensors", b"")
    assert found(bench, hashed=False) == Duplicates((), 0)
    assert found(bench) == Duplicates((), 0)


def test_a_copy_that_was_changed_since_is_one_no_more(bench: Bench) -> None:
    bench.put("loras/a.safetensors", b"same")
    bench.put("loras/b.safetensors", b"same")
    assert len(found(bench).groups) == 1
    bench.put("loras/b.safetensors", b"else")
    assert found(bench, hashed=False) == Duplicates((), 1)


def test_a_copy_that_a_file_of_its_name_hides_takes_space_too(bench: Bench) -> None:
    """As with the models of another program, added in extra_model_paths.yaml."""
    here, other, linked = (bench.models / name for name in ("loras", "other", "linked"))
    linked.symlink_to(here)
    bench.host.table["loras"] = folder("loras", here, other, linked)
    first, second = bench.put("loras/a.safetensors", b"same"), bench.put("other/a.safetensors", b"same")
    (group,) = found(bench).groups
    assert (group.copies, group.wasted) == (2, 4), "a root that is another name of the first holds no copies"
    assert {file.path for file in group.files} == {first, second, str(linked / "a.safetensors")}
    assert [file.path for file in bench.library.snapshot().files()] == [first]

"""A file gets its name in one step, never over another one, never outside the root."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from resolver.download import part as part_module
from resolver.download import publish as module
from resolver.download.part import PartFile, discard_part, part_path
from resolver.download.publish import publish
from resolver.download.threads import StopSign
from resolver.errors import DownloadError, UnsafeName
from resolver.names import Inside, ModelName, resolve_inside
from tests.download_fixtures import sha256

NAME = ModelName("sub/deep/model.safetensors")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "loras"
    path.mkdir(parents=True)
    return path


def part(root: Path, content: bytes = b"content", name: str = "1") -> Path:
    file = PartFile(part_path(root, name))
    file.open()
    file.write(content)
    file.close()
    return file.path


@pytest.fixture(params=["link", "renameat2", "look and rename"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ways to give a name, on file systems that know ever less."""

    def unknown(*args: Any, **options: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if request.param != "link":
        monkeypatch.setattr(os, "link", unknown)
    if request.param == "look and rename":
        monkeypatch.setattr(module, "_rename_without_replacing", unknown)
    return str(request.param)


def test_the_file_appears_with_its_folders_and_the_usual_permissions(root: Path, way: str) -> None:
    source = part(root)
    target = publish(source, root, NAME)
    discard_part(source)
    assert target == root / "sub" / "deep" / "model.safetensors"
    assert target.read_bytes() == b"content"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask
    assert os.stat(target).st_nlink == 1
    assert sorted(p.name for p in root.iterdir()) == ["sub"], "the helper directories are gone"


def test_nothing_is_ever_overwritten(root: Path, way: str) -> None:
    target = root / "model.safetensors"
    target.write_bytes(b"the user's")
    source = part(root)
    with pytest.raises(FileExistsError):
        publish(source, root, ModelName("model.safetensors"))
    assert target.read_bytes() == b"the user's"
    assert source.read_bytes() == b"content"


def test_a_link_to_nowhere_is_not_written_through(root: Path, way: str, tmp_path: Path) -> None:
    (root / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        publish(part(root), root, ModelName("model.safetensors"))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("way", ["link", "renameat2"], indirect=True)  # The last resort cannot promise it.
def test_of_many_at_once_one_wins(root: Path, way: str) -> None:
    sources = [part(root, b"%d" % number, str(number)) for number in range(8)]
    results: list[str] = []
    barrier = threading.Barrier(len(sources))

    def run(source: Path) -> None:
        barrier.wait()
        try:
            publish(source, root, NAME)
            results.append("published")
        except FileExistsError:
            results.append("exists")

    threads = [threading.Thread(target=run, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["exists"] * 7 + ["published"]
    assert len([source for source in sources if source.exists()]) == 7


def test_links_inside_the_root_and_a_linked_root_are_fine(root: Path, tmp_path: Path) -> None:
    (root / "real").mkdir()
    (root / "sub").symlink_to(root / "real")
    linked = tmp_path / "linked"
    linked.symlink_to(root)
    publish(part(linked), linked, NAME)
    assert (root / "real" / "deep" / "model.safetensors").read_bytes() == b"content"


def test_a_link_out_of_the_root_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (root / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(UnsafeName):
        publish(part(root), root, NAME)
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_link_swapped_in_at_the_last_moment_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "sub").mkdir()
    source = part(root)

    def swap_after_check(where: Path, name: ModelName) -> Inside:
        inside = resolve_inside(where, name)
        (root / "sub").rmdir()
        (root / "sub").symlink_to(outside)
        return inside

    monkeypatch.setattr(module, "resolve_inside", swap_after_check)
    with pytest.raises(UnsafeName, match="link"):
        publish(source, root, NAME)
    assert list(outside.iterdir()) == []
    assert source.exists()


@pytest.mark.parametrize("link", [".model-resolver", ".model-resolver/.git"])
def test_a_helper_directory_that_is_a_link_is_refused(root: Path, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / link).parent.mkdir(exist_ok=True)
    (root / link).symlink_to(outside)
    with pytest.raises(UnsafeName):
        PartFile(part_path(root, "1")).open()
    assert list(outside.iterdir()) == []


def test_a_part_that_is_a_link_is_not_written_through(root: Path, tmp_path: Path) -> None:
    path = part_path(root, "1")
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        PartFile(path).open()
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_in_the_way_of_a_folder_is_an_error_of_the_disk(root: Path) -> None:
    (root / "sub").write_text("a file")
    with pytest.raises(OSError, match="Not a directory"):
        publish(part(root), root, NAME)


def test_a_part_file_goes_on_where_it_ended(root: Path) -> None:
    path = part(root, b"one ")
    file = PartFile(path)
    file.open()
    file.rehash(StopSign())
    file.write(b"two")
    assert (file.length, file.sha256) == (7, sha256(b"one two"))
    file.restart()
    file.write(b"three")
    assert (file.length, file.sha256) == (5, sha256(b"three"))
    file.close()
    assert path.read_bytes() == b"three"


def test_helper_directories_may_vanish_while_parts_are_made(root: Path) -> None:
    errors: list[Exception] = []

    def churn(number: int) -> None:
        try:
            for turn in range(100):
                discard_part(part(root, name=f"{number}-{turn}"))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list(root.iterdir()) == []


def test_a_part_that_cannot_be_brought_to_the_disk_is_worth_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory still shows it whole, and the system would not complain a second time."""
    source = part(root)

    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="Input/output error"):
        publish(source, root, NAME)
    assert not source.exists()
    assert not (root / "sub").exists()


def test_space_that_cannot_be_set_aside_is_not_written_to_instead(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on ZFS and many network mounts, where the C library's way would write all of the file first."""
    monkeypatch.setattr(part_module, "_fallocate", lambda descriptor, size: errno.EOPNOTSUPP)
    file = PartFile(part_path(root, "1"))
    file.open()
    file.reserve(64 << 20)
    found = os.stat(file.path)
    file.close()
    assert found.st_size == 64 << 20
    assert found.st_blocks * 512 < 1 << 20


def test_of_what_is_opened_again_nothing_is_hashed_yet(tmp_path: Path) -> None:
    """It is at its beginning then, and would be written to there."""
    part = PartFile(part_path(tmp_path, "x"))
    part.open()
    part.write(b"abc")
    part.close()
    part.open()
    assert (part.length, part.hashed) == (3, 0)
    part.close()


def test_a_part_that_is_open_elsewhere_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_module, "_LOCK_TRIES", 3)
    path = part_path(tmp_path, "x")
    first, second = PartFile(path), PartFile(path)
    first.open()
    first.write(b"abc")
    with pytest.raises(DownloadError) as raised:
        second.open()
    assert (raised.value.code, raised.value.retryable) == ("DOWNLOADING_ELSEWHERE", True)
    assert not second.is_open
    first.close()
    second.open()
    assert second.length == 3
    second.close()

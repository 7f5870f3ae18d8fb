"""Whole models pass; halves, pages and pointers do not."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.download.threads import Stopped, StopSign
from resolver.download.verify import check_content_type, check_sha256, check_structure, sha256_of
from resolver.errors import DownloadError
from tests.download_fixtures import model, sha256

PAGE = b"\n<!DOCTYPE html><html><title>Log in</title></html>"
MESSAGE = b'{"error": "Unauthorized", "message": "log in"}'
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12345\n"


def verdict(path: Path, name: str, content: bytes, *, whole: bool = True) -> str | None:
    file = path / "file"
    file.write_bytes(content)
    try:
        check_structure(file, name, whole=whole)
    except DownloadError as error:
        return error.code
    return None


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(begin: int, end: int, dtype: str = "U8", shape: list[int] | None = None) -> dict[str, object]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


def archive(path: Path) -> bytes:
    with zipfile.ZipFile(path / "zip", "w") as made:
        made.writestr("archive/data.pkl", b"x" * 1000)
    return (path / "zip").read_bytes()


def test_whole_models_pass(tmp_path: Path) -> None:
    whole = {
        "a.safetensors": model(),
        "b.SFT": safetensors({"__metadata__": {"a": "b"}, "x": tensor(0, 3), "y": tensor(3, 3)}, b"abc"),
        "empty.safetensors": safetensors({}),
        "new_type.safetensors": safetensors({"x": tensor(0, 3, "F4", [6])}, b"abc"),
        "a.gguf": b"GGUF" + bytes(100),
        "a.ckpt": archive(tmp_path),
        "old.pt": pickle.dumps([1, 2], protocol=2) + b"storages",
        "a.npz": archive(tmp_path),
        "a.json": b'{"a": 1}',
        "a.yaml": b"a: 1",
        "list.txt": b"[section]\n",
        "a.onnx": b"\x08\x07\x12\x07pytorch",
    }
    for name, content in whole.items():
        assert verdict(tmp_path, name, content) is None, name


@pytest.mark.parametrize("content", [PAGE, MESSAGE, POINTER])
@pytest.mark.parametrize("name", ["a.safetensors", "a.gguf", "a.ckpt", "a.bin", "a.onnx", "a.model", "a.npz"])
def test_pages_messages_and_pointers_are_no_models(tmp_path: Path, name: str, content: bytes) -> None:
    assert verdict(tmp_path, name, content) == "NOT_A_MODEL"


def test_a_page_is_no_text_file_either(tmp_path: Path) -> None:
    assert verdict(tmp_path, "a.json", PAGE) == "NOT_A_MODEL"
    assert verdict(tmp_path, "a.yaml", PAGE) == "NOT_A_MODEL"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        model()[:-1],
        model() + b"\0",
        model()[:5000],
        safetensors({"x": tensor(0, 3)}, b"ab"),
        safetensors({"x": tensor(1, 3)}, b"abc"),
        safetensors({"x": tensor(0, 2), "y": tensor(1, 3)}, b"abc"),
        safetensors({"x": tensor(0, 4, "F32", [2])}, b"abcd"),
        safetensors({"x": tensor(3, 0)}, b"abc"),
        safetensors({"x": {"data_offsets": "no"}}, b"abc"),
        safetensors({"x": None}),
        safetensors([1, 2]),
        safetensors(b"[" * 100_000),
        safetensors(b"not json"),
        b"\xff" * 100,
    ],
)
def test_damaged_safetensors_are_told(tmp_path: Path, content: bytes) -> None:
    assert verdict(tmp_path, "a.safetensors", content) == "FILE_DAMAGED"


@given(data=st.binary(max_size=300))
def test_any_bytes_have_a_verdict(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    directory = tmp_path_factory.mktemp("any")
    for name in ("a.safetensors", "a.ckpt", "a.npz", "a.json"):
        assert verdict(directory, name, data) in (None, "FILE_DAMAGED", "NOT_A_MODEL")


def test_a_cut_off_archive_is_told(tmp_path: Path) -> None:
    content = archive(tmp_path)
    assert verdict(tmp_path, "a.pth", content[:-30]) == "FILE_DAMAGED"
    assert verdict(tmp_path, "a.pth", b"rubbish") == "FILE_DAMAGED"


def test_without_a_known_end_only_formats_that_show_theirs_pass(tmp_path: Path) -> None:
    assert verdict(tmp_path, "a.safetensors", model(), whole=False) is None
    assert verdict(tmp_path, "a.gguf", b"GGUF" + bytes(100), whole=False) == "SIZE_UNKNOWN"
    assert verdict(tmp_path, "a.onnx", b"\x08\x07", whole=False) == "SIZE_UNKNOWN"


def test_types_of_answers() -> None:
    for kind in ("text/html", "application/json", "application/xml"):
        with pytest.raises(DownloadError, match="instead of a file"):
            check_content_type(kind, "a.safetensors")
    check_content_type("application/json", "config.json")
    check_content_type("application/octet-stream", "a.safetensors")
    check_content_type(None, "a.safetensors")


def test_hashes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(model())
    assert sha256_of(StopSign(), tmp_path / "x") == sha256(model())
    stop = StopSign()
    stop.stop()
    with pytest.raises(Stopped):
        sha256_of(stop, tmp_path / "x")
    with pytest.raises(DownloadError, match=r"a{64}.*b{64}"):
        check_sha256("a" * 64, "b" * 64)

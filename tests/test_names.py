"""Names are data: nothing leaves its folder, whatever a workflow, a server or a client says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.errors import UnsafeName
from resolver.names import parse_model_name, resolve_inside, same_file_name

HOSTILE = [
    "",
    "   ",
    ".",
    "..",
    "../a.safetensors",
    "a/../../b.safetensors",
    "..\\..\\b.safetensors",
    "/etc/passwd",
    "\\\\server\\share\\a.safetensors",
    "C:\\models\\a.safetensors",
    "c:a.safetensors",
    "a\x00.safetensors",
    "a\n.safetensors",
    "a/",
    "a//b.safetensors",
    "./a.safetensors",
    "CON",
    "nul.safetensors",
    "loras/COM1.safetensors",
    "a.safetensors.",
    "a.safetensors ",
    " a.safetensors",
    "a:stream.safetensors",
    "a?.safetensors",
    ".git/config",
    "x/.GIT/hooks",
    ".model-resolver/x",
    "a" * 300 + ".safetensors",
    "a/" * 600 + "b",
    "\ud800.safetensors",
]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:40])
def test_a_hostile_name_is_refused_with_a_reason(name: str) -> None:
    with pytest.raises(UnsafeName) as caught:
        parse_model_name(name)
    assert caught.value.code == "NAME_UNSAFE"
    assert caught.value.details["reason"]


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("a.safetensors", "a.safetensors"),
        ("style\\a.safetensors", "style/a.safetensors"),
        ("子/模型 v1.0 (fp8).safetensors", "子/模型 v1.0 (fp8).safetensors"),
        ("..a.safetensors", "..a.safetensors"),
        (".hidden.safetensors", ".hidden.safetensors"),
        ("console.safetensors", "console.safetensors"),
    ],
)
def test_an_ordinary_name_is_kept(name: str, parsed: str) -> None:
    assert parse_model_name(name) == parsed


@given(st.text(max_size=60))
def test_no_text_ever_leaves_the_root(text: str) -> None:
    root = Path("/models/loras")
    try:
        name = parse_model_name(text)
    except UnsafeName:
        return
    assert root in Path(*(root / name).parts).parents
    assert ".." not in (root / name).parts


def test_a_link_below_the_root_may_not_lead_out(tmp_path: Path) -> None:
    root, outside = tmp_path / "loras", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "escape").symlink_to(outside)
    with pytest.raises(UnsafeName):
        resolve_inside(root, parse_model_name("escape/a.safetensors"))


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "loras").symlink_to(tmp_path / "disk")
    inside = resolve_inside(tmp_path / "loras", parse_model_name("style/a.safetensors"))
    assert inside.target == tmp_path / "loras/style/a.safetensors"


def test_file_names_are_equal_or_not_nothing_between() -> None:
    assert same_file_name("x/ae.safetensors", "y\\ae.safetensors")
    assert same_file_name("e\u0301.pt", "\u00e9.pt")
    assert not same_file_name("ae.safetensors", "sdxl_vae.safetensors")
    assert not same_file_name("ae.safetensors", "AE.safetensors")

"""The models a user lists by hand."""

from __future__ import annotations

import pytest

from resolver.errors import BadInput
from resolver.lockfile import LockFile
from resolver.model_list import parse_list

HUB = "https://huggingface.co/o/r/resolve/main"
HASH = "ab" * 32


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"vae/ae.pt {HUB}/x.pt", ("vae", "ae.pt", None)),
        (f"vae/sub/ae.pt {HUB}/x.pt {HASH.upper()}", ("vae", "sub/ae.pt", HASH)),
        (f"loras\\style\\a.pt {HUB}/x.pt", ("loras", "style/a.pt", None)),
        (f"unet/x.pt {HUB}/x.pt", ("diffusion_models", "x.pt", None)),
        (f"loras {HUB}/deep/x%20y.pt", ("loras", "x y.pt", None)),
        (f"{HUB}/split_files/vae/ae.pt", ("vae", "ae.pt", None)),
        (f"{HUB}/vae/clip/t5.pt {HASH}", ("text_encoders", "t5.pt", HASH)),
        (f"  {HUB}/vae/ae.pt?download=true", ("vae", "ae.pt", None)),
    ],
)
def test_a_line_says_where_a_file_goes(line: str, expected: tuple[str, str, str | None]) -> None:
    listed = parse_list(f"# a comment\n\n{line}\n")
    assert isinstance(listed, list)
    assert [(item.folder, item.filename, item.sha256) for item in listed] == [expected]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("vae/ae.pt", "must be"),
        ("vae/ae.pt ftp://x/y", "must be"),
        (f"vae/ae.pt {HUB}/x.pt {HASH} more", "must be"),
        (f"vae/ae.pt {HUB}/x.pt nohash", "SHA-256"),
        (f"{HUB}/x.pt", "folder"),
    ],
)
def test_a_wrong_line_is_named(line: str, text: str) -> None:
    with pytest.raises(BadInput, match="Line 2") as caught:
        parse_list(f"vae/first.pt {HUB}/first.pt\n{line}")
    assert (caught.value.code, text in caught.value.message) == ("LIST_INVALID", True)


def test_a_lock_file_is_taken_as_it_is() -> None:
    listed = parse_list(' {"version": 1, "workflows": [], "models": []}')
    assert isinstance(listed, LockFile)
    with pytest.raises(BadInput) as caught:
        parse_list('{"version": 2}')
    assert caught.value.code == "LOCK_VERSION"

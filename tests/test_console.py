"""What the command line says before it downloads."""

from __future__ import annotations

import pytest

from resolver.cli.console import Console
from resolver.schemas import DownloadItem


def item(size: int | None) -> DownloadItem:
    return DownloadItem(folder="vae", filename="a.safetensors", url="https://huggingface.co/a", size=size)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((1536,), "1 file can be downloaded (1.5 KiB)"),
        ((1024, 1024), "2 files can be downloaded (2.0 KiB)"),
        ((0,), "1 file can be downloaded (0 B)"),
        ((None, None), "2 files can be downloaded (of unknown size)"),
        ((1024, None, 1024), "3 files can be downloaded (at least 2.0 KiB; 1 of unknown size)"),
    ],
)
def test_the_size_of_a_plan_is_said_as_far_as_it_is_known(
    sizes: tuple[int | None, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(as_json=False)
    items = [item(size) for size in sizes]
    console.plan(items, dry_run=False)
    console.plan(items, dry_run=True)
    assert not console.confirm(items), "nobody is there to be asked"
    printed = "".join(capsys.readouterr())
    total = said[said.index("(") :]
    assert said in printed
    assert printed.count(total) == 3

"""What other workflows on this machine, and our own history, say of models."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from resolver.sources import Context, Wanted
from resolver.sources.asking import Budget
from resolver.sources.catalog import CatalogSource, Entry
from resolver.sources.examples import WorkflowIndex
from resolver.sources.history import history_entries
from resolver.store import DownloadRow, Store
from tests.fakes import FakeHost
from tests.graphs import metadata, node, workflow

HF = "https://huggingface.co/o/r/resolve/main/"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def index(tmp_path: Path, store: Store) -> WorkflowIndex:
    return WorkflowIndex(FakeHost(tmp_path), store)


def save(path: Path, *nodes: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(workflow(*nodes)))  # type: ignore[arg-type]
    return path


def loader(name: str) -> dict[str, object]:
    return node(1, "LoraLoader", [name, 1, 1], properties=metadata(name, "loras"))


def test_examples_of_packs_and_the_users_own_workflows_are_read(tmp_path: Path, index: WorkflowIndex) -> None:
    save(tmp_path / "custom_nodes/pack/example_workflows/deep/a.json", loader("a.safetensors"))
    save(tmp_path / "user/default/workflows/mine.json", loader("b.safetensors"))
    save(tmp_path / "custom_nodes/pack/settings/c.json", loader("c.safetensors"))
    (tmp_path / "user/default/workflows/broken.json").write_text("{")
    (tmp_path / "user/default/workflows/list.json").write_text("[1]")
    assert set(index.entries()) == {
        Entry("a.safetensors", "loras", HF + "a.safetensors"),
        Entry("b.safetensors", "loras", HF + "b.safetensors"),
    }


@pytest.mark.parametrize(
    ("directory", "read"),
    [
        ("example_workflows", True),
        ("Example_Workflows", True),
        ("examples", True),
        ("example", True),
        ("example workflow", True),
        ("workflow", True),
        ("workflows", True),
        ("workflow_examples", True),
        ("Workflows-API", True),
        ("my_workflow", False),
        ("exampled", False),
        ("web", False),
    ],
)
def test_packs_keep_their_examples_in_directories_of_many_names(
    tmp_path: Path, index: WorkflowIndex, directory: str, read: bool
) -> None:
    save(tmp_path / "custom_nodes" / "pack" / directory / "a.json", loader("a.safetensors"))
    (tmp_path / "custom_nodes" / "a_file.py").write_text("")
    assert [entry.name for entry in index.entries()] == (["a.safetensors"] if read else [])


def test_hashes_that_anybodys_workflow_states_are_not_kept(tmp_path: Path, index: WorkflowIndex) -> None:
    stated = metadata("a.safetensors", "loras", hash="a" * 64, hash_type="SHA256")
    save(
        tmp_path / "user/default/workflows/mine.json",
        node(1, "LoraLoader", ["a.safetensors"], properties=stated),
    )
    assert [entry.sha256 for entry in index.entries()] == [None]


def test_links_in_notes_count_and_nobodys_token_is_kept(
    tmp_path: Path, index: WorkflowIndex, store: Store
) -> None:
    text = f"get {HF}x.safetensors?token=hf_secret and [read](https://huggingface.co/o/r)"
    save(tmp_path / "user/default/workflows/noted.json", node(1, "MarkdownNote", [text]))
    assert list(index.entries()) == [Entry("x.safetensors", None, HF + "x.safetensors")]
    kept = store.query("SELECT entries FROM workflow_index")
    assert "secret" not in kept[0]["entries"]


def test_a_workflow_is_read_again_only_once_it_changes(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "user/default/workflows/mine.json", loader("a.safetensors"))
    other = save(tmp_path / "user/default/workflows/other.json", loader("z.safetensors"))
    read: list[str] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: (read.append(self.name), real(self))[1])

    def names() -> set[str]:
        return {entry.name for entry in WorkflowIndex(FakeHost(tmp_path), store).entries()}

    assert names() == {"a.safetensors", "z.safetensors"}
    assert names() == {"a.safetensors", "z.safetensors"}
    assert sorted(read) == ["mine.json", "other.json"]
    save(path, loader("b.safetensors"))
    os.utime(path, ns=(1, 1))
    other.unlink()
    assert names() == {"b.safetensors"}
    assert sorted(read) == ["mine.json", "mine.json", "other.json"]


def row(name: str, status: str, **extra: object) -> DownloadRow:
    given = {
        "id": name,
        "folder": "loras",
        "filename": name,
        "url": HF + name,
        "mirrors": (),
        "root": "/m",
        "path": f"/m/{name}",
        "destination": f"/m/{name}",
        "stem": name,
        "stated_size": None,
        "stated_sha256": None,
        "owner": "me",
        "created_at": 1.0,
        "status": status,
        **extra,
    }
    return DownloadRow(**given)  # type: ignore[arg-type]


def test_what_was_downloaded_and_verified_can_be_found_again(store: Store) -> None:
    store.add_downloads(
        [
            row("done.safetensors", "completed", verified=True, sha256="a" * 64),
            row("unsure.safetensors", "completed"),
            row("failed.safetensors", "failed"),
            row("coming.safetensors", "active"),
        ]
    )
    assert list(history_entries(store)) == [
        Entry("done.safetensors", "loras", HF + "done.safetensors", "a" * 64)
    ]


async def test_a_catalog_that_changes_is_read_again_after_a_while() -> None:
    entries = [Entry("x.safetensors", "loras", HF + "1")]
    once = CatalogSource("once", lambda: list(entries))
    again = CatalogSource("again", lambda: list(entries), good_for=0.0)
    wanted = Wanted("loras/x.safetensors", "loras", "x.safetensors")

    async def found(source: CatalogSource) -> list[str]:
        return [offer.url for offer in await source.find(wanted, Context(), Budget())]

    assert await found(once) == await found(again) == [HF + "1"]
    entries.append(Entry("x.safetensors", "loras", HF + "2"))
    assert await found(once) == [HF + "1"]
    assert await found(again) == [HF + "1", HF + "2"]

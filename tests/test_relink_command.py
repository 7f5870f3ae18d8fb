"""The command that relinks: the file keeps its style, and nothing is lost or overwritten unasked."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from resolver.cli import main
from resolver.cli.rewriting import write_new
from resolver.errors import Conflict, WorkflowError
from resolver.workflow.document import Document, Style, read_document
from tests.graphs import workflow
from tests.relink_steps import LORA, NEW, OLD, library, lora, relink

# -- the file ----------------------------------------------------------------------------------------

TEXTS = [
    json.dumps(workflow(lora(1)), indent=2),
    json.dumps(workflow(lora(1)), indent=4) + "\n",
    json.dumps(workflow(lora(1)), indent="\t").replace("\n", "\r\n"),
    json.dumps(workflow(lora(1))),
    json.dumps(workflow(lora(1)), separators=(",", ":")),
    json.dumps(
        workflow(lora(1), extra={"title": "绘画 🎨", "floats": [1.0, 1e-07, float("nan")], "n": 2**70})
    ),
    json.dumps(workflow(lora(1), extra={"title": "绘画 🎨"}), ensure_ascii=False, indent=2),
    "\ufeff" + json.dumps(workflow(lora(1)), indent=1),
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_file_keeps_its_style(text: str) -> None:
    assert read_document(io.BytesIO(text.encode())).encode().decode() == text


def test_a_half_character_is_spelled_as_it_can_only_be() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", json.dumps(workflow(lora(1), extra={"half": "\ud800", "whole": "画"})))
    Image.new("RGB", (4, 4)).save(picture := io.BytesIO(), format="png", pnginfo=info)
    written = read_document(picture).encode()
    assert json.loads(written)["extra"] == {"half": "\ud800", "whole": "画"}


def test_what_is_nested_too_deeply_is_said(tmp_path: Path) -> None:
    deep: Any = OLD
    for _ in range(100_000):
        deep = [deep]
    content = workflow(lora(1), extra={"deep": deep})
    with pytest.raises(WorkflowError) as refused:
        Document(content, Style()).encode()
    assert refused.value.code == "WORKFLOW_TOO_DEEP"
    assert (
        relink(content, library(tmp_path, "loras/style/x.safetensors"))["loras/x.safetensors"].outcome
        == "relinked"
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "ComfyUI" / "models" / "loras" / "style" / "x.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    return tmp_path / "ComfyUI"


def run(root: Path, *arguments: str | Path) -> int:
    return main([*map(str, arguments), "--comfyui-root", str(root)])


def save(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content, indent=2), "utf-8")
    return path


def test_the_command_writes_a_new_file_and_leaves_the_old_one(
    root: Path, tmp_path: Path, capsys: Any
) -> None:
    file = save(tmp_path / "w.json", workflow(lora(1)))
    before = file.read_bytes()
    assert run(root, "relink", file, "--json") == 0
    written = tmp_path / "w.relinked.json"
    assert written.read_text() == before.decode().replace(OLD, NEW)
    assert file.read_bytes() == before
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["file"], line["output"]) == (str(file), str(written))
    assert [(one["id"], one["outcome"], one["to"]) for one in line["models"]] == [
        ("loras/x.safetensors", "relinked", "loras/style/x.safetensors")
    ]
    assert run(root, "analyze", written) == 0


def test_what_is_there_is_overwritten_only_by_force(root: Path, tmp_path: Path) -> None:
    file = save(tmp_path / "w.json", workflow(lora(1)))
    target = tmp_path / "w.relinked.json"
    target.write_text("mine")
    assert run(root, "relink", file) == 2
    assert run(root, "relink", file, "-o", file) == 2
    assert (target.read_text(), json.loads(file.read_text())) == ("mine", workflow(lora(1)))
    assert run(root, "relink", file, "--force") == 0
    assert NEW in target.read_text()
    assert run(root, "relink", file, "-o", file, "--force") == 0
    assert NEW in file.read_text()


def test_a_dry_run_writes_nothing(root: Path, tmp_path: Path, capsys: Any) -> None:
    file = save(tmp_path / "w.json", workflow(lora(1)))
    assert run(root, "relink", file, "--dry-run") == 0
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["w.json"]
    assert "would be loras/style/x.safetensors" in capsys.readouterr().out


def test_what_is_left_is_told_and_the_rest_is_written(root: Path, tmp_path: Path, capsys: Any) -> None:
    file = save(tmp_path / "w.json", workflow(lora(1), lora(2, "gone.safetensors")))
    assert run(root, "relink", file) == 1
    assert (
        "left       loras/gone.safetensors  It is not here under any name. [NOT_HERE]"
        in capsys.readouterr().out
    )
    values = [
        one["widgets_values"][0] for one in json.loads((tmp_path / "w.relinked.json").read_text())["nodes"]
    ]
    assert values == [NEW, "gone.safetensors"]


def test_a_model_can_be_set_by_hand(root: Path, tmp_path: Path) -> None:
    file = save(tmp_path / "w.json", workflow(lora(1, "a=b.safetensors")))
    pair = "loras/a=b.safetensors=loras/style/x.safetensors"
    assert run(root, "relink", file, "--set", pair) == 0
    assert NEW in (tmp_path / "w.relinked.json").read_text()
    for wrong in ("nonsense", "loras/a=b.safetensors=loras/none.safetensors"):
        assert run(root, "relink", file, "--force", "--set", wrong) == 2
    assert run(root, "relink", file, "--force", "--set", "loras/z.safetensors=loras/style/x.safetensors") == 2


def test_a_pictures_workflow_is_written_beside_it(root: Path, tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", json.dumps(workflow(lora(1))))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    assert run(root, "relink", tmp_path / "a.png") == 0
    assert json.loads((tmp_path / "a.relinked.json").read_text()) == workflow(lora(1, NEW))


def test_both_halves_of_an_export_are_relinked(root: Path, tmp_path: Path) -> None:
    prompt = {"1": {"class_type": LORA, "inputs": {"lora_name": OLD}}}
    file = save(tmp_path / "w.json", {"workflow": workflow(lora(1)), "prompt": prompt})
    assert run(root, "relink", file) == 0
    written = (tmp_path / "w.relinked.json").read_text()
    assert written == file.read_text().replace(OLD, NEW)
    posted = {"prompt": prompt, "extra_data": {"extra_pnginfo": {"workflow": workflow(lora(1))}}}
    file = save(tmp_path / "posted.json", posted)
    assert run(root, "relink", file) == 0
    assert (tmp_path / "posted.relinked.json").read_text() == file.read_text().replace(OLD, NEW)


def test_several_files_go_into_a_folder(root: Path, tmp_path: Path) -> None:
    files = [save(tmp_path / f"{name}.json", workflow(lora(1))) for name in "ab"]
    (tmp_path / "out").mkdir()
    assert run(root, "relink", *files, "-o", tmp_path / "one.json") == 2
    assert run(root, "relink", *files, "-o", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.relinked.json",
        "b.relinked.json",
    ]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "w.json").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_new(tmp_path / "w.json", b"new", force=True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("w.json", "old")]


def test_a_file_that_appears_meanwhile_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text("theirs")
    with pytest.raises(Conflict):
        write_new(tmp_path / "w.json", b"ours", force=False)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("w.json", "theirs")]

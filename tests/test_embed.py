"""ComfyUI's own metadata is written where it is certain, completed where it is there, and never guessed."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.hub import Hub, running_hub
from demo.world import World
from resolver.analysis import analyze
from resolver.cli import main
from resolver.embedding import prepare
from resolver.errors import WorkflowError
from resolver.folders import FolderKnowledge
from resolver.folders.learned import snapshot
from resolver.http.table import PREFIX
from resolver.library import Library
from resolver.schemas import Candidate, Resolution
from resolver.workflow.embed import ui_part
from resolver.workflow.read import read_workflow
from tests.comfy_host.driver import ComfyHostProcess, read_template
from tests.editor_page import CHECKOUT, RESERVE
from tests.fakes import FakeHost, folder
from tests.graphs import metadata, node, subgraph, widget, workflow

LEARNED = snapshot()
KNOWN = FolderKnowledge(learned=LEARNED.nodes, by_input=LEARNED.by_input)
URL = "https://huggingface.co/o/r/resolve/main/x.safetensors"
SHA = "ab" * 32
NAME = "x.safetensors"
TEMPLATE = "basic_switch_node"


def vae(node_id: int = 1, name: str = NAME, **extra: Any) -> dict[str, Any]:
    return node(node_id, "VAELoader", [name], **{"inputs": [widget("vae_name")], **extra})


def candidate(**changes: Any) -> Candidate:
    given = {
        "source": "templates",
        "url": URL,
        "filename": NAME,
        "confidence": "exact",
        "evidence": ["sha256"],
    }
    return Candidate(**{**given, "sha256": SHA, **changes})


def embed(
    content: dict[str, Any], tmp_path: Path, *candidates: Candidate, local: str | None = None, **changes: Any
) -> int:
    """Changes ``content`` by the word that ``candidates`` are what was found for every model."""
    folders = {name: folder(name, tmp_path / "models" / name) for name in ("vae", "loras")}
    library = Library(FakeHost(tmp_path, folders)).snapshot()
    part = ui_part(content)
    read = read_workflow(part)
    found = analyze(read, KNOWN, library, lambda node_type, name: None)
    embedding = prepare(part, read, found, KNOWN, lambda path: local)
    answer = {"state": "resolved" if candidates else "not_found", "candidates": list(candidates), **changes}
    return embedding.write(Resolution(id=wanted.id, **answer) for wanted in embedding.wanted)


def entries(raw: dict[str, Any]) -> Any:
    return raw["properties"].get("models")


FULL = {"name": NAME, "url": URL, "directory": "vae", "hash": SHA, "hash_type": "SHA256"}


def test_what_is_certain_is_written_at_the_node_that_loads_it(tmp_path: Path) -> None:
    content = workflow(vae(1), vae(2, mode=2), node(3, "KSampler", [1, "fixed"]))
    assert embed(content, tmp_path, candidate()) == 2
    assert [entries(raw) for raw in content["nodes"]] == [[FULL], [FULL], None]


def test_a_node_without_properties_gets_them(tmp_path: Path) -> None:
    raw = vae()
    del raw["properties"]
    assert embed(workflow(raw), tmp_path, candidate()) == 1
    assert entries(raw) == [FULL]


@pytest.mark.parametrize(
    ("changes", "written"),
    [
        ({}, True),
        ({"confidence": "probable"}, True),
        ({"confidence": "probable", "sha256": None}, False),
        ({"confidence": "possible"}, False),
        ({"needs": "licence", "gated": True}, True),
        ({"needs": "token"}, False),
        ({"url": URL + "?token=secret"}, False),
        ({"url": "https://me:pw@huggingface.co/o/r/resolve/main/x.safetensors"}, False),
        ({"url": "https://cdn.example.com/x.safetensors?X-Amz-Signature=ab&X-Amz-Date=1"}, False),
        ({"url": "https://civitai.com/api/download/models/7?type=Model&format=SafeTensor"}, True),
    ],
)
def test_only_what_is_certain_and_public_is_written(
    tmp_path: Path, changes: dict[str, Any], written: bool
) -> None:
    content = workflow(vae())
    assert embed(content, tmp_path, candidate(**changes)) == int(written)
    assert bool(entries(content["nodes"][0])) is written


def test_nothing_is_written_where_several_files_may_be_meant(tmp_path: Path) -> None:
    content = workflow(vae())
    other = candidate(url=URL + "2", sha256="cd" * 32)
    assert embed(content, tmp_path, candidate(), other, state="ambiguous") == 0
    assert content == workflow(vae())


def test_an_entry_is_completed_and_what_it_says_stays(tmp_path: Path) -> None:
    stated = {"name": NAME, "directory": "vae", "note": 1.0}
    content = workflow(vae(properties={"models": [stated], "Node name for S&R": "VAELoader"}))
    assert embed(content, tmp_path, candidate()) == 1
    assert entries(content["nodes"][0]) == [{**stated, "url": URL, "hash": SHA, "hash_type": "SHA256"}]
    before = copy.deepcopy(content)
    assert embed(content, tmp_path, candidate(url=URL + "2", sha256="cd" * 32)) == 0
    assert content == before


def test_the_hash_of_another_url_is_not_given_to_the_authors(tmp_path: Path) -> None:
    own = "https://example.com/x.safetensors"
    content = workflow(vae(properties=metadata(NAME, "vae", own)))
    assert embed(content, tmp_path, candidate()) == 0
    assert entries(content["nodes"][0]) == metadata(NAME, "vae", own)["models"]
    assert embed(content, tmp_path, candidate(url=own)) == 1
    assert entries(content["nodes"][0])[0]["hash"] == SHA


def test_a_hash_of_another_kind_stays_alone(tmp_path: Path) -> None:
    content = workflow(vae(properties=metadata(NAME, "vae", URL, hash="12345678")))
    assert embed(content, tmp_path, candidate()) == 0


def test_the_authors_entry_at_another_node_serves_every_node(tmp_path: Path) -> None:
    content = workflow(
        vae(1), vae(2, properties=metadata(NAME, "vae", URL, hash=SHA.upper(), hash_type="SHA256"))
    )
    assert embed(content, tmp_path) == 1
    assert entries(content["nodes"][0]) == [FULL]
    assert entries(content["nodes"][1])[0]["hash"] == SHA.upper()


def test_a_file_that_is_here_gives_its_hash_unless_the_source_has_another(tmp_path: Path) -> None:
    (tmp_path / "models" / "vae").mkdir(parents=True)
    (tmp_path / "models" / "vae" / NAME).write_bytes(b"x")
    mine = hashlib.sha256(b"x").hexdigest()
    author = metadata(NAME, "vae", URL)
    content = workflow(vae(properties=copy.deepcopy(author)))
    assert embed(content, tmp_path, candidate(url=URL + "2"), local=mine) == 0
    assert embed(content, tmp_path, local=mine) == 1
    assert entries(content["nodes"][0]) == [{**FULL, "hash": mine}]


def test_the_editor_takes_no_entry_without_a_url_so_none_is_added(tmp_path: Path) -> None:
    (tmp_path / "models" / "vae").mkdir(parents=True)
    (tmp_path / "models" / "vae" / NAME).write_bytes(b"x")
    content = workflow(vae())
    assert embed(content, tmp_path, local=SHA) == 0
    assert content == workflow(vae())


def test_the_inner_node_of_a_subgraph_names_the_files_of_all_instances(tmp_path: Path) -> None:
    inner = vae(7, "inner.safetensors", inputs=[widget("vae_name", 100)])
    content = workflow(
        node(1, "g", ["a.safetensors"], inputs=[widget("vae_name")]),
        node(2, "g", ["b.safetensors"], inputs=[widget("vae_name")]),
        subgraphs=[subgraph("g", [inner], [("vae_name", 7, 0)])],
    )
    assert embed(content, tmp_path, candidate()) == 2
    assert [entry["name"] for entry in entries(inner)] == ["a.safetensors", "b.safetensors"]
    assert embed(content, tmp_path, candidate()) == 0


def test_a_name_is_the_widgets_value_letter_for_letter(tmp_path: Path) -> None:
    """The editor compares them so (``missingModelScan.ts``)."""
    content = workflow(vae(name="sub\\x.safetensors"))
    embed(content, tmp_path, candidate())
    assert entries(content["nodes"][0])[0]["name"] == "sub\\x.safetensors"


def test_properties_of_somebody_elses_making_stay(tmp_path: Path) -> None:
    content = workflow(vae(1, properties={"models": "mine"}), vae(2, properties=[1]))
    before = copy.deepcopy(content)
    assert embed(content, tmp_path, candidate()) == 0
    assert content == before


def test_the_api_format_cannot_carry_metadata() -> None:
    api = {"1": {"class_type": "VAELoader", "inputs": {"vae_name": NAME}}}
    for content in (api, {"prompt": api}):
        with pytest.raises(WorkflowError) as refused:
            ui_part(content)
        assert (refused.value.code, refused.value.status) == ("WORKFLOW_HAS_NO_METADATA", 422)


# -- the whole way -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world() -> World:
    return World.for_workflow(read_template(TEMPLATE))


@pytest.fixture(scope="module")
def hub(world: World) -> Iterator[Hub]:
    with running_hub(world) as running:
        yield running


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> Iterator[ComfyHostProcess]:
    with ComfyHostProcess(
        tmp_path_factory.mktemp("base"),
        packs={"model-resolver": CHECKOUT},
        env={**hub.environment(), **RESERVE},
    ) as process:
        yield process


def without_metadata(content: Any) -> Any:
    """A copy without any entry, as most workflows on the network are."""
    if isinstance(content, list):
        return [without_metadata(entry) for entry in content]
    if not isinstance(content, dict):
        return content
    kept = {name: without_metadata(value) for name, value in content.items() if name != "models"}
    # Notes with links would give the URLs as well.
    if kept.get("type") in ("Note", "MarkdownNote"):
        kept["widgets_values"] = [""]
    return kept


def nodes_of(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from content["nodes"]
    for definition in content["definitions"]["subgraphs"]:
        yield from definition["nodes"]


def stated(content: dict[str, Any]) -> dict[tuple[int, str], dict[str, Any]]:
    """Entries by node id and file name."""
    return {
        (raw["id"], entry["name"]): entry
        for raw in nodes_of(content)
        for entry in raw.get("properties", {}).get("models") or ()
    }


def test_the_route_answers_with_the_workflow_and_what_the_template_itself_states(
    comfyui: ComfyHostProcess, world: World
) -> None:
    template = read_template(TEMPLATE)
    bare = without_metadata(template)
    status, answer = comfyui.post(f"{PREFIX}/embed", {"workflow": bare})
    assert status == 200
    theirs, ours = stated(template), stated(answer)
    assert len(theirs) == 4
    assert set(ours) == set(theirs)
    for key, entry in ours.items():
        held = world.file_at(entry["url"])
        assert held is not None
        assert entry == {**theirs[key], "url": entry["url"], "hash": held.sha256, "hash_type": "SHA256"}
    assert without_metadata(answer) == bare
    assert comfyui.post(f"{PREFIX}/embed", {"workflow": answer}) == (200, answer)


def test_the_route_refuses_the_api_format(comfyui: ComfyHostProcess) -> None:
    api = {"1": {"class_type": "VAELoader", "inputs": {"vae_name": NAME}}}
    status, answer = comfyui.post(f"{PREFIX}/embed", {"workflow": api})
    assert (status, answer["error"]["code"]) == (422, "WORKFLOW_HAS_NO_METADATA")


def test_the_command_writes_a_new_file(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "ComfyUI" / "models").mkdir(parents=True)
    bare = without_metadata(read_template(TEMPLATE))
    file = tmp_path / "w.json"
    file.write_text(json.dumps(bare, indent=2))
    command = ["embed", str(file), "--offline", "--json", "--comfyui-root", str(tmp_path / "ComfyUI")]
    # Offline nobody says what content a catalog's URL has, so that nothing is certain.
    assert main(command) == 1
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["output"], line["embedded"], len(line["left"])) == (None, 0, 4)

    template = read_template(TEMPLATE)
    raw = next(raw for raw in nodes_of(template) if (raw["id"], "ae.safetensors") in stated(template))
    bare["nodes"].append({**raw, "id": 999, "properties": {}})
    bare["nodes"].append({**raw, "id": 998})
    file.write_text(json.dumps(bare, indent=2))
    assert main(command) == 1
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    written = json.loads(Path(line["output"]).read_text())
    assert line["output"] == str(tmp_path / "w.embedded.json")
    assert stated(written)[999, "ae.safetensors"]["url"] == raw["properties"]["models"][0]["url"]

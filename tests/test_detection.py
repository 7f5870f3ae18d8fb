"""The ways in which a workflow names a model, beside a loader's plain widget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resolver.analysis import analyze
from resolver.app import Resolver
from resolver.folders import FolderKnowledge
from resolver.folders.learned import snapshot
from resolver.folders.observed import observe, options
from resolver.folders.words import folder_by_words
from resolver.host.standalone import StandaloneHost
from resolver.library import Library
from resolver.schemas import Model
from resolver.settings import load_settings
from resolver.sources import Context, Offer, Wanted
from resolver.sources.asking import Budget
from resolver.sources.ranking import rank
from resolver.sources.workflow import WorkflowSource
from resolver.workflow.prompt_text import Tag, tags
from resolver.workflow.read import read_workflow
from resolver.workflow.references import is_placeholder
from resolver.workflow.remote import Remote, parse_remote
from tests.fakes import FakeHost, folder
from tests.graphs import metadata, node, widget, workflow

LEARNED = snapshot()
KNOWN = FolderKnowledge(learned=LEARNED.nodes, by_input=LEARNED.by_input)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    models = tmp_path / "models"
    return FakeHost(tmp_path, {name: folder(name, models / name) for name in ("loras", "embeddings", "vae")})


def found(host: FakeHost, content: dict[str, Any]) -> dict[str, Model]:
    library = Library(host).snapshot()
    analysis = analyze(read_workflow(content), KNOWN, library, lambda node_type, name: None)
    return {model.id: model for model in analysis.models}


POWER = node(
    1,
    "Power Lora Loader (rgthree)",
    [
        {},
        {"type": "PowerLoraLoaderHeaderWidget"},
        {"on": True, "lora": "style\\a.safetensors", "strength": 1, "strengthTwo": None},
        {"on": False, "lora": "b.safetensors", "strength": 0.5},
        {"on": True, "lora": "None", "strength": 1},
        {},
        "",
    ],
)
MANAGED = [
    {"name": "a", "strength": 0.8, "active": True, "clipStrength": 0.8},
    {"name": "b", "strength": 1, "active": False},
]


def test_a_stack_with_switches(host: FakeHost) -> None:
    models = found(host, workflow(POWER))
    assert {name: model.active for name, model in models.items()} == {
        "loras/style/a.safetensors": True,
        "loras/b.safetensors": False,
    }
    assert models["loras/b.safetensors"].references[0].input == "#3.lora"


@pytest.mark.parametrize("loras", [MANAGED, {"__value__": MANAGED}], ids=["list", "wrapped"])
def test_a_stack_of_names_without_extensions(host: FakeHost, tmp_path: Path, loras: Any) -> None:
    inputs = {"text": "<lora:a:0.8>", "loras": loras}
    api = {"5": {"class_type": "Lora Loader (LoraManager)", "inputs": inputs}}
    models = found(host, api)
    assert {name: model.active for name, model in models.items()} == {
        "loras/a.safetensors": True,
        "loras/b.safetensors": False,
    }
    (tmp_path / "models/loras/sub").mkdir()
    (tmp_path / "models/loras/sub/a.safetensors").write_bytes(b"x")
    assert found(host, api)["loras/sub/a.safetensors"].status == "present"


def test_prompts_name_embeddings_and_loras(host: FakeHost, tmp_path: Path) -> None:
    text = "a cat, (embedding:easy-negative:1.2) embedding:sub/other.pt, <lora:Paint Style:0.8> at dawn"
    models = found(host, workflow(node(1, "CLIPTextEncode", [text])))
    assert set(models) == {
        "embeddings/easy-negative.safetensors",
        "embeddings/sub/other.pt",
        "loras/Paint Style.safetensors",
    }
    (tmp_path / "models/embeddings/easy-negative.pt").write_bytes(b"x")
    assert (
        found(host, workflow(node(1, "CLIPTextEncode", [text])))["embeddings/easy-negative.pt"].status
        == "present"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("embedding:a", [Tag("embeddings", "a", False)]),
        ("x embedding:a embedding:b", [Tag("embeddings", "a", False), Tag("embeddings", "b", False)]),
        ("(embedding:a:1.3), [embedding:b]", [Tag("embeddings", "a", False)]),
        ("myembedding:a", []),
        ("embedding: a", []),
        ("<lora:x>", [Tag("loras", "x", True)]),
        ("<LORA:x:1:0.5><lyco:y:1>", [Tag("loras", "x", True), Tag("loras", "y", True)]),
        ("<hypernet:z:1>", [Tag("hypernetworks", "z", True)]),
        ("<lora:x", []),
        ("a < lora:x > b", []),
    ],
)
def test_tags(text: str, expected: list[Tag]) -> None:
    assert list(tags(text)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lora_02", "loras"),
        ("loraName", "loras"),
        ("LoRA name", "loras"),
        ("base_ckpt_name", "checkpoints"),
        ("clip_vision_name", "clip_vision"),
        ("clip_name3", "text_encoders"),
        ("vae", "vae"),
        ("refiner_unet", "diffusion_models"),
        ("latent_upscale_model", "latent_upscale_models"),
        ("explore", None),
        ("eclipse", None),
        ("model_name", None),
        ("value", None),
    ],
)
def test_an_inputs_name_speaks_of_its_folder(name: str, expected: str | None) -> None:
    assert folder_by_words(name) == expected


def test_nodes_nobody_knows_are_read_by_their_inputs_names(host: FakeHost) -> None:
    unknown = node(
        1, "SomeStacker", {"lora_01": "a.safetensors", "lora_mode": "simple", "seed_mode": "fixed"}
    )
    assert set(found(host, workflow(unknown))) == {"loras/a.safetensors"}


# --- addresses in place of names -----------------------------------------------------------------

HUB = "https://huggingface.co/o/r/resolve/main"
CIVITAI = "https://civitai.com/api/download/models"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            f"{HUB}/sub/a%20b.safetensors?download=true#x",
            Remote("a b.safetensors", f"{HUB}/sub/a%20b.safetensors"),
        ),
        ("https://huggingface.co/o/r/blob/main/a.gguf", Remote("a.gguf", f"{HUB}/a.gguf")),
        ("http://files.example/x/a.pth?v=2", Remote("a.pth", "http://files.example/x/a.pth?v=2")),
        (
            "https://me:pw@files.example/a.pth?token=abc&v=2",
            Remote("a.pth", "https://files.example/a.pth?v=2"),
        ),
        (f"{CIVITAI}/7?token=abc", Remote("civitai-version-7.safetensors", f"{CIVITAI}/7")),
        (
            "https://civitai.com/models/3/a-name?modelVersionId=7",
            Remote("civitai-3-7.safetensors", f"{CIVITAI}/7"),
        ),
        (
            "https://civitai.red/models/3/a-name?modelVersionId=7",
            Remote("civitai-3-7.safetensors", "https://civitai.red/api/download/models/7"),
        ),
        (
            "https://www.civitai.com/models/3?modelVersionId=7",
            Remote("civitai-3-7.safetensors", f"{CIVITAI}/7"),
        ),
        ("https://civitai.com/models/3/a-name", Remote("civitai-3.safetensors", None)),
        ("https://civitai.com/images/3", None),
        ("https://huggingface.co/o/r", None),
        ("https://files.example/picture.png", None),
        ("ftp://files.example/a.pth", None),
        ("https://[broken/a.pth", None),
        ("see https://files.example/a.pth", None),
        (
            "urn:air:sdxl:lora:civitai:3@7",
            Remote("civitai-3-7.safetensors", f"{CIVITAI}/7", "loras", True),
        ),
        (
            "URN:AIR:SD1:LyCORIS:Civitai:3@7.ckpt",
            Remote("civitai-3-7.ckpt", f"{CIVITAI}/7", "loras", True),
        ),
        (
            "air:sd1:model:civitai:3@7:last.safetensor",
            Remote("civitai-3-7.safetensors", f"{CIVITAI}/7", "checkpoints", True),
        ),
        ("civitai:3@7", Remote("civitai-3-7.safetensors", f"{CIVITAI}/7", None, True)),
        ("urn:air:sdxl:vae:civitai:3", Remote("civitai-3.safetensors", None, "vae", True)),
        # The address of a version serves its first file; this is another one.
        ("urn:air:sdxl:vae:civitai:3@7+9", Remote("civitai-3-7-9.safetensors", None, "vae", True)),
        (
            "urn:air:flux1:vae:huggingface:o/r@main/sub/ae.safetensors",
            Remote("ae.safetensors", f"{HUB}/sub/ae.safetensors", "vae", True),
        ),
        (
            "urn:air:flux1:vae:huggingface:o/r@ae.safetensors",
            Remote("ae.safetensors", f"{HUB}/ae.safetensors", "vae", True),
        ),
        (
            "urn:air:model:huggingface:o/r",
            Remote("huggingface-o-r.safetensors", None, "checkpoints", True),
        ),
        ("urn:air:sd1:poses:civitai:3@7", None),
        ("urn:air:gpt:model:openai:gpt@4", None),
        ("urn:air:sdxl:lora:civitai:three@7", None),
        ("civitai: a site", None),
        ("C:\\models\\a.safetensors", None),
        ("a.safetensors", None),
    ],
    ids=str,
)
def test_what_lies_at_an_address(value: str, expected: Remote | None) -> None:
    assert parse_remote(value) == expected


AIR = "urn:air:sdxl:lora:civitai:3@7"


def lora_workflow(value: str) -> dict[str, Any]:
    return workflow(node(1, "LoraLoaderModelOnly", [value, 1.0]))


def test_an_address_carries_its_url_and_is_relinked_once_the_file_is_there(
    host: FakeHost, tmp_path: Path
) -> None:
    model = found(host, lora_workflow(AIR))["loras/civitai-3-7.safetensors"]
    assert (model.status, model.url) == ("missing", f"{CIVITAI}/7")
    (tmp_path / "models/loras/civitai-3-7.safetensors").write_bytes(b"x")
    model = found(host, lora_workflow(AIR))["loras/civitai-3-7.safetensors"]
    # ComfyUI does not take the address, which is still in the widget.
    assert model.status == "elsewhere"
    assert [one.name for one in model.alternatives] == ["civitai-3-7.safetensors"]
    assert [one.value for one in model.references] == [AIR]


async def test_the_address_is_the_authors_own_url(host: FakeHost) -> None:
    for value, url in ((AIR, f"{CIVITAI}/7"), ("https://huggingface.co/o/r/blob/main/a.pt", f"{HUB}/a.pt")):
        (model,) = found(host, lora_workflow(value)).values()
        wanted = Wanted(model.id, model.folder, model.name, url=model.url)
        offers: list[Offer] = await WorkflowSource().find(wanted, Context(), Budget())
        (candidate,) = rank(wanted, offers).candidates
        assert (candidate.url, candidate.confidence) == (url, "exact")


def test_the_url_goes_along_with_what_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "models/loras").mkdir(parents=True)
    resolver = Resolver(load_settings(), StandaloneHost(tmp_path))
    resolver.start()
    try:
        read = read_workflow(lora_workflow(AIR))
        (wanted,), _ = resolver.wanted(read, resolver.analyze(read))
    finally:
        resolver.close()
    assert (wanted.id, wanted.url) == ("loras/civitai-3-7.safetensors", f"{CIVITAI}/7")


def test_the_workflows_own_entry_states_more_of_a_file_at_an_address(host: FakeHost) -> None:
    entry = metadata(
        "a.safetensors", "loras", f"{HUB}/mirror/a.safetensors", hash="AB" * 32, hash_type="SHA256"
    )
    loader = node(1, "LoraLoaderModelOnly", [f"{HUB}/a.safetensors", 1.0], properties=entry)
    model = found(host, workflow(loader))["loras/a.safetensors"]
    assert (model.url, model.sha256) == (f"{HUB}/mirror/a.safetensors", "ab" * 32)


def test_an_address_in_a_stack(host: FakeHost) -> None:
    stack = [{"on": True, "lora": AIR, "strength": 1}, {"on": False, "lora": f"{HUB}/b.pt", "strength": 1}]
    models = found(host, workflow(node(1, "Stack", {"loras": stack})))
    assert {name: model.active for name, model in models.items()} == {
        "loras/civitai-3-7.safetensors": True,
        "loras/b.pt": False,
    }


def test_an_address_without_a_folder_is_claimed_only_where_it_must_be_a_model(host: FakeHost) -> None:
    values = {"where": f"{HUB}/a.safetensors", "what": AIR, "model_air": "civitai:3@8"}
    assert set(found(host, workflow(node(1, "Unknown", values)))) == {"loras/civitai-3-7.safetensors"}


# --- directories -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_installed", [True, False], ids=["installed", "not installed"])
def test_directories_of_diffusers_models(tmp_path: Path, is_installed: bool) -> None:
    root = tmp_path / "models/diffusers"
    host = FakeHost(tmp_path, {"diffusers": folder("diffusers", root, extensions=frozenset({"folder"}))})
    (root / "here/sdxl/vae").mkdir(parents=True)
    (root / "here/sdxl/model_index.json").write_text("{}")
    (root / "half").mkdir()

    class DiffusersLoader:
        """Walks the roots by itself, as ComfyUI's own does."""

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"model_path": (["here/sdxl"],)}}

    if is_installed:
        host.nodes["DiffusersLoader"] = DiffusersLoader
    content = workflow(
        *(
            node(number, "DiffusersLoader", [name])
            for number, name in enumerate(("here/sdxl", "half", "gone", "None", "../diffusers/here/sdxl"))
        )
    )
    analysis = analyze(
        read_workflow(content),
        FolderKnowledge(observed=observe(host)),
        Library(host).snapshot(),
        lambda node_type, name: options(host, node_type, name),
    )
    assert {model.id: model.status for model in analysis.models} == {
        "diffusers/here/sdxl": "present",
        "diffusers/half": "missing",
        "diffusers/gone": "missing",
    }
    assert [warning.code for warning in analysis.warnings] == ["NAME_UNSAFE"]


# --- what is no model ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Select to add LoRA", True),
        ("Select the LoRA to add to the text", True),
        ("[none]", True),
        ("NONE", True),
        ("Baked VAE", True),
        ("Automatic", True),
        ("none.safetensors", False),
        ("Select style.safetensors", False),
        ("nonesuch", False),
        ("automatic style", False),
    ],
)
def test_placeholders(value: str, expected: bool) -> None:
    assert is_placeholder(value) is expected


def test_what_else_lies_in_a_folder_of_a_pack_is_no_model(tmp_path: Path) -> None:
    """LUTs, fonts and the like are listed as models are."""
    luts = folder("luts", tmp_path / "luts", extensions=frozenset({".cube"}))
    host = FakeHost(tmp_path, {"luts": luts})

    class ApplyLUT:
        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"lut_file": (host.get_filename_list("luts"),)}}

    host.nodes["ApplyLUT"] = ApplyLUT
    analysis = analyze(
        read_workflow(workflow(node(1, "ApplyLUT", ["warm.cube"]))),
        FolderKnowledge(observed=observe(host)),
        Library(host).snapshot(),
        lambda node_type, name: options(host, node_type, name),
    )
    assert analysis.models == []


@pytest.mark.parametrize(
    ("node_type", "input_name", "expected"),
    [
        ("Unknown", "file", True),
        ("Unknown", "output_name", False),
        ("Unknown", "filename_prefix", False),
        ("Unknown", "savePath", False),
        ("Save Checkpoint", "file", False),
        ("LoraSave", "file", False),
        ("ModelExporter", "file", False),
        ("Unsaved", "file", True),
    ],
)
def test_names_that_are_written_are_not_wanted(
    host: FakeHost, node_type: str, input_name: str, expected: bool
) -> None:
    content = workflow(node(1, node_type, ["a.safetensors"], inputs=[widget(input_name)]))
    assert bool(found(host, content)) is expected


def test_what_a_node_fetches_by_itself_is_not_wanted(host: FakeHost) -> None:
    for node_type in ("DownloadAndLoadThing", "(Down)Load Thing", "DownloadThing"):
        assert found(host, workflow(node(1, node_type, ["a.safetensors"], inputs=[widget("model")]))) == {}
    loader = node(1, "LoadThing", ["a.safetensors"], inputs=[widget("model")])
    assert set(found(host, workflow(loader))) == {"?/a.safetensors"}

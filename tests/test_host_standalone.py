"""A ComfyUI folder on disk lists what ComfyUI would, with the packs that workflows are made with."""

from __future__ import annotations

from pathlib import Path

import pytest

from resolver.analysis import analyze
from resolver.embedding import prepare
from resolver.folders import FolderKnowledge
from resolver.host.roots import folder_spec, root_to_write
from resolver.host.standalone import StandaloneHost
from resolver.library import Library
from resolver.schemas import Model
from resolver.sources import Offer, Wanted
from resolver.sources.ranking import rank
from resolver.sources.workflow import with_stated_hashes
from resolver.workflow.read import read_workflow
from tests.graphs import metadata, node, widget, workflow

UNET = "wan2.1-i2v-14b-480p-Q4_K_M.gguf"
GIVEN = f"https://huggingface.co/o/r/resolve/main/{UNET}"
CLIP = "umt5-xxl-encoder-Q5_K_M.gguf"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "ComfyUI"
    for name in ("unet", "diffusion_models", "clip", "text_encoders", "unet_gguf"):
        (root / "models" / name).mkdir(parents=True)
    (root / "extra_model_paths.yaml").write_text(
        f"mine:\n  base_path: {tmp_path}\n  diffusion_models: disk/unets\n  unet_gguf: elsewhere\n"
    )
    return root


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF")


def judge(root: Path, loader: str, name: str) -> Model:
    entry = "unet_name" if "unet" in loader.lower() else "clip_name"
    found = read_workflow(workflow(node(1, loader, [name], inputs=[widget(entry)])))
    analysis = analyze(found, FolderKnowledge(), Library(StandaloneHost(root)).snapshot(), lambda *_: None)
    (model,) = analysis.models
    return model


@pytest.mark.parametrize(
    ("loader", "name", "directory"),
    [
        ("UnetLoaderGGUF", UNET, "ComfyUI/models/unet"),
        ("UnetLoaderGGUF", UNET, "ComfyUI/models/diffusion_models"),
        ("UnetLoaderGGUF", UNET, "disk/unets"),
        ("CLIPLoaderGGUF", CLIP, "ComfyUI/models/clip"),
        ("CLIPLoaderGGUF", CLIP, "ComfyUI/models/text_encoders"),
    ],
)
def test_a_gguf_file_is_present_wherever_the_gguf_loaders_list_it(
    root: Path, tmp_path: Path, loader: str, name: str, directory: str
) -> None:
    assert judge(root, loader, name).status == "missing"
    put(tmp_path / directory / "sub" / name)
    model = judge(root, loader, f"sub/{name}")
    assert (model.status, model.path) == ("present", str(tmp_path / directory / "sub" / name))


@pytest.mark.parametrize("directory", ["ComfyUI/models/unet_gguf", "elsewhere"])
def test_a_directory_that_the_gguf_loaders_never_look_into_makes_nothing_present(
    root: Path, tmp_path: Path, directory: str
) -> None:
    put(tmp_path / directory / UNET)
    assert judge(root, "UnetLoaderGGUF", UNET).status == "missing"


def test_comfyuis_own_loader_does_not_take_a_gguf_file(root: Path) -> None:
    put(root / "models/diffusion_models" / UNET)
    assert judge(root, "UNETLoader", UNET).status != "present"


def test_a_new_gguf_file_goes_where_people_look_for_it(root: Path) -> None:
    host = StandaloneHost(root)
    where = {name: root_to_write(host, folder_spec(host, name)).name for name in ("unet_gguf", "clip_gguf")}
    assert where == {"unet_gguf": "diffusion_models", "clip_gguf": "text_encoders"}
    spec = folder_spec(host, "unet_gguf")
    assert [path.name for path in spec.roots] == ["unet", "diffusion_models", "unets"]
    assert spec.extensions == {".gguf"}


def test_the_users_default_root_is_that_of_gguf_files_too(root: Path, tmp_path: Path) -> None:
    (root / "extra_model_paths.yaml").write_text(
        f"mine:\n  base_path: {tmp_path}\n  is_default: true\n  diffusion_models: disk/unets\n"
    )
    host = StandaloneHost(root)
    assert root_to_write(host, folder_spec(host, "unet_gguf")) == tmp_path / "disk/unets"


@pytest.mark.parametrize("directory", ["diffusion_models", "unet"])
def test_what_is_said_of_the_directory_is_said_of_the_gguf_folder(root: Path, directory: str) -> None:
    """Catalogs, pages and metadata name the place a GGUF file goes to, not the folder its loader lists."""
    wanted = Wanted("id", "unet_gguf", UNET)
    offer = Offer("manager", f"https://h.example/{UNET}", UNET, folder=directory)
    assert rank(wanted, [offer]).candidates[0].confidence == "probable"
    elsewhere = Offer("manager", f"https://h.example/{UNET}", UNET, folder="loras")
    assert rank(wanted, [elsewhere]).candidates[0].confidence == "possible"

    properties = metadata(UNET, directory, hash="ab" * 32, hash_type="BLAKE3")
    loader = node(1, "UnetLoaderGGUF", [UNET], inputs=[widget("unet_name")], properties=properties)
    content = workflow(loader)
    read = read_workflow(content)
    analysis = analyze(read, FolderKnowledge(), Library(StandaloneHost(root)).snapshot(), lambda *_: None)
    assert (analysis.models[0].id, analysis.models[0].url) == (f"unet_gguf/{UNET}", GIVEN)
    embedding = prepare(content, read, analysis, FolderKnowledge(), lambda path: None)
    assert embedding.without_url() == []
    assert with_stated_hashes(wanted, embedding.context).blake3 == "ab" * 32

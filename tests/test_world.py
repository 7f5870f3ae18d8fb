"""Worlds have the files that workflows name, and look-alikes of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import comfyui_workflow_templates_json
import pytest

from demo import HubFile, World
from demo.links import model_links
from demo.lookalikes import LookalikeWorld, build
from demo.safetensors import MIN_SIZE
from demo.templates import TrueModel, template_models, true_models
from demo.variants import (
    camel_case,
    other_precision,
    other_role,
    other_size,
    other_version,
    quantised,
    stem_of,
    title,
)
from resolver.sources.catalog import template_entries
from resolver.templates import installed_templates, template_workflows
from tests.hub_requests import (
    EXAMPLE,
    OPEN,
    REPO,
    SIZE,
    WORLD,
    ask,
    serving,
)


def test_the_example_workflow_states_the_hashes_of_the_files_its_world_makes() -> None:
    world = World.for_workflow(EXAMPLE)
    links = model_links(json.loads(EXAMPLE.read_text(encoding="utf-8")))
    assert len(links) == 5
    stated = 0
    for link in links:
        file = world.file_at(link.url)
        assert file is not None
        assert file.name == link.name
        assert 2_000_000 < file.size < 13_000_000
        if link.sha256 is not None:
            stated += 1
            assert link.sha256 == file.sha256, f"{link.name}: write this hash into the workflow"
    assert stated == 3


def test_the_example_workflow_promotes_its_model_widgets_and_bypasses_its_upscaler() -> None:
    workflow = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    (subgraph,) = workflow["definitions"]["subgraphs"]
    (host,) = [node for node in workflow["nodes"] if node["type"] == subgraph["id"]]
    promoted = [entry["name"] for entry in host["inputs"] if "widget" in entry]
    assert promoted == [entry["name"] for entry in subgraph["inputs"]]
    values = dict(zip(promoted, host["widgets_values"], strict=True))
    inner = {node["type"]: node["widgets_values"][0] for node in subgraph["nodes"] if node["widgets_values"]}
    assert values["unet_name"] == inner["UNETLoader"] == "lumen_image_bf16.safetensors"
    assert values["lora_name"] == inner["LoraLoaderModelOnly"] == "lumen_watercolor_v1.safetensors"
    assert values["clip_name"] == inner["CLIPLoader"] == "lumen_text_encoder_2b.safetensors"
    assert values["vae_name"] == inner["VAELoader"] == "lumen_image_vae.safetensors"
    inactive = [link.directory for link in model_links(workflow) if not link.active]
    assert inactive == ["upscale_models"]


def test_every_hugging_face_link_of_the_official_templates_has_its_file() -> None:
    served = 0
    for file in sorted((Path(comfyui_workflow_templates_json.__file__).parent / "templates").glob("*.json")):
        workflow = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(workflow, dict) or "nodes" not in workflow:
            continue
        world = World.for_workflow(workflow, sizes=MIN_SIZE)
        for link in model_links(workflow):
            if urlsplit(link.url).hostname == "huggingface.co":
                assert world.file_at(link.url) is not None, (file.name, link.url)
                served += 1
    assert served > 1000


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (OPEN, True),
        (OPEN + "?download=true", True),
        (OPEN.replace("/resolve/", "/blob/"), True),
        (OPEN.replace("https://huggingface.co", "https://hf.co"), True),
        (OPEN.replace("/main/", "/other/"), False),
        (OPEN.replace("huggingface.co", "example.com"), False),
        (OPEN.replace("tiny_vae", "other"), False),
        (OPEN.replace(REPO, "demo-models/other"), False),
    ],
)
def test_a_world_finds_a_file_by_its_url(url: str, found: bool) -> None:
    assert (WORLD.file_at(url) is not None) == found


def test_a_revision_with_a_slash_is_told_from_the_path() -> None:
    url = f"https://huggingface.co/{REPO}/resolve/refs%2Fpr%2F7/a%20b.safetensors"
    repo = World.for_urls([url], sizes=SIZE).repos[REPO]
    assert repo.has_revision("refs/pr/7")
    assert repo.file("a b.safetensors") is not None


def test_a_node_inside_a_bypassed_subgraph_is_inactive_even_where_another_use_is_active() -> None:
    entry = {"name": "a", "url": OPEN, "directory": "vae"}
    # The definition contains itself, too, which must end.
    subgraph = {"id": "s", "nodes": [{"type": "s"}, {"properties": {"models": [entry]}}]}
    workflow = {
        "nodes": [{"type": "s", "mode": 4}, {"type": "s", "mode": 0}],
        "definitions": {"subgraphs": [subgraph]},
    }
    assert [link.active for link in model_links(workflow)] == [False, True]


def test_a_definition_that_no_node_uses_is_read_but_inactive() -> None:
    entry = {"name": "a", "url": OPEN, "directory": "vae"}
    subgraph = {"id": "s", "nodes": [{"properties": {"models": [entry]}}]}
    workflow = {"nodes": [], "definitions": {"subgraphs": [subgraph]}}
    assert [link.active for link in model_links(workflow)] == [False]


# Variants of names


@pytest.mark.parametrize(
    ("variant", "stem", "expected"),
    [
        (other_precision, "wan_fp16", "wan_fp8_e4m3fn"),
        (other_precision, "umt5_xxl_fp8_e4m3fn_scaled", "umt5_xxl_bf16"),
        (other_precision, "ae", "ae_fp8_e4m3fn"),
        (quantised, "wan2.1_t2v_14B_fp16", "wan2.1_t2v_14B-Q4_K_M"),
        (other_version, "wan_2.1_vae", "wan_2.2_vae"),
        (other_version, "style_v1", "style_v2"),
        (other_version, "ae", "ae_v2"),
        (other_size, "wan2.1_t2v_14B_fp16", "wan2.1_t2v_7B_fp16"),
        (other_size, "qwen_0.6b_ace15", "qwen_0.3b_ace15"),
        (other_size, "ae", "ae_small"),
        (other_role, "wan2.2_t2v_High_Noise_14B", "wan2.2_t2v_low_noise_14B"),
        (other_role, "wan2.1_i2v", "wan2.1_t2v"),
        (other_role, "ae", "ae_refiner"),
        (title, "flux1-dev_fp8", "Flux1 Dev Fp8"),
        (camel_case, "flux1-dev_fp8", "flux1DevFp8"),
        (stem_of, "a/b_fp16.safetensors", "b_fp16"),
    ],
)
def test_a_variant_is_nearly_the_name(variant: Callable[[str], str], stem: str, expected: str) -> None:
    assert variant(stem) == expected


# Look-alikes


@cache
def templates() -> list[TrueModel]:
    return template_models()


@cache
def around() -> LookalikeWorld:
    """The world around the official templates' models."""
    return build(templates())


def files(world: World) -> Iterator[HubFile]:
    """Every model file of all hubs."""
    for repo in (*world.repos.values(), *world.modelscope.values()):
        yield from (file for file in repo.files if file.is_lfs)
    for model in world.civitai:
        yield from (each.file for version in model.versions for each in version.files)


def test_the_templates_models_are_those_that_the_resolver_reads() -> None:
    found = installed_templates()
    assert found is not None
    entries = template_entries(workflow for _, workflow in template_workflows(found[1]))
    assert {(model.folder, model.name) for model in templates()} == {(e.folder, e.name) for e in entries}
    assert len(templates()) > 300


def test_an_entry_with_another_files_url_counts_only_where_none_has_its_own() -> None:
    url = "https://huggingface.co/a/b/resolve/main/"
    entries = [
        ("vae", "x.safetensors", url + "y.safetensors", None),
        ("vae", "x.safetensors", url + "x.safetensors?download=true", "AB" * 32),
        ("vae", "z.safetensors", url + "y.safetensors", None),
    ]
    assert true_models(entries) == [
        TrueModel("vae", "x.safetensors", (url + "x.safetensors",), "ab" * 32),
        TrueModel("vae", "z.safetensors", (url + "y.safetensors",)),
    ]


def test_every_model_of_the_templates_is_where_its_urls_say() -> None:
    for model in templates():
        for url in model.urls:
            file = around().world.file_at(url)
            assert file is not None, url
            assert around().is_right(model.id, file.sha256)


def test_the_world_has_several_hundred_repositories_of_every_kind() -> None:
    repos = around().world.repos.values()
    assert 400 < len(repos) < 1500
    assert len(around().world.civitai) == len(templates())
    assert 3500 < sum(1 for _ in files(around().world)) < 7000
    for kind in ("gated", "private", "disabled"):
        assert sum(bool(getattr(repo, kind)) for repo in repos) >= 10, kind
    assert len(around().world.renamed) >= 5
    assert not set(around().world.renamed) & set(around().world.repos)
    assert len(around().deleted) >= 5
    assert not around().deleted & set(around().world.repos)
    assert len(around().world.modelscope) >= 20
    assert len({model.mode for model in around().world.civitai}) == 2


def test_every_model_has_ten_look_alikes_or_more_of_its_own() -> None:
    for model in templates():
        alone = build([model])
        publishers = {place.repo for place in alone.truth[model.id] if place.publisher}
        others = [
            file
            for repo in alone.world.repos.values()
            if repo.id not in publishers
            for file in repo.files
            if file.is_lfs
        ]
        others += [each.file for c in alone.world.civitai for v in c.versions for each in v.files]
        assert len(others) >= 10, model.id
        right = [file for file in others if alone.is_right(model.id, file.sha256)]
        name = model.name.rsplit("/", 1)[-1]
        assert {file.name for file in right} >= {name, "diffusion_pytorch_model.safetensors"}
        wrong = [file for file in others if not alone.is_right(model.id, file.sha256)]
        by_path = {file.path: file for file in wrong}
        twin = "diffusion_models" if model.folder == "loras" else "loras"
        assert {f"{model.folder}/{name}", f"{twin}/{name}"} <= set(by_path), "an impostor, a LoRA or base"
        precise, true = by_path[f"{other_precision(stem_of(name))}.safetensors"].layout, right[0].layout
        assert precise is not None
        assert true is not None
        assert precise.shape == true.shape
        assert len({file.name for file in wrong}) >= 6


def test_the_truth_is_every_open_place_with_the_content_and_no_other() -> None:
    world = around().world
    contents = {model.id: {place.sha256 for place in around().truth[model.id]} for model in templates()}
    by_hash: dict[str, set[tuple[str, str]]] = {}
    for repo in world.repos.values():
        if not repo.private and not repo.disabled:
            for file in repo.files:
                by_hash.setdefault(file.sha256, set()).add((repo.id, file.path))
    for model in templates():
        places = {(p.repo, p.path) for p in around().truth[model.id] if p.site == "huggingface"}
        assert places == set().union(*(by_hash[sha256] for sha256 in contents[model.id])), model.id


def test_every_model_can_be_had_by_anybody_even_if_its_publisher_is_gated() -> None:
    gated = 0
    for model in templates():
        places = around().truth[model.id]
        assert places[0].publisher
        assert any(place.open for place in places), model.id
        gated += not places[0].open
    assert gated >= 10


def test_a_name_alone_does_not_tell_the_right_file() -> None:
    by_name: dict[str, set[str]] = {}
    for file in files(around().world):
        by_name.setdefault(file.name, set()).add(file.sha256)
    assert all(len(by_name[model.name.rsplit("/", 1)[-1]]) >= 3 for model in templates())
    assert len(by_name["ae.safetensors"]) > 10
    assert len(by_name["diffusion_pytorch_model.safetensors"]) > 100


def test_a_world_follows_from_its_models_and_seed() -> None:
    some = templates()[:40]

    def described(seed: int) -> list[tuple[str, str]]:
        world = build(some, seed).world
        return [(repo.id, file.sha256) for repo in world.repos.values() for file in repo.files]

    assert described(1) == described(1)
    assert described(1) != described(2)


def test_building_a_world_makes_no_contents() -> None:
    fresh = build(templates()[:40])
    assert not [
        file for file in files(fresh.world) if "sha256" in vars(file) or "_kept_content" in vars(file)
    ]


async def test_the_whole_world_is_served() -> None:
    async with serving(around().world) as hub:
        model = templates()[0]
        right = [place for place in around().truth[model.id] if place.open]
        sites = {
            "https://huggingface.co": hub.endpoint,
            "https://civitai.com": hub.civitai,
            "https://modelscope.cn": hub.modelscope,
        }
        for place in right:
            (site,) = (site for site in sites if place.url.startswith(site))
            answer = await ask(place.url.replace(site, sites[site]))
            stored = await ask(answer.headers["Location"])
            assert hashlib.sha256(stored.body).hexdigest() == place.sha256
        listed = (await ask(f"{hub.endpoint}/api/models?limit=1000")).json
        assert len(listed) == sum(not repo.private for repo in around().world.repos.values())
        described = (await ask(f"{hub.civitai}/api/v1/models?limit=100&nsfw=true")).json
        assert len(described["items"]) == 100

"""Names that look alike can be different things; names that look different can be one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.roles import RoleIndex, compare, parse_roles, similarity

DATA = Path(__file__).parent / "data"
# Published names, labelled by hand and halved at random before resolver/roles.py was written: one half to
# build with, the other only to count. One person wrote both halves and the tables, so the second is unseen in
# its errors only, not in its vocabulary. ``missed``: why we knowingly answer "different" where it is not.
BUILD: list[dict[str, Any]] = json.loads((DATA / "role_pairs_build.json").read_text(encoding="utf-8"))
MEASURE: list[dict[str, Any]] = json.loads((DATA / "role_pairs_measure.json").read_text(encoding="utf-8"))
# Labelled by another hand after all was built, most names from memory of model pages. The first comparison
# agreed in all but nine: in six the label was wrong and was mended, three are misses.
LATER: list[dict[str, Any]] = json.loads((DATA / "role_pairs_later.json").read_text(encoding="utf-8"))

REAL_NAMES = sorted({pair[side] for pair in BUILD + MEASURE for side in ("wanted", "other")})
PRECISIONS = ["fp32", "fp16", "bf16", "fp8_e4m3fn", "fp8_e5m2", "fp8_e4m3fn_scaled", "int8", "nvfp4", "mxfp8",
              "Q2_K", "Q4_0", "Q4_K_M", "Q4_K_S", "Q5_K_M", "Q6_K", "Q8_0", "IQ4_XS"]  # fmt: skip
STEMS = ["wan2.2_i2v_high_noise_14B", "flux1-kontext-dev", "t5xxl", "qwen_image_edit_2509", "umt5-xxl-enc",
         "Qwen-Image-Lightning-4steps-V1.0", "sd3.5_large", "hunyuanvideo1.5_720p_t2v", "z_image_turbo",
         "pixel_art_style_z_image_turbo", "control_v11p_sd15_canny", "wan_2.1_vae",
         "麦橘写实_v7"]  # fmt: skip

real_names = st.sampled_from(REAL_NAMES)
any_names = st.one_of(
    real_names,
    st.text(min_size=1, max_size=30),
    st.lists(
        st.sampled_from(
            ["wan", "2.1", "high", "low", "v2", "xl", "lora", "fp8", "x4", "14B", "ae", "art", "/"]
        ),
        min_size=1,
        max_size=6,
    ).map("_".join),
)
folders = st.sampled_from([None, "loras", "checkpoints", "diffusion_models", "text_encoders", "vae"])


def verdict(pair: dict[str, Any]) -> Any:
    return compare(parse_roles(pair["wanted"], pair["folder"]), parse_roles(pair["other"], pair["folder"]))


def attributes(differences: tuple[str, ...]) -> set[str]:
    return {difference.partition(":")[0] for difference in differences}


def kind(wanted: str, other: str, folder: str | None = None) -> str:
    return compare(parse_roles(wanted, folder), parse_roles(other, folder)).kind


@pytest.mark.parametrize("pair", BUILD, ids=lambda pair: f"{pair['wanted']}|{pair['other']}")
def test_published_pairs_are_told_apart(pair: dict[str, Any]) -> None:
    found = verdict(pair)
    if "missed" in pair:
        assert found.kind == "different"  # a miss may cost a download, never offer a wrong file
        return
    assert found.kind == pair["kind"]
    if pair["differs"]:
        assert pair["differs"] in attributes(found.differences)


@pytest.mark.parametrize(("name", "pairs"), [("measured half", MEASURE), ("labelled later", LATER)])
def test_pairs_not_looked_at_while_building_are_told_apart(
    name: str, pairs: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = [(pair["kind"], verdict(pair).kind) for pair in pairs]
    right = sum(wanted == found for wanted, found in kinds)
    wrong_files = sum(wanted == "different" != found for wanted, found in kinds)
    with capsys.disabled():
        print(f"\nrole pairs, {name}: {right}/{len(kinds)} right, {wrong_files} wrong files offered")
    assert right / len(kinds) >= 0.95
    assert wrong_files == 0


def test_the_tables_are_disjoint_and_each_pair_names_its_origin() -> None:
    tables = [{(pair["wanted"], pair["other"]) for pair in table} for table in (BUILD, MEASURE, LATER)]
    assert sum(map(len, tables)) == len(set().union(*tables)) >= 600
    assert all(pair["origin"] for pair in BUILD + MEASURE + LATER)


@given(any_names, any_names, folders, folders)
def test_comparing_is_symmetric_in_kind(a: str, b: str, folder_a: str | None, folder_b: str | None) -> None:
    left, right = parse_roles(a, folder_a), parse_roles(b, folder_b)
    assert compare(left, right).kind == compare(right, left).kind


@given(any_names, folders)
def test_a_name_is_the_same_as_itself(name: str, folder: str | None) -> None:
    found = compare(parse_roles(name, folder), parse_roles(name, folder))
    assert (found.kind, found.differences) == ("same", ())
    assert similarity(name, name) == 1.0


@given(st.sampled_from(STEMS), st.permutations(PRECISIONS), st.sampled_from(["_", "-", "."]))
def test_another_precision_is_a_fair_substitute_that_says_so(
    stem: str, precisions: list[str], separator: str
) -> None:
    a, b = (f"{stem}{separator}{precision}.safetensors" for precision in precisions[:2])
    found = compare(parse_roles(a), parse_roles(b))
    assert found.kind == "precision"
    assert attributes(found.differences) == {"precision"}
    assert 0.4 <= similarity(a, b) < 0.9


@given(real_names, st.sampled_from(["relight", "zeta", "麦橘", "rank48", "3steps", "outpaint", "v7", "48b"]))
def test_one_more_word_makes_another_model(name: str, word: str) -> None:
    stem, _, extension = name.rpartition(".")
    # SVDQuant states its own rank, which is one of packing.
    other = "precision" if word == "rank48" and name.startswith("svdq-") else "different"
    assert kind(name, f"{stem}-{word}.{extension}") == ("same" if word in name else other)


@given(
    st.lists(st.tuples(st.sampled_from(["loras", "vae", "diffusion_models"]), real_names), max_size=30),
    real_names,
)
def test_the_index_finds_what_comparing_every_file_would(files: list[tuple[str, str]], wanted: str) -> None:
    files = list(dict.fromkeys(files))
    roles = parse_roles(wanted, "diffusion_models")
    plainly = {file for file in files if compare(roles, parse_roles(file[1], file[0])).kind != "different"}
    found = RoleIndex(files).find(wanted, "diffusion_models", limit=1000)
    assert {match.file for match in found} == plainly


def test_shared_roles_do_not_make_two_styles_one() -> None:
    assert (
        kind("pixel_art_style_z_image_turbo.safetensors", "watercolor_z_image_turbo.safetensors")
        == "different"
    )
    assert kind("day_to_night.safetensors", "night_to_day.safetensors") == "different"


def test_spelling_and_the_order_of_roles_do_not_matter() -> None:
    assert kind("flux1-dev-kontext.safetensors", "FLUX.1_Kontext-dev.safetensors") == "same"
    assert kind("wan2.1_vace_14B_fp16.safetensors", "Wan2_1-14B-VACE-fp16.safetensors") == "same"
    assert kind("4x-UltraSharp.pth", "4x_ultrasharp.pth") == "same"
    assert kind("wan_animate_2_distill.safetensors", "Wan-Animate-2-distilled.safetensors") == "same"


def test_the_folder_says_what_the_name_need_not() -> None:
    angles, plain = "Multiple-angles-lora.safetensors", "Multiple-angles.safetensors"
    assert kind(angles, plain) == "different"
    assert kind(angles, plain, "loras") == "same"
    checkpoint, model = parse_roles("flux1-dev-fp8.safetensors", "checkpoints"), "flux1-dev-fp8.safetensors"
    assert compare(checkpoint, parse_roles(model, "unet")).kind == "different"
    assert compare(parse_roles(model, "diffusion_models"), parse_roles(model, "unet")).kind == "same"


def test_directories_tell_families_apart_but_need_not_be_repeated() -> None:
    assert kind("SD1.5/add_detail.safetensors", "SDXL/add_detail.safetensors", "loras") == "different"
    assert kind("add_detail.safetensors", r"SDXL\add_detail.safetensors", "loras") == "same"


def test_generic_names_are_known_by_their_directory() -> None:
    name = "diffusion_pytorch_model.safetensors"
    assert kind(f"controlnet-canny-sdxl-1.0/{name}", f"controlnet-depth-sdxl-1.0/{name}") == "different"
    assert kind("model.safetensors", "pytorch_model.safetensors") == "different"
    assert kind("model.safetensors", "model.ckpt") == "different"
    assert kind("high_noise_model.safetensors", "high_noise_model_fp16.safetensors") == "different"


def test_nearer_precision_first_then_the_subfolder_asked_for() -> None:
    index = RoleIndex(
        [
            ("diffusion_models", "other/wan2.1_t2v_14B_bf16.safetensors"),
            ("diffusion_models", "Wan2.1/wan2.1_t2v_14B_bf16.safetensors"),
            ("diffusion_models", "wan2.1-t2v-14b-Q4_K_M.gguf"),
            ("diffusion_models", "Wan2.1/wan2.1_i2v_480p_14B_fp16.safetensors"),
            ("loras", "wan2.1_t2v_14B_fp16.safetensors"),
        ]
    )
    found = index.find("Wan2.1/wan2.1_t2v_14B_fp16.safetensors", "diffusion_models")
    assert [match.file[1] for match in found] == [
        "Wan2.1/wan2.1_t2v_14B_bf16.safetensors",
        "other/wan2.1_t2v_14B_bf16.safetensors",
        "wan2.1-t2v-14b-Q4_K_M.gguf",
    ]
    assert found[0].differences == ("precision: fp16 / bf16",)
    assert len(index.find("wan2.1_t2v_14B_fp16.safetensors", "diffusion_models", limit=1)) == 1

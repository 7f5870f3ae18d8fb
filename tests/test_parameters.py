"""The models that generation parameters, as A1111 writes them, speak of."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.workflow.containers.parameters import A1111Model, listed_models, parse_parameters


@given(
    st.text(max_size=300)
    | st.from_regex(r'Steps: \d(, [A-Z][a-z]{2}: ("[a-z]|\[|\{|[a-z]))*', fullmatch=True)
)
@settings(max_examples=500)
def test_any_text_is_parsed_as_parameters(text: str) -> None:
    parse_parameters(text)


FORGE = (
    "portrait <lora:EPhsrKafka:0.8>, <lyco:style_v2:0.5:1>\nNegative prompt: <hypernet:old:1> badhand\n"
    "Steps: 30, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 2340366286, Size: 832x1216, "
    "Model hash: 529c72f6c3, Model: mfcgPDXL_v10, VAE hash: 735e4c3a44, VAE: sdxl_vae.safetensors, "
    "Denoising strength: 0.33, Clip skip: 2, ADetailer model: face_yolov8n.pt, "
    'ControlNet 0: "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 1", '
    "Hires upscale: 1.5, Refiner: sd_xl_refiner_1.0 [7440042bbd], Module 1: ae, Module 2: clip_l, "
    'Lora hashes: "EPhsrKafka: dba941975e80, style:v2: 0123456789ab", TI hashes: "badhand: aa7651be154c", '
    "Version: f0.0.17v1.8.0rc-latest-277-g0af28699, "
    'Hashes: {"vae": "63aeecb90f", "lora:EPhsrKafka": "5a3385485b", "model": "529c72f6c3", '
    '"embed:EasyNegative": "C74B4E810B"}'
)


def test_parameters_name_each_model_once_with_all_its_hashes() -> None:
    assert parse_parameters(FORGE).models == (
        A1111Model("checkpoint", "mfcgPDXL_v10", ("529c72f6c3",)),
        A1111Model("vae", "sdxl_vae.safetensors", ("735e4c3a44", "63aeecb90f")),
        A1111Model("controlnet", "control_v11p_sd15_canny", ("d14c016b",)),
        A1111Model("checkpoint", "sd_xl_refiner_1.0", ("7440042bbd",)),
        A1111Model("other", "ae"),
        A1111Model("other", "clip_l"),
        A1111Model("lora", "EPhsrKafka", ("dba941975e80", "5a3385485b")),
        A1111Model("lora", "style_v2"),
        A1111Model("hypernetwork", "old"),
        A1111Model("lora", "style:v2", ("0123456789ab",)),
        A1111Model("embedding", "badhand", ("aa7651be154c",)),
        A1111Model("embedding", "EasyNegative", ("c74b4e810b",)),
    )


def test_parameters_of_civitai_name_versions() -> None:
    text = (
        "Negative space, fog Negative prompt: Steps: 23, Sampler: Undefined, CFG scale: 3.5, Seed: 1, "
        'Civitai resources: [{"type":"checkpoint","modelVersionId":2442439,"modelName":"Z Image",'
        '"modelVersionName":"Turbo"},\n {"modelName":"EasyNegative","versionName":"EasyNegative_pt",'
        '"air":"urn:air:sd1:embedding:civitai:7808@9536"}, 7], Civitai metadata: {}'
    )
    assert parse_parameters(text).models == (
        A1111Model("checkpoint", title="Z Image Turbo", version_id=2442439),
        A1111Model(
            "embedding",
            title="EasyNegative EasyNegative_pt",
            version_id=9536,
            air="urn:air:sd1:embedding:civitai:7808@9536",
        ),
    )


def test_what_civitais_generator_lists_in_a_workflow() -> None:
    checkpoint, lora = "urn:air:sdxl:checkpoint:civitai:101@201", "urn:air:sdxl:lora:civitai:102@202"
    hub = "urn:air:flux1:checkpoint:huggingface:o/r@main"
    content = {
        "1": {"class_type": "KSampler", "inputs": {}},
        "extra": {"airs": [checkpoint, lora, hub, "no air", 7], "embedding_airs": ["103@203", "104", 5]},
        "extraMetadata": '{"prompt": "a", "resources": [{"modelVersionId": 202, "strength": 1},'
        ' {"modelVersionId": 204, "type": "upscaler"}, {"strength": 1}]}',
    }
    assert listed_models(content) == (
        A1111Model("checkpoint", version_id=201, air=checkpoint),
        A1111Model("lora", version_id=202, air=lora),
        A1111Model("checkpoint", air=hub),
        A1111Model("embedding", version_id=203),
        A1111Model("upscaler", version_id=204),
    )


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        {"extra": []},
        {"extra": {"airs": "x"}},
        {"extraMetadata": "{"},
        {"extraMetadata": "[" * 100_000},
        {"extraMetadata": {"resources": {"a": 1}}},
        {"extraMetadata": 5, "extra": {"airs": [None, {}, []]}},
    ],
)
def test_what_is_no_such_list_names_nothing(content: object) -> None:
    assert listed_models(content) == ()


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ("Model hash: 6ce0161689", [A1111Model("checkpoint", None, ("6ce0161689",))]),
        ('Model: "a, b: c"', [A1111Model("checkpoint", "a, b: c")]),
        ("Model: None, VAE: Automatic", []),
        ("Model: , Version: ComfyUI", []),
        ('Hashes: {"model": "6ce0161689"}', [A1111Model("checkpoint", None, ("6ce0161689",))]),
        (
            'Model: a, Hashes: {"model": 5, "x": "not hex"}',
            [A1111Model("checkpoint", "a"), A1111Model("other", "x")],
        ),
        ('Hashes: {"broken, Model: a', [A1111Model("checkpoint", "a")]),
        ("ControlNet 0 Model: canny [d14c016b]", [A1111Model("controlnet", "canny", ("d14c016b",))]),
        ("Civitai resources: [{}], Hires checkpoint: Use same checkpoint", []),
    ],
)
def test_parameters_in_other_forms(details: str, expected: list[A1111Model]) -> None:
    assert list(parse_parameters(f"a fox\nSteps: 20, {details}").models) == expected


def test_a_prompt_that_speaks_of_steps_is_not_the_details() -> None:
    text = "Steps: 3 up the hill, Model: fake\nNegative prompt: x\nSteps: 20, VAE: real"
    assert parse_parameters(text).models == (A1111Model("vae", "real"),)


def test_hostile_parameters_are_parsed_at_all() -> None:
    # Backtracking without bound would never end; the time limit of all tests tells.
    for text in (
        "Steps: 1, " + part * 300_000 for part in ("a: {", 'a: "\\", ', "a: [[", "<lora:", "a ", "a: ")
    ):
        parse_parameters(text)

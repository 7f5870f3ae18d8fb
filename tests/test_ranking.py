"""What always holds of ranking, whatever is offered."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.names import same_file_name
from resolver.sources import Contents, Context, Offer, Wanted
from resolver.sources.ranking import rank
from resolver.sources.workflow import WorkflowSource
from tests.test_asking import Budget

HASHES = [letter * 64 for letter in "abc"]
NAMES = ["x_v1.safetensors", "x_v1_fp16.safetensors", "x_v2.safetensors", "model.safetensors", "y.gguf"]
CONTENTS = [
    Contents(frozenset({"lora"}), frozenset({"sdxl"}), frozenset({"fp16"})),
    Contents(frozenset({"vae"})),
]

contexts = st.builds(
    Context, families=st.frozensets(st.sampled_from(["sdxl", "flux1", "t5xxl", "wan2.2"]), max_size=2)
)
models = st.builds(
    Wanted,
    id=st.just("id"),
    folder=st.sampled_from([None, "loras", "vae"]),
    name=st.sampled_from([*NAMES, "sub/x_v1.safetensors", "sub\\x_v1.safetensors"]),
    sha256=st.sampled_from([None, *HASHES]),
    size=st.sampled_from([None, 1, 2]),
    autov2=st.sampled_from([None, None, HASHES[0][:10]]),
    autov3=st.sampled_from([None, None, "a" * 12]),
)
offers = st.lists(
    st.builds(
        Offer,
        source=st.sampled_from(["workflow", "templates", "huggingface", "civitai", "studio"]),
        url=st.sampled_from([f"https://h.example/{n}" for n in range(6)]),
        filename=st.sampled_from(NAMES),
        folder=st.sampled_from([None, "loras", "vae"]),
        sha256=st.sampled_from([None, *HASHES, HASHES[0].upper()]),
        size=st.sampled_from([None, 1, 2]),
        evidence=st.sampled_from(
            [frozenset(), frozenset({"embedded_url"}), frozenset({"catalog"}), frozenset({"note_link"})]
        ),
        needs=st.sampled_from([None, "licence", "token", "early_access"]),
        mirrors=st.sampled_from([(), ("https://m.example/1",)]),
        publisher=st.sampled_from([None, "Comfy-Org", "joker"]),
        downloads=st.sampled_from([0, 5]),
        base_model=st.sampled_from([None, "SDXL 1.0", "Pony", "Flux.1 D"]),
        safety=st.sampled_from([None, "scanned", "danger"]),
        contents=st.sampled_from([None, *CONTENTS]),
        autov3=st.sampled_from([None, "a" * 12, "b" * 12]),
    ),
    max_size=7,
)


@given(models, offers, contexts, st.randoms())
def test_the_order_of_the_offers_does_not_matter(
    wanted: Wanted, given_: list[Offer], context: Context, random: object
) -> None:
    shuffled = list(given_)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert rank(wanted, given_, context) == rank(wanted, shuffled, context)


@given(models, offers, contexts)
def test_exact_is_only_what_has_the_hash_or_is_the_authors_own_url_for_this_very_name(
    wanted: Wanted, given_: list[Offer], context: Context
) -> None:
    for candidate in rank(wanted, given_, context).candidates:
        if candidate.confidence != "exact":
            continue
        found = (candidate.sha256 or "").lower()
        equal = wanted.sha256 is not None and wanted.sha256.lower() == found
        authors = any(
            "embedded_url" in offer.evidence and same_file_name(offer.filename, wanted.name)
            for offer in given_
            if offer.url in (candidate.url, *candidate.mirrors)
        )
        assert equal or authors
        if wanted.digest and candidate.sha256:
            assert found.startswith(wanted.digest), "and never what is known to be something else"


@given(models, offers, contexts)
def test_no_content_and_no_url_is_two_candidates(
    wanted: Wanted, given_: list[Offer], context: Context
) -> None:
    candidates = rank(wanted, given_, context).candidates
    hashes = [candidate.sha256.lower() for candidate in candidates if candidate.sha256]
    assert len(hashes) == len(set(hashes))
    urls = [candidate.url for candidate in candidates]
    assert len(urls) == len(set(urls))
    assert all(candidate.url not in candidate.mirrors for candidate in candidates)


@given(models, offers, contexts)
def test_an_equal_hash_goes_before_all_else_and_resolves(
    wanted: Wanted, given_: list[Offer], context: Context
) -> None:
    found = rank(wanted, given_, context)
    exact = [c for c in found.candidates if c.confidence == "exact" and "sha256" in c.evidence]
    if exact:
        assert found.candidates[0] == exact[0]
        assert found.state == "resolved"


@given(models, offers)
def test_what_scanners_warn_of_is_never_more_than_a_possibility(wanted: Wanted, given_: list[Offer]) -> None:
    for candidate in rank(wanted, given_).candidates:
        assert candidate.safety != "danger" or candidate.confidence == "possible"


@pytest.mark.parametrize(
    ("name", "path", "confidence"),
    [
        ("a b+c.safetensors", quote("a b+c.safetensors"), "exact"),
        ("模型.safetensors", quote("模型.safetensors"), "exact"),
        ("caf\u00e9.safetensors", quote("cafe\u0301.safetensors"), "exact"),
        ("deep\\sub\\x.safetensors", "other/x.safetensors", "exact"),
        ("deep/x.safetensors", "other%2Fx.safetensors", "exact"),
        ("x.safetensors", "x%2Esafetensors", "exact"),
        ("a%20b.safetensors", "a%2520b.safetensors", "exact"),
        ("a b.safetensors", "a%2520b.safetensors", "probable"),
        ("a b.safetensors", "a_b.safetensors", "probable"),
        ("x.safetensors", "X.safetensors", "probable"),
        ("x_v1.safetensors", "x_v1.1.safetensors", "probable"),
        ("x.safetensors", "my_x.safetensors", "probable"),
        ("x.safetensors", "x.safetensors.zip", "possible"),
    ],
)
async def test_the_authors_url_is_exact_for_this_very_name_and_nothing_looser(
    name: str, path: str, confidence: str
) -> None:
    url = f"https://huggingface.co/o/r/resolve/main/{path}"
    wanted = Wanted("loras/x", "loras", name, url=url)
    found = rank(wanted, await WorkflowSource().find(wanted, Context(), Budget())).candidates
    assert [candidate.confidence for candidate in found] == [confidence]


@pytest.mark.parametrize(
    ("name", "confidence"),
    [
        ("vae.safetensors", "possible"),
        ("ip-adapter.bin", "possible"),
        ("diffusion_pytorch_model_V2.safetensors", "possible"),
        ("model-00001-of-00002.safetensors", "possible"),
        ("adapter_model.safetensors", "possible"),
        ("sub/text_encoder.safetensors", "possible"),
        ("ae.safetensors", "probable"),
        ("v1-5-pruned-emaonly.ckpt", "probable"),
    ],
)
def test_an_equal_name_is_worth_what_the_name_tells(name: str, confidence: str) -> None:
    offer = Offer("huggingface", f"https://h.example/{name}", name.rpartition("/")[2])
    (candidate,) = rank(Wanted("id", None, name), [offer]).candidates
    assert candidate.confidence == confidence

"""Hugging Face and Civitai as sources, against a hub that speaks both APIs: what is good, empty, slow,
limited, lying and broken there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.accounts import HuggingFaceAccount
from demo.civitai.catalog import CivitaiFile, CivitaiModel, CivitaiVersion
from demo.faults import Fault
from demo.files import HubFile
from demo.hub import Hub
from demo.options import DEMO_TOKEN
from demo.world import HubRepo, World
from resolver.errors import DownloadError
from resolver.net.client import HttpClient
from resolver.settings import load_settings
from resolver.sources import Context, Offer, Source, Wanted
from resolver.sources.asking import Asker, Budget, Cache, NoCache
from resolver.sources.cache import StoreCache
from resolver.sources.civitai import CivitaiSource
from resolver.sources.huggingface import HuggingFaceSource
from resolver.sources.publishers import PUBLISHERS
from resolver.store import Store


def file(path: str, seed: str = "", size: int = 4096) -> HubFile:
    return HubFile(path, size, seed or path)


UMT5 = "umt5_xxl_fp8_e4m3fn_scaled.safetensors"
TRUE_UMT5 = file(f"split_files/text_encoders/{UMT5}")
TURTLE = file("ab cd/turtle_v1.safetensors")

REPOS = (
    HubRepo("Comfy-Org/Wan_2.1_ComfyUI_repackaged", (TRUE_UMT5, file("README.md")), downloads=9),
    HubRepo("somebody/mirror-of-umt5_xxl", (file(UMT5, TRUE_UMT5.seed),), downloads=5),
    HubRepo("joker/umt5_xxl_fp8_e4m3fn_scaled", (file(UMT5, "something else"),)),
    HubRepo("joker/umt5_xxl-taken-down", (file(UMT5, "bad"),), disabled=True),
    HubRepo("turtle-lab/turtle", (TURTLE, file("turtle_v1.md")), gated="auto"),
    HubRepo("turtle-lab/turtle-private", (file("turtle_v1.safetensors", "private"),), private=True),
    HubRepo("Kijai/lots", (file("turtle_v2.safetensors"), file("x/turtle_v1_fp16.safetensors"))),
)
GULL = file("gullRealism_v3.safetensors")
GULL_FP32 = file("gullRealism_v3_fp32.safetensors")
MODELS = (
    CivitaiModel(
        7,
        "Gull Realism",
        "Checkpoint",
        (
            CivitaiVersion(71, "v3", (CivitaiFile(701, GULL), CivitaiFile(702, GULL_FP32, fp="fp32"))),
            CivitaiVersion(70, "v2", (CivitaiFile(700, file("gullRealism_v2.safetensors")),)),
        ),
        downloads=100,
    ),
    CivitaiModel(
        8,
        "Gull Realism (danger)",
        "Checkpoint",
        (CivitaiVersion(80, "v3", (CivitaiFile(800, file(GULL.name, "bad"), scan="Danger"),)),),
    ),
    CivitaiModel(
        9,
        "Gull LoRA",
        "LORA",
        (
            CivitaiVersion(
                90, "v1", (CivitaiFile(900, file("gull.safetensors")),), usage_control="Generation"
            ),
            CivitaiVersion(91, "v2", (CivitaiFile(901, file("gull_v2.safetensors")),), base_model="Flux.1 D"),
        ),
    ),
)
WORLD = World({repo.id: repo for repo in REPOS}, civitai=MODELS)


def wanted(name: str, folder: str = "text_encoders", **known: Any) -> Wanted:
    return Wanted(f"{folder}/{name}", folder, name, **known)


class Online:
    """Both sources before one hub."""

    def __init__(self, hub: Hub, client: HttpClient, cache: Cache) -> None:
        self.hub = hub
        asker = Asker(cache)
        self.huggingface = HuggingFaceSource(client, asker, hub.endpoint)
        self.civitai = CivitaiSource(client, asker, hub.civitai)

    @staticmethod
    async def find(source: Source, model: Wanted, **budget: Any) -> list[Offer]:
        return await source.find(model, Context(), Budget(**budget))


@asynccontextmanager
async def online(
    token: str | None = None, cache: Cache | None = None, **options: Any
) -> AsyncIterator[Online]:
    hub = Hub(WORLD, **options)
    await hub.start()
    environment = hub.environment()
    settings = load_settings(
        {
            "hf_endpoint": hub.endpoint,
            "civitai_endpoint": hub.civitai,
            "allowed_hosts": environment["CMR_ALLOWED_HOSTS"],
            "hf_token": token,
        }
    ).values
    client = HttpClient(settings)
    try:
        yield Online(hub, client, cache or NoCache())
    finally:
        await client.close()
        await hub.stop()


def places(offers: list[Offer]) -> dict[str, str | None]:
    """SHA-256 by repository."""
    return {"/".join(offer.url.split("/")[3:5]): offer.sha256 for offer in offers}


# --- Hugging Face ---------------------------------------------------------------------------------


async def test_every_repository_that_has_the_name_is_offered_with_size_and_hash() -> None:
    async with online() as hub:
        offers = await hub.find(hub.huggingface, wanted(UMT5))
    assert places(offers) == {
        "Comfy-Org/Wan_2.1_ComfyUI_repackaged": TRUE_UMT5.sha256,
        "somebody/mirror-of-umt5_xxl": TRUE_UMT5.sha256,
        "joker/umt5_xxl_fp8_e4m3fn_scaled": file(UMT5, "something else").sha256,
    }
    true = offers[0]
    repo = REPOS[0]
    assert true.url == f"https://huggingface.co/{repo.id}/resolve/{repo.commit}/{TRUE_UMT5.path}"
    assert (true.size, true.publisher, true.checked) == (4096, "Comfy-Org", True)


async def test_what_no_repositorys_id_speaks_of_is_found_among_a_known_publishers_files() -> None:
    async with online() as hub:
        offers = await hub.find(hub.huggingface, wanted("turtle_v2.safetensors", "loras"))
    assert places(offers) == {"Kijai/lots": file("turtle_v2.safetensors").sha256}


async def test_without_the_very_name_the_same_model_at_another_precision_is_offered() -> None:
    async with online() as hub:
        offers = await hub.find(hub.huggingface, wanted("turtle_v1_bf16.safetensors", "loras"))
    assert sorted(offer.filename for offer in offers) == [
        "turtle_v1.safetensors",
        "turtle_v1_fp16.safetensors",
    ]


async def test_a_gated_repository_shows_its_files_and_says_so_and_odd_paths_are_quoted() -> None:
    async with online() as hub:
        [offer] = await hub.find(hub.huggingface, wanted("turtle_v1.safetensors", "loras"))
    assert (offer.gated, offer.sha256) == (True, TURTLE.sha256)
    assert "/ab%20cd/turtle_v1.safetensors" in offer.url


async def test_a_private_repository_is_found_by_who_may_see_it() -> None:
    owner = HuggingFaceAccount(organizations=("turtle-lab",))
    async with online(token="hf_owner", accounts={"hf_owner": owner}) as hub:
        offers = await hub.find(hub.huggingface, wanted("turtle_v1.safetensors", "loras"))
    assert "turtle-lab/turtle-private" in places(offers)


async def test_nothing_is_found_where_nothing_is() -> None:
    async with online() as hub:
        assert await hub.find(hub.huggingface, wanted("no_such_thing.safetensors")) == []
        assert await hub.find(hub.civitai, wanted("no_such_thing.safetensors", "loras")) == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("status", 503), "SERVER_ERROR"),
        (Fault("status", 429, headers={"Retry-After": "300"}), "RATE_LIMITED"),
        (Fault("disconnect"), "NETWORK"),
        (Fault("truncated"), "NETWORK"),
        (Fault("malformed"), "API_ANSWER"),
        (Fault("html"), "API_ANSWER"),
    ],
)
async def test_a_broken_server_is_an_error_with_a_code(fault: Fault, code: str) -> None:
    async with online(faults={"huggingface.*": fault, "civitai.*": fault}) as hub:
        for source in (hub.huggingface, hub.civitai):
            with pytest.raises(DownloadError) as failed:
                await hub.find(source, wanted(UMT5))
            assert failed.value.code == code


async def test_a_part_of_the_hub_that_fails_costs_its_part() -> None:
    fault = Fault("status", 500, about="author=Comfy-Org")
    async with online(faults={"huggingface.*": fault}) as hub:
        offers = await hub.find(hub.huggingface, wanted("turtle_v2.safetensors", "loras"))
    assert list(places(offers)) == ["Kijai/lots"]


async def test_a_server_that_asks_for_patience_gets_it() -> None:
    fault = Fault("status", 429, times=1, headers={"Retry-After": "0.1"})
    async with online(faults={"huggingface.*": fault, "civitai.*": fault}) as hub:
        assert len(await hub.find(hub.huggingface, wanted(UMT5))) == 3
        assert await hub.find(hub.civitai, wanted(GULL.name, "checkpoints"))


async def test_a_slow_server_ends_with_the_budget() -> None:
    async with online(latency=0.05) as hub:
        with pytest.raises(DownloadError) as spent:
            await hub.find(hub.huggingface, wanted(UMT5), requests=2)
        assert spent.value.code == "BUDGET_SPENT"


async def test_a_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resolver.net.api._SECONDS", 0.2)
    async with online(faults={"*": Fault("hang")}) as hub:
        for source in (hub.huggingface, hub.civitai):
            with pytest.raises(DownloadError) as failed:
                await asyncio.wait_for(hub.find(source, wanted(UMT5)), 10)
            assert failed.value.code == "NETWORK"


async def test_what_known_publishers_have_is_asked_once_for_all_models(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite3")
    async with online(cache=StoreCache(store)) as hub:
        asked = []
        for name in (UMT5, "turtle_v2.safetensors", UMT5):
            await hub.find(hub.huggingface, wanted(name))
            asked.append(len(hub.hub.log.entries()))
    store.close()
    assert asked[0] > len(PUBLISHERS)
    assert 0 < asked[1] - asked[0] <= 4
    assert asked[2] == asked[1]


# --- Civitai --------------------------------------------------------------------------------------


async def test_a_file_is_found_by_its_hash_whatever_it_is_called() -> None:
    async with online() as hub:
        [offer] = await hub.find(
            hub.civitai, wanted("renamed.safetensors", "checkpoints", sha256=GULL.sha256)
        )
    assert (offer.sha256, offer.filename) == (GULL.sha256, GULL.name)
    assert offer.url == "https://civitai.com/api/download/models/71"
    assert offer.page_url == "https://civitai.com/models/7?modelVersionId=71"


async def test_all_hashes_of_a_workflow_are_one_question() -> None:
    async with online() as hub:
        models = [
            wanted(f"{n}.safetensors", "checkpoints", sha256=known.sha256)
            for n, known in enumerate((GULL, GULL_FP32, file("unknown.safetensors")))
        ]
        answers = await asyncio.gather(*(hub.find(hub.civitai, model) for model in models))
        posts = hub.hub.log.entries("civitai", method="POST")
    assert [[offer.sha256 for offer in answer] for answer in answers] == [
        [GULL.sha256],
        [GULL_FP32.sha256],
        [],
    ]
    assert len(posts) == 1


async def test_the_version_that_a_link_names_is_offered_by_its_primary_file() -> None:
    link = "https://civitai.com/api/download/models/71"
    async with online() as hub:
        [offer] = await hub.find(hub.civitai, wanted("anything.safetensors", "checkpoints", url=link))
    assert offer.filename == GULL.name


async def test_by_name_the_title_is_guessed_and_the_very_file_of_the_version_is_chosen() -> None:
    async with online() as hub:
        offers = await hub.find(hub.civitai, wanted(GULL.name, "checkpoints"))
    assert {(offer.sha256, offer.safety) for offer in offers} == {
        (GULL.sha256, "scanned"),
        (file(GULL.name, "bad").sha256, "danger"),
    }


async def test_what_may_not_be_downloaded_is_not_offered_and_a_base_model_is_carried_along() -> None:
    async with online() as hub:
        assert await hub.find(hub.civitai, wanted("gull.safetensors", "loras")) == []
        [offer] = await hub.find(hub.civitai, wanted("gull_v2.safetensors", "loras"))
    assert offer.base_model == "Flux.1 D"


async def test_a_token_goes_to_the_hub_alone() -> None:
    async with online(token=DEMO_TOKEN) as hub:
        await hub.find(hub.huggingface, wanted(UMT5))
        await hub.find(hub.civitai, wanted(GULL.name, "checkpoints"))
        sent = {entry.host for entry in hub.hub.log.entries() if "Authorization" in entry.headers}
    assert sent == {"api"}

"""The hub behaves towards clients as Civitai does."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

import pytest

from demo import Hub, HubFile, World
from demo.accounts import CivitaiAccount
from demo.civitai.catalog import PG13, CivitaiFile, CivitaiModel, CivitaiVersion, R
from tests.hub_requests import Answer, ask, serving

FUTURE = datetime(2100, 1, 1, tzinfo=timezone.utc)
LARGE = HubFile("dreamer_v2.safetensors", 1_200_000, "dreamer 2")
PRUNED = HubFile("dreamer_v2_pruned.safetensors", 5000, "dreamer 2 pruned")
VAE = HubFile("dreamer.vae.pt", 4100, "dreamer vae")
OLD = HubFile("dreamer_v1.ckpt", 5000, "dreamer 1")
DREAMER = CivitaiModel(
    id=10,
    name="Dreamer XL",
    type="Checkpoint",
    versions=(
        CivitaiVersion(
            21,
            "v2.0",
            (
                CivitaiFile(201, LARGE),
                CivitaiFile(202, PRUNED, type="Pruned Model", fp="fp8", size="pruned"),
                CivitaiFile(203, VAE, type="VAE", format="PickleTensor", fp=None, size=None, scan="Danger"),
            ),
        ),
        CivitaiVersion(20, "v1.0", (CivitaiFile(200, OLD, format="PickleTensor"),), base_model="SD 1.5"),
    ),
    creator="Ann",
    tags=("base model",),
    thumbs_up=5,
    downloads=900,
)


def model(number: int, name: str, **details: Any) -> CivitaiModel:
    """A LoRA with one version ``10 * number``; what a version has is given with ``version_``."""
    of_version = {
        key.removeprefix("version_"): details.pop(key) for key in list(details) if key.startswith("version_")
    }
    file = CivitaiFile(100 * number, HubFile(f"lora{number}.safetensors", 5000, name))
    version = CivitaiVersion(10 * number, "v1", (file,), base_model="Flux.1 D", **of_version)
    return CivitaiModel(number, name, "LORA", (version,), **{"creator": "Bob", **details})


WORLD = World(
    {},
    civitai=(
        DREAMER,
        model(30, "Ink Wash Style", thumbs_up=50, downloads=10, version_trained_words=("sumie brush",)),
        model(31, "Ink Lines", nsfw_level=R),
        model(32, "Ink Blots", nsfw_level=PG13),
        model(33, "Ink Archive", mode="Archived"),
        model(34, "Ink Taken", mode="TakenDown"),
        model(35, "Ink Draft", published=False),
        model(36, "Early Ink", version_early_access_until=FUTURE),
        model(37, "Members Ink", version_needs_login=True),
        model(38, "Online Ink", version_usage_control="Generation"),
        model(39, "Withdrawn Ink", version_published=False),
    ),
)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with serving(WORLD) as running:
        yield running


async def get(hub: Hub, path: str, token: str | None = None, **headers: str) -> Answer:
    return await ask(hub.civitai + path, token=token, **headers)


async def listed(hub: Hub, query: str) -> list[int]:
    return [item["id"] for item in (await get(hub, f"/api/v1/models?{query}")).json["items"]]


# Models


async def test_models_are_found_by_the_words_of_their_names_the_newest_first(hub: Hub) -> None:
    assert await listed(hub, "query=dreamer") == [10]
    assert await listed(hub, "query=INK&limit=3") == [39, 38, 37]
    assert await listed(hub, "query=ink+wash&limit=1") == [30]
    assert await listed(hub, "query=ink+wa&limit=1") == [30], "the beginning of a word is enough"
    assert await listed(hub, "query=sumie&limit=1") == [30], "trigger words are searched"
    assert await listed(hub, "query=bob&limit=1") == [39], "creators are searched"
    assert await listed(hub, "query=lora30") == [], "file names are not"


async def test_a_search_that_finds_too_little_gives_up_its_last_words(hub: Hub) -> None:
    assert await listed(hub, "query=ink+wash&limit=2") == [39, 38]
    assert await listed(hub, "query=nothing+ink") == []


async def test_models_are_filtered(hub: Hub) -> None:
    assert await listed(hub, "types=Checkpoint") == [10]
    assert await listed(hub, "types=Checkpoint,VAE&types=Upscaler") == [10]
    assert await listed(hub, "baseModels=SD+1.5") == [10]
    assert await listed(hub, "tag=Base+Model") == [10]
    assert await listed(hub, "username=ann") == [10]
    assert await listed(hub, "ids=10,30") == [30, 10]
    assert (await get(hub, "/api/v1/models?types=Painting")).status == 400


async def test_models_are_sorted(hub: Hub) -> None:
    assert await listed(hub, "ids=10,30&sort=Highest+Rated") == [30, 10]
    assert await listed(hub, "ids=10,30&sort=Most+Downloaded") == [10, 30]
    assert await listed(hub, "ids=10,30&sort=Newest") == [30, 10]
    assert (await get(hub, "/api/v1/models?sort=Luck")).status == 400


async def test_what_is_not_for_everybody_is_listed_when_asked_for(hub: Hub) -> None:
    assert await listed(hub, "ids=30,31,32") == [30]
    assert await listed(hub, "ids=30,31,32&nsfw=true") == [30, 32, 31]


async def test_a_restricted_region_lacks_some_models_silently() -> None:
    async with serving(WORLD, restricted_region=True) as hub:
        assert await listed(hub, "ids=30,31,32&nsfw=true") == [30, 32]
        assert (await get(hub, "/api/v1/models/31")).status == 404
        assert (await get(hub, "/api/v1/model-versions/310")).status == 404
        assert (await get(hub, "/api/download/models/310")).status == 404
        (file,) = WORLD.civitai[2].versions[0].files
        assert (await get(hub, f"/api/v1/model-versions/by-hash/{file.file.sha256}")).status == 404
        assert (await get(hub, "/api/v1/models/32")).status == 200


@pytest.mark.parametrize("query", ["sort=Newest", "query=ink"])
async def test_a_list_goes_on_along_its_cursors(hub: Hub, query: str) -> None:
    url: str | None = f"{hub.civitai}/api/v1/models?{query}&limit=3&nsfw=true"
    pages = []
    while url is not None:
        answer = (await ask(url)).json
        pages.append([item["id"] for item in answer["items"]])
        assert ("nextCursor" in answer["metadata"]) == ("nextPage" in answer["metadata"])
        assert "currentPage" not in answer["metadata"]
        url = answer["metadata"].get("nextPage")
    seen = [number for page in pages for number in page]
    assert [len(page) for page in pages[:-1]] == [3] * (len(pages) - 1)
    assert len(pages) > 2
    assert seen == sorted(set(seen), reverse=True)


async def test_a_list_has_numbered_pages_unless_it_is_a_search(hub: Hub) -> None:
    second = (await get(hub, "/api/v1/models?sort=Newest&limit=2&page=2")).json
    assert [item["id"] for item in second["items"]] == [37, 36]
    assert (second["metadata"]["currentPage"], second["metadata"]["pageSize"]) == (2, 2)
    assert "page=3" in second["metadata"]["nextPage"]
    assert (await get(hub, "/api/v1/models?query=ink&page=2")).status == 400
    assert (await get(hub, "/api/v1/models?limit=100&page=11")).status == 429


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=many", "cursor=nonsense"])
async def test_a_list_refuses_what_it_cannot_do(hub: Hub, query: str) -> None:
    answer = await get(hub, f"/api/v1/models?{query}")
    assert (answer.status, list(answer.json)) == (400, ["error"])


async def test_favourites_need_a_key(hub: Hub) -> None:
    assert (await get(hub, "/api/v1/models?favorites=true")).status == 401
    assert (await get(hub, "/api/v1/models?favorites=true", "civitai_demo")).json["items"] == []


async def test_a_model_is_described_with_its_versions_and_files(hub: Hub) -> None:
    described = (await get(hub, "/api/v1/models/10")).json
    assert (described["name"], described["type"], described["creator"]["username"]) == (
        "Dreamer XL",
        "Checkpoint",
        "Ann",
    )
    assert [version["id"] for version in described["modelVersions"]] == [21, 20]
    primary, pruned, vae = described["modelVersions"][0]["files"]
    assert primary["downloadUrl"] == f"{hub.civitai}/api/download/models/21"
    assert (primary["name"], primary["sizeKB"], primary["primary"]) == (LARGE.name, 1_200_000 / 1024, True)
    assert primary["metadata"] == {"format": "SafeTensor", "size": "full", "fp": "fp16"}
    assert primary["pickleScanResult"] == primary["virusScanResult"] == "Success"
    assert (vae["virusScanResult"], vae["metadata"]) == ("Danger", {"format": "PickleTensor"})
    assert pruned["primary"] is False
    query = "type=Pruned+Model&format=SafeTensor&size=pruned&fp=fp8"
    assert pruned["downloadUrl"] == f"{hub.civitai}/api/download/models/21?{query}"
    only = (await get(hub, "/api/v1/models?ids=10&primaryFileOnly=true")).json["items"][0]
    assert [len(version["files"]) for version in only["modelVersions"]] == [1, 1]


async def test_a_version_is_described_with_its_model(hub: Hub) -> None:
    described = (await get(hub, "/api/v1/model-versions/21")).json
    assert (described["modelId"], described["model"]["name"]) == (10, "Dreamer XL")
    assert described["air"] == "urn:air:sdxl:checkpoint:civitai:10@21"
    assert (described["availability"], described["usageControl"]) == ("Public", "Download")
    assert [file["id"] for file in described["files"]] == [201, 202, 203]
    assert (await get(hub, "/api/v1/model-versions/380")).json["usageControl"] == "Generation"
    (online,) = (await get(hub, "/api/v1/models/38")).json["modelVersions"]
    assert online["usageControl"] == "Generation"
    early = (await get(hub, "/api/v1/model-versions/360")).json
    assert early["availability"] == "EarlyAccess"
    assert early["earlyAccessEndsAt"] == "2100-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    "path", ["models/35", "models/999", "model-versions/350", "model-versions/390", "model-versions/999"]
)
async def test_what_is_not_published_is_not_there(hub: Hub, path: str) -> None:
    answer = await get(hub, f"/api/v1/{path}")
    assert answer.status == 404
    assert answer.json["error"]


async def test_an_archived_model_has_no_files_and_one_taken_down_no_pictures(hub: Hub) -> None:
    for number, mode, pictures in ((33, "Archived", True), (34, "TakenDown", False)):
        described = (await get(hub, f"/api/v1/models/{number}")).json
        (version,) = described["modelVersions"]
        assert (described["mode"], version["files"]) == (mode, [])
        assert "downloadUrl" not in version
        assert ("images" in version) == pictures


# Hashes


@pytest.mark.parametrize("kind", ["SHA256", "AutoV1", "AutoV2", "AutoV3", "CRC32", "BLAKE3"])
async def test_a_version_is_found_by_any_hash_in_any_case(hub: Hub, kind: str) -> None:
    value = LARGE.civitai_hashes[kind]
    assert value == value.upper()
    for written in (value, value.lower()):
        answer = await get(hub, f"/api/v1/model-versions/by-hash/{written}")
        assert (answer.status, answer.json["id"]) == (200, 21)
        assert answer.json["files"][0]["hashes"][kind] == value


async def test_a_hash_nobody_has_is_not_found(hub: Hub) -> None:
    assert (await get(hub, f"/api/v1/model-versions/by-hash/{'0' * 64}")).status == 404
    draft = WORLD.civitai[6].versions[0].files[0].file
    assert (await get(hub, f"/api/v1/model-versions/by-hash/{draft.sha256}")).status == 404


async def test_many_hashes_are_looked_up_at_once(hub: Hub) -> None:
    url = f"{hub.civitai}/api/v1/model-versions/by-hash"
    hashes = [LARGE.sha256, "0" * 64, OLD.sha256.upper(), PRUNED.sha256]
    answer = await ask(url, "POST", body=hashes)
    assert [version["id"] for version in answer.json] == [21, 20]
    ids = await ask(f"{url}/ids", "POST", body=hashes)
    assert ids.json == [
        {"modelVersionId": 21, "hash": LARGE.sha256.upper()},
        {"modelVersionId": 20, "hash": OLD.sha256.upper()},
        {"modelVersionId": 21, "hash": PRUNED.sha256.upper()},
    ]


async def test_many_hashes_are_of_one_kind_and_of_published_versions(hub: Hub) -> None:
    url = f"{hub.civitai}/api/v1/model-versions/by-hash"
    draft, withdrawn = (WORLD.civitai[index].versions[0].files[0].file for index in (6, -1))
    hashes = [LARGE.civitai_hashes["BLAKE3"], draft.sha256, withdrawn.sha256]
    assert (await ask(url, "POST", body=hashes)).json == []
    assert (await ask(f"{url}/ids", "POST", body=hashes)).json == []


@pytest.mark.parametrize("body", [{"hashes": []}, ["short"], [7], ["0" * 64] * 101])
async def test_a_list_of_hashes_that_is_none_is_refused(hub: Hub, body: Any) -> None:
    url = f"{hub.civitai}/api/v1/model-versions/by-hash"
    assert (await ask(url, "POST", body=body)).status == 400


async def test_more_hashes_may_be_asked_for_their_ids_alone(hub: Hub) -> None:
    url = f"{hub.civitai}/api/v1/model-versions/by-hash/ids"
    assert (await ask(url, "POST", body=["0" * 64] * 10_000)).json == []
    assert (await ask(url, "POST", body=["0" * 64] * 10_001)).status == 400


# Accounts


async def test_me_names_the_keys_owner(hub: Hub) -> None:
    assert (await get(hub, "/api/v1/me")).json == {"error": "Unauthorized"}
    assert (await get(hub, "/api/v1/me", "nonsense")).status == 401
    assert (await get(hub, "/api/v1/me", "civitai_demo")).json["username"] == "demo-user"
    assert (await get(hub, "/api/v1/me?token=civitai_demo")).json["isMember"] is False


async def test_a_bad_key_makes_an_anonymous_caller(hub: Hub) -> None:
    assert (await get(hub, "/api/v1/models/10", "nonsense")).status == 200
    assert (await get(hub, "/api/download/models/21", "nonsense")).status == 307


@pytest.mark.parametrize("agent", ["python-requests/2.34.2", "Python-urllib/3.11", "curl/8.5.0", ""])
async def test_scripts_without_a_name_of_their_own_are_refused(hub: Hub, agent: str) -> None:
    for path in ("/api/v1/models/10", "/api/download/models/21"):
        answer = await get(hub, path, "civitai_demo", User_Agent=agent)
        assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (403, "text/html")
    assert (await get(hub, "/api/v1/models/10", User_Agent="my-program/1.0 (curl)")).status == 200


# Downloads


async def test_a_download_leads_to_another_host_which_takes_no_key(hub: Hub) -> None:
    answer = await get(hub, "/api/download/models/21", "civitai_demo")
    assert answer.status == 307
    location = answer.headers["Location"]
    assert urlsplit(location).netloc == urlsplit(hub.storage).netloc != urlsplit(hub.civitai).netloc
    stored = await ask(location)
    assert hashlib.sha256(stored.body).hexdigest() == LARGE.sha256
    assert stored.headers["Content-Disposition"].startswith("attachment;")
    assert 'filename="dreamer_v2.safetensors"' in stored.headers["Content-Disposition"]
    assert (await ask(location, token="civitai_demo")).status == 400
    assert (await ask(location, "HEAD")).status == 403


@pytest.mark.parametrize(
    ("query", "file"),
    [
        ("", LARGE),
        ("?type=Model", LARGE),
        ("?type=Model&format=SafeTensor&size=full&fp=fp16", LARGE),
        ("?size=pruned", PRUNED),
        ("?type=Pruned%20Model&format=SafeTensor", PRUNED),
        ("?type=VAE", VAE),
        ("?fileId=202", PRUNED),
        ("?type=Model&format=PickleTensor", None),
        ("?fp=fp32", None),
        ("?fileId=200", None),
        ("?fileId=x", None),
    ],
)
async def test_the_query_says_which_file_is_meant(hub: Hub, query: str, file: HubFile | None) -> None:
    answer = await get(hub, f"/api/download/models/21{query}")
    if file is None:
        assert answer.status == 404
    else:
        assert (await ask(answer.headers["Location"])).body == file.content


@pytest.mark.parametrize(
    ("version", "key", "status"),
    [
        (370, None, 401),
        (370, "nonsense", 401),
        (370, "civitai_demo", 307),
        (360, None, 401),
        (360, "civitai_demo", 403),
        (360, "buyer", 307),
        (380, "civitai_demo", 401),
        (330, "civitai_demo", 410),
        (350, "civitai_demo", 404),
        (390, "civitai_demo", 404),
        (999, "civitai_demo", 404),
    ],
)
async def test_refused_downloads_say_why(version: int, key: str | None, status: int) -> None:
    accounts = {
        "civitai_demo": CivitaiAccount("demo-user"),
        "buyer": CivitaiAccount("buyer", early_access={360}),
    }
    async with serving(WORLD, civitai_accounts=accounts) as hub:
        answer = await get(hub, f"/api/download/models/{version}", key)
        by_query = await get(hub, f"/api/download/models/{version}?token={key}")
    assert answer.status == by_query.status == status
    if status >= 400:
        assert answer.json["error"]
        assert "Location" not in answer.headers


async def test_requests_are_counted_by_model_and_version(hub: Hub) -> None:
    await get(hub, "/api/v1/models/10")
    await get(hub, "/api/download/models/21")
    assert hub.log.counts("repo") == {"models/10": 1, "versions/21": 1}
    assert hub.log.counts("host") == {"civitai": 2}

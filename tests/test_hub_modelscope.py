"""The hub behaves towards clients as ModelScope does, as far as that goes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from demo import Hub, HubFile, HubRepo, World
from tests.hub_requests import ask, serving

CARD = HubFile.of_text("README.md", "# Model\n")
MODEL = HubFile("split/vae/ae.safetensors", 5000, "ae")
REPO = HubRepo("acme/flux", (CARD, MODEL), revisions=frozenset({"v1"}))


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with serving(World({}, modelscope={REPO.id: REPO})) as running:
        yield running


async def test_a_listing_has_sizes_and_hashes(hub: Hub) -> None:
    url = f"{hub.modelscope}/api/v1/models/acme/flux/repo/files"
    answer = (await ask(f"{url}?Revision=master&Recursive=true")).json
    assert (answer["Code"], answer["Success"]) == (200, True)
    files = answer["Data"]["Files"]
    assert [(file["Type"], file["Path"]) for file in files] == [
        ("blob", "README.md"),
        ("tree", "split"),
        ("tree", "split/vae"),
        ("blob", "split/vae/ae.safetensors"),
    ]
    assert (files[3]["Name"], files[3]["Size"], files[3]["Sha256"]) == ("ae.safetensors", 5000, MODEL.sha256)
    assert (files[0]["IsLFS"], files[3]["IsLFS"]) == (False, True)


async def test_a_listing_is_of_one_directory_unless_asked_otherwise(hub: Hub) -> None:
    url = f"{hub.modelscope}/api/v1/models/acme/flux/repo/files"
    for query, paths in (("", ["README.md", "split"]), ("?Root=split/vae", ["split/vae/ae.safetensors"])):
        files = (await ask(url + query)).json["Data"]["Files"]
        assert [file["Path"] for file in files] == paths


async def test_a_file_leads_to_storage_and_a_small_one_comes_at_once(hub: Hub) -> None:
    url = f"{hub.modelscope}/models/acme/flux/resolve/master"
    large = await ask(f"{url}/split/vae/ae.safetensors")
    assert large.status == 302
    assert large.headers["Location"].startswith(hub.storage)
    assert (await ask(large.headers["Location"])).body == MODEL.content
    small = await ask(f"{url}/README.md")
    assert (small.status, small.body) == (200, CARD.content)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/models/no/such/repo/files",
        "/api/v1/models/acme/flux/repo/files?Revision=v2",
        "/models/acme/flux/resolve/v2/README.md",
        "/models/acme/flux/resolve/v1/no.safetensors",
    ],
)
async def test_what_does_not_exist_is_said_in_the_body_too(hub: Hub, path: str) -> None:
    answer = await ask(hub.modelscope + path)
    assert answer.status == 404
    assert answer.json["Success"] is False
    assert answer.json["Code"] != 200

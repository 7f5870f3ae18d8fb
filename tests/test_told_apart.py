"""What stands between the user and a file, each in its own words: what is needed, which error, or nothing."""

from __future__ import annotations

import struct
import zlib
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from demo.accounts import CivitaiAccount
from demo.civitai.catalog import CivitaiFile, CivitaiModel, CivitaiVersion, R
from demo.files import HubFile
from demo.options import DEMO_KEY, DEMO_TOKEN
from demo.world import HubRepo, World
from resolver.app import Resolver
from resolver.host.standalone import StandaloneHost
from resolver.schemas import Resolution
from resolver.settings import load_settings
from resolver.sources import Context
from resolver.sources.catalog import CatalogSource, Entry
from resolver.workflow.files import read_file
from tests.download_fixtures import running
from tests.searching import searching, wanted

HF = "https://huggingface.co"
CIVITAI = "https://civitai.com/api/download/models"


def lora(name: str, seed: str = "") -> HubFile:
    return HubFile(f"{name}.safetensors", 4096, seed or name)


REPOS = (
    HubRepo("owl/gated-owl", (lora("gated_owl"),), gated="auto", license="flux-1-dev"),
    HubRepo("owl/private-owl", (lora("private_owl"),), private=True),
    HubRepo("owl/disabled-owl", (lora("disabled_owl"),), disabled=True),
    HubRepo("owl/open-owl", (lora("open_owl"),), license="apache-2.0"),
)
LATER = datetime(2100, 1, 1, tzinfo=timezone.utc)


def model(number: int, name: str, **more: Any) -> CivitaiModel:
    version = {
        key: more.pop(key) for key in ("needs_login", "early_access_until", "usage_control") if key in more
    }
    files = (CivitaiFile(number * 100, lora(name)),)
    return CivitaiModel(
        number, name, "LORA", (CivitaiVersion(number * 10, "v1", files, **version),), creator="owl", **more
    )


MODELS = (
    model(1, "earlyFinch", early_access_until=LATER),
    model(2, "loginFinch", needs_login=True),
    model(3, "regionFinch", nsfw_level=R),
    model(4, "archivedFinch", mode="Archived"),
    model(5, "onlineFinch", usage_control="Generation"),
    model(6, "openFinch"),
)
WORLD = World({repo.id: repo for repo in REPOS}, renamed={"owl/former-owl": "owl/open-owl"}, civitai=MODELS)


async def find(name: str, url: str | None = None, **options: Any) -> Resolution:
    async with searching(WORLD, **options) as search:
        return await search.find(wanted(f"{name}.safetensors", url=url))


def codes(found: Resolution) -> list[tuple[str, str]]:
    return [(error.source, error.code) for error in found.errors]


# --- Hugging Face -------------------------------------------------------------------------------


async def test_gated_needs_its_licence_accepted_and_nothing_once_it_is() -> None:
    [shut] = (await find("gated_owl")).candidates
    assert (shut.needs, shut.gated, shut.licence, shut.publisher) == ("licence", True, "flux-1-dev", "owl")
    [open_] = (await find("gated_owl", hf_token=DEMO_TOKEN)).candidates
    assert (open_.needs, open_.gated) == (None, True)


async def test_a_link_to_a_gated_file_is_known_by_content_and_a_free_copy_of_it_serves() -> None:
    """No search finds its repository, and its server tells strangers no hash; the API does."""
    aviary = HubRepo("jay/aviary", (lora("gated_owl"),), gated="auto")
    link = f"{HF}/jay/aviary/resolve/main/gated_owl.safetensors"
    copy = HubRepo("finch/gated_owl-copy", (lora("gated_owl"),))
    other = HubRepo("joker/gated_owl", (lora("gated_owl", "another"),), downloads=10**6)
    async with searching(World({repo.id: repo for repo in (aviary, other)})) as search:
        shut = (await search.find(wanted("gated_owl.safetensors", url=link))).candidates[0]
    assert (shut.url, shut.sha256, shut.confidence) == (link, lora("gated_owl").sha256, "exact")
    assert (shut.needs, shut.gated) == ("licence", True)
    async with searching(World({repo.id: repo for repo in (aviary, other, copy)})) as search:
        found = await search.find(wanted("gated_owl.safetensors", url=link))
    best, rival = found.candidates
    assert (best.sha256, best.confidence, best.needs) == (lora("gated_owl").sha256, "exact", None)
    assert (best.publisher, link in best.mirrors, found.state) == ("finch", True, "resolved")
    assert (rival.publisher, rival.confidence) == ("joker", "probable")


async def test_a_catalogs_link_to_a_gated_file_is_no_content_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the API says of the head of a repository holds for a link to its main branch."""
    link = f"{HF}/owl/gated-owl/resolve/main/gated_owl.safetensors"
    copy = HubRepo("finch/gated_owl-copy", (lora("gated_owl"),))
    catalog = CatalogSource("templates", lambda: [Entry("gated_owl.safetensors", "loras", link)])
    async with searching(World({repo.id: repo for repo in (*REPOS, copy)})) as search:
        monkeypatch.setattr(search.service, "sources", (catalog, *search.service.sources))
        found = await search.find(wanted("gated_owl.safetensors"))
    [candidate] = found.candidates
    assert (candidate.publisher, candidate.needs, link in candidate.mirrors) == ("finch", None, True)
    assert "catalog" in candidate.evidence


async def test_private_is_no_find_and_the_authors_link_to_it_says_that_it_may_be_private() -> None:
    assert (await find("private_owl")).state == "not_found"
    linked = await find("private_owl", f"{HF}/owl/private-owl/resolve/main/private_owl.safetensors")
    assert (linked.state, codes(linked)) == ("not_found", [("workflow", "NOT_FOUND_OR_PRIVATE")])


async def test_disabled_is_no_find_and_a_link_to_it_says_that_it_was_taken_down() -> None:
    found = await find("disabled_owl")
    assert (found.state, found.errors) == ("not_found", [])
    linked = await find("disabled_owl", f"{HF}/owl/disabled-owl/resolve/main/disabled_owl.safetensors")
    assert (linked.state, codes(linked)) == ("not_found", [("workflow", "NOT_FOUND")])
    assert "taken this repository down" in linked.errors[0].message


async def test_a_renamed_repository_is_followed_and_is_the_same_content() -> None:
    former = f"{HF}/owl/former-owl/resolve/main/open_owl.safetensors"
    found = await find("open_owl", former)
    [candidate] = found.candidates
    assert (candidate.url, candidate.sha256) == (former, lora("open_owl").sha256)
    assert (candidate.confidence, candidate.needs, found.errors) == ("exact", None, [])


# --- Civitai ------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_link", [False, True])
async def test_early_access_is_said_to_strangers_and_to_accounts_and_is_over_for_who_bought_it(
    by_link: bool,
) -> None:
    url = f"{CIVITAI}/10" if by_link else None
    accounts = {DEMO_KEY: CivitaiAccount("me"), "bought": CivitaiAccount("me", early_access={10})}
    for key, needs in ((None, "early_access"), (DEMO_KEY, "early_access"), ("bought", None)):
        found = await find("earlyFinch", url, civitai_api_key=key, civitai_accounts=accounts)
        assert found.candidates[0].needs == needs, key


async def test_where_login_is_required_a_token_is_needed_and_enough() -> None:
    [stranger] = (await find("loginFinch")).candidates
    assert stranger.needs == "token"
    [user] = (await find("loginFinch", civitai_api_key=DEMO_KEY)).candidates
    assert (user.needs, user.publisher, user.safety) == (None, "owl", "scanned")


async def test_what_a_region_does_not_show_is_silently_absent() -> None:
    assert (await find("regionFinch")).state == "resolved"
    hidden = await find("regionFinch", restricted_region=True)
    assert (hidden.state, hidden.errors) == ("not_found", [])


async def test_archived_is_absent_and_the_authors_link_says_gone() -> None:
    assert (await find("archivedFinch")).state == "not_found"
    linked = await find("archivedFinch", f"{CIVITAI}/40")
    assert (linked.state, codes(linked)) == ("not_found", [("workflow", "NOT_FOUND")])


async def test_what_may_only_be_run_at_civitai_is_absent_and_a_link_to_it_says_so() -> None:
    searched = await find("onlineFinch")
    assert (searched.state, searched.errors) == ("not_found", [])
    linked = await find("onlineFinch", f"{CIVITAI}/50")
    assert linked.state == "not_found"
    assert ("civitai", "NOT_DOWNLOADABLE") in codes(linked)


# --- whose content ------------------------------------------------------------------------------


async def test_one_content_at_two_sites_is_one_candidate_with_mirrors() -> None:
    repo = HubRepo("owl/openFinch", (lora("openFinch"),))
    async with searching(World({repo.id: repo}, civitai=MODELS)) as search:
        found = await search.find(wanted("openFinch.safetensors"))
    [candidate] = found.candidates
    assert candidate.source == "huggingface"
    assert [mirror.rsplit("/", 1)[-1] for mirror in candidate.mirrors] == ["60"]


async def test_of_two_contents_of_one_name_the_known_publishers_goes_first() -> None:
    repos = [
        HubRepo("joker/kestrel", (lora("kestrel", "other"),), downloads=10**6),
        HubRepo("Comfy-Org/repackaged", (lora("kestrel"),)),
    ]
    async with searching(World({repo.id: repo for repo in repos})) as search:
        found = await search.find(wanted("kestrel.safetensors"))
    assert [c.publisher for c in found.candidates] == ["Comfy-Org", "joker"]
    assert found.state == "resolved"


async def test_the_short_hash_of_generation_parameters_settles_it(tmp_path: Path) -> None:
    """A picture of A1111 names a LoRA by a name that Civitai does not know, and by ten digits."""
    true = lora("openFinch")
    parameters = f'a finch <lora:my finch:1>\nSteps: 20, Hashes: {{"lora:my finch": "{true.sha256[:10]}"}}'
    picture = tmp_path / "finch.png"
    picture.write_bytes(png_with(parameters))
    (tmp_path / "models" / "loras").mkdir(parents=True)
    resolver = Resolver(load_settings({"comfyui_root": tmp_path}), StandaloneHost(tmp_path))
    resolver.start()
    try:
        with picture.open("rb") as file:
            workflow = read_file(file)
        [model], context = resolver.wanted(workflow, resolver.analyze(workflow))
    finally:
        resolver.close()
    assert model.autov2 == true.sha256[:10]
    async with searching(WORLD) as search:
        found = await search.find(model, context)
    assert [(c.sha256, c.confidence, c.evidence[0]) for c in found.candidates] == [
        (true.sha256, "probable", "sha256")
    ], "forty bits are no proof against a file made to have them"


def png_with(text: str) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
            chunk(b"tEXt", b"parameters\0" + text.encode("latin-1")),
            chunk(b"IDAT", zlib.compress(b"\0\0")),
            chunk(b"IEND", b""),
        ]
    )


async def test_the_base_model_of_the_workflow_decides_between_two_loras() -> None:
    versions = [
        (model(7, "plover"), "Flux.1 D"),
        (model(8, "plover"), "SDXL 1.0"),
    ]
    models = []
    for number, (entry, base) in enumerate(versions):
        [version] = entry.versions
        file = CivitaiFile(version.id, lora("plover", f"{number}"))
        changed = CivitaiVersion(version.id, "v1", (file,), base_model=base)
        models.append(CivitaiModel(entry.id, "plover", "LORA", (changed,)))
    async with searching(World({}, civitai=tuple(models))) as search:
        for family, seed in (("sdxl", "1"), ("flux1", "0")):
            found = await search.find(
                wanted("plover.safetensors"), Context(families=frozenset({family, "clip-l"}))
            )
            assert [(c.sha256, c.confidence) for c in found.candidates] == [
                (lora("plover", seed).sha256, "probable"),
                (lora("plover", "0" if seed == "1" else "1").sha256, "possible"),
            ]
            assert found.state == "resolved"


# --- lies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        ({"corrupt": {"open_owl.safetensors"}}, "HASH_MISMATCH"),
        ({"stated_sizes": {"open_owl.safetensors": 5000}}, "CHANGED_ON_SERVER"),
    ],
)
async def test_what_is_not_what_was_said_of_it_fails_at_the_download_and_leaves_nothing(
    tmp_path: Path, lie: dict[str, Any], code: str
) -> None:
    async with searching(WORLD, **lie) as search:
        [candidate] = (await search.find(wanted("open_owl.safetensors"))).candidates
        hub = search.hub
        places = [url.removeprefix("http://") for url in (hub.endpoint, hub.storage)]
        async with running(tmp_path, *places, hf_endpoint=hub.endpoint) as place:
            ended = await place.fetch(candidate.url, sha256=candidate.sha256, size=candidate.size)
            assert (ended.status, ended.error and ended.error.code) == ("failed", code)
            assert place.files() == {}


async def test_a_lie_about_one_file_costs_no_other() -> None:
    async with searching(WORLD, stated_sizes={"open_owl.safetensors": 1}) as search:
        found = await search.find(wanted("openFinch.safetensors"))
    assert [(c.size, c.sha256) for c in found.candidates] == [(4096, lora("openFinch").sha256)]

"""The hub behaves towards clients as Hugging Face does."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from demo import Hub, HubFile, HubOptions, HubRepo, World
from demo.accounts import HuggingFaceAccount
from demo.rate_limits import RateLimiter
from tests.hub_requests import (
    FILE,
    GATED,
    OPEN,
    PATH,
    REPO,
    SIZE,
    WORLD,
    ask,
    at,
    serving,
    storage_url,
)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with serving() as running:
        yield running


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("revision", ["main", WORLD.repos[REPO].commit])
async def test_a_file_is_redirected_to_storage_with_what_it_is(hub: Hub, method: str, revision: str) -> None:
    answer = await ask(at(hub, OPEN).replace("/main/", f"/{revision}/"), method)
    assert answer.status == 302
    assert answer.headers["Location"].startswith(hub.storage + "/")
    assert answer.headers["X-Linked-Etag"] == f'"{hashlib.sha256(FILE.content).hexdigest()}"'
    assert answer.headers["X-Linked-Size"] == str(SIZE)
    assert answer.headers["X-Repo-Commit"] == WORLD.repos[REPO].commit
    assert re.fullmatch("[0-9a-f]{40}", answer.headers["X-Repo-Commit"])
    assert answer.headers["X-Xet-Hash"] == FILE.xet_hash
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert FILE.sha256 not in answer.headers["ETag"]


async def test_storage_serves_the_content_under_another_etag_than_its_hash(hub: Hub) -> None:
    answer = await ask(await storage_url(hub))
    assert answer.status == 200
    assert answer.body == FILE.content
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["ETag"] == f'"{FILE.xet_hash}"'
    assert FILE.xet_hash != FILE.sha256
    assert 'filename="tiny_vae.safetensors";' in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(
    ("url", "token", "status", "code"),
    [
        (OPEN, None, 302, None),
        (OPEN, "hf_anyone", 302, None),
        (OPEN, "not a token", 401, None),
        (GATED, None, 401, "GatedRepo"),
        (GATED, "hf_anyone", 403, "GatedRepo"),
        (GATED, "hf_demo", 302, None),
        (OPEN.replace(REPO, "no/such"), None, 401, None),
        (OPEN.replace(REPO, "no/such"), "hf_anyone", 404, "RepoNotFound"),
        (OPEN.replace(PATH, "no/such.safetensors"), None, 404, "EntryNotFound"),
        (OPEN.replace("/main/", "/no-such/"), None, 404, "RevisionNotFound"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_refusals_carry_hugging_faces_codes(
    hub: Hub, method: str, url: str, token: str | None, status: int, code: str | None
) -> None:
    answer = await ask(at(hub, url), method, token)
    assert answer.status == status
    assert answer.headers.get("X-Error-Code") == code
    if status >= 400:
        assert answer.headers["X-Error-Message"]
        assert "Location" not in answer.headers


async def test_a_licence_accepted_while_the_hub_runs_opens_the_repository() -> None:
    granted: set[str] = set()
    async with serving(granted_tokens=granted) as hub:
        assert (await ask(at(hub, GATED), token="hf_me")).status == 403
        granted.add("hf_me")
        assert (await ask(at(hub, GATED), token="hf_me")).status == 302


async def test_a_repositorys_listing_has_sizes_and_hashes_when_asked(hub: Hub) -> None:
    url = f"{hub.endpoint}/api/models/{REPO}"
    plain, full = (await ask(url)).json, (await ask(url + "?blobs=true")).json
    assert plain["sha"] == WORLD.repos[REPO].commit
    assert plain["gated"] is False
    assert plain["siblings"] == [{"rfilename": PATH}]
    (sibling,) = full["siblings"]
    assert sibling["size"] == SIZE
    assert sibling["lfs"]["sha256"] == FILE.sha256


async def test_what_a_gated_repository_holds_is_public(hub: Hub) -> None:
    answer = await ask(f"{hub.endpoint}/api/models/demo-models/locked?blobs=true")
    assert answer.status == 200
    assert answer.json["gated"] == "auto"
    assert answer.json["siblings"][0]["lfs"]["sha256"]


async def test_an_unknown_repository_has_no_listing(hub: Hub) -> None:
    url = f"{hub.endpoint}/api/models/no/such"
    assert (await ask(url)).status == 401
    assert (await ask(url, token="hf_anyone")).headers["X-Error-Code"] == "RepoNotFound"


async def test_whoami_names_the_tokens_owner(hub: Hub) -> None:
    url = f"{hub.endpoint}/api/whoami-v2"
    assert (await ask(url)).status == 401
    assert (await ask(url, token="nonsense")).status == 401
    assert (await ask(url, token="hf_anyone")).json["name"] == "demo-user"


# A larger hub


def repo(name: str, *paths: str, **details: Any) -> HubRepo:
    return HubRepo(f"acme/{name}", tuple(HubFile(path, 5000, f"{name}/{path}") for path in paths), **details)


CARD = HubFile.of_text("README.md", "# Flux\n")
FLUX = HubRepo(
    "acme/Flux-Dev",
    (CARD, *repo("flux", "flux.safetensors", "split/vae/ae.safetensors", "split/clip.safetensors").files),
    likes=50,
    downloads=10,
    license="apache-2.0",
    tags=("comfyui",),
)
MANY = HubRepo("acme/many", tuple(HubFile.of_text(f"{index:04}.txt", str(index)) for index in range(1203)))
LARGER = World(
    {
        each.id: each
        for each in (
            FLUX,
            MANY,
            repo("flux-fork", "flux.safetensors", likes=90, downloads=5),
            repo("locked", "locked.safetensors", gated="manual"),
            repo("hidden-flux", "hidden.safetensors", private=True),
            repo("banned", "banned.safetensors", disabled=True),
        )
    },
    renamed={"acme/old-flux": FLUX.id, "flux": FLUX.id, "acme/gone": "acme/hidden-flux"},
)
OWNER = HuggingFaceAccount("acme")


@pytest.fixture
async def larger() -> AsyncIterator[Hub]:
    async with serving(LARGER, accounts={"hf_owner": OWNER}) as running:
        yield running


async def found(hub: Hub, query: str, token: str | None = None) -> list[str]:
    return [model["id"] for model in (await ask(f"{hub.endpoint}/api/models?{query}", token=token)).json]


async def test_search_looks_at_ids_alone_and_wants_every_word(larger: Hub) -> None:
    assert await found(larger, "search=FLUX") == ["acme/flux-fork", "acme/Flux-Dev"]
    assert await found(larger, "search=flux+dev") == ["acme/Flux-Dev"]
    assert await found(larger, "search=flux.safetensors") == [], "file names are not searched"
    assert await found(larger, "search=flux&author=nobody") == []
    assert await found(larger, "filter=comfyui,license:apache-2.0") == ["acme/Flux-Dev"]
    assert await found(larger, "gated=true") == ["acme/locked"]


async def test_search_sorts_by_what_is_asked_for(larger: Hub) -> None:
    assert await found(larger, "search=flux&sort=downloads") == ["acme/Flux-Dev", "acme/flux-fork"]
    assert await found(larger, "search=flux&sort=likes") == ["acme/flux-fork", "acme/Flux-Dev"]
    assert (await ask(f"{larger.endpoint}/api/models?sort=luck")).status == 400


async def test_search_shows_a_private_repository_to_its_owner_only(larger: Hub) -> None:
    assert "acme/hidden-flux" not in await found(larger, "search=flux", "hf_anyone")
    assert "acme/hidden-flux" in await found(larger, "search=flux", "hf_owner")


async def test_search_goes_on_along_the_link_header(larger: Hub) -> None:
    url: str | None = f"{larger.endpoint}/api/models?author=acme&limit=2"
    pages = []
    while url is not None:
        answer = await ask(url)
        pages.append([model["id"] for model in answer.json])
        link = re.fullmatch(r'<(.+)>; rel="next"', answer.headers.get("Link", ""))
        url = link[1] if link else None
    assert [len(page) for page in pages] == [2, 2, 1]
    assert len({model for page in pages for model in page}) == 5
    assert (await ask(f"{larger.endpoint}/api/models?cursor=nonsense")).status == 400
    assert (await ask(f"{larger.endpoint}/api/models?limit=-1")).status == 400


async def test_search_tells_as_much_as_is_asked_for(larger: Hub) -> None:
    url = f"{larger.endpoint}/api/models?search=flux-dev"
    (brief,) = (await ask(url)).json
    (full,) = (await ask(url + "&full=true")).json
    (expanded,) = (await ask(url + "&expand[]=gated&expand[]=downloads")).json
    assert "siblings" not in brief
    assert {"rfilename": "flux.safetensors"} in full["siblings"]
    assert full["sha"] == FLUX.commit
    assert {key for key in expanded if not key.startswith("_")} == {"id", "gated", "downloads"}


async def test_a_description_has_the_licence_and_small_files_without_lfs(larger: Hub) -> None:
    described = (await ask(f"{larger.endpoint}/api/models/{FLUX.id}?blobs=true")).json
    assert described["cardData"] == {"license": "apache-2.0"}
    assert (described["likes"], described["downloads"], described["disabled"]) == (50, 10, False)
    card, model, *_ = described["siblings"]
    assert (card["rfilename"], card["size"], "lfs" in card) == ("README.md", 7, False)
    assert model["lfs"]["pointerSize"] == len(FLUX.files[1].pointer)


async def test_a_description_can_be_of_single_fields(larger: Hub) -> None:
    described = (await ask(f"{larger.endpoint}/api/models/{FLUX.id}?expand=sha,likes")).json
    assert {key for key in described if not key.startswith("_")} == {"id", "sha", "likes"}


async def test_a_description_is_of_a_revision_that_exists(larger: Hub) -> None:
    url = f"{larger.endpoint}/api/models/{FLUX.id}/revision"
    assert (await ask(f"{url}/main")).json["sha"] == FLUX.commit
    assert (await ask(f"{url}/{FLUX.commit}")).status == 200
    assert (await ask(f"{url}/no%2Fsuch")).headers["X-Error-Code"] == "RevisionNotFound"


async def test_a_directory_is_listed_alone_or_with_all_below_it(larger: Hub) -> None:
    url = f"{larger.endpoint}/api/models/{FLUX.id}/tree/main"

    async def paths(tail: str) -> list[tuple[str, str]]:
        return [(entry["type"], entry["path"]) for entry in (await ask(url + tail)).json]

    top = [("file", "README.md"), ("file", "flux.safetensors"), ("directory", "split")]
    assert await paths("") == top
    within = [
        ("file", "split/clip.safetensors"),
        ("directory", "split/vae"),
        ("file", "split/vae/ae.safetensors"),
    ]
    assert await paths("?recursive=true") == [*top, *within]
    assert await paths("/split") == within[:2]
    assert await paths("/split%2Fvae") == within[2:]
    assert (await ask(f"{url}/spl")).headers["X-Error-Code"] == "EntryNotFound"


async def test_an_entry_of_a_tree_has_the_hash_of_the_content(larger: Hub) -> None:
    _, entry, _ = (await ask(f"{larger.endpoint}/api/models/{FLUX.id}/tree/main?expand=true")).json
    file = FLUX.files[1]
    assert entry["lfs"] == {"oid": file.sha256, "size": 5000, "pointerSize": len(file.pointer)}
    assert (entry["oid"], entry["size"], entry["xetHash"]) == (file.blob_id, 5000, file.xet_hash)
    assert entry["lastCommit"]["id"] == FLUX.commit


@pytest.mark.parametrize(
    ("query", "pages"), [("recursive=true", [1000, 203]), ("expand=true", [50] * 24 + [3])]
)
async def test_a_tree_comes_in_pages(larger: Hub, query: str, pages: list[int]) -> None:
    url: str | None = f"{larger.endpoint}/api/models/{MANY.id}/tree/main?{query}"
    sizes, seen = [], []
    while url is not None:
        answer = await ask(url)
        sizes.append(len(answer.json))
        seen += [entry["path"] for entry in answer.json]
        link = re.fullmatch(r'<(.+)>; rel="next"', answer.headers.get("Link", ""))
        url = link[1] if link else None
    assert sizes == pages
    assert seen == [file.path for file in MANY.files]


async def test_paths_that_do_not_exist_are_left_out(larger: Hub) -> None:
    url = f"{larger.endpoint}/api/models/{FLUX.id}/paths-info/main"
    asked = ["split/vae", "no.safetensors", "flux.safetensors"]
    answer = await ask(url, "POST", body={"paths": asked})
    assert [(entry["type"], entry["path"]) for entry in answer.json] == [
        ("directory", "split/vae"),
        ("file", "flux.safetensors"),
    ]
    assert answer.json[1]["lfs"]["oid"] == FLUX.files[1].sha256
    assert (await ask(url, "POST", body={"paths": ["x"] * 2001})).status == 400
    assert (await ask(url, "POST", body={"paths": ["x"] * 2000})).json == []
    assert (await ask(url, "POST", body={"path": "x"})).status == 400


async def test_a_small_file_comes_from_a_cache_on_the_same_host(larger: Hub) -> None:
    answer = await ask(f"{larger.endpoint}/{FLUX.id}/resolve/main/README.md", "HEAD")
    assert answer.status == 307
    assert answer.headers["Location"].startswith(
        f"/api/resolve-cache/models/{FLUX.id}/{FLUX.commit}/README.md?"
    )
    cached = await ask(larger.endpoint + answer.headers["Location"])
    assert (cached.status, cached.body) == (200, CARD.content)
    assert cached.headers["ETag"] == f'"{CARD.blob_id}"'
    assert cached.headers["X-Repo-Commit"] == FLUX.commit


@pytest.mark.parametrize("name", ["acme/old-flux", "ACME/flux-dev", "flux"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/api/models/", "?blobs=true"),
        ("/api/models/", "/tree/main?recursive=true"),
        ("/", "/resolve/main/split/vae/ae%2Esafetensors"),
    ],
)
async def test_another_name_leads_to_the_one_it_has_now(
    larger: Hub, name: str, before: str, after: str
) -> None:
    answer = await ask(f"{larger.endpoint}{before}{name}{after}")
    assert answer.status == 307
    assert answer.headers["Location"] == f"{before}{FLUX.id}{after.replace('%2E', '.')}"
    assert (await ask(larger.endpoint + answer.headers["Location"])).status in (200, 302)


async def test_another_name_does_not_give_a_private_repository_away(larger: Hub) -> None:
    for name in ("acme/gone", "acme/HIDDEN-flux"):
        assert (await ask(f"{larger.endpoint}/api/models/{name}")).status == 401
        assert (await ask(f"{larger.endpoint}/api/models/{name}", token="hf_anyone")).status == 404
        assert (await ask(f"{larger.endpoint}/api/models/{name}", token="hf_owner")).status == 307


async def test_a_private_repository_is_not_there_for_others(larger: Hub) -> None:
    url = f"{larger.endpoint}/acme/hidden-flux/resolve/main/hidden.safetensors"
    anonymous = await ask(url)
    assert (anonymous.status, anonymous.headers.get("X-Error-Code")) == (401, None)
    stranger = await ask(url, token="hf_anyone")
    assert (stranger.status, stranger.headers["X-Error-Code"]) == (404, "RepoNotFound")
    assert (await ask(url, token="hf_owner")).status == 302


async def test_a_disabled_repository_is_described_and_gives_nothing(larger: Hub) -> None:
    described = await ask(f"{larger.endpoint}/api/models/acme/banned")
    assert described.json["disabled"] is True
    for path in ("/api/models/acme/banned/tree/main", "/acme/banned/resolve/main/banned.safetensors"):
        answer = await ask(larger.endpoint + path)
        assert (answer.status, answer.headers.get("X-Error-Code")) == (403, None)
        assert answer.headers["X-Error-Message"] == "Access to this resource is disabled."


async def test_the_listing_of_a_gated_repository_is_public_and_its_files_are_not(larger: Hub) -> None:
    (entry,) = (await ask(f"{larger.endpoint}/api/models/acme/locked/tree/main")).json
    assert entry["lfs"]["oid"]
    answer = await ask(f"{larger.endpoint}/acme/locked/resolve/main/locked.safetensors")
    assert (answer.status, answer.headers["X-Error-Code"]) == (401, "GatedRepo")


@pytest.mark.parametrize(
    ("account", "status", "code", "said"),
    [
        (HuggingFaceAccount(gated="granted"), 302, None, None),
        (HuggingFaceAccount("acme"), 302, None, None),
        (HuggingFaceAccount(gated="none"), 403, "GatedRepo", "not in the authorized list"),
        (HuggingFaceAccount(gated="pending"), 403, "GatedRepo", "awaiting a review"),
        (HuggingFaceAccount(gated="refused"), 403, "GatedRepo", "rejected"),
        (HuggingFaceAccount(role="fineGrained", gated="granted"), 302, None, None),
        (
            HuggingFaceAccount(role="fineGrained", gated="granted", reads_gated=False),
            403,
            None,
            "fine-grained token settings",
        ),
    ],
)
async def test_a_gated_file_is_for_whom_its_owners_let_in(
    account: HuggingFaceAccount, status: int, code: str | None, said: str | None
) -> None:
    async with serving(LARGER, accounts={"hf_me": account}) as hub:
        url = f"{hub.endpoint}/acme/locked/resolve/main/locked.safetensors"
        answer = await ask(url, token="hf_me")
    assert (answer.status, answer.headers.get("X-Error-Code")) == (status, code)
    assert said is None or said in answer.headers["X-Error-Message"]


async def test_a_fine_grained_token_may_lack_the_right_to_what_its_account_owns() -> None:
    blind = HuggingFaceAccount("acme", role="fineGrained", reads_private=False)
    async with serving(LARGER, accounts={"hf_blind": blind}) as hub:
        assert (await ask(f"{hub.endpoint}/api/models/acme/hidden-flux", token="hf_blind")).status == 404


@pytest.mark.parametrize("role", ["read", "write", "fineGrained"])
async def test_whoami_tells_what_kind_of_token_it_is(role: Any) -> None:
    account = HuggingFaceAccount("me", role=role, organizations=("acme",), reads_gated=False)
    async with serving(LARGER, accounts={"hf_me": account}) as hub:
        told = (await ask(f"{hub.endpoint}/api/whoami-v2", token="hf_me")).json
    token = told["auth"]["accessToken"]
    assert (told["name"], [org["name"] for org in told["orgs"]], token["role"]) == ("me", ["acme"], role)
    assert ("fineGrained" in token) == (role == "fineGrained")
    if role == "fineGrained":
        assert token["fineGrained"]["canReadGatedRepos"] is False


async def test_too_many_requests_are_refused_for_each_caller_and_kind_by_itself() -> None:
    async with serving(rate_limits={"api": 2}) as hub:
        url = f"{hub.endpoint}/api/models/{REPO}"
        answers = [await ask(url) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert [answer.headers["RateLimit"].partition(";t=")[0] for answer in answers] == [
            '"api";r=1',
            '"api";r=0',
            '"api";r=0',
        ]
        assert answers[2].headers["RateLimit-Policy"] == '"fixed window";"api";q=2;w=300'
        assert (await ask(url, token="hf_anyone")).status == 200
        resolved = await ask(at(hub, OPEN))
        assert resolved.status == 302
        assert resolved.headers["RateLimit"].startswith('"resolvers";')


def test_a_new_window_begins_after_five_minutes() -> None:
    now = [1000.0]
    limiter = RateLimiter(HubOptions(rate_limits={"api": 1}), clock=lambda: now[0])
    first = limiter.count("api", "me")
    assert first is not None
    assert first["RateLimit"] == '"api";r=0;t=300'
    now[0] += 299
    assert limiter.count("api", "me") is None
    now[0] += 1
    assert limiter.count("api", "me") is not None

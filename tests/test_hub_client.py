"""The real client of Hugging Face takes the hub for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import pytest

from demo import Fault, HubFile, HubRepo, World, running_hub
from demo.accounts import HuggingFaceAccount
from tests.hub_requests import (
    FILE,
    GATED,
    OPEN,
    PATH,
    REPO,
    SIZE,
    WORLD,
)


@pytest.fixture
def hugging_face(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The real client, kept from Xet (which this hub does not speak) and from the user's own token."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return huggingface_hub


def test_hugging_faces_client_downloads_from_the_hub(hugging_face: Any, tmp_path: Path) -> None:
    with running_hub(WORLD) as hub:
        path = hugging_face.hf_hub_download(
            REPO, PATH, endpoint=hub.endpoint, cache_dir=tmp_path, token="hf_anyone"
        )
        assert Path(path).read_bytes() == FILE.content
        # The token went to the API host and was left behind there: storage refuses it.
        sent = {entry.headers.get("Authorization") for entry in hub.log.entries("api")}
        assert sent == {"Bearer hf_anyone"}
        (stored,) = hub.log.entries("storage")
        assert stored.status == 200
        assert "Authorization" not in stored.headers


def test_hugging_faces_client_recovers_from_a_dropped_transfer(hugging_face: Any, tmp_path: Path) -> None:
    with running_hub(WORLD, drop_after_bytes={PATH: 100_000}) as hub:
        path = hugging_face.hf_hub_download(
            REPO, PATH, endpoint=hub.endpoint, cache_dir=tmp_path, token=False
        )
        assert Path(path).read_bytes() == FILE.content
        assert [entry.status for entry in hub.log.entries("storage")] == [200, 200]


def test_hugging_faces_client_reads_a_files_metadata(hugging_face: Any) -> None:
    with running_hub(WORLD) as hub:
        metadata = hugging_face.get_hf_file_metadata(
            hugging_face.hf_hub_url(REPO, PATH, endpoint=hub.endpoint), token=False, endpoint=hub.endpoint
        )
        assert (metadata.size, metadata.etag) == (SIZE, FILE.sha256)
        assert metadata.commit_hash == WORLD.repos[REPO].commit
        assert metadata.location.startswith(hub.storage)
        assert metadata.xet_file_data is None


def test_hugging_faces_client_reads_a_listing_and_an_account(hugging_face: Any) -> None:
    with running_hub(WORLD) as hub:
        api = hugging_face.HfApi(endpoint=hub.endpoint, token="hf_anyone")
        info = api.model_info(REPO, files_metadata=True)
        assert [(file.rfilename, file.lfs.sha256) for file in info.siblings] == [(PATH, FILE.sha256)]
        assert api.whoami()["name"] == "demo-user"


@pytest.mark.parametrize(
    ("url", "token", "error"),
    [
        (GATED, False, "GatedRepoError"),
        (GATED, "hf_anyone", "GatedRepoError"),
        # A bare 401, which the client takes for a missing repository on https addresses only.
        (OPEN.replace(REPO, "no/such"), False, "HfHubHTTPError"),
        (OPEN.replace(REPO, "no/such"), "hf_anyone", "RepositoryNotFoundError"),
        (OPEN.replace(PATH, "no.safetensors"), False, "RemoteEntryNotFoundError"),
        (OPEN.replace("/main/", "/no-such/"), False, "RevisionNotFoundError"),
    ],
)
def test_hugging_faces_client_recognises_each_refusal(
    hugging_face: Any, tmp_path: Path, url: str, token: str | bool, error: str
) -> None:
    repo, _, rest = url.removeprefix("https://huggingface.co/").partition("/resolve/")
    revision, _, path = rest.partition("/")
    with running_hub(WORLD) as hub, pytest.raises(hugging_face.errors.HfHubHTTPError) as raised:
        hugging_face.hf_hub_download(
            repo, path, revision=revision, endpoint=hub.endpoint, cache_dir=tmp_path, token=token
        )
    assert type(raised.value).__name__ == error


def test_hugging_faces_client_gets_a_gated_file_with_a_granted_token(
    hugging_face: Any, tmp_path: Path
) -> None:
    repo = WORLD.repos["demo-models/locked"]
    with running_hub(WORLD, granted_tokens={"hf_me"}) as hub:
        path = hugging_face.hf_hub_download(
            repo.id, repo.files[0].path, endpoint=hub.endpoint, cache_dir=tmp_path, token="hf_me"
        )
    assert Path(path).read_bytes() == repo.files[0].content


# A larger hub


FLUX = HubRepo(
    "acme/flux",
    (
        HubFile.of_text("README.md", "# Flux\n"),
        HubFile("flux.safetensors", 5000, "flux"),
        HubFile("vae/ae.safetensors", 6000, "ae"),
    ),
    likes=50,
    downloads=10,
    license="apache-2.0",
)
_MODEL = (HubFile("model.safetensors", 5000, "model"),)
RICH = World(
    {
        FLUX.id: FLUX,
        "acme/banned": HubRepo("acme/banned", _MODEL, disabled=True),
        "acme/hidden": HubRepo("acme/hidden", _MODEL, private=True),
        "acme/locked": HubRepo("acme/locked", _MODEL, gated="manual"),
    },
    renamed={"acme/old-flux": FLUX.id},
)


def test_hugging_faces_client_searches_through_all_pages(hugging_face: Any) -> None:
    many = World({f"acme/flux-{index:04}": HubRepo(f"acme/flux-{index:04}", ()) for index in range(1005)})
    with running_hub(many) as hub:
        api = hugging_face.HfApi(endpoint=hub.endpoint, token=False)
        assert len(list(api.list_models(search="flux"))) == 1005
        assert [entry.status for entry in hub.log.entries(route="huggingface.search")] == [200, 200]
        assert [model.id for model in api.list_models(search="flux-0007")] == ["acme/flux-0007"]


def test_hugging_faces_client_reads_what_a_search_tells(hugging_face: Any) -> None:
    with running_hub(RICH) as hub:
        api = hugging_face.HfApi(endpoint=hub.endpoint, token=False)
        (model,) = api.list_models(author="acme", full=True, search="flux", sort="downloads", limit=1)
        assert (model.id, model.author, model.sha) == (FLUX.id, "acme", FLUX.commit)
        assert (model.likes, model.downloads, model.gated) == (50, 10, False)
        assert [file.rfilename for file in model.siblings] == [file.path for file in FLUX.files]
        (expanded,) = api.list_models(search="flux", expand=["gated", "lastModified"])
        assert expanded.last_modified.year == 2026
        assert expanded.likes is None


def test_hugging_faces_client_reads_a_description_by_any_name_and_revision(hugging_face: Any) -> None:
    with running_hub(RICH) as hub:
        api = hugging_face.HfApi(endpoint=hub.endpoint, token=False)
        for name in (FLUX.id, "acme/old-flux", "Acme/FLUX"):
            info = api.model_info(name, files_metadata=True, revision=FLUX.commit)
            assert (info.id, info.card_data.license) == (FLUX.id, "apache-2.0")
            assert [file.size for file in info.siblings] == [file.size for file in FLUX.files]
            assert [file.blob_id for file in info.siblings] == [file.blob_id for file in FLUX.files]
        with pytest.raises(hugging_face.errors.RevisionNotFoundError):
            api.model_info(FLUX.id, revision="no-such")


def test_hugging_faces_client_lists_trees_and_paths(hugging_face: Any) -> None:
    with running_hub(RICH) as hub:
        api = hugging_face.HfApi(endpoint=hub.endpoint, token=False)
        tree = list(api.list_repo_tree(FLUX.id, recursive=True, expand=True))
        assert [type(entry).__name__ for entry in tree] == ["RepoFile", "RepoFile", "RepoFolder", "RepoFile"]
        assert tree[3].lfs.sha256 == FLUX.files[2].sha256
        assert tree[3].last_commit.oid == FLUX.commit
        inside = list(api.list_repo_tree(FLUX.id, "vae"))
        assert [entry.path for entry in inside] == ["vae/ae.safetensors"]
        paths = api.get_paths_info("acme/old-flux", ["vae", "no.bin", "flux.safetensors"])
        assert [entry.path for entry in paths] == ["vae", "flux.safetensors"]
        assert paths[1].xet_hash == FLUX.files[1].xet_hash
        with pytest.raises(hugging_face.errors.EntryNotFoundError):
            list(api.list_repo_tree(FLUX.id, "no-such"))


def test_hugging_faces_client_downloads_small_and_renamed_files(hugging_face: Any, tmp_path: Path) -> None:
    with running_hub(RICH) as hub:
        for path, file in (("README.md", FLUX.files[0]), ("vae/ae.safetensors", FLUX.files[2])):
            local = hugging_face.hf_hub_download(
                "acme/old-flux", path, endpoint=hub.endpoint, cache_dir=tmp_path, token=False
            )
            assert Path(local).read_bytes() == file.content


def test_hugging_faces_client_reads_what_kind_of_token_it_has(hugging_face: Any) -> None:
    account = HuggingFaceAccount("me", role="fineGrained", reads_gated=False)
    with running_hub(RICH, accounts={"hf_me": account}) as hub:
        token = hugging_face.HfApi(endpoint=hub.endpoint, token="hf_me").whoami()["auth"]["accessToken"]
    assert token["role"] == "fineGrained"
    assert token["fineGrained"]["canReadGatedRepos"] is False


@pytest.mark.parametrize(
    ("repo", "token", "error"),
    [
        ("acme/banned", "hf_anyone", "DisabledRepoError"),
        ("acme/hidden", "hf_anyone", "RepositoryNotFoundError"),
        ("acme/locked", "hf_anyone", "GatedRepoError"),
        # Without the code, the client sees any other 403.
        ("acme/locked", "hf_narrow", "HfHubHTTPError"),
    ],
)
def test_hugging_faces_client_recognises_why_a_repository_is_closed(
    hugging_face: Any, repo: str, token: str, error: str
) -> None:
    narrow = HuggingFaceAccount(role="fineGrained", gated="granted", reads_gated=False)
    with running_hub(RICH, accounts={"hf_narrow": narrow}) as hub:
        url = hugging_face.hf_hub_url(repo, "model.safetensors", endpoint=hub.endpoint)
        with pytest.raises(hugging_face.errors.HfHubHTTPError) as raised:
            hugging_face.get_hf_file_metadata(url, endpoint=hub.endpoint, token=token)
    assert type(raised.value).__name__ == error


def test_hugging_faces_client_reads_the_rate_limit(hugging_face: Any) -> None:
    with running_hub(RICH, rate_limits={"api": 1}) as hub:
        api = hugging_face.HfApi(endpoint=hub.endpoint, token=False)
        api.model_info(FLUX.id)
        with pytest.raises(hugging_face.errors.HfHubHTTPError, match=r"\(0/1 requests remaining"):
            api.model_info(FLUX.id)


def test_hugging_faces_client_gets_over_a_passing_fault(hugging_face: Any) -> None:
    with running_hub(RICH, faults={"huggingface.tree": Fault("status", 503, times=1)}) as hub:
        api = hugging_face.HfApi(endpoint=hub.endpoint, token=False)
        assert len(list(api.list_repo_tree(FLUX.id))) == 3
        assert [entry.status for entry in hub.log.entries(route="huggingface.tree")] == [503, 200]

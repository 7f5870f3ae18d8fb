"""Asking before fetching: what a file is, as far as its server says, and what a refusal means."""

from __future__ import annotations

import pytest

from resolver.errors import DownloadError
from resolver.net.probe import probe
from tests.fault_server import FaultServer, Remote, answers, in_turn, redirects
from tests.test_net_client import CONTENT, client

SHA = "ab" * 32
HUB_PATH = "/o/r/resolve/main/x.safetensors"
HUB_URL = "https://huggingface.co" + HUB_PATH


async def test_the_hub_says_all_in_the_redirect_and_storage_is_not_asked() -> None:
    async with (
        FaultServer() as hub,
        FaultServer() as storage,
        client(hub.place, storage.place, hf_endpoint=hub.url("")) as http,
    ):
        linked = {"X-Linked-Etag": f'"{SHA}"', "X-Linked-Size": "1000", "X-Repo-Commit": "c0ffee"}
        hub.put("/new/name/resolve/main/x.safetensors", redirects(storage.url("/s"), 302, linked))
        hub.put(HUB_PATH, redirects("/new/name/resolve/main/x.safetensors", 307))
        found = await probe(http, HUB_URL)
    assert (found.sha256, found.size, found.commit) == (SHA, 1000, "c0ffee")
    assert found.content_type is None
    assert [x.method for x in hub.requests] == ["HEAD", "HEAD"]
    assert storage.requests == []


async def test_a_small_file_of_the_hub_has_no_hash() -> None:
    async with FaultServer() as hub, client(hub.place, hf_endpoint=hub.url("")) as http:
        hub.put(HUB_PATH, redirects("/api/resolve-cache/x", 307, {"X-Repo-Commit": "c0ffee"}))
        hub.put("/api/resolve-cache/x", Remote(CONTENT, etag=f'"{"a" * 40}"'))
        found = await probe(http, HUB_URL)
    assert (found.sha256, found.size, found.etag) == (None, len(CONTENT), f'"{"a" * 40}"')


async def test_a_hash_is_taken_from_the_hub_only() -> None:
    async with FaultServer() as server, client(server.place) as http:
        linked = {"X-Linked-Etag": f'"{SHA}"', "X-Linked-Size": "5"}
        found = await probe(http, server.put("/x", Remote(CONTENT, headers=linked)))
    assert (found.sha256, found.size) == (None, len(CONTENT))


async def test_a_storage_that_refuses_a_head_is_asked_for_one_byte() -> None:
    async with FaultServer() as server, client(server.place) as http:
        disposition = {"Content-Disposition": 'attachment; filename="real.safetensors"'}
        remote = Remote(CONTENT, headers=disposition)
        found = await probe(http, server.put("/x", in_turn([answers(403), remote])))
        assert (found.size, found.filename, found.accepts_ranges) == (1000, "real.safetensors", True)
        assert [x.method for x in server.requests] == ["HEAD", "GET"]
        # A server without ranges sends everything; nobody reads it.
        big = Remote(bytes(50_000_000), ranges=False)
        found = await probe(http, server.put("/y", in_turn([answers(405), big])))
        assert (found.size, found.accepts_ranges) == (50_000_000, False)
        assert big.served < 20_000_000


async def test_civitai_is_asked_for_one_byte_at_once() -> None:
    async with FaultServer() as civitai, client(civitai.place, civitai_endpoint=civitai.url("")) as http:
        civitai.put("/api/download/models/1", Remote(CONTENT))
        assert (await probe(http, "https://civitai.com/api/download/models/1")).size == len(CONTENT)
        assert [x.method for x in civitai.requests] == ["GET"]


@pytest.mark.parametrize(
    ("status", "headers", "token", "code", "says"),
    [
        (
            401,
            {"X-Error-Code": "GatedRepo"},
            None,
            "GATED",
            "Accept it at https://huggingface.co/o/r and set CMR_HF_TOKEN",
        ),
        (
            403,
            {"X-Error-Code": "GatedRepo"},
            "hf_x",
            "GATED",
            "Accept it at https://huggingface.co/o/r with the account",
        ),
        (401, {}, None, "NOT_FOUND_OR_PRIVATE", "CMR_HF_TOKEN"),
        (401, {}, "hf_x", "TOKEN_REJECTED", "CMR_HF_TOKEN"),
        (403, {}, "hf_x", "UNAUTHORIZED", "account"),
        (404, {"X-Error-Code": "EntryNotFound"}, None, "NOT_FOUND", "no file of this name"),
        (404, {"X-Error-Code": "RepoNotFound"}, "hf_x", "NOT_FOUND", "no such repository"),
        (404, {"X-Error-Code": "RevisionNotFound"}, None, "NOT_FOUND", "branch"),
        (410, {}, None, "NOT_FOUND", "gone"),
        (429, {}, None, "RATE_LIMITED", "fewer"),
        (500, {}, None, "SERVER_ERROR", "500"),
        (503, {}, None, "SERVER_ERROR", "503"),
        (418, {}, None, "SERVER_REFUSED", "418"),
    ],
)
async def test_what_the_hub_means(
    status: int, headers: dict[str, str], token: str | None, code: str, says: str
) -> None:
    async with FaultServer() as hub:
        hub.put(HUB_PATH, answers(status, headers))
        async with client(hub.place, hf_endpoint=hub.url(""), hf_token=token) as http:
            with pytest.raises(DownloadError, match=says) as caught:
                await probe(http, HUB_URL)
    assert caught.value.code == code
    assert caught.value.retryable == (code in ("RATE_LIMITED", "SERVER_ERROR"))
    assert "hf_x" not in caught.value.message


@pytest.mark.parametrize(
    ("status", "key", "code"),
    [
        (401, None, "UNAUTHORIZED"),
        (401, "k", "TOKEN_REJECTED"),
        (403, "k", "UNAUTHORIZED"),
        (404, None, "NOT_FOUND"),
        (410, None, "NOT_FOUND"),
    ],
)
async def test_what_civitai_means(status: int, key: str | None, code: str) -> None:
    async with FaultServer() as civitai:
        civitai.put("/api/download/models/1", answers(status))
        async with client(civitai.place, civitai_endpoint=civitai.url(""), civitai_api_key=key) as http:
            with pytest.raises(DownloadError) as caught:
                await probe(http, "https://civitai.com/api/download/models/1")
    assert caught.value.code == code


async def test_an_expired_signature_can_be_renewed_only_by_whoever_gives_them() -> None:
    async with FaultServer() as server, client(server.place) as http:
        storage = server.put("/storage", answers(403))
        with pytest.raises(DownloadError) as caught:
            await probe(http, server.put("/x", redirects(storage + "?X-Amz-Signature=1")))
        assert (caught.value.code, caught.value.retryable) == ("EXPIRED", True)
        with pytest.raises(DownloadError) as caught:
            await probe(http, storage + "?X-Amz-Signature=1")
        assert (caught.value.code, caught.value.retryable) == ("EXPIRED", False)
        with pytest.raises(DownloadError) as caught:
            await probe(http, storage)
        assert caught.value.code == "UNAUTHORIZED"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"RateLimit": '"api";r=0;t=55'}, 55),
        ({}, None),
    ],
)
async def test_how_long_a_server_asks_us_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    async with FaultServer() as server, client(server.place) as http:
        with pytest.raises(DownloadError) as caught:
            await probe(http, server.put("/x", answers(429, headers)))
        assert caught.value.retry_after == seconds


async def test_a_length_of_something_compressed_is_not_the_files() -> None:
    async with FaultServer() as server, client(server.place) as http:
        found = await probe(http, server.put("/x", Remote(CONTENT, headers={"Content-Encoding": "gzip"})))
        assert found.size is None


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="a b.safetensors"', "a b.safetensors"),
        ("attachment; filename*=UTF-8''a%20b.safetensors; filename=\"x\"", "a b.safetensors"),
        ("inline", None),
        ("attachment; filename=", None),
        ('attachment; filename="', None),
        ("attachment; filename*=nonsense''%ff; filename*0*=x", None),
        (';;;="\\', None),
        ("", None),
    ],
)
async def test_the_name_a_server_gives(disposition: str, name: str | None) -> None:
    async with FaultServer() as server, client(server.place) as http:
        headers = {"Content-Disposition": disposition, "Content-Type": ";", "ETag": ""}
        found = await probe(http, server.put("/x", answers(200, headers)))
        assert found.size == 0
        assert found.content_type is None
        assert found.filename == name

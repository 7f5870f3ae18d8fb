"""The storage behind the hubs, and what can be made to go wrong on the way."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import aiohttp
import pytest

from demo import Fault, Hub, HubOptions
from demo.civitai.api import CivitaiApi
from demo.huggingface.api import HuggingFaceApi
from demo.modelscope import ModelScopeApi
from demo.ranges import RangeNotSatisfiable, parse_range
from demo.storage import Storage
from tests.hub_requests import (
    FILE,
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


# Storage


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=100-199", slice(100, 200)),
        (f"bytes={SIZE - 10}-", slice(SIZE - 10, SIZE)),
        (f"bytes={SIZE - 10}-{SIZE * 2}", slice(SIZE - 10, SIZE)),
        ("bytes=-7", slice(SIZE - 7, SIZE)),
        (f"bytes=-{SIZE * 2}", slice(0, SIZE)),
    ],
)
async def test_one_range_is_served_as_asked(hub: Hub, header: str, part: slice) -> None:
    answer = await ask(await storage_url(hub), Range=header)
    assert answer.status == 206
    assert answer.body == FILE.content[part]
    assert answer.headers["Content-Range"] == f"bytes {part.start}-{part.stop - 1}/{SIZE}"


@pytest.mark.parametrize("header", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}", "bytes=-0"])
async def test_a_range_outside_the_content_is_416_with_the_size(hub: Hub, header: str) -> None:
    answer = await ask(await storage_url(hub), Range=header)
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "bytes=9-3", "lines=0-1", "bytes=-", "bytes=a-b", ""])
async def test_what_is_not_one_range_gets_the_whole_content(hub: Hub, header: str) -> None:
    answer = await ask(await storage_url(hub), Range=header)
    assert answer.status == 200
    assert len(answer.body) == SIZE


def test_an_empty_content_has_no_range() -> None:
    assert parse_range(None, 0) is None
    with pytest.raises(RangeNotSatisfiable):
        parse_range("bytes=0-", 0)


async def test_a_range_of_another_version_gets_the_whole_of_this_one(hub: Hub) -> None:
    url = await storage_url(hub)
    same = await ask(url, Range="bytes=5-9", If_Range=f'"{FILE.xet_hash}"')
    other = await ask(url, Range="bytes=5-9", If_Range=f'"{FILE.sha256}"')
    assert (same.status, same.body) == (206, FILE.content[5:10])
    assert (other.status, len(other.body)) == (200, SIZE)


async def test_a_signed_url_is_for_get_and_takes_no_token(hub: Hub) -> None:
    url = await storage_url(hub)
    assert (await ask(url, "HEAD")).status == 403
    assert (await ask(url, token="hf_demo")).status == 400
    assert (await ask(url)).status == 200


@pytest.mark.parametrize("name", ["Expires", "Signature", "response-content-disposition", "path"])
async def test_a_signed_url_that_was_touched_is_refused(hub: Hub, name: str) -> None:
    parts = urlsplit(await storage_url(hub))
    query = dict(parse_qsl(parts.query))
    path = parts.path
    if name == "path":
        path = path[:-1] + ("0" if path[-1] != "0" else "1")
    else:
        query[name] += "1"
    assert (await ask(urlunsplit(parts._replace(path=path, query=urlencode(query))))).status == 403


async def test_a_signed_url_expires_and_a_new_one_is_good() -> None:
    async with serving(expire_after=0.3) as hub:
        url = await storage_url(hub)
        assert (await ask(url)).status == 200
        await asyncio.sleep(0.4)
        expired = await ask(url)
        assert expired.status == 403
        assert b"expired" in expired.body
        assert (await ask(await storage_url(hub))).status == 200


async def test_a_transfer_under_way_outlives_its_url() -> None:
    async with serving(expire_after=0.2, bytes_per_second=600_000) as hub:
        assert (await ask(await storage_url(hub))).body == FILE.content


# Behaviour on demand


async def test_the_speed_limit_holds_for_each_connection_by_itself() -> None:
    async with serving(bytes_per_second=500_000) as hub:
        url = await storage_url(hub)
        started = time.monotonic()
        await ask(url)
        alone = time.monotonic() - started
        started = time.monotonic()
        await asyncio.gather(*(ask(url) for _ in range(4)))
        together = time.monotonic() - started
    expected = (SIZE - 65_536) / 500_000  # the last piece is not waited for
    assert alone >= expected
    assert together >= expected
    assert together < 3.5 * alone, "one after the other they would take four times as long"


async def test_latency_comes_before_every_answer_of_both_hosts() -> None:
    async with serving(latency=0.15) as hub:
        started = time.monotonic()
        url = await storage_url(hub)
        resolved = time.monotonic()
        await ask(url, Range="bytes=0-0")
        assert resolved - started >= 0.15
        assert time.monotonic() - resolved >= 0.15


@pytest.mark.parametrize("name", [PATH, "tiny_vae.safetensors"])
async def test_a_corrupt_file_differs_in_one_bit_only(name: str) -> None:
    async with serving(corrupt={name}) as hub:
        answer = await ask(await storage_url(hub))
    changed = [left ^ right for left, right in zip(answer.body, FILE.content, strict=True) if left != right]
    assert changed == [1]
    assert answer.headers["ETag"] == f'"{FILE.xet_hash}"'


async def test_a_dropped_transfer_ends_early_once_and_can_be_resumed() -> None:
    async with serving(drop_after_bytes={PATH: 100_000}) as hub:
        url = await storage_url(hub)
        got, early = b"", None
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            try:
                async for chunk in response.content.iter_any():
                    got += chunk
            except aiohttp.ClientPayloadError as error:
                early = error
        assert early is not None
        assert got == FILE.content[:100_000]
        rest = await ask(url, Range=f"bytes={len(got)}-")
        assert got + rest.body == FILE.content


async def test_a_drop_beyond_the_transfer_waits_for_a_longer_one() -> None:
    async with serving(drop_after_bytes={PATH: 100_000}) as hub:
        url = await storage_url(hub)
        assert len((await ask(url, Range="bytes=0-49999")).body) == 50_000
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(url)


async def test_the_log_tells_host_method_file_headers_and_status(hub: Hub) -> None:
    await ask(at(hub, OPEN), "HEAD", "hf_anyone")
    await ask(await storage_url(hub), Range="bytes=0-9")
    await ask(hub.endpoint + "/no/such/page")
    head, get, missing = hub.log.entries("api")
    assert (head.method, head.status, head.file) == ("HEAD", 302, PATH)
    assert head.headers["Authorization"] == "Bearer hf_anyone"
    assert (get.method, get.headers.get("Authorization")) == ("GET", None)
    assert (missing.path, missing.status, missing.file) == ("/no/such/page", 404, None)
    (stored,) = hub.log.entries("storage", file="tiny_vae.safetensors")
    assert (stored.status, stored.headers["Range"]) == (206, "bytes=0-9")
    assert hub.log.entries(file="vae.safetensors") == [], "a file is named whole"


async def test_the_environment_points_a_client_at_the_hosts(hub: Hub) -> None:
    urls = (hub.endpoint, hub.civitai, hub.storage)
    hosts = [urlsplit(url).netloc for url in urls]
    assert all(host.startswith("127.0.0.1:") for host in hosts)
    assert len({*hosts, urlsplit(hub.modelscope).netloc}) == 4
    assert hub.environment() == {
        "CMR_HF_ENDPOINT": hub.endpoint,
        "CMR_CIVITAI_ENDPOINT": hub.civitai,
        "CMR_ALLOWED_HOSTS": ",".join(hosts),
    }


async def test_a_stopped_hub_gives_its_port_back_even_with_a_slow_transfer_under_way() -> None:
    async with serving(bytes_per_second=1_000) as hub:
        port = urlsplit(hub.endpoint).port
        transfer = asyncio.create_task(ask(await storage_url(hub)))
        await asyncio.sleep(0.2)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    with pytest.raises(aiohttp.ClientError):
        await transfer
    async with serving(port=port) as again:
        assert again.endpoint == hub.endpoint


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(TypeError, match="byte_per_second"):
        Hub(WORLD, byte_per_second=1)


@pytest.mark.parametrize("host", ["endpoint", "civitai"])
async def test_a_client_is_not_sent_again_what_it_has(hub: Hub, host: str) -> None:
    url = getattr(hub, host) + ("/api/models" if host == "endpoint" else "/api/v1/models")
    first = await ask(url)
    again = await ask(url, If_None_Match=first.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    other = await ask(f"{url}?limit=1&query=x&search=x", If_None_Match='"other"')
    assert other.status == 200
    refused = await ask(f"{url}?limit=-1")
    assert (refused.status, "ETag" in refused.headers) == (400, False)


# What goes wrong


INFO = f"/api/models/{REPO}"


async def test_a_route_fails_as_often_as_asked_and_then_works() -> None:
    fault = Fault("status", 429, times=2, headers={"Retry-After": "7"})
    async with serving(faults={"huggingface.info": fault}) as hub:
        answers = [await ask(hub.endpoint + INFO) for _ in range(3)]
        assert [answer.status for answer in answers] == [429, 429, 200]
        assert answers[0].headers["Retry-After"] == "7"
        assert [entry.status for entry in hub.log.entries(route="huggingface.info")] == [429, 429, 200]


async def test_a_fault_leaves_other_routes_and_other_paths_alone() -> None:
    fault = Fault("status", 500, about="demo-models/locked")
    async with serving(faults={"huggingface.info": fault}) as hub:
        assert (await ask(hub.endpoint + INFO)).status == 200
        assert (await ask(f"{hub.endpoint}/api/models/demo-models/locked")).status == 500
        assert (await ask(f"{hub.endpoint}/api/models/demo-models/locked/tree/main")).status == 200


async def test_a_pattern_breaks_a_whole_host() -> None:
    async with serving(faults={"huggingface.*": Fault("status", 502)}) as hub:
        assert (await ask(hub.endpoint + INFO)).status == 502
        assert (await ask(hub.endpoint + "/api/models")).status == 502
        assert (await ask(f"{hub.civitai}/api/v1/models")).status == 200


async def test_an_answer_can_be_half_of_its_json() -> None:
    async with serving(faults={"huggingface.info": Fault("malformed", times=1)}) as hub:
        broken = await ask(hub.endpoint + INFO)
        whole = await ask(hub.endpoint + INFO)
    assert broken.status == 200
    assert broken.headers["Content-Type"].startswith("application/json")
    assert whole.body.startswith(broken.body)
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(broken.body)


async def test_an_answer_can_be_cut_off_on_the_way() -> None:
    async with serving(faults={"huggingface.info": Fault("truncated")}) as hub:
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(hub.endpoint + INFO)


async def test_an_answer_can_be_a_page_instead() -> None:
    async with serving(faults={"huggingface.info": Fault("html")}) as hub:
        answer = await ask(hub.endpoint + INFO)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")


async def test_a_connection_can_end_without_an_answer() -> None:
    async with serving(faults={"huggingface.info": Fault("disconnect")}) as hub:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await ask(hub.endpoint + INFO)
        assert 0 in [entry.status for entry in hub.log.entries(route="huggingface.info")]


async def test_an_answer_can_stay_out_and_the_hub_still_stops() -> None:
    async with serving(faults={"huggingface.info": Fault("hang")}) as hub:
        asked = asyncio.create_task(ask(hub.endpoint + INFO))
        _, waiting = await asyncio.wait([asked], timeout=0.5)
        assert waiting == {asked}
        (entry,) = hub.log.entries(route="huggingface.info")
        assert entry.status == 0
    with pytest.raises(aiohttp.ClientError):
        await asked


async def test_single_routes_can_be_slow() -> None:
    async with serving(latencies={"huggingface.info": 0.2}) as hub:
        started = time.monotonic()
        await ask(hub.endpoint + INFO)
        assert time.monotonic() - started >= 0.2


async def test_a_size_can_be_a_lie_of_the_api() -> None:
    async with serving(stated_sizes={"tiny_vae.safetensors": 7}) as hub:
        listed = (await ask(f"{hub.endpoint}{INFO}?blobs=true")).json["siblings"][0]
        resolved = await ask(at(hub, OPEN))
        stored = await ask(resolved.headers["Location"])
    assert (listed["size"], listed["lfs"]["size"]) == (7, 7)
    assert resolved.headers["X-Linked-Size"] == "7"
    assert len(stored.body) == SIZE


async def test_requests_are_counted_by_route_repository_and_file(hub: Hub) -> None:
    await ask(hub.endpoint + INFO)
    await ask(f"{hub.endpoint}/api/models?search=tiny")
    await ask(await storage_url(hub))
    await ask(hub.endpoint + "/no/such/page")
    assert hub.log.counts() == {
        "huggingface.info": 1,
        "huggingface.search": 1,
        "huggingface.resolve": 1,
        "storage.read": 1,
    }
    assert hub.log.counts("repo") == {REPO: 3}
    assert hub.log.counts("file") == {PATH: 2}
    (search,) = hub.log.entries(route="huggingface.search")
    assert search.query == "search=tiny"
    hub.log.clear()
    assert hub.log.entries() == []


def test_every_route_names_the_documentation_it_follows() -> None:
    options = HubOptions()
    storage = Storage("http://127.0.0.1:1", options)
    apis = [api(WORLD, storage, options) for api in (HuggingFaceApi, CivitaiApi, ModelScopeApi)]
    routes = [route for each in (*apis, storage) for route in each.routes()]
    assert len(routes) == 20
    for route in routes:
        assert route.kwargs["name"]
        assert "https://" in (route.handler.__doc__ or ""), route.path

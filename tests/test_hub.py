"""The demonstration's hub behaves towards clients as Hugging Face does. Real sockets throughout."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import aiohttp
import huggingface_hub
import huggingface_hub.constants
import pytest

from demo import Hub, World, running_hub
from demo import run as demo_run
from demo.links import model_links
from demo.ranges import RangeNotSatisfiable, parse_range
from demo.safetensors import MIN_SIZE, make_safetensors

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "demo" / "workflows" / "text-to-image.json"
REPO = "demo-models/tiny"
PATH = "split_files/vae/tiny_vae.safetensors"
SIZE = 300_001
OPEN = f"https://huggingface.co/{REPO}/resolve/main/{PATH}"
GATED = "https://huggingface.co/demo-models/locked/resolve/main/locked.safetensors"

WORLD = World.for_urls([OPEN, GATED], sizes=SIZE, gated={"demo-models/locked": "auto"})
FILE = WORLD.repos[REPO].files[0]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(url: str, method: str = "GET", token: str | None = None, **headers: str) -> Answer:
    """One request of its own connection, redirects not followed; ``If_Range`` for the header ``If-Range``."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(method, url, headers=sent, allow_redirects=False) as response,
    ):
        return Answer(response.status, response.headers.copy(), await response.read())


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Hub]:
    hub = Hub(WORLD, **options)
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop()


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with serving() as running:
        yield running


def at(hub: Hub, url: str) -> str:
    return url.replace("https://huggingface.co", hub.endpoint)


async def storage_url(hub: Hub) -> str:
    return str((await ask(at(hub, OPEN))).headers["Location"])


# Files


@pytest.mark.parametrize("size", [MIN_SIZE, 65_535, 65_536, 99_999, 1_234_567])
def test_a_made_file_is_a_whole_safetensors_file_of_the_size_asked_for(size: int) -> None:
    content = make_safetensors("seed", size)
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert len(content) == size
    assert header.pop("__metadata__")["format"] == "pt"
    width = {"BF16": 2, "U8": 1}
    end = 0
    for entry in header.values():
        begin, stop = entry["data_offsets"]
        count = 1
        for dimension in entry["shape"]:
            count *= dimension
        assert begin == end, "a hole between tensors"
        assert stop - begin == count * width[entry["dtype"]]
        end = stop
    assert end == size - 8 - length


def test_a_made_file_is_read_by_the_safetensors_package() -> None:
    safetensors = pytest.importorskip("safetensors")
    names = {name for name, _ in safetensors.deserialize(make_safetensors("seed", 100_003))}
    assert names == {"blocks.0.weight", "blocks.1.weight", "blocks.2.weight", "blocks.3.weight", "tail"}


def test_a_size_too_small_for_a_header_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        make_safetensors("seed", MIN_SIZE - 1)


def test_contents_depend_on_the_seed_alone_and_are_pinned() -> None:
    digest = hashlib.sha256(make_safetensors("a/b/c.safetensors", 65_536)).hexdigest()
    assert digest == "e626eb9a209cfd6ebc3e845e785fb8c028ba24c5e64e391cf5c6c2c3f369c472"
    assert make_safetensors("a", 8192) != make_safetensors("b", 8192)


# The world


def test_the_example_workflow_states_the_hashes_of_the_files_its_world_makes() -> None:
    world = World.for_workflow(EXAMPLE)
    links = model_links(json.loads(EXAMPLE.read_text(encoding="utf-8")))
    assert len(links) == 5
    stated = 0
    for link in links:
        file = world.file_at(link.url)
        assert file is not None
        assert file.name == link.name
        assert 2_000_000 < file.size < 13_000_000
        if link.sha256 is not None:
            stated += 1
            assert link.sha256 == file.sha256, f"{link.name}: write this hash into the workflow"
    assert stated == 3


def test_the_example_workflow_promotes_its_model_widgets_and_bypasses_its_upscaler() -> None:
    workflow = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    (subgraph,) = workflow["definitions"]["subgraphs"]
    (host,) = [node for node in workflow["nodes"] if node["type"] == subgraph["id"]]
    promoted = [entry["name"] for entry in host["inputs"] if "widget" in entry]
    assert promoted == [entry["name"] for entry in subgraph["inputs"]]
    values = dict(zip(promoted, host["widgets_values"], strict=True))
    inner = {node["type"]: node["widgets_values"][0] for node in subgraph["nodes"] if node["widgets_values"]}
    assert values["unet_name"] == inner["UNETLoader"] == "lumen_image_bf16.safetensors"
    assert values["lora_name"] == inner["LoraLoaderModelOnly"] == "lumen_watercolor_v1.safetensors"
    assert values["clip_name"] == inner["CLIPLoader"] == "lumen_text_encoder_2b.safetensors"
    assert values["vae_name"] == inner["VAELoader"] == "lumen_image_vae.safetensors"
    inactive = [link.directory for link in model_links(workflow) if not link.active]
    assert inactive == ["upscale_models"]


def test_every_hugging_face_link_of_the_official_templates_has_its_file() -> None:
    templates = pytest.importorskip("comfyui_workflow_templates_json")
    served = 0
    for file in sorted((Path(templates.__file__).parent / "templates").glob("*.json")):
        workflow = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(workflow, dict) or "nodes" not in workflow:
            continue
        world = World.for_workflow(workflow, sizes=MIN_SIZE)
        for link in model_links(workflow):
            if urlsplit(link.url).hostname == "huggingface.co":
                assert world.file_at(link.url) is not None, (file.name, link.url)
                served += 1
    assert served > 1000


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (OPEN, True),
        (OPEN + "?download=true", True),
        (OPEN.replace("/resolve/", "/blob/"), True),
        (OPEN.replace("https://huggingface.co", "https://hf.co"), True),
        (OPEN.replace("/main/", "/other/"), False),
        (OPEN.replace("huggingface.co", "example.com"), False),
        (OPEN.replace("tiny_vae", "other"), False),
        (OPEN.replace(REPO, "demo-models/other"), False),
    ],
)
def test_a_world_finds_a_file_by_its_url(url: str, found: bool) -> None:
    assert (WORLD.file_at(url) is not None) == found


def test_a_revision_with_a_slash_is_told_from_the_path() -> None:
    url = f"https://huggingface.co/{REPO}/resolve/refs%2Fpr%2F7/a%20b.safetensors"
    repo = World.for_urls([url], sizes=SIZE).repos[REPO]
    assert repo.has_revision("refs/pr/7")
    assert repo.file("a b.safetensors") is not None


def test_a_node_inside_a_bypassed_subgraph_is_inactive_even_where_another_use_is_active() -> None:
    entry = {"name": "a", "url": OPEN, "directory": "vae"}
    # The definition contains itself, too, which must end.
    subgraph = {"id": "s", "nodes": [{"type": "s"}, {"properties": {"models": [entry]}}]}
    workflow = {
        "nodes": [{"type": "s", "mode": 4}, {"type": "s", "mode": 0}],
        "definitions": {"subgraphs": [subgraph]},
    }
    assert [link.active for link in model_links(workflow)] == [False, True]


def test_a_definition_that_no_node_uses_is_read_but_inactive() -> None:
    entry = {"name": "a", "url": OPEN, "directory": "vae"}
    subgraph = {"id": "s", "nodes": [{"properties": {"models": [entry]}}]}
    workflow = {"nodes": [], "definitions": {"subgraphs": [subgraph]}}
    assert [link.active for link in model_links(workflow)] == [False]


# Resolving


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


async def test_the_environment_points_a_client_at_both_hosts(hub: Hub) -> None:
    hosts = [urlsplit(url).netloc for url in (hub.endpoint, hub.storage)]
    assert all(host.startswith("127.0.0.1:") for host in hosts)
    assert hosts[0] != hosts[1]
    assert hub.environment() == {"CMR_HF_ENDPOINT": hub.endpoint, "CMR_ALLOWED_HOSTS": ",".join(hosts)}


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


# A client that is not ours


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


# As programs


def test_the_command_serves_until_it_is_terminated() -> None:
    options = ["--gated", "demo-models/lumen-image-loras", "--corrupt", "lumen_image_vae.safetensors"]
    process = subprocess.Popen(
        [sys.executable, "-m", "demo", *options], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        environment = dict(process.stdout.readline().rstrip("\n").split("=", 1) for _ in range(2))
        assert list(environment) == ["CMR_HF_ENDPOINT", "CMR_ALLOWED_HOSTS"]
        links = {link.directory: link for link in model_links(json.loads(EXAMPLE.read_text("utf-8")))}
        endpoint = environment["CMR_HF_ENDPOINT"]
        answers = {
            folder: asyncio.run(ask(link.url.replace("https://huggingface.co", endpoint)))
            for folder, link in links.items()
        }
        content = asyncio.run(ask(answers["vae"].headers["Location"])).body
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()
    assert answers["loras"].headers["X-Error-Code"] == "GatedRepo"
    assert answers["diffusion_models"].status == 302
    assert hashlib.sha256(content).hexdigest() != answers["vae"].headers["X-Linked-Etag"].strip('"')


@pytest.mark.parametrize(
    "arguments",
    [["--gated", "no/such"], ["--corrupt", "no.safetensors"], ["--workflow", "no-such.json"]],
)
def test_the_command_refuses_what_it_cannot_do(arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "demo", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 2
    assert arguments[1] in result.stderr


# A stand-in for the command line: downloads what `fetch` names, honestly or not, and states what is missing.
STAND_IN = """
import json, os, pathlib, sys, urllib.request
workflow, root = sys.argv[2], pathlib.Path(sys.argv[sys.argv.index("--comfyui-root") + 1])
assert os.environ["CMR_HF_TOKEN"] == ""
assert not {"HF_TOKEN", "CMR_LOG_LEVEL", "https_proxy"} & set(os.environ)
sys.path.insert(0, os.getcwd())
from demo.links import load_workflow, model_links
missing = False
for link in model_links(load_workflow(workflow)):
    place = root / "models" / link.directory / link.name
    if "--download" in sys.argv and link.active and os.environ.get("SKIP") not in (link.directory, "all"):
        url = link.url.replace("https://huggingface.co", os.environ["CMR_HF_ENDPOINT"])
        content = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url).read()
        place.write_bytes(content[::-1] if link.directory == os.environ.get("SPOIL") else content)
    missing |= link.active and not place.exists()
if "STRAY" in os.environ:
    (root / "models" / "vae" / "half.safetensors").touch()
sys.exit(int(missing))
"""


@pytest.mark.parametrize(
    ("variable", "value", "status", "said"),
    [
        (None, "", 0, ["verified, SHA-256", "not needed: bypassed", "The demonstration went as it should."]),
        ("SKIP", "vae", 1, ["demo failed: vae/lumen_image_vae.safetensors: missing", "ended with status 1"]),
        ("SPOIL", "loras", 1, ["demo failed: loras/lumen_watercolor_v1.safetensors: wrong content"]),
        ("STRAY", "1", 1, ["half.safetensors: nobody asked for this file"]),
    ],
)
def test_the_demonstration_checks_what_the_command_line_did(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str | None,
    value: str,
    status: int,
    said: list[str],
) -> None:
    stand_in = tmp_path / "stand_in.py"
    stand_in.write_text(STAND_IN, encoding="utf-8")
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
    monkeypatch.setenv("CMR_LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    if variable:
        monkeypatch.setenv(variable, value)
    command = [sys.executable, str(stand_in)]
    result = demo_run.demonstrate(tmp_path / "ComfyUI", command=command, megabytes_per_second=1000)
    output = capsys.readouterr().out
    assert result == status
    for text in said:
        assert text in output
    if status:
        assert "The demonstration went as it should." not in output


def test_a_second_demonstration_finds_what_the_first_one_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in = tmp_path / "stand_in.py"
    stand_in.write_text(STAND_IN, encoding="utf-8")
    command = [sys.executable, str(stand_in)]
    assert demo_run.demonstrate(tmp_path / "ComfyUI", command=command, megabytes_per_second=1000) == 0
    assert "kept from an earlier run" not in capsys.readouterr().out
    monkeypatch.setenv("SKIP", "all")
    assert demo_run.demonstrate(tmp_path / "ComfyUI", command=command, megabytes_per_second=1000) == 0
    assert "kept from an earlier run" in capsys.readouterr().out

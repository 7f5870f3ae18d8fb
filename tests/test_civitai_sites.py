"""civitai.com and civitai.red, which split the catalogue: what is asked where."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from resolver.net.api import ApiAnswer
from resolver.net.client import HttpClient
from resolver.net.policy import UrlPolicy
from resolver.settings import CIVITAI, Settings
from resolver.sources import Context, normalise_url
from resolver.sources.asking import Asker, Budget, NoCache
from resolver.sources.civitai import CivitaiSource
from tests.searching import wanted

MIRROR = "https://mirror.example"
KEY = "PLANTED-key"


@asynccontextmanager
async def proxy() -> AsyncIterator[tuple[int, list[bytes]]]:
    """An HTTP proxy that notes whom it is to connect to, and connects to nobody."""
    heads: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("link", "endpoint", "asked"),
    [
        ("https://civitai.red/api/download/models/7", CIVITAI, "civitai.red"),
        ("https://civitai.com/api/download/models/7", CIVITAI, "civitai.com"),
        ("https://www.civitai.com/api/download/models/7?type=Model", CIVITAI, "civitai.com"),
        ("https://civitai.red/api/download/models/7", MIRROR, "mirror.example"),
        ("https://www.civitai.com/api/download/models/7", MIRROR, "mirror.example"),
        (None, CIVITAI, "civitai.com"),
    ],
)
async def test_a_link_is_asked_for_at_its_own_site_unless_a_mirror_stands_in(
    link: str | None, endpoint: str, asked: str
) -> None:
    async with proxy() as (port, heads):
        settings = Settings(https_proxy=f"http://127.0.0.1:{port}", civitai_endpoint=endpoint, no_proxy="")
        client = HttpClient(settings, credentials=lambda provider: KEY)
        source = CivitaiSource(client, Asker(NoCache()), endpoint)
        name = "any.safetensors" if link else "civitai-3-7.safetensors"
        with pytest.raises(Exception, match="proxy"):
            await source.find(wanted(name, url=link), Context(), Budget())
        await client.close()
    assert {head.split(b" ")[1].decode() for head in heads} == {f"{asked}:443"}
    assert KEY.encode() not in b"".join(heads)


async def test_what_is_found_at_the_other_site_is_shown_as_of_there(monkeypatch: pytest.MonkeyPatch) -> None:
    red = "https://civitai.red"
    file = {"id": 70, "name": "x.safetensors", "downloadUrl": f"{red}/api/download/models/7", "primary": True}
    answers = {
        f"{red}/api/v1/model-versions/7": {"id": 7, "modelId": 3, "files": [file]},
        f"{red}/api/v1/models/3": {"id": 3, "creator": {"username": "jenny"}},
    }

    async def said(client: HttpClient, url: str, **asked: Any) -> ApiAnswer:
        return ApiAnswer(answers[url])

    monkeypatch.setattr("resolver.sources.civitai.request_json", said)
    client = HttpClient(Settings(), credentials=lambda provider: None)
    source = CivitaiSource(client, Asker(NoCache()), CIVITAI)
    link = f"{red}/api/download/models/7"
    [offer] = await source.find(wanted("x.safetensors", url=link), Context(), Budget())
    assert (offer.url, offer.page_url, offer.publisher) == (
        link,
        f"{red}/models/3?modelVersionId=7",
        "jenny",
    )


@pytest.mark.parametrize("host", ["civitai.com", "www.civitai.com", "WWW.Civitai.com"])
def test_the_site_has_two_names_and_one_token(host: str) -> None:
    policy = UrlPolicy(Settings())
    url = f"https://{host}/api/download/models/7?fp=fp16"
    assert normalise_url(url) == (url if host == "civitai.com" else url.replace(host, "civitai.com"))
    assert policy.fetch_url(url).url == "https://civitai.com/api/download/models/7?fp=fp16"
    assert policy.provider(policy.check(url)) == "civitai"
    mirrored = UrlPolicy(Settings(civitai_endpoint=MIRROR))
    assert mirrored.fetch_url(url).url == f"{MIRROR}/api/download/models/7?fp=fp16"


@pytest.mark.parametrize("url", ["https://civitai.com.evil.example/x", "https://evilcivitai.com/x"])
def test_a_name_like_the_sites_is_not_the_site(url: str) -> None:
    policy = UrlPolicy(Settings(allowed_hosts=("civitai.com.evil.example", "evilcivitai.com")))
    assert policy.provider(policy.check(url)) is None


def test_the_other_site_gets_the_token_too_and_stays_itself() -> None:
    url = "https://civitai.red/api/download/models/7"
    policy = UrlPolicy(Settings(civitai_endpoint=MIRROR))
    assert policy.fetch_url(url).url == url
    assert policy.provider(policy.check(url)) == "civitai"

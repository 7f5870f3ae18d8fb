"""SOCKS proxies: what goes through them, who looks names up, and what is said when they refuse."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resolver.errors import DownloadError, SettingsError, UrlRefused
from resolver.net.api import request_json
from resolver.net.client import HttpClient
from resolver.net.policy import UrlPolicy
from resolver.net.proxies import Proxies
from resolver.net.wire import Broken, Wire
from resolver.settings import Settings
from tests.download_fixtures import model, running
from tests.fault_server import FaultServer, Remote, answers, redirects
from tests.socks_server import SocksServer
from tests.test_net_client import Names, TlsFiles, client, error_of, read, tls
from tests.test_net_wire import CONTENT, fetch, fetched, target_of

__all__ = ["tls"]

LOGIN = ("me", "p@ss:word")
IN_URL = "me:p%40ss%3Aword@"


def mirror(server: FaultServer, proxy: str, **fields: Any) -> dict[str, Any]:
    """Settings with which Hugging Face is ``server`` under another name, at the other end of ``proxy``."""
    scheme = server.url("").split(":")[0]
    endpoint = f"{scheme}://mirror.example:{server.port}"
    return {"hf_endpoint": endpoint, f"{scheme}_proxy": proxy, **fields}


def places(server: FaultServer) -> tuple[str, str]:
    return f"mirror.example:{server.port}", server.place


# --- what goes through ----------------------------------------------------------------------------


@pytest.mark.parametrize("login", [None, LOGIN], ids=["open", "with a login"])
async def test_a_call_of_an_api_goes_through_the_proxy(login: tuple[str, str] | None) -> None:
    async with FaultServer() as server, SocksServer(login) as socks:
        server.put("/api/models", answers(200, {"Content-Type": "application/json"}, b'["one"]'))
        proxy = socks.url("socks5h", IN_URL if login else "")
        async with client(*places(server), **mirror(server, proxy)) as http:
            answer = await request_json(http, "https://huggingface.co/api/models")
        assert answer.value == ["one"]
        assert socks.asked == [("mirror.example", server.port)]
        assert socks.logins == ([login] if login else [])
        assert server.requests[0].headers["host"] == f"mirror.example:{server.port}"


async def test_a_large_file_comes_in_pieces_through_the_proxy(tmp_path: Path) -> None:
    content = model(14_000_000)
    async with FaultServer(keep_alive=True) as server, SocksServer(LOGIN) as socks:
        server.put("/x.safetensors", Remote(content, piece=65_536, pause=0.01))
        fields = mirror(server, socks.url("socks5h", IN_URL), connections_per_download=4)
        async with running(tmp_path, *places(server), **fields) as bench:
            download = await bench.fetch("https://huggingface.co/x.safetensors", size=len(content))
            assert (download.status, download.error) == ("completed", None)
            assert bench.files() == {"sub/model.safetensors": content}
            assert max(event.connections for event in bench.events) > 1
        assert len(socks.asked) == server.connections > 2
        assert set(socks.asked) == {("mirror.example", server.port)}
        assert set(socks.logins) == {LOGIN}
        assert all("proxy-authorization" not in exchange.headers for exchange in server.requests)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_tls_is_with_the_server_behind_the_proxy(
    scheme: str, tls: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.certificate))
    async with FaultServer(tls=tls.server()) as server, SocksServer(LOGIN) as socks:
        server.put("/secret", Remote(CONTENT))
        fields = mirror(server, socks.url(scheme, IN_URL), resolver=Names(["127.0.0.1"]))
        async with client(*places(server), **fields) as http:
            target = await target_of(http, "https://huggingface.co/secret")
            assert target.can_be_wired
            assert await fetched(target) == CONTENT[1000:100_000]
        asked = "mirror.example" if scheme == "socks5h" else "127.0.0.1"
        assert socks.asked == [(asked, server.port)] * 2
        assert len(socks.heard) > 500
        assert b"secret" not in socks.heard


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_a_certificate_must_be_the_names(
    scheme: str, tls: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the server says mirror.example and 127.0.0.1; it is called by another name."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.certificate))
    async with FaultServer(tls=tls.server()) as server, SocksServer() as socks:
        server.put("/x", Remote(CONTENT))
        fields = mirror(server, socks.url(scheme), resolver=Names(["127.0.0.1"]))
        fields["hf_endpoint"] = f"https://other.example:{server.port}"
        async with client(f"other.example:{server.port}", server.place, **fields) as http:
            assert (await error_of(http, "https://huggingface.co/x")).code == "TLS_FAILED"
            url = http.policy.check(f"https://other.example:{server.port}/x")
        async with client(*places(server), **mirror(server, socks.url("socks5h"))) as http:
            target = await target_of(http, "https://huggingface.co/x")
            with pytest.raises(DownloadError) as caught:
                await fetched(replace(target, url=url))
            assert caught.value.code == "TLS_FAILED"
        assert len(socks.asked) == 3


async def test_a_connection_through_it_is_kept_for_the_next_range() -> None:
    async with FaultServer(keep_alive=True) as server, SocksServer() as socks:
        server.put("/x", Remote(CONTENT))
        async with client(*places(server), **mirror(server, socks.url("socks5h"))) as http:
            target = await target_of(http, "https://huggingface.co/x")
            made = len(socks.asked)
            for first in (0, 1000):
                wire = http.wires.get(target)
                head, data = await asyncio.to_thread(fetch, wire, first, first + 999)
                assert (head.status, data) == (206, CONTENT[first : first + 1000])
                http.wires.put(wire)
        assert len(socks.asked) == made + 1


# --- who looks names up ---------------------------------------------------------------------------


async def test_names_we_look_up_are_held_to_the_policy() -> None:
    """The proxy is asked for addresses that passed, never for the name, and for nothing where none did."""
    async with FaultServer() as server, SocksServer() as socks:
        server.put("/x", Remote(CONTENT))
        names = Names(["169.254.169.254", "127.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["10.0.0.1"])
        fields = mirror(server, socks.url("socks5"), resolver=names)
        async with client(*places(server), **fields) as http:
            target = await target_of(http, "https://huggingface.co/x")
            assert target.beyond == ("127.0.0.1",)
            assert await fetched(target) == CONTENT[1000:100_000]
            assert socks.asked == [("127.0.0.1", server.port)] * 2
            with pytest.raises(UrlRefused):
                await read(http, "https://huggingface.co/x")
        assert len(socks.asked) == 2


async def test_the_next_address_is_tried_where_the_first_cannot_be_reached() -> None:
    async with FaultServer() as server, SocksServer(replies=(4,)) as socks:
        server.put("/x", Remote(CONTENT))
        resolver = Names(["127.0.0.2", "127.0.0.1"])
        fields = mirror(server, socks.url("socks5"), resolver=resolver)
        async with client(*places(server), f"127.0.0.2:{server.port}", **fields) as http:
            target = await target_of(http, "https://huggingface.co/x")
            socks.replies.append(5)
            assert await fetched(target) == CONTENT[1000:100_000]
        assert [host for host, _ in socks.asked] == ["127.0.0.2", "127.0.0.1"] * 2


async def test_a_redirect_through_the_proxy_leads_nowhere_a_url_may_not() -> None:
    async with FaultServer() as server, SocksServer() as socks:
        server.put("/x", redirects("http://169.254.169.254/latest"))
        async with client(*places(server), **mirror(server, socks.url("socks5h"))) as http:
            assert (await error_of(http, "https://huggingface.co/x")).code == "REDIRECT_REFUSED"
        assert socks.asked == [("mirror.example", server.port)]


# --- what does not go through ---------------------------------------------------------------------


async def test_this_machine_and_what_no_proxy_names_are_reached_directly() -> None:
    async with FaultServer() as server, SocksServer() as socks:
        local = server.put("/x", Remote(CONTENT))
        fields = mirror(server, socks.url("socks5"), no_proxy=".example", resolver=Names(["127.0.0.1"]))
        async with client(*places(server), **fields) as http:
            for url in (local, "https://huggingface.co/x"):
                assert await read(http, url) == CONTENT
                assert await fetched(await target_of(http, url)) == CONTENT[1000:100_000]
        assert socks.asked == []
        assert len(server.requests) == 6


# --- when it refuses ------------------------------------------------------------------------------


async def test_a_wrong_password_is_said_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with FaultServer() as server, SocksServer(LOGIN) as socks:
        server.put("/x", Remote(CONTENT))
        right = mirror(server, socks.url("socks5h", IN_URL))
        async with client(*places(server), **right) as http:
            target = await target_of(http, "https://huggingface.co/x")
        wrong = socks.url("socks5h", "me:PLANTED@")
        async with client(*places(server), **mirror(server, wrong)) as http:
            error = await error_of(http, "https://huggingface.co/x")
        assert (error.code, error.retryable) == ("NETWORK", True)
        assert "not with this user name and password" in error.message
        target = replace(target, proxy=wrong)
        with pytest.raises(Broken, match="not with this user name and password") as caught:
            await fetched(target)
        assert socks.logins[1:] == [("me", "PLANTED")] * 2
        assert len(socks.asked) == 1
    said = [caplog.text, repr(target), repr(error), str(error.as_json()), repr(caught.value)]
    causes = [error.__cause__, caught.value.__cause__]
    assert causes == [None, None]
    assert [text for text in said if "PLANTED" in text or "p%40ss" in text or LOGIN[1] in text] == []


@pytest.mark.parametrize(
    ("reply", "words"), [(2, "does not allow it"), (4, "cannot reach that host"), (5, "was refused there")]
)
async def test_what_the_proxy_answers_is_told(reply: int, words: str) -> None:
    async with FaultServer() as server, SocksServer(replies=(reply,)) as socks:
        async with client(*places(server), **mirror(server, socks.url("socks5h"))) as http:
            error = await error_of(http, "https://huggingface.co/x")
        assert (error.code, error.message) == (
            "NETWORK",
            f"Cannot read from mirror.example: no connection (the proxy {words}).",
        )


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(3)
    writer.close()


async def speaks_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(3)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("serve", [hangs_up, speaks_http])
async def test_a_proxy_that_speaks_something_else_is_told(serve: Any) -> None:
    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with FaultServer() as server, client(*places(server)) as direct, listener:
        at = listener.sockets[0].getsockname()
        proxy = f"socks5h://127.0.0.1:{at[1]}"
        async with client(*places(server), **mirror(server, proxy)) as http:
            error = await error_of(http, "https://huggingface.co/x")
        assert error.code == "NETWORK"
        assert "does not speak SOCKS5" in error.message
        target = await target_of(direct, server.put("/x", Remote(CONTENT)))
        with pytest.raises(Broken, match="does not speak SOCKS5"):
            await fetched(replace(target, proxy=proxy, addresses=((socket.AF_INET, at),), beyond=("x",)))


async def test_a_proxy_that_is_not_there_is_told() -> None:
    fields = {"hf_endpoint": "http://mirror.example:8080", "http_proxy": "socks5h://127.0.0.1:1"}
    async with client("mirror.example:8080", **fields) as http:
        error = await error_of(http, "https://huggingface.co/x")
    assert error.code == "NETWORK"
    assert "the proxy: connection refused" in error.message


async def test_waiting_for_a_proxy_that_says_nothing_ends_when_it_is_hung_up() -> None:
    silent = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "127.0.0.1", 0)
    async with FaultServer() as server, client(server.place) as http, silent:
        port = silent.sockets[0].getsockname()[1]
        direct = await target_of(http, server.put("/x", Remote(CONTENT)))
        proxied = replace(
            direct,
            proxy=f"socks5h://127.0.0.1:{port}",
            addresses=((socket.AF_INET, ("127.0.0.1", port)),),
            beyond=("x",),
        )
        wire = Wire(proxied)
        ended = threading.Event()

        def work() -> None:
            with suppress(Broken):
                fetch(wire, 0, 9)
            ended.set()

        thread = threading.Thread(target=work)
        thread.start()
        await asyncio.sleep(0.2)
        assert not ended.is_set()
        wire.hang_up()
        assert await asyncio.to_thread(ended.wait, 5)
        wire.close()


# --- settings -------------------------------------------------------------------------------------


def test_without_its_packages_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp_socks", None)
    monkeypatch.delitem(sys.modules, "resolver.net.socks", raising=False)
    with pytest.raises(SettingsError, match=r"HTTPS_PROXY .* extra \[socks\]") as caught:
        HttpClient(Settings(https_proxy="socks5://me:PLANTED@127.0.0.1:1080"))
    assert caught.value.code == "SOCKS_MISSING"
    assert "PLANTED" not in str(caught.value.as_json())


@pytest.mark.parametrize(
    "proxy",
    [
        "socks4://PLANTED@127.0.0.1",
        "127.0.0.1:1080",
        "socks5://me:PLANTED@",
        "socks5://me:PLANTED@127.0.0.1:port",
        "http://me:PLANTED@127.0.0.1:99999",
        "socks5://PLANTED@127.0.0.1",
        "socks5://me:PLANTED%C3%A9@127.0.0.1",
        f"socks5://me:{'PLANTED' * 40}@127.0.0.1",
    ],
)
def test_a_proxy_that_cannot_be_used_is_told_at_the_start(proxy: str) -> None:
    with pytest.raises(SettingsError, match="HTTP_PROXY") as caught:
        Proxies(Settings(http_proxy=proxy))
    assert "PLANTED" not in str(caught.value.as_json())


def test_its_usual_port_is_1080() -> None:
    settings = Settings(https_proxy="socks5://proxy.lan")
    proxies = Proxies(settings)
    proxy = proxies.of(UrlPolicy(settings).check("https://huggingface.co/x"))
    assert proxy is not None
    assert proxies.place(proxy) == ("proxy.lan", 1080)

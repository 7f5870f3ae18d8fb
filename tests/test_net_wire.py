"""Connections for ranges of a file: to the addresses that were checked, through proxies, kept and hung up."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from resolver.errors import DownloadError, UrlRefused
from resolver.net.client import HttpClient
from resolver.net.heads import Head
from resolver.net.policy import UrlPolicy
from resolver.net.proxies import Proxies
from resolver.net.wire import Broken, Target, Wire, WirePool
from resolver.settings import Settings
from tests.fault_server import FaultServer, Remote, answers, redirects, stalls_after
from tests.test_net_client import Names, TlsFiles, client, tls, tokens

__all__ = ["tls"]

CONTENT = bytes(range(256)) * 1000


async def target_of(http: HttpClient, url: str) -> Target:
    async with http.open(url, headers={"Range": "bytes=0-0"}) as answer:
        return await http.target(answer)


def fetch(wire: Wire, first: int, last: int) -> tuple[Head, bytes]:
    head = wire.ask(first, last, None)
    buffer, data = memoryview(bytearray(10_000)), b""
    while count := wire.recv_into(buffer):
        data += buffer[:count]
    return head, data


async def fetched(target: Target, first: int = 1000, last: int = 99_999) -> bytes:
    wire = Wire(target)
    try:
        head, data = await asyncio.to_thread(fetch, wire, first, last)
        assert head.status == 206
        return data
    finally:
        wire.close()


async def test_a_range_comes_from_where_the_redirect_led() -> None:
    async with FaultServer() as server, client(server.place) as http:
        url = server.put("/x", redirects(server.put("/y", Remote(CONTENT)) + "?X-Amz-Signature=1"))
        assert await fetched(await target_of(http, url)) == CONTENT[1000:100_000]
        assert server.requests[-1].target == "/y?X-Amz-Signature=1"
        assert server.requests[-1].headers["host"] == server.place
        assert server.requests[-1].headers["accept-encoding"] == "identity"


async def test_a_token_is_sent_to_its_own_origin_only() -> None:
    async with FaultServer() as hub, FaultServer() as storage:
        options = {"hf_endpoint": hub.url(""), "credentials": tokens}
        async with client(hub.place, storage.place, **options) as http:
            hub.put("/small", Remote(CONTENT))
            hub.put("/large", redirects(storage.put("/s", Remote(CONTENT))))
            await fetched(await target_of(http, hub.url("/small")))
            await fetched(await target_of(http, hub.url("/large")))
        assert hub.sent("GET", "/small")[-1].headers["authorization"] == "Bearer hf_secret"
        assert all("authorization" not in exchange.headers for exchange in storage.requests)


async def test_names_are_looked_up_once_and_only_their_checked_addresses_are_connected_to() -> None:
    async with FaultServer() as server:
        endpoint = f"http://mirror.example:{server.port}"
        places = (f"mirror.example:{server.port}", server.place)
        names = Names(["127.0.0.1"], ["127.0.0.1", "169.254.169.254"], ["169.254.169.254"])
        async with client(*places, hf_endpoint=endpoint, resolver=names) as http:
            server.put("/x", Remote(CONTENT))
            target = await target_of(http, "https://huggingface.co/x")
            assert [address[0] for _, address in target.addresses] == ["127.0.0.1"]
            assert await fetched(target) == CONTENT[1000:100_000]
            assert await fetched(target) == CONTENT[1000:100_000]
            async with http.open(server.put("/y", Remote(CONTENT))) as answer:
                pass
            async with http.open("https://huggingface.co/x") as answer:
                with pytest.raises(UrlRefused):
                    await http.target(answer)


async def test_tls_is_checked_against_the_name(tls: TlsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FaultServer(tls=tls.server()) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(tls.certificate))
        async with client(server.place) as http:
            target = await target_of(http, server.put("/x", Remote(CONTENT)))
            assert await fetched(target) == CONTENT[1000:100_000]
        monkeypatch.delenv("SSL_CERT_FILE")
        async with client(server.place) as http:
            trusting, target = target, Target(**{**vars(target), "tls": http._tls_context()})
            with pytest.raises(DownloadError) as caught:
                await fetched(target)
            assert caught.value.code == "TLS_FAILED"
            assert await fetched(trusting) == CONTENT[1000:100_000]


# --- proxies --------------------------------------------------------------------------------------


@asynccontextmanager
async def connecting_proxy(asked: list[str]) -> AsyncIterator[int]:
    """A proxy that knows ``CONNECT``; everything leads to 127.0.0.1. Its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            asked.append(head)
            port = int(head.split(" ")[1].rpartition(":")[2])
            there, back = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(pump(reader, back), pump(there, writer))

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_https_goes_through_a_proxy_without_being_readable_there(
    tls: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.certificate))
    asked: list[str] = []
    async with FaultServer(tls=tls.server()) as server, connecting_proxy(asked) as port:
        async with client(server.place) as http:
            direct = await target_of(http, server.put("/secret", Remote(CONTENT)))
        proxied = {"proxy": f"http://me:p%40ss@127.0.0.1:{port}", "addresses": ((2, ("127.0.0.1", port)),)}
        assert await fetched(Target(**{**vars(direct), **proxied})) == CONTENT[1000:100_000]
        place = server.place
    (head,) = asked
    assert head.startswith(f"CONNECT {place} HTTP/1.1\r\n")
    assert base64.b64encode(b"me:p@ss").decode() in head
    assert "secret" not in head


async def test_http_goes_through_a_proxy_by_its_whole_url() -> None:
    async with FaultServer() as proxy:
        proxy.put("http://mirror.example:8080/x", Remote(CONTENT))
        fields = {
            "hf_endpoint": "http://mirror.example:8080",
            "http_proxy": f"http://me:pass@proxy.lan:{proxy.port}",
        }
        async with client("mirror.example:8080", resolver=Names(["127.0.0.1"]), **fields) as http:
            assert await fetched(await target_of(http, "https://huggingface.co/x")) == CONTENT[1000:100_000]
        login = f"Basic {base64.b64encode(b'me:pass').decode()}"
        assert {exchange.headers["proxy-authorization"] for exchange in proxy.requests} == {login}


async def test_a_proxy_that_refuses_is_a_broken_connection() -> None:
    async with FaultServer() as proxy, FaultServer() as server, client(server.place) as http:
        proxy.put(server.place, answers(407))
        direct = await target_of(http, server.put("/x", Remote(CONTENT)))
        url = http.policy.check("https://huggingface.co/x")
        through = {"proxy": proxy.url(""), "addresses": ((2, ("127.0.0.1", proxy.port)),), "url": url}
        with pytest.raises(Broken, match="the proxy answered 404"):
            await fetched(Target(**{**vars(direct), **through}))


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_direct"),
    [
        ("", "https://huggingface.co/x", False),
        ("*", "https://huggingface.co/x", True),
        ("huggingface.co", "https://cdn-lfs.huggingface.co/x", True),
        (".huggingface.co", "https://huggingface.co/x", True),
        ("gingface.co", "https://huggingface.co/x", False),
        ("huggingface.co:8443", "https://huggingface.co/x", False),
        ("huggingface.co:443", "https://huggingface.co/x", True),
        ("10.0.0.0/8, civitai.com", "https://10.1.2.3/x", True),
        ("10.0.0.0/8, civitai.com", "https://civitai.com/x", True),
        ("", "https://127.0.0.1/x", True),
    ],
)
def test_which_hosts_are_reached_directly(no_proxy: str, url: str, is_direct: bool) -> None:
    settings = Settings(
        https_proxy="http://proxy.lan:3128", no_proxy=no_proxy, allowed_hosts=("10.1.2.3", "127.0.0.1")
    )
    checked = UrlPolicy(settings).check(url)
    assert Proxies(settings).of(checked) == (None if is_direct else "http://proxy.lan:3128")


# --- kept, and hung up ----------------------------------------------------------------------------


async def test_a_connection_is_used_again() -> None:
    async with FaultServer(keep_alive=True) as server, client(server.place) as http:
        target = await target_of(http, server.put("/x", Remote(CONTENT)))
        pool, made = WirePool(), server.connections

        def work() -> list[bytes]:
            data = []
            for first in range(0, 5000, 1000):
                wire = pool.get(target)
                data.append(fetch(wire, first, first + 999)[1])
                pool.put(wire)
            pool.close()
            return data

        assert await asyncio.to_thread(work) == [CONTENT[n : n + 1000] for n in range(0, 5000, 1000)]
        assert server.connections == made + 1


async def test_a_body_that_was_not_read_to_its_end_ends_its_connection() -> None:
    async with FaultServer(keep_alive=True) as server, client(server.place) as http:
        target = await target_of(http, server.put("/x", Remote(CONTENT)))
        pool, made = WirePool(), server.connections

        def work() -> bytes:
            wire = pool.get(target)
            wire.ask(0, 100_000, None)
            pool.put(wire)
            other = pool.get(target)
            data = fetch(other, 5, 9)[1]
            pool.put(other)
            pool.close()
            return data

        assert await asyncio.to_thread(work) == CONTENT[5:10]
        assert server.connections == made + 2


async def test_a_kept_connection_that_the_server_closed_is_not_used() -> None:
    async with FaultServer() as server, client(server.place) as http:
        target = await target_of(http, server.put("/x", Remote(CONTENT)))
        wire = Wire(target)
        await asyncio.to_thread(fetch, wire, 0, 9)
        assert not wire.can_stay, "it said that it would close"
        await asyncio.sleep(0.05)
        assert not wire.is_alive()
        wire.close()


@contextmanager
def full_listener(host: str = "127.0.0.1") -> Iterator[int]:
    """A port of this machine at which connecting takes for ever: its queue is full."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.bind((host, 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket(family))
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("when", ["connecting", "waiting for the head", "reading"])
async def test_whatever_it_waits_for_ends_when_it_is_hung_up(when: str) -> None:
    with full_listener() as full:
        async with FaultServer() as server, client(server.place) as http:
            remote = Remote(CONTENT)
            target = await target_of(http, server.put("/x", remote))
            if when == "connecting":
                target = Target(**{**vars(target), "addresses": ((2, ("127.0.0.1", full)),)})
            elif when == "waiting for the head":
                server.routes["/x"] = lambda exchange: asyncio.sleep(60)
            else:
                server.routes["/x"] = stalls_after(remote, 1000)
            wire = Wire(target)
            ended: list[Exception] = []

            def work() -> None:
                try:
                    fetch(wire, 0, 99_999)
                except Exception as error:
                    ended.append(error)

            thread = threading.Thread(target=work)
            thread.start()
            await asyncio.sleep(0.2)
            wire.hang_up()
            await asyncio.to_thread(thread.join, 5)
            assert not thread.is_alive()
            assert [type(error) for error in ended] == [Broken]
            wire.close()


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 206 OK\r\n" + b"X: " + b"x" * 200_000,
        b"HTTP/1.1 206 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(1000)) + b"\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 206 OK\r\nConte",
        b"",
    ],
    ids=["endless", "many", "no status", "not HTTP", "cut off", "nothing"],
)
async def test_an_answer_that_is_none_is_a_broken_connection(head: bytes, tmp_path: Path) -> None:
    async def act(exchange: Any) -> None:
        await exchange.write(head)

    async with FaultServer() as server, client(server.place) as http:
        target = await target_of(http, server.put("/x", Remote(CONTENT)))
        server.routes["/x"] = act
        with pytest.raises(Broken):
            await fetched(target)


async def test_informational_answers_pass_by() -> None:
    async def act(exchange: Any) -> None:
        await exchange.write(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n")
        await Remote(CONTENT)(exchange)

    async with FaultServer() as server, client(server.place) as http:
        target = await target_of(http, server.put("/x", Remote(CONTENT)))
        server.routes["/x"] = act
        assert await fetched(target) == CONTENT[1000:100_000]


async def test_an_address_that_cannot_even_be_tried_gives_way_to_the_next() -> None:
    """As IPv6 where there is none: the system says so at once, not later."""
    async with FaultServer() as server, client(server.place) as http:
        target = await target_of(http, server.put("/x", Remote(CONTENT)))
        # A link-local address without its link leads nowhere.
        nowhere = (socket.AF_INET6, ("fe80::1", server.port))
        both = Target(**{**vars(target), "addresses": (nowhere, *target.addresses)})
        assert await fetched(both) == CONTENT[1000:100_000]
        with pytest.raises(Broken, match="no connection"):
            await fetched(Target(**{**vars(target), "addresses": (nowhere,)}))


LEFT_BEHIND = {
    "chunks": (b"Transfer-Encoding: chunked\r\n", b"5\r\nsorry\r\n0\r\n\r\n"),
    "more than announced": (b"Content-Length: 5\r\n", b"sorryHTTP/1.1 206 OK\r\n"),
    "until it closes": (b"", b"sorry"),
}


@pytest.mark.parametrize("rest", LEFT_BEHIND)
async def test_what_is_left_of_an_answer_is_never_taken_for_the_next(rest: str) -> None:
    headers, body = LEFT_BEHIND[rest]

    async def act(exchange: Any) -> None:
        await exchange.write(b"HTTP/1.1 503 Busy\r\n" + headers + b"\r\n" + body)

    async with FaultServer(keep_alive=True) as server, client(server.place) as http:
        target = await target_of(http, server.put("/x", Remote(CONTENT)))
        server.routes["/x"] = act
        wire = Wire(target)
        head, _ = await asyncio.to_thread(fetch, wire, 0, 9)
        assert head.status == 503
        assert not wire.can_stay
        wire.close()

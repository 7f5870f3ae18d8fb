"""Which address of a host is talked to: the first that answers, without waiting for one that never does."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import psutil
import pytest

from resolver.net import connecting
from resolver.net.connecting import Address, first_connection
from resolver.net.wire import Broken, Wire
from tests.fault_server import FaultServer, Remote
from tests.socks_server import SocksServer
from tests.test_net_client import TlsFiles, client, tls
from tests.test_net_socks import mirror, places
from tests.test_net_wire import CONTENT, fetch, fetched, full_listener, target_of

__all__ = ["tls"]


class Hosts:
    """Addresses of this machine that behave as one likes."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def silent(self, host: str = "127.0.0.1") -> Address:
        """It never answers."""
        return _address(host, self._stack.enter_context(full_listener(host)))

    def refusing(self, host: str = "127.0.0.1") -> Address:
        return _address(host, self._bound(host).getsockname()[1])

    def answering(self, host: str = "127.0.0.1") -> tuple[Address, socket.socket]:
        """And who listens there."""
        listener = self._bound(host)
        listener.listen()
        listener.setblocking(False)
        return _address(host, listener.getsockname()[1]), listener

    def _bound(self, host: str) -> socket.socket:
        stream = self._stack.enter_context(socket.socket(_family(host)))
        stream.bind((host, 0))
        return stream


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _address(host: str, port: int) -> Address:
    return _family(host), (host, port)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with ExitStack() as stack:
        yield Hosts(stack)


def connected(*addresses: Address) -> tuple[Address, float]:
    """Which of them it was, and the seconds it took."""
    started = time.monotonic()
    address, stream = first_connection(addresses, lambda: False)
    seconds = time.monotonic() - started
    with stream:
        assert stream.getpeername()[:2] == address[1]
    return address, seconds


def open_to(*addresses: Address) -> int:
    """How many connections of this process lead there, the unfinished ones included."""
    ports = {address[1][1] for address in addresses}
    return sum(bool(c.raddr) and c.raddr.port in ports for c in psutil.Process().net_connections("tcp"))


def test_an_address_that_never_answers_costs_a_quarter_of_a_second_and_is_let_go(hosts: Hosts) -> None:
    silent, (good, _) = hosts.silent(), hosts.answering()
    before = open_to(silent)
    address, seconds = connected(silent, good)
    assert address == good
    assert 0.2 < seconds < 1
    assert open_to(silent) == before


def test_families_take_turns(hosts: Hosts) -> None:
    """Else a quarter of a second would go by for each of IPv6's addresses."""
    (good, _), silent = hosts.answering(), [hosts.silent("::1") for _ in range(3)]
    address, seconds = connected(*silent, good)
    assert address == good
    assert 0.2 < seconds < 0.7


def test_one_that_refuses_costs_no_time(hosts: Hosts) -> None:
    refusing, (good, _) = [hosts.refusing("::1"), hosts.refusing(), hosts.refusing("::1")], hosts.answering()
    address, seconds = connected(*refusing, good)
    assert address == good
    assert seconds < 0.6


def test_one_that_refuses_gives_way_while_another_is_silent(hosts: Hosts) -> None:
    refusing, (good, _) = [hosts.refusing() for _ in range(3)], hosts.answering()
    address, seconds = connected(hosts.silent(), *refusing, good)
    assert address == good
    assert 0.2 < seconds < 0.9


def test_one_that_answers_in_time_is_the_only_one_asked(hosts: Hosts) -> None:
    (first, _), (second, listener) = hosts.answering("::1"), hosts.answering()
    assert connected(first, second)[0] == first
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_one_that_is_late_may_still_be_the_first(hosts: Hosts) -> None:
    """It has its whole time, not only its head start."""
    late, listener = hosts.answering()
    with ExitStack() as waiting:
        listener.listen(0)
        filling = [waiting.enter_context(socket.socket()) for _ in range(4)]
        for stream in filling:
            stream.setblocking(False)
            stream.connect_ex(late[1])

        def make_room() -> None:
            for stream in filling[1:]:
                stream.close()
            listener.accept()[0].close()

        timer = threading.Timer(0.6, make_room)
        timer.start()
        address, seconds = connected(late, hosts.silent())
        timer.join()
    assert address == late
    assert seconds > 0.5


def test_what_there_is_no_way_to_is_told(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "CONNECT_SECONDS", 0.3)
    silent = [hosts.silent(), hosts.silent()]
    before = open_to(*silent)
    started = time.monotonic()
    with pytest.raises(OSError, match="no connection"):
        first_connection(silent, lambda: False)
    assert 0.5 < time.monotonic() - started < 2
    assert open_to(*silent) == before
    with pytest.raises(OSError, match="connection refused"):
        first_connection([hosts.refusing()], lambda: False)
    with pytest.raises(OSError, match="it has no address"):
        first_connection([], lambda: False)


async def test_a_system_without_a_family_uses_the_others() -> None:
    """As Linux without IPv6, which has not even a socket for it."""
    async with FaultServer() as server, client(server.place) as http:
        target = await target_of(http, server.put("/x", Remote(CONTENT)))
        unknown = (socket.AF_APPLETALK, ("::1", server.port))
        assert await fetched(replace(target, addresses=(unknown, *target.addresses))) == CONTENT[1000:100_000]


async def test_a_file_comes_from_the_address_that_answers(hosts: Hosts) -> None:
    async with FaultServer() as server, client(server.place) as http:
        target = await target_of(http, server.put("/x", Remote(CONTENT)))
        both = replace(target, addresses=(hosts.silent("::1"), *target.addresses))
        assert await asyncio.wait_for(fetched(both), 2) == CONTENT[1000:100_000]


async def test_trying_several_ends_when_it_is_hung_up(hosts: Hosts) -> None:
    async with FaultServer() as server, client(server.place) as http:
        target = await target_of(http, server.put("/x", Remote(CONTENT)))
        wire = Wire(replace(target, addresses=(hosts.silent("::1"), hosts.silent(), hosts.silent())))
        ended: list[float] = []

        def work() -> None:
            with pytest.raises(Broken):
                fetch(wire, 0, 9)
            ended.append(time.monotonic())

        thread = threading.Thread(target=work)
        thread.start()
        await asyncio.sleep(0.4)
        assert not ended
        hung_up = time.monotonic()
        wire.hang_up()
        await asyncio.to_thread(thread.join, 5)
        assert ended[0] - hung_up < 0.5
        wire.close()


async def test_one_that_answers_and_breaks_in_tls_gives_way_to_the_rest(
    hosts: Hosts, tls: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.certificate))
    silence = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with FaultServer(tls=tls.server()) as server, client(server.place) as http, silence:
        target = await target_of(http, server.put("/x", Remote(CONTENT)))
        breaking = _address(*silence.sockets[0].getsockname())
        addresses = (hosts.silent("::1"), breaking, *target.addresses)
        fetching = fetched(replace(target, addresses=addresses))
        assert await asyncio.wait_for(fetching, 5) == CONTENT[1000:100_000]
        with pytest.raises(Broken, match=r"^(?!no connection)"):
            await fetched(replace(target, addresses=(breaking, hosts.refusing("::1"))))


async def test_each_address_of_a_host_is_asked_for_at_the_one_of_its_proxy_that_answers(hosts: Hosts) -> None:
    async with FaultServer() as server, SocksServer() as socks:
        server.put("/x", Remote(CONTENT))
        async with client(*places(server), **mirror(server, socks.url("socks5h"))) as http:
            target = await target_of(http, "https://huggingface.co/x")
        target = replace(
            target,
            addresses=(hosts.silent("::1"), hosts.refusing(), *target.addresses),
            beyond=("127.0.0.2", "127.0.0.3", "127.0.0.1"),
        )
        socks.asked.clear()
        socks.replies.extend((4, 5))
        assert await asyncio.wait_for(fetched(target), 5) == CONTENT[1000:100_000]
        assert [host for host, _ in socks.asked] == ["127.0.0.2", "127.0.0.3", "127.0.0.1"]

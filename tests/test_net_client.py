"""Redirects, tokens, names that lead home, proxies: what the client sends, and where."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from resolver.errors import DownloadError, UrlRefused
from resolver.net.client import HttpClient
from resolver.net.dns import PublicResolver
from resolver.net.policy import UrlPolicy
from resolver.settings import Settings
from tests.fault_server import FaultServer, Remote, breaks_after, redirects, stalls_after

CONTENT = b"0123456789" * 100


@asynccontextmanager
async def client(*places: str, **fields: Any) -> AsyncIterator[HttpClient]:
    options = {name: fields.pop(name) for name in ("credentials", "resolver") if name in fields}
    http = HttpClient(Settings(allowed_hosts=places, **{"download_timeout": 5.0, **fields}), **options)
    try:
        yield http
    finally:
        await http.close()


async def read(http: HttpClient, url: str, **options: Any) -> bytes:
    async with http.open(url, **options) as answer:
        return await answer.response.read()


async def error_of(http: HttpClient, url: str, **options: Any) -> DownloadError:
    with pytest.raises(DownloadError) as caught:
        await read(http, url, **options)
    return caught.value


# --- redirects ----------------------------------------------------------------------------------


async def test_redirects_are_followed() -> None:
    async with FaultServer() as server, client(server.place) as http:
        server.put("/end", Remote(CONTENT))
        server.put("/a", redirects("/b", 307))
        url = server.put("/start", redirects(server.url("/a")))
        server.put("/b", redirects("end", 308))
        assert await read(http, url) == CONTENT


async def test_circles_and_endless_redirects_are_refused() -> None:
    async with FaultServer() as server, client(server.place) as http:
        server.put("/b", redirects("/a"))
        url = server.put("/a", redirects("/b"))
        assert (await error_of(http, url)).code == "REDIRECT_REFUSED"
        assert len(server.requests) == 2
        for number in range(20):
            server.put(f"/{number}", redirects(f"/{number + 1}"))
        assert (await error_of(http, server.url("/0"))).code == "REDIRECT_REFUSED"
        assert len(server.requests) == 11


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:1/x",
        "http://127.1:1/x",
        "http://2130706433:1/x",
        "http://[::1]:1/x",
        "http://169.254.169.254/latest",
        "https://evil.example/x",
        "https://user:pass@huggingface.co/x",
        "file:///etc/passwd",
        "https://[bad",
        "https://bucket.r2.cloudflarestorage.com/x",
    ],
)
async def test_a_redirect_leads_nowhere_a_url_may_not(target: str) -> None:
    async with FaultServer() as server, client(server.place) as http:
        url = server.put("/x", redirects(target))
        error = await error_of(http, url)
        assert (error.code, error.retryable) == ("REDIRECT_REFUSED", False)


async def test_https_never_leads_to_http(tls: TlsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.certificate))
    async with (
        FaultServer() as plain,
        FaultServer(tls=tls.server()) as server,
        client(server.place, plain.place) as http,
    ):
        url = server.put("/x", redirects(plain.put("/y", Remote(CONTENT))))
        assert (await error_of(http, url)).code == "REDIRECT_REFUSED"
        assert plain.requests == []
        assert await read(http, server.put("/z", Remote(CONTENT))) == CONTENT


# --- tokens -------------------------------------------------------------------------------------


def tokens(provider: str) -> str | None:
    return {"huggingface": "hf_secret", "civitai": "civitai_secret"}[provider]


async def test_a_token_goes_to_its_own_host_only() -> None:
    async with FaultServer() as hub, FaultServer() as civitai, FaultServer() as storage:
        endpoints = {"hf_endpoint": hub.url(""), "civitai_endpoint": civitai.url("")}
        places = (hub.place, civitai.place, storage.place)
        async with client(*places, credentials=tokens, **endpoints) as http:
            storage.put("/file", Remote(CONTENT))
            hub.put("/o/r/resolve/main/x", redirects(storage.url("/file")))
            civitai.put("/api/download/models/1", redirects(storage.url("/file")))
            assert await read(http, "https://huggingface.co/o/r/resolve/main/x") == CONTENT
            assert await read(http, "https://civitai.com/api/download/models/1") == CONTENT
            assert await read(http, storage.url("/file")) == CONTENT
    assert [x.headers.get("authorization") for x in hub.requests] == ["Bearer hf_secret"]
    assert [x.headers.get("authorization") for x in civitai.requests] == ["Bearer civitai_secret"]
    assert [x.headers.get("authorization") for x in storage.requests] == [None] * 3
    assert all("cookie" not in x.headers for x in storage.requests)
    assert {x.headers["user-agent"].split("/")[0] for x in storage.requests} == {"comfyui-model-resolver"}


async def test_a_token_does_not_come_back_with_a_redirect_to_another_port() -> None:
    async with (
        FaultServer() as hub,
        FaultServer() as other,
        client("127.0.0.1", hf_endpoint=hub.url(""), credentials=tokens) as http,
    ):
        hub.put("/x", redirects(other.url("/y")))
        other.put("/y", redirects(hub.url("/z")))
        hub.put("/z", Remote(CONTENT))
        await read(http, hub.url("/x"))
    assert [x.headers.get("authorization") for x in other.requests] == [None]
    assert [x.headers.get("authorization") for x in hub.requests] == ["Bearer hf_secret"] * 2


async def test_a_token_set_meanwhile_counts() -> None:
    held: dict[str, str] = {}
    async with (
        FaultServer() as hub,
        client(hub.place, hf_endpoint=hub.url(""), credentials=held.get) as http,
    ):
        url = hub.put("/x", Remote(CONTENT))
        await read(http, url)
        held["huggingface"] = "hf_new"
        await read(http, url)
    assert [x.headers.get("authorization") for x in hub.requests] == [None, "Bearer hf_new"]


async def test_tokens_of_the_settings_are_used() -> None:
    async with FaultServer() as hub, client(hub.place, hf_endpoint=hub.url(""), hf_token="hf_1") as http:
        await read(http, hub.put("/x", Remote(CONTENT)))
        assert hub.requests[0].headers["authorization"] == "Bearer hf_1"


async def test_nobody_may_hand_in_a_token() -> None:
    async with client() as http:
        with pytest.raises(ValueError, match="business"):
            await read(http, "https://huggingface.co/x", headers={"authorization": "Bearer x"})


# --- names --------------------------------------------------------------------------------------


class Names(AbstractResolver):
    """Answers as a name server would; each lookup takes the next list, the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(
                hostname=host, host=address, port=port, proto=0, flags=0,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            )
            for address in addresses
        ]  # fmt: skip

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.1.2.3", "169.254.169.254", "::ffff:127.0.0.1"])
async def test_a_name_that_leads_home_is_refused(address: str) -> None:
    async with FaultServer() as server:
        place = f"cdn.example:{server.port}"
        async with client(place, resolver=Names([address])) as http:
            with pytest.raises(UrlRefused, match="CMR_ALLOWED_HOSTS") as caught:
                await read(http, f"https://{place}/x")
            assert caught.value.code == "URL_HOST_NOT_ALLOWED"
            assert server.requests == []


async def test_rebinding_between_two_lookups_changes_nothing() -> None:
    rules = UrlPolicy(Settings(allowed_hosts=("cdn.example",)))
    names = PublicResolver(rules, inner=Names(["1.1.1.1"], ["1.1.1.1", "127.0.0.1", "::1"], ["127.0.0.1"]))
    for _ in range(2):
        assert [answer["host"] for answer in await names.resolve("cdn.example", 443)] == ["1.1.1.1"]
    with pytest.raises(UrlRefused):
        await names.resolve("cdn.example", 443)


async def test_a_redirect_to_a_name_that_leads_home_is_refused() -> None:
    async with FaultServer() as server:
        place = f"cdn.example:{server.port}"
        async with client(server.place, place, resolver=Names(["127.0.0.2"])) as http:
            url = server.put("/x", redirects(f"https://{place}/y"))
            assert (await error_of(http, url)).code == "REDIRECT_REFUSED"


async def test_a_name_may_lead_home_if_the_address_is_listed_too() -> None:
    async with FaultServer() as server:
        endpoint = f"http://mirror.example:{server.port}"
        places = (f"mirror.example:{server.port}", server.place)
        async with client(*places, hf_endpoint=endpoint, resolver=Names(["127.0.0.1"])) as http:
            server.put("/x", Remote(CONTENT))
            assert await read(http, "https://huggingface.co/x") == CONTENT


async def test_localhost_by_the_systems_own_resolver() -> None:
    async with FaultServer() as server, client(f"localhost:{server.port}") as http:
        server.put("/x", Remote(CONTENT))
        assert await read(http, server.url("/x", host="localhost")) == CONTENT


# --- the way there ------------------------------------------------------------------------------


async def test_a_proxy_of_the_settings_is_used_with_its_password() -> None:
    async with FaultServer() as proxy:
        host = "mirror.example"
        proxy.put(f"http://{host}:8080/x", Remote(CONTENT))
        fields = {
            "hf_endpoint": f"http://{host}:8080",
            "http_proxy": f"http://user:pass@127.0.0.1:{proxy.port}",
        }
        async with client(f"{host}:8080", **fields) as http:
            assert await read(http, "https://huggingface.co/x") == CONTENT
        credentials = base64.b64encode(b"user:pass").decode()
        assert proxy.requests[0].headers["proxy-authorization"] == f"Basic {credentials}"


async def test_a_proxy_known_by_a_name_of_the_local_network_is_reached() -> None:
    async with FaultServer() as proxy:
        proxy.put("http://mirror.example:8080/x", Remote(CONTENT))
        fields = {
            "hf_endpoint": "http://mirror.example:8080",
            "http_proxy": f"http://proxy.lan:{proxy.port}",
        }
        async with client("mirror.example:8080", resolver=Names(["127.0.0.1"]), **fields) as http:
            assert await read(http, "https://huggingface.co/x") == CONTENT


async def test_this_machine_is_reached_without_a_proxy() -> None:
    async with FaultServer() as server, client(server.place, http_proxy="http://127.0.0.1:1") as http:
        assert await read(http, server.put("/x", Remote(CONTENT))) == CONTENT


async def test_proxies_of_the_environment_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with FaultServer() as server, client(server.place) as http:
        assert await read(http, server.put("/x", Remote(CONTENT))) == CONTENT


async def test_nothing_compressed_is_asked_for() -> None:
    async with FaultServer() as server, client(server.place) as http:
        await read(http, server.put("/x", Remote(CONTENT)))
        assert server.requests[0].headers["accept-encoding"] == "identity"


async def test_broken_connections_have_a_code_and_no_secret_in_any_text() -> None:
    async with FaultServer() as server, client(server.place, download_timeout=0.2) as http:
        broken = server.put("/broken", breaks_after(Remote(CONTENT), 10)) + "?token=secret"
        silent = server.put("/silent", stalls_after(Remote(CONTENT), 10)) + "?token=secret"
        nobody = "http://127.0.0.1:1/?token=secret"
        async with client(server.place, "127.0.0.1:1") as other:
            errors = [
                await error_of(http, broken),
                await error_of(http, silent),
                await error_of(other, nobody),
            ]
        for error in errors:
            assert (error.code, error.retryable) == ("NETWORK", True)
            assert "secret" not in f"{error} {error!r} {error.__cause__!r}"
            assert error.__suppress_context__


async def test_what_had_arrived_of_a_body_that_broke_off_can_still_be_read() -> None:
    """aiohttp raises as soon as it knows of the break, also where bytes before it have not been read."""
    remote = Remote(b"x" * 100_000)
    async with FaultServer() as server, client(server.place) as http:
        url = server.put("/x", breaks_after(remote, 60_000))
        async with http.open(url) as answer:
            for _ in range(1000):
                if answer.response.content.exception() is not None:
                    break
                await asyncio.sleep(0.01)
            with pytest.raises(aiohttp.ClientError):
                await answer.response.content.readany()
            assert answer.left_over() == b"x" * 60_000


async def test_an_unknown_certificate_is_not_trusted(tls: TlsFiles) -> None:
    async with FaultServer(tls=tls.server()) as server, client(server.place) as http:
        error = await error_of(http, server.put("/x", Remote(CONTENT)))
        assert (error.code, error.retryable) == ("TLS_FAILED", False)


class TlsFiles:
    """A certificate for 127.0.0.1 and mirror.example that nobody has heard of."""

    def __init__(self, directory: Path) -> None:
        self.certificate, self.key = _make_certificate(directory)

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return TlsFiles(tmp_path_factory.mktemp("tls"))


def _make_certificate(directory: Path) -> tuple[Path, Path]:
    import datetime
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    places = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("mirror.example")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(places), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = directory / "certificate.pem", directory / "key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_path, key_path

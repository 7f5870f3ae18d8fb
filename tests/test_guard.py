"""No web page the user visits can make this server do or reveal anything."""

from __future__ import annotations

import socket

import pytest

from resolver.errors import ResolverError
from resolver.http.guard import check_request, is_loopback, runpod_hosts

JSON = {"Content-Type": "application/json", "Content-Length": "2"}
HOST = {"Host": "127.0.0.1:8188"}


def verdict(method: str, headers: dict[str, str], **extra: object) -> str:
    try:
        check_request(method, headers, **extra)  # type: ignore[arg-type]
    except ResolverError as error:
        return f"{error.status} {error.code}"
    return "ok"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8188", "ok"),
        ("[::1]:8188", "ok"),
        ("192.168.1.20:8188", "ok"),
        ("localhost", "ok"),
        (f"{socket.gethostname()}:8188", "ok"),
        ("evil.example:8188", "403 HOST_NOT_TRUSTED"),
        ("127.0.0.1.evil.example", "403 HOST_NOT_TRUSTED"),
        ("localhost.evil.example", "403 HOST_NOT_TRUSTED"),
        ("user@127.0.0.1", "403 HOST_NOT_TRUSTED"),
        ("127.0.0.1/evil", "403 HOST_NOT_TRUSTED"),
        ("127.0.0.1:port", "403 HOST_NOT_TRUSTED"),
        ("2130706433", "403 HOST_NOT_TRUSTED"),
        ("", "403 HOST_NOT_TRUSTED"),
    ],
)
def test_only_own_names_are_answered(host: str, expected: str) -> None:
    assert verdict("GET", {"Host": host}) == expected


def test_other_names_must_be_trusted() -> None:
    headers = {"Host": "comfy.lan:8188", "Origin": "http://comfy.lan:8188", **JSON}
    assert verdict("POST", headers) == "403 HOST_NOT_TRUSTED"
    assert verdict("POST", headers, trusted_hosts=["*.lan"]) == "ok"


def test_a_runpod_pod_trusts_its_own_proxy_name() -> None:
    hosts = runpod_hosts({"RUNPOD_POD_ID": "AbC123"})
    assert verdict("GET", {"Host": "abc123-8188.proxy.runpod.net"}, trusted_hosts=hosts) == "ok"
    assert verdict("GET", {"Host": "other-8188.proxy.runpod.net"}, trusted_hosts=hosts) != "ok"
    assert runpod_hosts({}) == ()
    assert runpod_hosts({"RUNPOD_POD_ID": "*"}) == ()


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://127.0.0.1:8188", "ok"),
        ("https://127.0.0.1:8188", "ok"),
        ("null", "403 ORIGIN_REFUSED"),
        ("", "403 ORIGIN_REFUSED"),
        ("http://127.0.0.1:3000", "403 ORIGIN_REFUSED"),
        ("http://127.0.0.1", "403 ORIGIN_REFUSED"),
        ("http://localhost:8188", "403 ORIGIN_REFUSED"),
        ("http://evil.example", "403 ORIGIN_REFUSED"),
        ("file://", "403 ORIGIN_REFUSED"),
        ("chrome-extension://127.0.0.1:8188", "403 ORIGIN_REFUSED"),
    ],
)
def test_the_origin_must_be_the_host(origin: str, expected: str) -> None:
    for method in ("GET", "POST", "DELETE", "PATCH"):
        assert verdict(method, {**HOST, **JSON, "Origin": origin}) == expected


def test_behind_a_proxy_that_ends_tls_usual_ports_are_equal() -> None:
    headers = {"Host": "comfy.example", "Origin": "https://comfy.example", **JSON}
    assert verdict("POST", headers, trusted_hosts=["comfy.example"]) == "ok"


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("same-origin", "ok"),
        ("none", "ok"),
        ("same-site", "403 ORIGIN_REFUSED"),
        ("cross-site", "403 ORIGIN_REFUSED"),
    ],
)
def test_other_sites_are_refused_for_reading_too(site: str, expected: str) -> None:
    assert verdict("GET", {**HOST, "Sec-Fetch-Site": site}) == expected
    assert verdict("POST", {**HOST, **JSON, "Sec-Fetch-Site": site}) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (JSON, "ok"),
        ({**JSON, "Content-Type": "application/json; charset=utf-8"}, "ok"),
        ({}, "ok"),
        ({"Content-Length": "0"}, "ok"),
        ({"Content-Length": "2"}, "415 CONTENT_TYPE"),
        ({"Transfer-Encoding": "chunked"}, "415 CONTENT_TYPE"),
        ({"Content-Type": "text/plain", "Content-Length": "2"}, "415 CONTENT_TYPE"),
        ({"Content-Type": "text/plain;application/json"}, "415 CONTENT_TYPE"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "415 CONTENT_TYPE"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, "415 CONTENT_TYPE"),
        ({"Content-Type": "multipart/form-data; boundary=x", "X-Model-Resolver": "1"}, "ok"),
    ],
)
def test_bodies_are_of_a_type_no_form_can_send(headers: dict[str, str], expected: str) -> None:
    for method in ("POST", "PUT", "PATCH"):
        assert verdict(method, {**HOST, **headers}) == expected


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("Bearer secret", "ok"),
        ("bearer secret", "ok"),
        ("Bearer secrets", "401 TOKEN_REQUIRED"),
        ("Basic secret", "401 TOKEN_REQUIRED"),
        ("secret", "401 TOKEN_REQUIRED"),
        ("", "401 TOKEN_REQUIRED"),
    ],
)
def test_a_token_is_asked_for_where_one_is_set(authorization: str, expected: str) -> None:
    assert verdict("GET", {**HOST, "Authorization": authorization}, token="secret") == expected


def test_a_page_may_be_linked_to_but_not_under_another_name() -> None:
    assert verdict("GET", {**HOST, "Sec-Fetch-Site": "cross-site"}, navigation=True) == "ok"
    assert verdict("GET", {"Host": "evil.example"}, navigation=True) == "403 HOST_NOT_TRUSTED"


def test_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "x")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]

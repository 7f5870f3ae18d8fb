"""Which URLs are fetched, and what of them people may see."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.errors import SettingsError, UrlRefused
from resolver.net.addresses import is_public, parse_host
from resolver.net.policy import UrlPolicy
from resolver.net.urls import CheckedUrl, Provider, page_url, redact, site_page
from resolver.settings import Settings


def policy(*allowed: str, **settings: Any) -> UrlPolicy:
    return UrlPolicy(Settings(allowed_hosts=allowed, **settings))


def refusal(url: str, *allowed: str, **settings: Any) -> str:
    with pytest.raises(UrlRefused) as caught:
        policy(*allowed, **settings).check(url)
    return caught.value.code


@pytest.mark.parametrize(
    "url",
    [
        "https://huggingface.co/o/r/resolve/main/x.safetensors",
        "https://HuggingFace.co./o/r",
        "https://cdn-lfs-us-1.huggingface.co/x",
        "https://cas-bridge.xethub.hf.co/x?X-Amz-Signature=1",
        "https://us.gcp.cdn.hf.co/x",
        "https://civitai.com/api/download/models/1?type=Model&format=SafeTensor",
        "https://civitai.red/api/download/models/1",
        "https://b2.civitai.com/file/x",
    ],
)
def test_the_hosts_of_hugging_face_and_civitai_are_built_in(url: str) -> None:
    assert policy().check(url).scheme == "https"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x",
        "https://huggingface.co.evil.example/x",
        "https://evilhuggingface.co/x",
        "https://nothf.co/x",
        "https://huggingface.co:8443/x",
        "https://github.com/o/r/releases/download/v1/x.safetensors",
        "https://bucket.account.r2.cloudflarestorage.com/x",
        "https://s3.us-west-004.backblazeb2.com/civitai-modelfiles/x",
        "https://1.1.1.1/x",
    ],
)
def test_other_hosts_are_refused_with_what_to_set(url: str) -> None:
    with pytest.raises(UrlRefused, match="CMR_ALLOWED_HOSTS") as caught:
        policy().check(url)
    assert caught.value.code == "URL_HOST_NOT_ALLOWED"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://2130706433/x",
        "http://0x7f.1/x",
        "http://0x7f000001/x",
        "http://017700000001/x",
        "http://127.1/x",
        "http://127.0.0.1./x",
        "http://１２７.0.0.1/x",
        "http://127。0。0。1/x",
        "http://[::1]/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://[::ffff:7f00:1]/x",
        "http://[::127.0.0.1]/x",
        "http://[64:ff9b::7f00:1]/x",
        "http://[2002:7f00:1::]/x",
        "http://[fe80::1]/x",
        "http://[fc00::1]/x",
        "http://[fec0::1]/x",
        "http://10.0.0.1/x",
        "http://192.168.1.20:8080/x",
        "http://169.254.169.254/latest/meta-data",
        "http://100.64.0.1/x",
        "http://0.0.0.0/x",
        "http://224.0.0.1/x",
        "http://255.255.255.255/x",
        "http://localhost/x",
        "http://sub.localhost:1234/x",
        "https://127.0.0.1/x",
    ],
)
def test_this_machine_and_its_network_are_refused_however_they_are_written(url: str) -> None:
    assert refusal(url) == "URL_HOST_NOT_ALLOWED"
    assert refusal(url, "evil.example", "128.0.0.1") == "URL_HOST_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("entry", "url", "allowed"),
    [
        ("127.0.0.1:5002", "http://127.0.0.1:5002/x", True),
        ("127.0.0.1:5002", "https://127.0.0.1:5002/x", True),
        ("127.0.0.1:5002", "http://2130706433:5002/x", True),
        ("127.0.0.1:5002", "http://[::ffff:127.0.0.1]:5002/x", True),
        ("127.0.0.1:5002", "http://127.0.0.1:5003/x", False),
        ("127.0.0.1:5002", "http://127.0.0.1/x", False),
        ("127.0.0.1:5002", "http://127.0.0.2:5002/x", False),
        ("127.0.0.1:5002", "http://localhost:5002/x", False),
        ("127.0.0.1", "http://127.0.0.1:5002/x", True),
        ("localhost:5002", "http://localhost:5002/x", True),
        ("localhost:5002", "http://127.0.0.1:5002/x", False),
        ("[::1]:80", "http://[::1]/x", True),
        ("::1", "http://[0:0:0:0:0:0:0:1]:9/x", True),
        ("mirror.example", "https://mirror.example/x", True),
        ("Mirror.Example", "https://MIRROR.example:443/x", True),
        ("mirror.example", "https://mirror.example:8443/x", False),
        ("mirror.example:8443", "https://mirror.example:8443/x", True),
        ("mirror.example:8443", "https://mirror.example/x", False),
        ("mirror.example", "https://sub.mirror.example/x", False),
    ],
)
def test_listed_hosts(entry: str, url: str, allowed: bool) -> None:
    if allowed:
        assert policy(entry).check(url).port
    else:
        assert refusal(url, entry) == "URL_HOST_NOT_ALLOWED"


@pytest.mark.parametrize("entry", ["https://x.example", "x.example/path", "*.example", "a b", "x:99999", ""])
def test_an_entry_that_is_no_host_is_a_clear_error(entry: str) -> None:
    with pytest.raises(SettingsError, match="CMR_ALLOWED_HOSTS"):
        policy(entry)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://huggingface.co/x", "URL_SCHEME"),
        ("file:///etc/passwd", "URL_SCHEME"),
        ("javascript:alert(1)", "URL_SCHEME"),
        ("http://huggingface.co/x", "URL_SCHEME"),
        ("http://mirror.example/x", "URL_SCHEME"),
        ("https://user:secret@huggingface.co/x", "URL_CREDENTIALS"),
        ("https://huggingface.co@evil.example/x", "URL_CREDENTIALS"),
        ("https://@huggingface.co/x", "URL_CREDENTIALS"),
        ("huggingface.co/x", "URL_INVALID"),
        ("https:///x", "URL_INVALID"),
        ("https://", "URL_INVALID"),
        ("", "URL_INVALID"),
        ("https://evil.example\\@huggingface.co/x", "URL_INVALID"),
        ("https://huggingface.co/\r\nX: y", "URL_INVALID"),
        ("https://hugging\tface.co/x", "URL_INVALID"),
        ("https://huggingface.co:0/x", "URL_INVALID"),
        ("https://huggingface.co:99999/x", "URL_INVALID"),
        ("https://[::1/x", "URL_INVALID"),
        ("https://[fe80::1%25eth0]/x", "URL_INVALID"),
        ("https://1.2.3.4.5/x", "URL_INVALID"),
        ("https://1.2.3.256/x", "URL_INVALID"),
        ("https://09.1.1.1/x", "URL_INVALID"),
        ("https://hugging%66ace.co/x", "URL_INVALID"),
        ("https://a..b/x", "URL_INVALID"),
        ("https://huggingface.co/" + "x" * 9000, "URL_INVALID"),
    ],
)
def test_what_is_no_url_we_fetch_has_a_code(url: str, code: str) -> None:
    with pytest.raises(UrlRefused) as caught:
        policy("mirror.example").check(url)
    assert caught.value.code == code
    assert "secret" not in caught.value.message


@given(st.text())
def test_any_text_is_checked_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://huggingface.co/{text}"):
        try:
            checked = policy().check(url)
        except UrlRefused:
            continue
        assert checked.url.isascii()
        assert policy().check(checked.url) == checked


def test_civitais_storage_counts_only_behind_a_redirect_by_civitai() -> None:
    storage = (
        "https://civitai-delivery-worker-prod.abc.r2.cloudflarestorage.com/model/1/x.safetensors?X-Amz-Date=1"
    )
    rules = policy()
    for url in ("https://civitai.com/api/download/models/1", "https://b2.civitai.com/file/x"):
        assert rules.check(storage, redirected_by=rules.check(url)).url == storage
    with pytest.raises(UrlRefused):
        rules.check(storage, redirected_by=rules.check("https://huggingface.co/x"))
    with pytest.raises(UrlRefused):
        rules.check(storage, redirected_by=CheckedUrl("https", "x.r2.cloudflarestorage.com", 443, ""))


def test_endpoints_stand_in_for_the_sites() -> None:
    rules = policy(
        "127.0.0.1:9",
        hf_endpoint="http://127.0.0.1:9/hub/",
        civitai_endpoint="https://civitai.mirror.example",
    )
    found = rules.fetch_url("https://huggingface.co/o/r/resolve/main/a%20b.safetensors?download=true")
    assert found.url == "http://127.0.0.1:9/hub/o/r/resolve/main/a%20b.safetensors?download=true"
    assert rules.fetch_url("https://civitai.com/api/download/models/1").host == "civitai.mirror.example"
    # What a mirror points to is not mapped back to it, or it could never point to the original.
    assert rules.check("https://huggingface.co/x").host == "huggingface.co"


def test_a_page_of_a_file_becomes_the_file() -> None:
    found = policy().fetch_url("https://huggingface.co/o/r/blob/main/blob/x.safetensors")
    assert found.url == "https://huggingface.co/o/r/resolve/main/blob/x.safetensors"


def test_an_http_endpoint_must_be_listed_too() -> None:
    endpoint = "http://mirror.example:8080"
    assert refusal(f"{endpoint}/x", hf_endpoint=endpoint) == "URL_SCHEME"
    assert refusal("http://10.0.0.5:80/x", hf_endpoint="http://10.0.0.5") == "URL_HOST_NOT_ALLOWED"
    assert policy("mirror.example:8080", hf_endpoint=endpoint).check(f"{endpoint}/x").scheme == "http"
    assert policy("10.0.0.5:80", hf_endpoint="http://10.0.0.5").check("http://10.0.0.5/x").scheme == "http"


@pytest.mark.parametrize(
    ("url", "owner"),
    [
        ("https://huggingface.co/x", "huggingface"),
        ("http://127.0.0.1:9/x", "huggingface"),
        ("https://hf.co/x", None),
        ("https://cdn-lfs.huggingface.co/x", None),
        ("https://civitai.com/x", "civitai"),
        ("https://civitai.red/x", "civitai"),
        ("https://b2.civitai.com/x", None),
        ("http://127.0.0.1:10/x", None),
        ("https://127.0.0.1:9/x", None),
    ],
)
def test_a_token_belongs_to_one_origin(url: str, owner: str | None) -> None:
    rules = policy("127.0.0.1", hf_endpoint="http://127.0.0.1:9")
    assert rules.provider(rules.check(url)) == owner


def test_a_signature_survives_as_it_is() -> None:
    url = "https://cdn.hf.co/a%2Fb+c/x;y?Expires=1&Policy=eyJ~_&Signature=a%2Bb/c==&k=[1]|%7E"
    assert policy().check(url).url == url.replace("|", "%7C")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "https://civitai.com/d/1?type=Model&token=abc&fp=fp16",
            "https://civitai.com/d/1?type=Model&fp=fp16",
        ),
        ("https://civitai.com/d/1?%74oken=abc", "https://civitai.com/d/1"),
        ("https://civitai.com/d/1?TOKEN=abc", "https://civitai.com/d/1"),
        ("https://x.hf.co/f?X-Amz-Date=1&X-Amz-Signature=s", "https://x.hf.co/f"),
        ("https://x.hf.co/f?Expires=1&Policy=p&Signature=s&Key-Pair-Id=k", "https://x.hf.co/f"),
        ("https://b2.civitai.com/file/f?Authorization=3_2026", "https://b2.civitai.com/file/f"),
        ("https://a.example/f?x=hf_abcdef", "https://a.example/f"),
        ("https://a.example/f?apiToken=a&civitai_token=b&access-token=c&fp=1", "https://a.example/f?fp=1"),
        ("https://a.example/f?a=1;token=b", "https://a.example/f?a=1"),
        ("https://a.example/f?a=1&amp;token=b", "https://a.example/f?a=1"),
        ("https://a.example/f?type=Model?token=b", "https://a.example/f?type=Model"),
        (
            "https://a.example/f?apitoken=a&accesskey=b&pwd=c&credential=d&sas=e&oauth=f",
            "https://a.example/f",
        ),
        ("https://a.example/f?token[]=a&token%5B%5D=b&__token__=c&x%2Dapi%2Dkey=d", "https://a.example/f"),
        ("https://a.example/f?u=https://me:p@b.example/x&q=1", "https://a.example/f?q=1"),
        ("https://a.example/f?u=https%3A%2F%2Fb.example%2F%3Ftoken%3Da&q=1", "https://a.example/f?q=1"),
        (
            "https://a.example/f?u=https%3A%2F%2Fb.example%2Fx",
            "https://a.example/f?u=https%3A%2F%2Fb.example%2Fx",
        ),
        ("https://a.example/f?hdnts=exp=1~hmac=b", "https://a.example/f"),
        ("https:/me:p@a.example/f", "https:///a.example/f"),
        (
            "https://a.example/f?keyword=cat&monkeys=1&mode=author",
            "https://a.example/f?keyword=cat&monkeys=1&mode=author",
        ),
        ("https://a.example/f?keyword=cat&tokens=3", "https://a.example/f?keyword=cat&tokens=3"),
        ("https://u:p@a.example:8/f?q=1#token=2", "https://a.example:8/f?q=1"),
        ("https://[bad", "(not a URL)"),
    ],
)
def test_secrets_are_not_shown(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_a_checked_url_shows_no_secret() -> None:
    checked = policy().check("https://civitai.com/api/download/models/1?token=abc")
    assert "abc" not in f"{checked} {checked!r}"
    assert checked.url.endswith("token=abc")


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://huggingface.co/o/r/resolve/main/d/x.bin?download=true", "https://huggingface.co/o/r"),
        ("https://huggingface.co/datasets/o/r/resolve/main/x.bin", "https://huggingface.co/datasets/o/r"),
        ("https://civitai.com/api/download/models/7?type=Model", "https://civitai.com/model-versions/7"),
        ("https://civitai.com/models/7", None),
        ("https://a.example/x", None),
        ("https://[bad", None),
    ],
)
def test_the_page_people_read(url: str, page: str | None) -> None:
    assert page_url(url) == page


@pytest.mark.parametrize(
    ("url", "provider", "page"),
    [
        ("https://huggingface.co/o/r/resolve/main/x.bin", "huggingface", "https://huggingface.co/o/r"),
        ("http://127.0.0.1:80/o/r/resolve/main/d/x.bin", "huggingface", "https://huggingface.co/o/r"),
        ("https://m.example/o/r/raw/main/resolve", "huggingface", "https://huggingface.co/o/r"),
        ("https://m.example/hf/hub/o/r/resolve/main/x", "huggingface", "https://huggingface.co/o/r"),
        (
            "https://m.example/hf/datasets/o/r/resolve/main/x",
            "huggingface",
            "https://huggingface.co/datasets/o/r",
        ),
        ("https://m.example/api/whoami-v2", "huggingface", None),
        ("https://m.example/api/download/models/7", "civitai", "https://civitai.com/model-versions/7"),
        ("https://m.example/c/api/download/models/7", "civitai", "https://civitai.com/model-versions/7"),
        ("https://civitai.red/api/download/models/7", "civitai", "https://civitai.red/model-versions/7"),
        ("https://m.example/models/7", "civitai", None),
        ("https://[bad", "civitai", None),
    ],
)
def test_the_page_at_the_site_whatever_mirror_a_file_comes_from(
    url: str, provider: Provider, page: str | None
) -> None:
    assert site_page(url, provider) == page


def test_public_addresses_are_told_from_others() -> None:
    for text in ("1.1.1.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"):
        assert is_public(ip_address(text)), text
    for text in (
        "64:ff9b::a00:1",
        "2002:101:101::",
        "2001:0:101:1::",
        "::1.1.1.1",
        "::",
        "ff02::1",
        "2001:db8::1",
    ):
        assert not is_public(ip_address(text)), text
    assert parse_host("1.1")[0] == "1.0.0.1"

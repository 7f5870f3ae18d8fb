"""Which URLs are fetched, from where, and which token belongs to whom.

Parse, don't validate: ``UrlPolicy.check`` is the only way to a ``CheckedUrl``, and the client takes
nothing else. The rules:

* Built in are the hosts of Hugging Face and Civitai, over https on its usual port. The storage
  Civitai sends its downloads to is shared with other customers of the same provider, so it counts
  only as the target of a redirect by Civitai itself. ModelScope's count where ``CMR_MODELSCOPE`` is on.
* ``CMR_ALLOWED_HOSTS`` adds hosts. An entry ``host:port`` means that port. An entry without a port
  means the scheme's usual port for a name, and any port for an address (or ``localhost``): a machine
  listed by its address is the user's own, where usual ports mean little.
* An address that is not public (loopback, private, link-local, reserved) is reached only where it is
  listed literally; only there is http spoken, too. ``localhost`` counts as such an address.
* The endpoints of the settings count as listed for their scheme, unless they are addresses that are
  not public, or http: those must be listed as well.

Names are looked up later; ``resolver.net.dns`` applies ``may_connect`` to every answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from ..errors import SettingsError, UrlRefused
from ..settings import CIVITAI, CIVITAI_RED, CIVITAI_WWW, HUGGING_FACE, MODELSCOPE, Settings
from .addresses import Address, is_public, parse_host
from .urls import CheckedUrl, Origin, Provider, hub_file_path

_HUGGING_FACE_HOSTS = ("huggingface.co", "hf.co")
_CIVITAI_HOSTS = ("civitai.com", "civitai.red")
_CIVITAI_COM = (("https", "civitai.com", 443), ("https", "www.civitai.com", 443))
_MODELSCOPE_HOSTS = ("modelscope.cn",)
# Where Civitai's downloads lie besides b2.civitai.com: buckets at Cloudflare R2 and Backblaze B2
# (https://education.civitai.com/civitais-guide-to-downloading-via-api: "a pre signed S3-style URL").
_CIVITAI_STORAGE = ("r2.cloudflarestorage.com", "backblazeb2.com")

_USUAL_PORT = {"https": 443, "http": 80}
_MAX_URL = 8192
_NOT_IN_URLS = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")
_KEPT = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"<>`{}|^')
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class _Place:
    """A host with an optional port, as settings name it."""

    host: str
    address: Address | None
    port: int | None

    @property
    def is_local(self) -> bool:
        return _is_local(self.host, self.address)


class UrlPolicy:
    """The rules above for one set of settings. Immutable, usable from any thread."""

    def __init__(self, settings: Settings) -> None:
        """Raises ``SettingsError`` for an entry of ``CMR_ALLOWED_HOSTS`` that is no host."""
        self._listed = [_parse_entry(entry) for entry in settings.allowed_hosts]
        self._hf_endpoint = settings.hf_endpoint
        self._civitai_endpoint = settings.civitai_endpoint
        self._hf_origins = _origins((HUGGING_FACE, settings.hf_endpoint), "CMR_HF_ENDPOINT")
        self._civitai_origins = _origins(
            (CIVITAI, CIVITAI_WWW, CIVITAI_RED, settings.civitai_endpoint),
            "CMR_CIVITAI_ENDPOINT",
        )
        self._modelscope_endpoint = settings.modelscope_endpoint
        modelscope = (MODELSCOPE, settings.modelscope_endpoint) if settings.modelscope else ()
        self._modelscope_origins = _origins(modelscope, "CMR_MODELSCOPE_ENDPOINT")
        self._built_in = (
            *_HUGGING_FACE_HOSTS,
            *_CIVITAI_HOSTS,
            *(_MODELSCOPE_HOSTS if settings.modelscope else ()),
        )

    def check(self, url: str, *, redirected_by: CheckedUrl | None = None) -> CheckedUrl:
        """Return ``url`` if it may be fetched; ``redirected_by`` is the URL whose answer led to it.

        Raises ``UrlRefused``: ``URL_INVALID`` (not a URL), ``URL_SCHEME`` (neither https nor, where
        that is allowed, http), ``URL_CREDENTIALS`` (``user:password@``), ``URL_HOST_NOT_ALLOWED``.
        """
        checked, address = _parse(url)
        if _is_local(checked.host, address):
            if not self._is_listed(checked):
                raise self._not_allowed(checked, "is an address of this machine or its own network")
            return checked
        if not self._host_allowed(checked, redirected_by):
            raise self._not_allowed(checked, "is not among the hosts that models are downloaded from")
        if checked.scheme == "http" and not (self._is_endpoint(checked) and self._is_listed(checked)):
            raise UrlRefused(
                f"{checked.host} is only spoken to over https. Use https:// in the URL.",
                code="URL_SCHEME",
                host=checked.host,
            )
        return checked

    def fetch_url(self, url: str) -> CheckedUrl:
        """``check(url)``, and where to fetch it from: the endpoints of the settings stand in for the sites.

        A Hugging Face page of a file (``/blob/``) becomes the file itself (``/resolve/``).
        """
        checked = self.check(url)
        if checked.origin == ("https", "huggingface.co", 443):
            path = urlsplit(checked.url)
            tail = hub_file_path(path.path) + (f"?{path.query}" if path.query else "")
            return self.check(self._hf_endpoint + tail)
        if checked.origin in _CIVITAI_COM:
            tail = checked.url.removeprefix(f"https://{checked.host}")
            return self.check(self._civitai_endpoint + tail)
        if checked.origin == ("https", "www.modelscope.cn", 443):
            return self.check(self._modelscope_endpoint + checked.url.removeprefix(MODELSCOPE))
        return checked

    def provider(self, url: CheckedUrl) -> Provider | None:
        """Whose token belongs to this origin: scheme, host and port must be equal."""
        if url.origin in self._hf_origins:
            return "huggingface"
        if url.origin in self._civitai_origins:
            return "civitai"
        return None

    def may_connect(self, host: str, port: int, address: Address) -> bool:
        """Whether a connection to ``host:port`` may go to ``address``, one of the answers for that name."""
        return is_public(address) or any(
            place.is_local and (place.address == address or place.host == host) and place.port in (None, port)
            for place in self._listed
        )

    def _is_listed(self, url: CheckedUrl) -> bool:
        return any(
            place.host == url.host
            and (
                place.port == url.port
                if place.port is not None
                else place.address is not None or place.is_local or url.port == _USUAL_PORT[url.scheme]
            )
            for place in self._listed
        )

    def _is_endpoint(self, url: CheckedUrl) -> bool:
        return url.origin in self._hf_origins | self._civitai_origins | self._modelscope_origins

    def _host_allowed(self, url: CheckedUrl, redirected_by: CheckedUrl | None) -> bool:
        if self._is_listed(url) or self._is_endpoint(url):
            return True
        usual_port = url.port == _USUAL_PORT[url.scheme]
        if usual_port and _belongs_to(url.host, self._built_in):
            return True
        return (
            usual_port
            and redirected_by is not None
            and (
                redirected_by.origin in self._civitai_origins
                or _belongs_to(redirected_by.host, _CIVITAI_HOSTS)
            )
            and _belongs_to(url.host, _CIVITAI_STORAGE)
        )

    def _not_allowed(self, url: CheckedUrl, why: str) -> UrlRefused:
        place = url.host if ":" not in url.host else f"[{url.host}]"
        if url.port != _USUAL_PORT[url.scheme]:
            place += f":{url.port}"
        return UrlRefused(
            f"{url.host} {why}. If you trust it, add {place} to CMR_ALLOWED_HOSTS.",
            code="URL_HOST_NOT_ALLOWED",
            host=url.host,
            port=url.port,
        )


def _is_local(host: str, address: Address | None) -> bool:
    if address is not None:
        return not is_public(address)
    return host == "localhost" or host.endswith(".localhost")


def _belongs_to(host: str, domains: Iterable[str]) -> bool:
    return any(host == domain or host.endswith("." + domain) for domain in domains)


def _origins(urls: Iterable[str], setting: str) -> frozenset[Origin]:
    try:
        return frozenset(_parse(url)[0].origin for url in urls)
    except UrlRefused as error:
        raise SettingsError(f"{setting} cannot be used: {error.message}", setting=setting) from None


def _parse(text: str) -> tuple[CheckedUrl, Address | None]:
    """``text`` taken apart and put together again, so that what was checked is what is sent."""

    def invalid(why: str) -> UrlRefused:
        return UrlRefused(f"This is not a URL that can be fetched: {why}.", code="URL_INVALID")

    text = text.strip(" \t\r\n")
    if len(text) > _MAX_URL:
        raise invalid(f"it is longer than {_MAX_URL} characters")
    if _NOT_IN_URLS.search(text):
        raise invalid("it contains a character that URLs cannot have")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise invalid("its host or port makes no sense") from None
    if not parts.scheme:
        raise invalid("it does not begin with https://")
    if parts.scheme not in _USUAL_PORT:
        raise UrlRefused(
            f"URLs that begin with {parts.scheme}: are not fetched. Use an https:// URL.", code="URL_SCHEME"
        )
    if "@" in parts.netloc:
        raise UrlRefused(
            "The URL carries a user name or password. Remove it; set a token in the settings instead.",
            code="URL_CREDENTIALS",
        )
    try:
        host, address = parse_host(parts.hostname or "")
    except ValueError as error:
        raise invalid(f"its host is {error}") from None
    if port == 0:
        raise invalid("its port is 0")
    port = port or _USUAL_PORT[parts.scheme]
    place = f"[{host}]" if ":" in host else host
    if port != _USUAL_PORT[parts.scheme]:
        place += f":{port}"
    query = f"?{_encoded(parts.query)}" if parts.query else ""
    url = f"{parts.scheme}://{place}{_encoded(parts.path) or '/'}{query}"
    return CheckedUrl(parts.scheme, host, port, url), address


def _encoded(text: str) -> str:
    """Percent-encode what may not stand in a URL, and nothing else: signatures cover the exact text."""
    return quote(_STRAY_PERCENT.sub("%25", text), safe=_KEPT)


def _parse_entry(entry: str) -> _Place:
    text = entry.strip().lower()
    try:
        if text.startswith("[") or text.count(":") == 1:
            parts = urlsplit(f"//{text}")
            name, port = parts.hostname or "", parts.port
            if parts.path or parts.query or "@" in text:
                raise ValueError("more than a host and a port")
        else:
            name, port = text, None
        host, address = parse_host(name)
    except ValueError as error:
        raise SettingsError(
            f"CMR_ALLOWED_HOSTS has an entry that is not a host or host:port: {entry!r} ({error}).",
            setting="CMR_ALLOWED_HOSTS",
        ) from None
    return _Place(host, address, port)

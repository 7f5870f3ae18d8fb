"""Which proxy stands between us and a URL.

An HTTP proxy looks names up itself, and so does SOCKS at ``socks5h://``: then the proxy's own rules hold.
At ``socks5://`` we look them up as without a proxy, and it is asked for an address that passed the policy.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import SettingsError
from .addresses import parse_host
from .urls import CheckedUrl

if TYPE_CHECKING:
    from ..settings import Settings

_USUAL_PORT = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
# RFC 1929: one byte states the length.
_MOST_LOGIN = 255


class Proxies:
    """``HTTP_PROXY`` and ``HTTPS_PROXY`` of the settings, less ``NO_PROXY``. ``hosts``: their own names.

    Raises ``SettingsError`` for a proxy that cannot be used (``SOCKS_MISSING``: not without that extra).
    """

    def __init__(self, settings: Settings) -> None:
        self._proxies = {"http": settings.http_proxy, "https": settings.https_proxy}
        for scheme, proxy in self._proxies.items():
            if proxy:
                _check(proxy, f"{scheme.upper()}_PROXY")
        entries = (entry.strip().lower() for entry in (settings.no_proxy or "").split(","))
        self._direct = [entry for entry in entries if entry]
        self.hosts = frozenset(self.place(proxy)[0] for proxy in self._proxies.values() if proxy)

    def of(self, url: CheckedUrl) -> str | None:
        """The proxy's URL, None for a direct connection. None stands between us and our own machine."""
        proxy = self._proxies[url.scheme]
        if not proxy or url.host == "localhost":
            return None
        _, address = parse_host(url.host)
        if address is not None and address.is_loopback:
            return None
        return None if any(_covers(entry, url) for entry in self._direct) else proxy

    @staticmethod
    def place(proxy: str) -> tuple[str, int]:
        """Host and port of a proxy's URL."""
        parts = urlsplit(proxy)
        return parts.hostname or "", parts.port or _USUAL_PORT[parts.scheme]

    @staticmethod
    def is_socks(proxy: str | None) -> bool:
        return proxy is not None and urlsplit(proxy).scheme in ("socks5", "socks5h")

    @staticmethod
    def looks_names_up(proxy: str) -> bool:
        """Whether it is asked for names; else for addresses that we found."""
        return urlsplit(proxy).scheme != "socks5"


def _check(proxy: str, setting: str) -> None:
    try:
        parts = urlsplit(proxy)
        is_usable = parts.scheme in _USUAL_PORT and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise SettingsError(
            f"{setting} must be http://host:port, https://, socks5:// or socks5h://, with user:password@ "
            "before the host where one is needed.",
            setting=setting,
        )
    if not Proxies.is_socks(proxy):
        return
    try:
        from .socks import login
    except ImportError:
        raise SettingsError(
            f"{setting} names a SOCKS proxy, but the packages for those are not installed. Install the extra "
            "[socks], or use another proxy.",
            code="SOCKS_MISSING",
            setting=setting,
        ) from None
    words = [word for word in login(proxy) if word is not None]
    if not all(word.isascii() and 0 < len(word) <= _MOST_LOGIN for word in words):
        raise SettingsError(
            f"The user name and password in {setting} must both be there, in ASCII, and at most "
            f"{_MOST_LOGIN} characters long: SOCKS has no way to send others.",
            setting=setting,
        )


def _covers(entry: str, url: CheckedUrl) -> bool:
    """Whether an entry of ``NO_PROXY`` means ``url``: ``*``, a network, or a domain with or without port."""
    if entry == "*":
        return True
    try:
        return ip_address(url.host) in ip_network(entry, strict=False)
    except ValueError:
        pass
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit():
        if int(port) != url.port:
            return False
        entry = name
    entry = entry.removeprefix("*").removeprefix(".")
    return bool(entry) and (url.host == entry or url.host.endswith("." + entry))

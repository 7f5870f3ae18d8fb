"""Which proxy stands between us and a URL."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from ..errors import SettingsError
from ..settings import Settings
from .addresses import parse_host
from .policy import CheckedUrl

_USUAL_PORT = {"http": 80, "https": 443}


class Proxies:
    """``HTTP_PROXY`` and ``HTTPS_PROXY`` of the settings, less ``NO_PROXY``. ``hosts``: their own names.

    Raises ``SettingsError`` for a proxy that cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._proxies = {"http": settings.http_proxy, "https": settings.https_proxy}
        for scheme, proxy in self._proxies.items():
            if proxy and urlsplit(proxy).scheme not in _USUAL_PORT:
                raise SettingsError(
                    f"{scheme.upper()}_PROXY must begin with http:// or https://; other proxies, SOCKS among "
                    "them, are not supported.",
                    setting=f"{scheme.upper()}_PROXY",
                )
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

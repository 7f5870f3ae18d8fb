"""Who may call us. ComfyUI has no authentication, and a browser will send requests for any web page.

A request is refused unless its ``Host`` is a name this machine answers to (or DNS could be rebound to
us), its ``Origin``, where sent, equals that host (``null`` never does), the browser does not call it
cross-site, and its body is of a type that a web page cannot send elsewhere without asking first.
ComfyUI's own middleware lets most of these through, and ``--enable-cors-header`` all of them.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import socket
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from urllib.parse import urlsplit

from ..errors import BadInput, Refused

HEADER = "X-Model-Resolver"
_FETCH_SITES = frozenset({"same-origin", "none"})


def check_request(
    method: str,
    headers: Mapping[str, str],
    *,
    trusted_hosts: Iterable[str] = (),
    token: str | None = None,
    navigation: bool = False,
) -> None:
    """Raise ``Refused`` (403 ``HOST_NOT_TRUSTED``, ``ORIGIN_REFUSED``; 401 ``TOKEN_REQUIRED``) or
    ``BadInput`` (415 ``CONTENT_TYPE``) unless the request may be served.

    ``headers``: case-insensitive. ``token``: the bearer token to ask for, if any. ``navigation``: it
    is for a page, to which a link of another site may lead.
    """
    _check_host(headers.get("Host", ""), trusted_hosts)
    if not navigation:
        _check_origin(headers)
    _check_body(method, headers)
    if token is not None:
        _check_token(headers.get("Authorization", ""), token)


def _check_host(host: str, trusted_hosts: Iterable[str]) -> None:
    name = _host_name(host)
    if name and (_is_own(name) or any(fnmatchcase(name, pattern.lower()) for pattern in trusted_hosts)):
        return
    raise Refused(
        f"This server does not answer to the name {name or host!r}. If it is yours, set "
        f"CMR_TRUSTED_HOSTS={name or 'comfy.example.com'} and restart.",
        code="HOST_NOT_TRUSTED",
        host=name or host,
    )


def _check_origin(headers: Mapping[str, str]) -> None:
    origin = headers.get("Origin")
    if origin is not None and not _same_host(origin, headers.get("Host", "")):
        raise Refused(
            f"Requests from the origin {origin!r} are refused.", code="ORIGIN_REFUSED", origin=origin
        )
    site = headers.get("Sec-Fetch-Site")
    if site is not None and site.lower() not in _FETCH_SITES:
        raise Refused("Requests from other sites are refused.", code="ORIGIN_REFUSED", site=site)


def _check_body(method: str, headers: Mapping[str, str]) -> None:
    if method in ("GET", "HEAD", "DELETE", "OPTIONS"):
        return
    content_type = headers.get("Content-Type", "").split(";", 1)[0].strip().lower()
    has_body = headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers
    if content_type == "application/json" or (not content_type and not has_body):
        return
    if content_type == "multipart/form-data" and headers.get(HEADER) == "1":
        return
    raise BadInput(
        f"Bodies must be application/json, or multipart/form-data with the header {HEADER}: 1.",
        code="CONTENT_TYPE",
        status=415,
    )


def _check_token(authorization: str, token: str) -> None:
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Refused(
            "This server asks for a token: send the header 'Authorization: Bearer <CMR_API_TOKEN>'.",
            code="TOKEN_REQUIRED",
            status=401,
        )


def _same_host(origin: str, host: str) -> bool:
    """Whether an ``Origin`` names the host (and port) the request was sent to."""
    try:
        parts = urlsplit(origin)
        asked = urlsplit(f"//{host}")
        usual = {"http": 80, "https": 443}.get(parts.scheme)
        if usual is None or not parts.hostname or not asked.hostname:
            return False
        # A proxy that ends TLS passes the host on without a port: then the origin has none either.
        return parts.hostname == asked.hostname and (parts.port or usual) == (asked.port or usual)
    except ValueError:
        return False


def _host_name(host: str) -> str:
    """The name in a ``Host`` header, lower case, without port and trailing dot; empty if malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
        if parts.username is not None or parts.path or parts.query or parts.fragment:
            return ""
        return (parts.hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_own(name: str) -> bool:
    if name == "localhost" or name in _own_names():
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    # No DNS stands behind a literal address, so none can be rebound.
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=1)
def _own_names() -> frozenset[str]:
    hostname = socket.gethostname().lower()
    # Where Docker or a name server gives a full name, both forms are typed. No look-up: it may block.
    names = {hostname, hostname.split(".", 1)[0], f"{hostname.split('.', 1)[0]}.local"}
    return frozenset(name for name in names if name)


def runpod_hosts(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The names under which RunPod's proxy passes requests to this pod, if this is one."""
    pod = environ.get("RUNPOD_POD_ID", "").lower()
    return (f"{pod}-*.proxy.runpod.net",) if pod.isalnum() else ()

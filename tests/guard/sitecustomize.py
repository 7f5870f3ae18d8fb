"""Keeps the tests on this machine: every Python process they start loads this first (``PYTHONPATH``)."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

_look_up = socket.getaddrinfo


def local_only(host: Any, *rest: Any, **named: Any) -> Any:
    """``socket.getaddrinfo`` for addresses and names of this machine; others do not exist."""
    name = host.decode() if isinstance(host, bytes) else host
    if name not in (None, "", "localhost", socket.gethostname()) and not _is_address(name):
        raise socket.gaierror(socket.EAI_NONAME, f"tests do not look up {name}")
    return _look_up(host, *rest, **named)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


socket.getaddrinfo = local_only

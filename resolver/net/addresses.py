"""Host names and IP addresses as they are written in URLs, and which addresses are public.

The same address has many spellings (``127.0.0.1``, ``0x7f.1``, ``2130706433``, ``[::ffff:7f00:1]``),
and whoever compares spellings is walked round. Here each becomes one value.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

_LABEL = re.compile(r"^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$")
_NUMERIC_LABEL = re.compile(r"^([0-9]+|0x[0-9a-f]*)$")
# RFC 6052: an IPv6 address that a translator turns into the IPv4 address in its last 32 bits.
_NAT64 = IPv6Network("64:ff9b::/96")


def parse_host(text: str) -> tuple[str, Address | None]:
    """The host of a URL (without brackets) as ``(canonical text, address or None for a name)``.

    Names come out in lower case ASCII, addresses in their usual spelling, an IPv4 address inside an
    IPv6 one as the IPv4 address it is. Raises ``ValueError`` for what is neither.
    """
    if ":" in text:
        if "%" in text:
            raise ValueError("an address with a zone")
        address = ip_address(text)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return str(address), address
    if not text.isascii():
        # Imported here: only foreign names need the tables. The package comes with yarl (aiohttp).
        import idna

        try:
            text = idna.encode(text, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise ValueError("not a valid international name") from error
    text = text.lower().removesuffix(".")
    labels = text.split(".")
    if len(text) > 253 or not all(_LABEL.match(label) for label in labels):
        raise ValueError("not a host name")
    if _NUMERIC_LABEL.match(labels[-1]):
        # As browsers have it (https://url.spec.whatwg.org/#ends-in-a-number-checker): such a name is
        # an IPv4 address or nothing. The resolver of the system would read it as one, too.
        address = _legacy_ipv4(labels)
        return str(address), address
    return text, None


def _legacy_ipv4(labels: list[str]) -> IPv4Address:
    """``["0x7f", "1"]`` -> 127.0.0.1: one to four numbers, the last of which fills what is left."""
    if len(labels) > 4:
        raise ValueError("not an IPv4 address")
    numbers = [_number(label) for label in labels]
    *firsts, last = numbers
    room = 8 * (4 - len(firsts))
    if any(number > 255 for number in firsts) or last >= 1 << room:
        raise ValueError("not an IPv4 address")
    value = last
    for position, number in enumerate(firsts):
        value |= number << (8 * (3 - position))
    return IPv4Address(value)


def _number(label: str) -> int:
    """Decimal, ``0x`` hexadecimal or ``0`` octal, as ``inet_aton`` reads it."""
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    if len(label) > 1 and label.startswith("0"):
        return int(label, 8)
    return int(label, 10)


def is_public(address: Address) -> bool:
    """Whether ``address`` is reachable by anybody: not loopback, private, link-local, reserved, multicast.

    An IPv6 address that stands for an IPv4 address is public only if that one is; tunnels that were
    given up long ago (6to4, Teredo, IPv4-compatible addresses) never are.
    """
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.sixtofour or address.teredo or address.is_site_local or int(address) >> 32 == 0:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved

"""Where an import may connect to: public addresses that are not the platform's own. Pure but for one question."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from nanocore.errors import ErrorCode, NanoError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_CARRIERS = tuple(
    ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")
)
"""Ranges whose addresses carry an IPv4 address (NAT64, 6to4, Teredo): a way round every rule about those."""


def parse_networks(texts: Sequence[str]) -> list[Network]:
    """Return what a setting says; ``invalid_argument`` names what is no network."""
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{text!r} is no network: {error}") from error
    return found


def refusal(text: str, allowed: Sequence[Network], platform: Sequence[Network]) -> str | None:
    """Return why an import may not connect to the address ``text``, or ``None``; ``allowed`` comes before all."""
    address = _plain(text)
    if any(address in network for network in allowed):
        return None
    rules = (
        (address.is_loopback or address.is_unspecified, "is the core itself"),
        (address.is_link_local or address.is_multicast, "is link-local or multicast"),
        (any(address in network for network in _CARRIERS), "carries an IPv4 address"),
        (not address.is_global or address.is_reserved, "is private or reserved"),
        (any(address in network for network in platform), "is in a network of this platform"),
    )
    reason = next((reason for applies, reason in rules if applies), None)
    return "is the core itself" if reason is None and is_own(address) else reason


def is_own(address: Address) -> bool:
    """Return whether this machine has ``address``: only its own can be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004  the protocol's version
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def _plain(text: str) -> Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address

"""Which address a new card gets, and which range a new network; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator

from nanocore.errors import ErrorCode, NanoError

LARGEST_PREFIX = 30
SMALLEST_PREFIX = 16
CANDIDATES = ("10.127.0.0/20", "10.213.0.0/20", "172.29.0.0/20", "192.168.160.0/20", "100.127.0.0/20")
"""Tried in this order: ranges that few sites use. The last is shared address space (RFC 6598)."""


def parse_cidr(text: str, *, field: str) -> ipaddress.IPv4Network:
    """Return the network; raise ``invalid_argument`` naming ``field`` unless it is one of a useful size."""
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{field}: {error}", field=field) from error
    if not SMALLEST_PREFIX <= network.prefixlen <= LARGEST_PREFIX:
        message = f"{field} must be a range from /{SMALLEST_PREFIX} to /{LARGEST_PREFIX}, got {text}"
        raise NanoError(ErrorCode.INVALID_ARGUMENT, message, field=field)
    return network


def gateway(network: ipaddress.IPv4Network) -> str:
    """Return the address that every cell itself has in the network: the first."""
    return str(network.network_address + 1)


def capacity(network: ipaddress.IPv4Network) -> int:
    """Return how many cards fit: all but the network's own address, the gateway and the broadcast address."""
    return network.num_addresses - 3


def find_free(network: ipaddress.IPv4Network, taken: Collection[str]) -> str | None:
    """Return the lowest address that nobody has, or ``None`` when the network is full."""
    for number in range(2, network.num_addresses - 1):
        address = str(network.network_address + number)
        if address not in taken:
            return address
    return None


def choose_range(routes: Iterable[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """Return the first candidate that overlaps no route; raise ``conflict`` when all do."""
    known = [route for route in routes if route.prefixlen]
    for text in CANDIDATES:
        candidate = ipaddress.IPv4Network(text)
        if not any(candidate.overlaps(route) for route in known):
            return candidate
    raise NanoError(
        ErrorCode.CONFLICT,
        f"every range for the default network ({', '.join(CANDIDATES)}) overlaps a route of this node; "
        "name a free one as default_cidr in table [network]",
        reason="network.no_free_range",
    )


def parse_routes(text: str) -> Iterator[ipaddress.IPv4Network]:
    """Yield the destinations of ``/proc/net/route``: hexadecimal numbers in the byte order of the machine."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        destination, mask = (ipaddress.IPv4Address(bytes.fromhex(fields[i])[::-1]) for i in (1, 7))
        yield ipaddress.IPv4Network(f"{destination}/{mask}")

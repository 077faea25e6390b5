"""Which address a new card gets, and which range a new network; pure."""

from __future__ import annotations

import ipaddress
import itertools
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence

from nanocore.errors import ErrorCode, NanoError
from nanocore.model.network import AddressRange

LARGEST_PREFIX = 30
SMALLEST_PREFIX = 16
IPV6_SMALLEST_PREFIX, IPV6_LARGEST_PREFIX = 64, 112
"""Routers announce a /64 or less; a /112 has as many hosts as the largest IPv4 network."""
AUTOMATIC = "auto"
CANDIDATES = ("10.127.0.0/20", "10.213.0.0/20", "172.29.0.0/20", "192.168.160.0/20", "100.127.0.0/20")
"""Tried in this order: ranges that few sites use. The last is shared address space (RFC 6598)."""
MORE_CANDIDATES = tuple(f"10.{second}.{third}.0/20" for second in (127, 213) for third in range(16, 256, 16))
"""For networks after the first."""

Spans = Sequence[tuple[int, int]]
"""First and last address of ranges, as numbers."""


def parse_cidr(text: str, *, field: str) -> ipaddress.IPv4Network:
    """Return the network; raise ``invalid_argument`` naming ``field`` unless it is one of a useful size."""
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise _invalid(field, str(error)) from error
    if not SMALLEST_PREFIX <= network.prefixlen <= LARGEST_PREFIX:
        raise _invalid(field, f"must be a range from /{SMALLEST_PREFIX} to /{LARGEST_PREFIX}, got {text}")
    if _is_special(network):
        raise _invalid(field, f"can't be {text}, which has a meaning of its own; take a private range")
    return network


def parse_ipv6_cidr(text: str, *, field: str) -> str:
    """Return the IPv6 network as text, a new unique local one (RFC 4193) for ``auto``, empty for empty."""
    if not text:
        return ""
    if text == AUTOMATIC:
        text = f"fd{secrets.token_hex(1)}:{secrets.token_hex(2)}:{secrets.token_hex(2)}::/64"
    try:
        network = ipaddress.IPv6Network(text)
    except ValueError as error:
        raise _invalid(field, str(error)) from error
    if network.network_address.scope_id is not None:
        raise _invalid(field, "must have no zone (what follows a %), which is a name on one machine only")
    if not IPV6_SMALLEST_PREFIX <= network.prefixlen <= IPV6_LARGEST_PREFIX:
        raise _invalid(field, f"must be a range from /{IPV6_SMALLEST_PREFIX} to /{IPV6_LARGEST_PREFIX}, got {text}")
    if _is_special(network):
        raise _invalid(field, f"can't be {text}, which has a meaning of its own; take auto or a prefix of yours")
    return str(network)


def parse_address(text: str, network: ipaddress.IPv4Network, *, field: str) -> str:
    """Return an address that a card of ``network`` can have; raise ``invalid_argument``."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError as error:
        raise _invalid(field, str(error)) from error
    number = int(address) - int(network.network_address)
    if not 2 <= number < network.num_addresses - 1:  # noqa: PLR2004  network and gateway come first
        usable = f"{network.network_address + 2} to {network.broadcast_address - 1}"
        raise _invalid(field, f"must be an address from {usable}, got {text}")
    return str(address)


def parse_ranges(ranges: Sequence[AddressRange], network: ipaddress.IPv4Network) -> list[AddressRange]:
    """Return ``ranges`` in canonical text; raise ``invalid_argument`` when one is none or two overlap."""
    if not ranges:
        raise _invalid("ranges", "must hold at least one range")
    parsed = []
    for index, each in enumerate(ranges):
        first = parse_address(each.first, network, field=f"ranges[{index}].first")
        last = parse_address(each.last, network, field=f"ranges[{index}].last")
        if int(ipaddress.IPv4Address(first)) > int(ipaddress.IPv4Address(last)):
            raise _invalid(f"ranges[{index}]", f"must go upwards, got {first} to {last}")
        parsed.append(AddressRange(first=first, last=last))
    ordered = sorted(spans(parsed))
    for before, after in itertools.pairwise(ordered):
        if after[0] <= before[1]:
            raise _invalid("ranges", f"overlap at {ipaddress.IPv4Address(after[0])}")
    return parsed


def spans(ranges: Iterable[AddressRange]) -> Spans:
    """Return ``ranges`` as numbers."""
    return [(number(each.first), number(each.last)) for each in ranges]


def number(address: str) -> int:
    """Return an IPv4 address as a number."""
    return int(ipaddress.IPv4Address(address))


def is_within(address: str, where: Spans) -> bool:
    """Return whether one of the ranges has ``address``."""
    value = number(address)
    return any(first <= value <= last for first, last in where)


def whole(network: ipaddress.IPv4Network) -> Spans:
    """Return everything that cards can have: all but the network's address, the gateway and the broadcast address."""
    return [(int(network.network_address) + 2, int(network.broadcast_address) - 1)]


def size(where: Spans) -> int:
    """Return how many addresses the ranges have."""
    return sum(last - first + 1 for first, last in where)


def gateway(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """Return the address that every cell itself has in the network: the first."""
    return str(network.network_address + 1)


def ipv6_twin(address: str, cidr: str, ipv6_cidr: str) -> str:
    """Return the IPv6 address with the same host number as an IPv4 address."""
    host = number(address) - int(ipaddress.IPv4Network(cidr).network_address)
    return str(ipaddress.IPv6Network(ipv6_cidr).network_address + host)


def find_free(where: Spans, taken: Collection[str]) -> str | None:
    """Return the lowest address of the ranges that nobody has, or ``None`` when they are full."""
    for first, last in sorted(where):
        for value in range(first, last + 1):
            address = str(ipaddress.IPv4Address(value))
            if address not in taken:
                return address
    return None


def choose_range(
    routes: Iterable[ipaddress.IPv4Network], candidates: Sequence[str] = CANDIDATES
) -> ipaddress.IPv4Network:
    """Return the first candidate that overlaps no route; raise ``conflict`` when all do."""
    known = [route for route in routes if route.prefixlen]
    for text in candidates:
        candidate = ipaddress.IPv4Network(text)
        if not any(candidate.overlaps(route) for route in known):
            return candidate
    shown = ", ".join(candidates[: len(CANDIDATES)])
    raise NanoError(
        ErrorCode.CONFLICT,
        f"every range for a network ({shown}) overlaps another network or a route of this node; "
        "name a free one: as cidr, or for the default network as default_cidr in table [network]",
        reason="network.no_free_range",
    )


def parse_routes(text: str) -> Iterator[ipaddress.IPv4Network]:
    """Yield the destinations of ``/proc/net/route``: hexadecimal numbers in the byte order of the machine."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        destination, mask = (ipaddress.IPv4Address(bytes.fromhex(fields[i])[::-1]) for i in (1, 7))
        yield ipaddress.IPv4Network(f"{destination}/{mask}")


def _is_special(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    is_nowhere = network.version == 4 and network.network_address.packed[0] == 0  # noqa: PLR2004
    return is_nowhere or network.is_loopback or network.is_multicast or network.is_link_local or network.is_unspecified


def _invalid(field: str, rule: str) -> NanoError:
    return NanoError(ErrorCode.INVALID_ARGUMENT, f"{field} {rule}", field=field)

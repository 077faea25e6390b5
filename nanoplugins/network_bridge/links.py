"""Bridges, addresses and routes by netlink. The home of pyroute2; every function blocks and runs in a thread."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nanocore.capabilities.network import NetworkSpec
from nanocore.errors import ErrorCode, NanoError
from nanoplugins.network_bridge.names import BRIDGE_PREFIX, NetworkNames

IPV4 = 2
LOCAL_TABLE = 255
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


@dataclass(frozen=True, slots=True)
class Route:
    """A destination that this node already knows a way to."""

    destination: ipaddress.IPv4Network
    interface: str


def find_overlap(routes: Iterable[Route], network: NetworkSpec, own_bridge: str) -> Route | None:
    """Return a route that ``network`` would cut off or be cut off by; pure.

    The default route overlaps with everything and means nothing; the bridge's own route is no stranger's.
    """
    wanted = ipaddress.IPv4Network(network.cidr)
    for route in routes:
        if route.interface != own_bridge and route.destination.prefixlen and route.destination.overlaps(wanted):
            return route
    return None


def ensure_bridge(names: NetworkNames, network: NetworkSpec) -> None:
    """Make the bridge, up, with the gateway's address.

    Raises ``conflict`` when the node has another way to these addresses, ``unavailable`` when the kernel refuses.
    """
    from pyroute2 import IPRoute

    prefix_length = ipaddress.IPv4Network(network.cidr).prefixlen
    with _translated(f"make bridge {names.bridge} for network {network.name}"), IPRoute() as netlink:
        found = netlink.link_lookup(ifname=names.bridge)
        if not found:
            _refuse_overlap(_routes(netlink), network, names.bridge)
            netlink.link(
                "add", ifname=names.bridge, kind="bridge", br_stp_state=0, br_forward_delay=0, address=names.mac
            )
            found = netlink.link_lookup(ifname=names.bridge)
            _disable_ipv6(names.bridge)
        broadcast = str(ipaddress.IPv4Network(network.cidr).broadcast_address)
        netlink.addr("replace", index=found[0], address=network.gateway, prefixlen=prefix_length, broadcast=broadcast)
        netlink.link("set", index=found[0], state="up")


def delete_bridge(names: NetworkNames) -> None:
    """Remove the bridge; an absent one is fine."""
    from pyroute2 import IPRoute

    with _translated(f"remove bridge {names.bridge}"), IPRoute() as netlink:
        for index in netlink.link_lookup(ifname=names.bridge):
            netlink.link("del", index=index)


def has_bridges() -> bool:
    """Return whether any bridge is left, ours or another program's: somebody who may need forwarding."""
    from pyroute2 import IPRoute

    with _translated("list bridges"), IPRoute() as netlink:
        return bool(netlink.link_lookup(kind="bridge"))


def is_forwarding() -> bool:
    """Return whether the node forwards IPv4."""
    return FORWARDING.read_text(encoding="ascii").strip() == "1"


def enable_forwarding() -> None:
    """Let the node forward IPv4. Raises ``unavailable``."""
    try:
        FORWARDING.write_text("1", encoding="ascii")
    except OSError as error:
        raise NanoError(
            ErrorCode.UNAVAILABLE,
            f"guests can't reach out: {FORWARDING} is off and can't be set ({error.strerror}); "
            "run `sysctl -w net.ipv4.ip_forward=1` on this node",
            reason="network_bridge.forwarding",
        ) from error


def disable_forwarding() -> None:
    """Take ``enable_forwarding`` back."""
    FORWARDING.write_text("0", encoding="ascii")


def _refuse_overlap(routes: Iterable[Route], network: NetworkSpec, own_bridge: str) -> None:
    overlap = find_overlap(routes, network, own_bridge)
    if overlap is None:
        return
    whose = " (a network of another Nano node on this machine)" if overlap.interface.startswith(BRIDGE_PREFIX) else ""
    raise NanoError(
        ErrorCode.CONFLICT,
        f"network {network.name} ({network.cidr}) overlaps {overlap.destination} on interface {overlap.interface} "
        f"of this node{whose}; remove that route, or give the network other addresses",
        reason="network_bridge.overlap",
    )


def _routes(netlink: object) -> Iterator[Route]:
    names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in netlink.get_links()}  # type: ignore[attr-defined]
    for route in netlink.get_routes(family=IPV4):  # type: ignore[attr-defined]
        destination = route.get_attr("RTA_DST")
        if destination is None or route.get_attr("RTA_TABLE") == LOCAL_TABLE:
            continue
        network = ipaddress.IPv4Network(f"{destination}/{route['dst_len']}", strict=False)
        yield Route(network, names.get(route.get_attr("RTA_OIF")) or "?")


def _disable_ipv6(bridge: str) -> None:
    # Guests get no IPv6 from us yet; a link-local address would be a way to the node past the rules.
    setting = Path(f"/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6")
    if setting.exists():
        setting.write_text("1", encoding="ascii")


@contextmanager
def _translated(what: str) -> Iterator[None]:
    from pyroute2 import NetlinkError

    try:
        yield
    except NetlinkError as error:
        hint = "; the kernel of this node must run as root (CAP_NET_ADMIN)" if error.code == 1 else ""
        raise NanoError(
            ErrorCode.UNAVAILABLE, f"can't {what}: {error.args[-1]}{hint}", reason="network_bridge.netlink"
        ) from error

"""Bridges, addresses, neighbours and routes by netlink. The home of pyroute2; every function blocks, in a thread."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanocore.capabilities.network import NetworkSpec, PortSpec
from nanocore.errors import ErrorCode, NanoError
from nanoplugins.network_bridge.names import BRIDGE_PREFIX, IPV6_ROUTER, NetworkNames

IPV4, IPV6 = 2, 10
LOCAL_TABLE = 255
ETHERNET = 1
LINK_SCOPE = 253
PERMANENT = 0x80
PROXY = 0x08
NO_DAD = 0x02
SYSCTLS = Path("/proc/sys/net")

Ip = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Route:
    """A destination that this node already knows a way to."""

    destination: Ip
    interface: str


def find_overlap(routes: Iterable[Route], network: NetworkSpec, own_bridge: str) -> Route | None:
    """Return a route that ``network`` would cut off or be cut off by; pure.

    The default route overlaps with everything and means nothing; the bridge's own route is no stranger's.
    """
    wanted = [ipaddress.ip_network(cidr) for cidr in (network.cidr, network.ipv6_cidr) if cidr]
    for route in routes:
        if route.interface == own_bridge or not route.destination.prefixlen:
            continue
        if any(each.version == route.destination.version and each.overlaps(route.destination) for each in wanted):
            return route
    return None


def ensure_bridge(names: NetworkNames, network: NetworkSpec) -> None:
    """Make the bridge, up, with the gateway's addresses, answering for its guests among each other.

    Raises ``conflict`` when the node has another way to these addresses, ``unavailable`` when the kernel refuses.
    """
    from pyroute2 import IPRoute

    with _translated(f"make bridge {names.bridge} for network {network.name}"), IPRoute() as netlink:
        found = netlink.link_lookup(ifname=names.bridge)
        if not found:
            _refuse_overlap(_routes(netlink), network, names.bridge)
            found = _add_bridge(netlink, names)
        _set_up(names.bridge, network)
        for cidr, gateway in ((network.cidr, network.gateway), (network.ipv6_cidr, network.ipv6_gateway)):
            if cidr:
                _add_gateway(netlink, found[0], ipaddress.ip_network(cidr), gateway)
        if network.ipv6_cidr:
            _replace_address(netlink, found[0], IPV6_ROUTER, 64)
        netlink.link("set", index=found[0], state="up")


def set_neighbours(names: NetworkNames, ports: Iterable[PortSpec]) -> None:
    """Tell the node for good which MAC has which address, so that no guest can.

    For IPv6 the node also answers for each address, as ``proxy_arp_pvlan`` does for IPv4: a guest that was given its
    address with a prefix asks its neighbours.
    """
    from pyroute2 import IPRoute

    wanted = {(address, port.mac) for port in ports for address in port.addresses}
    with _translated(f"set the neighbours of {names.bridge}"), IPRoute() as netlink:
        for index in netlink.link_lookup(ifname=names.bridge):
            for family in (IPV4, IPV6):
                for entry in netlink.get_neighbours(family=family, ifindex=index):
                    address = entry.get_attr("NDA_DST")
                    if entry["state"] == PERMANENT and (address, entry.get_attr("NDA_LLADDR")) not in wanted:
                        _forget_neighbour(netlink, index, family, address)
            for address, mac in sorted(wanted):
                family = IPV4 if ipaddress.ip_address(address).version == 4 else IPV6  # noqa: PLR2004
                netlink.neigh("replace", family=family, dst=address, lladdr=mac, ifindex=index, state=PERMANENT)
                if family == IPV6:
                    netlink.neigh("replace", family=family, dst=address, ifindex=index, flags=PROXY)


def _forget_neighbour(netlink: Any, index: int, family: int, address: str) -> None:  # noqa: ANN401
    from pyroute2 import NetlinkError

    netlink.neigh("del", family=family, dst=address, ifindex=index)
    if family == IPV6:
        with suppress(NetlinkError):  # made by a version that did not answer for it
            netlink.neigh("del", family=family, dst=address, ifindex=index, flags=PROXY)


def ensure_lan_bridge(names: NetworkNames, network: NetworkSpec) -> str:
    """Return the bridge that is on the LAN of ``network.interface``: the interface itself, or one made around it.

    Only the running kernel is changed, never a file. Raises ``unsupported`` when this node has no such device, and
    ``conflict`` when taking it into a bridge would cut the node, or somebody else, off.
    """
    from pyroute2 import IPRoute

    name = network.interface
    with _translated(f"bridge network {network.name} to {name}"), IPRoute() as netlink:
        found = netlink.link_lookup(ifname=name)
        if not found:
            raise NanoError(
                ErrorCode.UNSUPPORTED,
                f"this cell has no device {name}, which network {network.name} is bridged to; "
                "name one that all its cells have, or choose another cell",
                reason="network_bridge.no_device",
            )
        device = netlink.get_links(found[0])[0]
        if _kind(device) == "bridge":
            return name
        bridge = netlink.link_lookup(ifname=names.bridge)
        if not bridge or device.get_attr("IFLA_MASTER") != bridge[0]:
            _refuse_cut(netlink, device, network)
            bridge = bridge or _add_bridge(netlink, names)
            _write(f"ipv6/conf/{names.bridge}/disable_ipv6", "1")
            netlink.link("set", index=found[0], master=bridge[0])
        netlink.link("set", index=found[0], state="up")
        netlink.link("set", index=bridge[0], state="up")
    return names.bridge


def delete_bridge(names: NetworkNames) -> None:
    """Remove the bridge; an absent one is fine. A LAN's device in it is let go as it was."""
    from pyroute2 import IPRoute

    with _translated(f"remove bridge {names.bridge}"), IPRoute() as netlink:
        for index in netlink.link_lookup(ifname=names.bridge):
            netlink.link("del", index=index)


def has_bridges() -> bool:
    """Return whether any bridge is left, ours or another program's: somebody who may need forwarding."""
    from pyroute2 import IPRoute

    with _translated("list bridges"), IPRoute() as netlink:
        return bool(netlink.link_lookup(kind="bridge"))


def _add_bridge(netlink: Any, names: NetworkNames) -> list[int]:  # noqa: ANN401  pyroute2 has no types
    netlink.link("add", ifname=names.bridge, kind="bridge", br_stp_state=0, br_forward_delay=0, address=names.mac)
    return list(netlink.link_lookup(ifname=names.bridge))


def _set_up(bridge: str, network: NetworkSpec) -> None:
    _write(f"ipv4/conf/{bridge}/forwarding", "1")
    # Guests' ports are isolated: the node answers when one asks for another's address, at once, and routes.
    _write(f"ipv4/conf/{bridge}/proxy_arp_pvlan", "1")
    _write(f"ipv4/neigh/{bridge}/proxy_delay", "0")
    _write(f"ipv4/conf/{bridge}/send_redirects", "0")
    if network.ipv6_cidr:
        for key, value in (("addr_gen_mode", "1"), ("accept_ra", "0"), ("accept_dad", "0"), ("disable_ipv6", "0")):
            _write(f"ipv6/conf/{bridge}/{key}", value)
        _write(f"ipv6/conf/{bridge}/proxy_ndp", "1")
        _write(f"ipv6/neigh/{bridge}/proxy_delay", "0")
    else:
        # A link-local address would be a way to the node past the rules.
        _write(f"ipv6/conf/{bridge}/disable_ipv6", "1")


def _write(setting: str, value: str) -> None:
    path = SYSCTLS / setting
    if path.exists():  # a kernel without IPv6 has none of its settings
        path.write_text(value, encoding="ascii")


def _add_gateway(netlink: Any, index: int, cidr: Ip, gateway: str) -> None:  # noqa: ANN401
    broadcast = str(cidr.broadcast_address) if cidr.version == 4 else None  # noqa: PLR2004
    _replace_address(netlink, index, gateway, cidr.prefixlen, broadcast)


def _replace_address(netlink: Any, index: int, address: str, length: int, broadcast: str | None = None) -> None:  # noqa: ANN401
    extra: dict[str, Any] = {"flags": NO_DAD} if broadcast is None else {"broadcast": broadcast}
    netlink.addr("replace", index=index, address=address, prefixlen=length, **extra)


def _refuse_cut(netlink: Any, device: Any, network: NetworkSpec) -> None:  # noqa: ANN401
    """Refuse a device that something needs as it is now."""
    name, index = network.interface, device["index"]
    remedy = "make a bridge of it in the node's own configuration and name that bridge, or name a device of its own"
    reason = None
    addresses = [
        entry.get_attr("IFA_ADDRESS") for entry in netlink.get_addr(index=index) if entry["scope"] != LINK_SCOPE
    ]
    routes = [route.destination for route in _routes(netlink) if route.interface == name]
    if device["ifi_type"] != ETHERNET or Path(f"/sys/class/net/{name}/wireless").exists():
        reason, remedy = "is no wired Ethernet device, so it can't be in a bridge", "name one that is"
    elif device.get_attr("IFLA_MASTER") is not None:
        master = netlink.get_links(device.get_attr("IFLA_MASTER"))[0].get_attr("IFLA_IFNAME")
        reason, remedy = f"belongs to {master} already", f"name {master} if that is a bridge"
    elif addresses:
        reason = f"carries this node's address {addresses[0]}: the node would be cut off"
    elif any(not (isinstance(each, ipaddress.IPv6Network) and each.is_link_local) for each in routes):
        reason = f"is this node's way to {routes[0]}: the node would be cut off"
    if reason is not None:
        raise NanoError(
            ErrorCode.CONFLICT,
            f"network {network.name} can't be bridged to {name}, which {reason}; {remedy}",
            reason="network_bridge.device_in_use",
        )


def _kind(link: Any) -> str | None:  # noqa: ANN401
    info = link.get_attr("IFLA_LINKINFO")
    return None if info is None else info.get_attr("IFLA_INFO_KIND")


def _refuse_overlap(routes: Iterable[Route], network: NetworkSpec, own_bridge: str) -> None:
    overlap = find_overlap(routes, network, own_bridge)
    if overlap is None:
        return
    whose = " (a network of another Nano node on this machine)" if overlap.interface.startswith(BRIDGE_PREFIX) else ""
    cidr = network.cidr if overlap.destination.version == 4 else network.ipv6_cidr  # noqa: PLR2004
    raise NanoError(
        ErrorCode.CONFLICT,
        f"network {network.name} ({cidr}) overlaps {overlap.destination} on interface {overlap.interface} "
        f"of this node{whose}; remove that route, or give the network other addresses",
        reason="network_bridge.overlap",
    )


def _routes(netlink: Any) -> Iterator[Route]:  # noqa: ANN401
    names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in netlink.get_links()}
    for family in (IPV4, IPV6):
        for route in netlink.get_routes(family=family):
            destination = route.get_attr("RTA_DST")
            if route.get_attr("RTA_TABLE") == LOCAL_TABLE:
                continue
            if destination is None:
                destination = "0.0.0.0" if family == IPV4 else "::"  # noqa: S104
            network = ipaddress.ip_network(f"{destination}/{route['dst_len']}", strict=False)
            if not network.is_multicast:
                yield Route(network, names.get(route.get_attr("RTA_OIF")) or "?")


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
    except OSError as error:
        raise NanoError(ErrorCode.UNAVAILABLE, f"can't {what}: {error}", reason="network_bridge.sysctl") from error

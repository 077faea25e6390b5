"""Refuses what must not end up in a configuration file, a rule or a command; pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import TypeVar

from nanocore.capabilities.network import NetworkSpec, PortSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import parse_id, parse_name
from nanocore.model.network import NetworkMode
from nanoplugins.network_bridge import policies
from nanoplugins.network_bridge.names import MAC_PREFIX, is_own

A = TypeVar("A")

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}")


def check(network: NetworkSpec, port: PortSpec) -> None:
    """Raise ``invalid_argument`` with the field, ``unsupported`` for a policy on a bridge to the LAN."""
    parse_id(network.id, field="network.id")
    parse_id(port.nic_id, field="port.nic_id")
    parse_name(port.hostname, field="port.hostname")
    _require(bool(_MAC.fullmatch(port.mac)), "port.mac", "must be six lower-case hexadecimal pairs", port.mac)
    # A card with the gateway's own address would get what the others send there, or have it go round.
    is_bridges = port.mac.startswith(MAC_PREFIX)
    _require(not is_bridges, "port.mac", f"must not begin with {MAC_PREFIX} as those of the bridges do", port.mac)
    if network.mode is NetworkMode.BRIDGE:
        _check_bridge(network, port)
    else:
        _check_network(network)
        _check_addresses(network, port)
        if port.policy is not None:
            policies.check(port.policy)


def _check_bridge(network: NetworkSpec, port: PortSpec) -> None:
    is_name = bool(_INTERFACE.fullmatch(network.interface)) and network.interface not in (".", "..")
    _require(is_name, "network.interface", "must be a device's name", network.interface)
    # On another network's bridge the card would be beside that network's rules.
    own = is_own(network.interface)
    _require(not own, "network.interface", "must be a device of the LAN, not one that Nano made", network.interface)
    _require(not port.addresses, "port.addresses", "are the LAN's business in mode bridge", ", ".join(port.addresses))
    if port.policy is not None:
        raise NanoError(
            ErrorCode.UNSUPPORTED,
            f"security policy {port.policy.name} can't be enforced in network {network.name}, a bridge to the LAN",
            reason="network.policy_on_bridge",
            field="port.policy",
        )


def _check_network(network: NetworkSpec) -> None:
    cidr = _parse(ipaddress.IPv4Network, network.cidr, "network.cidr")
    gateway = _parse(ipaddress.IPv4Address, network.gateway, "network.gateway")
    _require(gateway in cidr, "network.gateway", f"must be an address of {network.cidr}", network.gateway)
    for label in network.domain.split("."):
        parse_name(label, field="network.domain")
    if network.ipv6_cidr:
        ipv6 = _parse(ipaddress.IPv6Network, network.ipv6_cidr, "network.ipv6_cidr")
        router = _parse(ipaddress.IPv6Address, network.ipv6_gateway, "network.ipv6_gateway")
        _require(router in ipv6, "network.ipv6_gateway", f"must be an address of {ipv6}", network.ipv6_gateway)


def _check_addresses(network: NetworkSpec, port: PortSpec) -> None:
    inside = [ipaddress.ip_network(cidr) for cidr in (network.cidr, network.ipv6_cidr) if cidr]
    gateways = {ipaddress.ip_address(each) for each in (network.gateway, network.ipv6_gateway) if each}
    rule = f"must be addresses of {' and '.join(str(each) for each in inside)} other than the gateway"
    versions = []
    for text in port.addresses:
        address = _parse(ipaddress.ip_address, text, "port.addresses")
        is_fine = str(address) == text and address not in gateways and any(address in each for each in inside)
        _require(is_fine, "port.addresses", rule, text)
        versions.append(address.version)
    _require(4 in versions, "port.addresses", "must hold an IPv4 address", ", ".join(port.addresses))  # noqa: PLR2004


def _parse(kind: Callable[[str], A], text: str, field: str) -> A:
    # ipaddress takes any characters at all, line feeds too, as the zone of an IPv6 address.
    _require("%" not in text, field, "must have no zone", text)
    try:
        return kind(text)
    except ValueError as error:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{field}: {error}", field=field) from error


def _require(is_fine: bool, field: str, rule: str, got: str) -> None:  # noqa: FBT001  the condition itself
    if not is_fine:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{field} {rule}, got {got[:80]!r}", field=field)

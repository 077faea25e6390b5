"""dnsmasq's configuration and lease file for one network; pure.

Every port stands in the configuration, and a change restarts dnsmasq (about 20 ms). A reload by signal would keep
leases of cards that are gone, and their addresses could not be given to new ones; it would also need files that an
unprivileged dnsmasq can reach, while a restart reads its configuration before it drops its rights.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from nanocore.capabilities.network import NetworkSpec, PortSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import parse_id, parse_name
from nanoplugins.network_bridge.config import NetworkBridgeConfig
from nanoplugins.network_bridge.names import NetworkNames

A = TypeVar("A", ipaddress.IPv4Network, ipaddress.IPv4Address)

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_LEASE_FIELDS = 3


def check(network: NetworkSpec, port: PortSpec | None = None) -> None:
    """Refuse what must not end up in a configuration file; raises ``invalid_argument`` with the field."""
    parse_id(network.id, field="network.id")
    cidr = _address(ipaddress.IPv4Network, network.cidr, "network.cidr")
    gateway = _address(ipaddress.IPv4Address, network.gateway, "network.gateway")
    _require(gateway in cidr, "network.gateway", f"must be an address of {network.cidr}", network.gateway)
    for label in network.domain.split("."):
        parse_name(label, field="network.domain")
    if port is None:
        return
    parse_id(port.nic_id, field="port.nic_id")
    parse_name(port.hostname, field="port.hostname")
    _require(bool(_MAC.fullmatch(port.mac)), "port.mac", "must be six lower-case hexadecimal pairs", port.mac)
    _require(bool(port.addresses), "port.addresses", "must hold at least one address", "none")
    for text in port.addresses:
        address = _address(ipaddress.IPv4Address, text, "port.addresses")
        is_free = address in cidr and text != network.gateway
        _require(is_free, "port.addresses", f"must be addresses of {network.cidr} other than the gateway", text)


def configuration(
    names: NetworkNames,
    network: NetworkSpec,
    ports: Iterable[PortSpec],
    *,
    folder: Path,
    user: str,
    settings: NetworkBridgeConfig,
) -> str:
    """Return the text of ``dnsmasq.conf``; ``check`` has passed for everything in it."""
    cidr = ipaddress.IPv4Network(network.cidr)
    lines = [
        f"interface={names.bridge}",
        "bind-interfaces",
        "except-interface=lo",
        f"pid-file={folder / 'dnsmasq.pid'}",
        f"dhcp-leasefile={folder / 'leases'}",
        f"user={user}",
        # Names: the node's own /etc/hosts is none of the guests' business, and our domain is never asked outside.
        "no-hosts",
        "domain-needed",
        "bogus-priv",
        f"domain={network.domain}",
        f"local=/{network.domain}/",
        f"host-record=gateway,gateway.{network.domain},{network.gateway}",
        # Addresses: known cards only, at once (nobody else can have the address, so no ping before the offer).
        f"dhcp-range={cidr.network_address},static,{cidr.netmask},{settings.lease_seconds}",
        "dhcp-authoritative",
        "dhcp-ignore=tag:!known",
        "no-ping",
        "quiet-dhcp",
    ]
    if settings.name_servers:
        lines += ["no-resolv", *(f"server={address}" for address in settings.name_servers)]
    for port in sorted(ports, key=lambda each: each.nic_id):
        lines.append(f"dhcp-host={port.mac},{port.addresses[0]},{port.hostname}")
        lines += [f"host-record={port.hostname},{port.hostname}.{network.domain},{each}" for each in port.addresses]
    return "\n".join(lines) + "\n"


def live_leases(text: str, ports: Iterable[PortSpec]) -> str:
    """Return the lease file ``text`` without the leases of cards that are gone or have other addresses now."""
    known = {(port.mac, address) for port in ports for address in port.addresses}
    kept = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= _LEASE_FIELDS and (fields[1], fields[2]) in known:
            kept.append(line + "\n")
    return "".join(kept)


def _address(kind: type[A], text: str, field: str) -> A:
    try:
        return kind(text)
    except ValueError as error:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{field}: {error}", field=field) from error


def _require(is_fine: bool, field: str, rule: str, got: str) -> None:  # noqa: FBT001  the condition itself
    if not is_fine:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{field} {rule}, got {got[:80]!r}", field=field)

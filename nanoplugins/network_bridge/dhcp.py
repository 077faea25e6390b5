"""dnsmasq's configuration and lease file for one network; pure.

Every port stands in the configuration, and a change restarts dnsmasq (about 20 ms). A reload by signal would keep
leases of cards that are gone, and their addresses could not be given to new ones; it would also need files that an
unprivileged dnsmasq can reach, while a restart reads its configuration before it drops its rights.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path

from nanocore.capabilities.network import NetworkSpec, PortSpec
from nanocore.model.network import NetworkMode
from nanoplugins.network_bridge.config import NetworkBridgeConfig
from nanoplugins.network_bridge.names import NetworkNames

_LEASE_FIELDS = 3


def configuration(
    names: NetworkNames,
    network: NetworkSpec,
    ports: Iterable[PortSpec],
    *,
    folder: Path,
    user: str,
    settings: NetworkBridgeConfig,
) -> str:
    """Return the text of ``dnsmasq.conf``; ``checks.check`` has passed for everything in it."""
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
        f"host-record=gateway,gateway.{network.domain},{_joined(network.gateway, network.ipv6_gateway)}",
        # Addresses: known cards only, at once (nobody else can have the address, so no ping before the offer).
        f"dhcp-range={cidr.network_address},static,{cidr.netmask},{settings.lease_seconds}",
        "dhcp-authoritative",
        "dhcp-ignore=tag:!known",
        "no-ping",
        "quiet-dhcp",
    ]
    if network.ipv6_cidr:
        lines += _ipv6_lines(names, network, settings)
    if network.mode is NetworkMode.ISOLATED:
        # Neither a way out nor questions passed on, which would be one.
        lines += ["no-resolv", "dhcp-option=option:router"]
    elif settings.name_servers:
        lines += ["no-resolv", *(f"server={address}" for address in settings.name_servers)]
    for port in sorted(ports, key=lambda each: each.nic_id):
        fixed = [f"[{each}]" if ":" in each else each for each in port.addresses]
        lines.append(f"dhcp-host={port.mac},{','.join(fixed)},{port.hostname}")
        lines.append(f"host-record={port.hostname},{port.hostname}.{network.domain},{','.join(port.addresses)}")
    return "\n".join(lines) + "\n"


def _ipv6_lines(names: NetworkNames, network: NetworkSpec, settings: NetworkBridgeConfig) -> list[str]:
    cidr = ipaddress.IPv6Network(network.ipv6_cidr)
    preference = "low" if network.mode is NetworkMode.ISOLATED else "high"
    return [
        "enable-ra",
        # Off-link: guests send everything to the node, as their ports are isolated, and need not ask for neighbours.
        f"dhcp-range={cidr.network_address},static,off-link,{cidr.prefixlen},{settings.lease_seconds}",
        f"ra-param={names.bridge},{preference},60,1800",
    ]


def _joined(*addresses: str) -> str:
    return ",".join(each for each in addresses if each)


def live_leases(text: str, ports: Iterable[PortSpec]) -> str:
    """Return the lease file ``text`` without the leases of cards that are gone or have other addresses now.

    A lease of IPv6 names no MAC, only the address; the line ``duid`` is dnsmasq's own identity.
    """
    known = {(port.mac, address) for port in ports for address in port.addresses}
    addresses = {address for _, address in known}
    kept = []
    for line in text.splitlines():
        fields = line.split()
        is_own = fields[:1] == ["duid"]
        if is_own or (len(fields) >= _LEASE_FIELDS and _is_live(fields, known, addresses)):
            kept.append(line + "\n")
    return "".join(kept)


def _is_live(fields: list[str], known: set[tuple[str, str]], addresses: set[str]) -> bool:
    if ":" in fields[2]:
        return fields[2] in addresses
    return (fields[1], fields[2]) in known

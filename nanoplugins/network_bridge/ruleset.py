"""What ``nft -j -f -`` is given: two whole tables of our own a network, replaced in one transaction; pure.

The table of family ``bridge`` looks at each frame that comes from a guest's device: it has the guest's own MAC, and
nothing in it claims another's address. The table of family ``inet`` looks at what is routed. Between guests of one
network everything is routed, as their ports are isolated and the node answers for their addresses: so there is one
place with connection tracking, which the bridge family does not have everywhere.

Nobody else's table is read or changed. An ``accept`` of ours can't overrule a ``drop`` of another table, so a firewall
that drops all forwarding (Docker's, for one) has to let the bridge through itself; ``health`` says so.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from nanocore.capabilities.network import NetworkSpec, PortSpec
from nanocore.model.network import NetworkMode, PolicyDirection
from nanoplugins.network_bridge import policies
from nanoplugins.network_bridge.names import IPV6_ROUTER, NetworkNames, device_name
from nanoplugins.network_bridge.nft import (
    ACCEPT,
    DROP,
    REJECT,
    RETURN,
    Expr,
    Table,
    concat,
    field,
    jump,
    match,
    meta,
    prefix,
    verdict_map,
)

RAW_PRIORITY = -300
SRCNAT_PRIORITY = 100
FILTER_PRIORITY = 0
DNS_PORT, DHCP_SERVER_PORT, DHCPV6_SERVER_PORT = 53, 67, 547
FROM_ROUTERS = {"set": ["nd-router-advert", "nd-redirect"]}
FROM_GUESTS = {"set": ["echo-request", "nd-router-solicit", "nd-neighbor-solicit", "nd-neighbor-advert"]}
TO_GUESTS = {"set": ["nd-router-advert", "nd-neighbor-solicit", "nd-neighbor-advert"]}
PROBE = "nd-neighbor-solicit"
NOWHERE, NOWHERE_IPV6, LINK_LOCAL = "0.0.0.0", "::", ipaddress.IPv6Network("fe80::/10")  # noqa: S104
GROUP_BIT = "01:00:00:00:00:00"
ETHER_SOURCE, ETHER_TARGET = field("ether", "saddr"), field("ether", "daddr")


def tables(
    names: NetworkNames, network: NetworkSpec, ports: Sequence[PortSpec], *, is_node_open: bool = False
) -> list[Expr]:
    """Return everything that is in force for ``network`` and its ``ports``."""
    commands = [*removal(names), *_bridge_table(Table("bridge", names.table), network, ports)]
    if network.mode is not NetworkMode.BRIDGE:
        commands += _inet_table(names, network, ports, is_node_open=is_node_open)
    return commands


def expected(names: NetworkNames, network: NetworkSpec) -> set[tuple[str, str]]:
    """Return family and name of the tables that are there while ``tables`` is in force."""
    families = ("bridge",) if network.mode is NetworkMode.BRIDGE else ("bridge", "inet")
    return {(family, names.table) for family in families}


def removal(names: NetworkNames) -> list[Expr]:
    """Return what takes the tables away, also where there are none. Older versions had one of family ``ip``."""
    return [command for family in ("ip", "inet", "bridge") for command in Table(family, names.table).removal()]


def _bridge_table(table: Table, network: NetworkSpec, ports: Sequence[PortSpec]) -> list[Expr]:
    devices = [device_name(port.nic_id) for port in ports]
    own = [concat(device, port.mac) for device, port in zip(devices, ports, strict=True)]
    is_routed = network.mode is not NetworkMode.BRIDGE
    return [
        *table.fresh(),
        table.set("devices", "ifname", devices),
        table.set("macs", ["ifname", "ether_addr"], own),
        *_address_sets(table, ports),
        table.chain("from_guest"),
        table.rule("from_guest", match(concat(meta("iifname"), ETHER_SOURCE), "@macs", op="!="), DROP),
        # Nothing is let by that the rules below can't read: tagged frames, for one.
        table.rule("from_guest", match(field("ether", "type"), {"set": ["ip", "arp", "ip6"]}, op="!="), DROP),
        table.rule("from_guest", match(field("udp", "sport"), {"set": [DHCP_SERVER_PORT, DHCPV6_SERVER_PORT]}), DROP),
        table.rule("from_guest", match(field("icmpv6", "type"), FROM_ROUTERS), DROP),
        *_arp_rules(table, is_routed=is_routed),
        *(_sender_rules(table, network) if is_routed else ()),
        *(_forward_rules(table) if is_routed else ()),
        table.chain("to_guest"),
        table.rule("to_guest", match(concat(meta("oifname"), ETHER_TARGET), "@macs"), ACCEPT),
        table.rule("to_guest", match({"&": [ETHER_TARGET, GROUP_BIT]}, GROUP_BIT), ACCEPT),
        # A bridge floods what it knows no port for: not to other guests.
        table.rule("to_guest", DROP),
        table.base_chain("prerouting", "prerouting", RAW_PRIORITY),
        table.rule("prerouting", match(meta("iifname"), "@devices"), jump("from_guest")),
        table.base_chain("postrouting", "postrouting", RAW_PRIORITY),
        table.rule("postrouting", match(meta("oifname"), "@devices"), jump("to_guest")),
    ]


def _forward_rules(table: Table) -> list[Expr]:
    """Return that nothing goes from guest to guest on the bridge, also where a port is not isolated."""
    return [
        table.base_chain("forward", "forward", RAW_PRIORITY),
        table.rule("forward", match(meta("iifname"), "@devices"), DROP),
        table.rule("forward", match(meta("oifname"), "@devices"), DROP),
    ]


def _arp_rules(table: Table, *, is_routed: bool) -> list[Expr]:
    sender = field("arp", "saddr ether")
    claim = concat(sender, field("arp", "saddr ip"))
    is_arp = match(field("ether", "type"), "arp")
    rules = [table.rule("from_guest", is_arp, match(concat(meta("iifname"), sender), "@macs", op="!="), DROP)]
    if is_routed:
        rules += [
            table.rule("from_guest", is_arp, match(claim, "@addresses4"), ACCEPT),
            # A probe whether an address is in use (RFC 5227) claims none.
            table.rule("from_guest", is_arp, match(field("arp", "saddr ip"), NOWHERE), ACCEPT),
            table.rule("from_guest", is_arp, DROP),
        ]
    return rules


def _sender_rules(table: Table, network: NetworkSpec) -> list[Expr]:
    pair4 = concat(ETHER_SOURCE, field("ip", "saddr"))
    rules = [
        # A guest without an address asks for one.
        table.rule(
            "from_guest",
            match(field("ip", "saddr"), NOWHERE),
            match(field("udp", "dport"), DHCP_SERVER_PORT),
            ACCEPT,
        ),
        table.rule("from_guest", match(pair4, "@addresses4"), ACCEPT),
    ]
    if network.ipv6_cidr:
        source = field("ip6", "saddr")
        rules += [
            table.rule("from_guest", match(source, IPV6_ROUTER), DROP),
            table.rule("from_guest", match(source, prefix(LINK_LOCAL)), ACCEPT),
            # Nobody else can have its address: a guest that probes it must not hear the node, which answers for it.
            table.rule("from_guest", match(source, NOWHERE_IPV6), match(field("icmpv6", "type"), PROBE), DROP),
            table.rule("from_guest", match(source, NOWHERE_IPV6), match(meta("l4proto"), "ipv6-icmp"), ACCEPT),
            table.rule("from_guest", match(concat(ETHER_SOURCE, source), "@addresses6"), ACCEPT),
        ]
    return [*rules, table.rule("from_guest", DROP)]


def _inet_table(
    names: NetworkNames, network: NetworkSpec, ports: Sequence[PortSpec], *, is_node_open: bool
) -> list[Expr]:
    table = Table("inet", names.table)
    return [
        *table.fresh(),
        *_address_sets(table, ports),
        *policies.chains(table, ports),
        *_policy_maps(table, ports),
        *_routed_rules(table, names, network),
        *_source_rules(table, names, network),
        *(_translation_rules(table, network) if network.mode is NetworkMode.NAT else ()),
        *_output_rules(table, names),
        *_input_rules(table, names, is_node_open=is_node_open),
    ]


def _address_sets(table: Table, ports: Sequence[PortSpec]) -> list[Expr]:
    """Return which MAC may use which address."""
    pairs: dict[int, list[Expr]] = {4: [], 6: []}
    for port in ports:
        for address in port.addresses:
            pairs[ipaddress.ip_address(address).version].append(concat(port.mac, address))
    return [
        table.set(f"addresses{version}", ["ether_addr", f"ipv{version}_addr"], elements)
        for version, elements in pairs.items()
    ]


def _policy_maps(table: Table, ports: Sequence[PortSpec]) -> list[Expr]:
    return [
        table.verdicts(f"{direction.value}{version}", f"ipv{version}_addr", elements)
        for direction in PolicyDirection
        for version in (4, 6)
        for elements in (policies.verdicts(ports, direction, version),)
    ]


def _routed_rules(table: Table, names: NetworkNames, network: NetworkSpec) -> list[Expr]:
    from_bridge, to_bridge = match(meta("iifname"), names.bridge), match(meta("oifname"), names.bridge)
    not_from_bridge = match(meta("iifname"), names.bridge, op="!=")
    answer = [_direction("reply"), _state("established")]
    rules = [table.chain("leaving"), table.chain("arriving")]
    for chain in ("leaving", "arriving"):
        rules += [table.rule(chain, *answer, RETURN), table.rule(chain, _state("related"), RETURN)]
    if network.mode is NetworkMode.ISOLATED:
        rules.append(table.rule("leaving", match(meta("oifname"), names.bridge, op="!="), REJECT))
    return [
        *rules,
        table.rule("leaving", verdict_map(field("ip", "saddr"), "outbound4")),
        table.rule("leaving", verdict_map(field("ip6", "saddr"), "outbound6")),
        table.rule("arriving", verdict_map(field("ip", "daddr"), "inbound4")),
        table.rule("arriving", verdict_map(field("ip6", "daddr"), "inbound6")),
        table.base_chain("forward", "forward", FILTER_PRIORITY),
        table.rule("forward", from_bridge, jump("leaving")),
        # The node itself reaches its guests (that is output, not forwarding); strangers on its links don't.
        table.rule("forward", not_from_bridge, to_bridge, *answer, ACCEPT),
        table.rule("forward", not_from_bridge, to_bridge, _state("related"), ACCEPT),
        table.rule("forward", not_from_bridge, to_bridge, DROP),
        table.rule("forward", to_bridge, jump("arriving")),
    ]


def _source_rules(table: Table, names: NetworkNames, network: NetworkSpec) -> list[Expr]:
    """Return the check of senders once more, for devices that a guest had before rules could name them."""
    from_bridge = match(meta("iifname"), names.bridge)
    pair4 = concat(ETHER_SOURCE, field("ip", "saddr"))
    rules = [
        table.base_chain("prerouting", "prerouting", RAW_PRIORITY),
        table.rule("prerouting", from_bridge, match(field("ip", "saddr"), NOWHERE), ACCEPT),
        table.rule("prerouting", from_bridge, match(pair4, "@addresses4", op="!="), DROP),
    ]
    if not network.ipv6_cidr:
        return [*rules, table.rule("prerouting", from_bridge, match(meta("nfproto"), "ipv6"), DROP)]
    source = field("ip6", "saddr")
    return [
        *rules,
        table.rule("prerouting", from_bridge, match(source, prefix(LINK_LOCAL)), ACCEPT),
        table.rule("prerouting", from_bridge, match(source, NOWHERE_IPV6), match(field("icmpv6", "type"), PROBE), DROP),
        table.rule("prerouting", from_bridge, match(source, NOWHERE_IPV6), ACCEPT),
        table.rule("prerouting", from_bridge, match(concat(ETHER_SOURCE, source), "@addresses6", op="!="), DROP),
    ]


def _translation_rules(table: Table, network: NetworkSpec) -> list[Expr]:
    rules = [table.base_chain("postrouting", "postrouting", SRCNAT_PRIORITY, kind="nat")]
    for protocol, cidr in (("ip", network.cidr), ("ip6", network.ipv6_cidr)):
        if cidr:
            inside = prefix(ipaddress.ip_network(cidr))
            is_from = match(field(protocol, "saddr"), inside)
            is_outwards = match(field(protocol, "daddr"), inside, op="!=")
            rules.append(table.rule("postrouting", is_from, is_outwards, {"masquerade": None}))
    return rules


def _output_rules(table: Table, names: NetworkNames) -> list[Expr]:
    """Return what the node may send to guests: for their policies it is as any other."""
    to_bridge = match(meta("oifname"), names.bridge)
    served = match(field("udp", "sport"), {"set": [DHCP_SERVER_PORT, DHCPV6_SERVER_PORT]})
    return [
        table.base_chain("output", "output", FILTER_PRIORITY),
        # "The other guest is on your own link" is true and would be wrong: its port is isolated.
        table.rule("output", to_bridge, match(field("icmp", "type"), "redirect"), DROP),
        table.rule("output", to_bridge, match(field("icmpv6", "type"), "nd-redirect"), DROP),
        table.rule("output", to_bridge, served, ACCEPT),
        table.rule("output", to_bridge, match(field("icmpv6", "type"), TO_GUESTS), ACCEPT),
        table.rule("output", to_bridge, jump("arriving")),
    ]


def _input_rules(table: Table, names: NetworkNames, *, is_node_open: bool) -> list[Expr]:
    """Return what guests may ask of the node itself."""
    from_bridge = match(meta("iifname"), names.bridge)
    served = {"set": [DNS_PORT, DHCP_SERVER_PORT, DHCPV6_SERVER_PORT]}
    return [
        table.base_chain("input", "input", FILTER_PRIORITY),
        table.rule("input", from_bridge, _direction("reply"), _state("established"), ACCEPT),
        table.rule("input", from_bridge, _state("related"), ACCEPT),
        table.rule("input", from_bridge, match(field("udp", "dport"), served), ACCEPT),
        table.rule("input", from_bridge, match(field("tcp", "dport"), DNS_PORT), ACCEPT),
        table.rule("input", from_bridge, match(field("icmp", "type"), "echo-request"), ACCEPT),
        table.rule("input", from_bridge, match(field("icmpv6", "type"), FROM_GUESTS), ACCEPT),
        table.rule("input", from_bridge, jump("leaving") if is_node_open else REJECT),
    ]


def _direction(which: str) -> Expr:
    return match({"ct": {"key": "direction"}}, which)


def _state(which: str) -> Expr:
    return match({"ct": {"key": "state"}}, which, op="in")

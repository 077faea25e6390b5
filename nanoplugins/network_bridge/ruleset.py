"""What ``nft -j -f -`` is given: one whole table of our own a network, replaced in one transaction; pure.

Nobody else's table is read or changed. An ``accept`` of ours can't overrule a ``drop`` of another table, so a firewall
that drops all forwarding (Docker's, for one) has to let the bridge through itself; ``health`` says so.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from nanocore.capabilities.network import NetworkSpec, PortSpec
from nanoplugins.network_bridge.names import NetworkNames

Expr = dict[str, Any]
RAW_PRIORITY = -300
SRCNAT_PRIORITY = 100
FILTER_PRIORITY = 0
DNS_PORT, DHCP_SERVER_PORT = 53, 67


def table(
    names: NetworkNames, network: NetworkSpec, ports: Iterable[PortSpec], *, is_node_open: bool = False
) -> list[Expr]:
    """Return NAT and forwarding of ``network``, what its guests may ask of the node, and from which addresses."""
    inside = _prefix(network.cidr)
    from_bridge = _meta("iifname", names.bridge)
    to_bridge = _meta("oifname", names.bridge)
    pairs = [{"concat": [port.mac, address]} for port in ports for address in port.addresses]
    sender = {"concat": [_field("ether", "saddr"), _field("ip", "saddr")]}
    rules = [
        # A guest without an address asks for one from 0.0.0.0.
        ("prerouting", [from_bridge, _payload("ip", "saddr", "0.0.0.0"), {"accept": None}]),  # noqa: S104
        ("prerouting", [from_bridge, {"match": {"op": "!=", "left": sender, "right": "@ports"}}, {"drop": None}]),
        (
            "postrouting",
            [_payload("ip", "saddr", inside), _payload("ip", "daddr", inside, op="!="), {"masquerade": None}],
        ),
        ("forward", [to_bridge, _established(), {"accept": None}]),
        ("forward", [from_bridge, _payload("ip", "saddr", inside), {"accept": None}]),
        # The node itself reaches its guests (that is output, not forwarding); strangers on its links don't.
        ("forward", [to_bridge, {"drop": None}]),
        ("forward", [from_bridge, {"drop": None}]),
    ]
    if not is_node_open:
        rules += [
            ("input", [from_bridge, _established(), {"accept": None}]),
            ("input", [from_bridge, _payload("udp", "dport", {"set": [DNS_PORT, DHCP_SERVER_PORT]}), {"accept": None}]),
            ("input", [from_bridge, _payload("tcp", "dport", DNS_PORT), {"accept": None}]),
            ("input", [from_bridge, _payload("icmp", "type", "echo-request"), {"accept": None}]),
            ("input", [from_bridge, {"reject": {"type": "icmp", "expr": "admin-prohibited"}}]),
        ]
    known: Expr = {"family": "ip", "table": names.table, "name": "ports", "type": ["ether_addr", "ipv4_addr"]}
    return [
        *_fresh_table(names.table),
        {"add": {"set": known | ({"elem": pairs} if pairs else {})}},
        _chain(names.table, "prerouting", kind="filter", priority=RAW_PRIORITY),
        _chain(names.table, "postrouting", kind="nat", priority=SRCNAT_PRIORITY),
        _chain(names.table, "forward", kind="filter", priority=FILTER_PRIORITY),
        _chain(names.table, "input", kind="filter", priority=FILTER_PRIORITY),
        *(_rule(names.table, chain, expr) for chain, expr in rules),
    ]


def removal(names: NetworkNames) -> list[Expr]:
    """Return what takes the table away, also where there is none."""
    return [_table("add", names.table), _table("delete", names.table)]


def _fresh_table(name: str) -> list[Expr]:
    # Add, delete, add: one transaction that ends with an empty table whether or not there was one.
    return [_table("add", name), _table("delete", name), _table("add", name)]


def _table(verb: str, name: str) -> Expr:
    return {verb: {"table": {"family": "ip", "name": name}}}


def _chain(table: str, name: str, *, kind: str, priority: int) -> Expr:
    chain = {"family": "ip", "table": table, "name": name, "type": kind, "hook": name, "prio": priority}
    return {"add": {"chain": {**chain, "policy": "accept"}}}


def _rule(table: str, chain: str, expr: list[Expr]) -> Expr:
    return {"add": {"rule": {"family": "ip", "table": table, "chain": chain, "expr": expr}}}


def _field(protocol: str, field: str) -> Expr:
    return {"payload": {"protocol": protocol, "field": field}}


def _payload(protocol: str, field: str, value: object, *, op: str = "==") -> Expr:
    return {"match": {"op": op, "left": _field(protocol, field), "right": value}}


def _meta(key: str, value: str) -> Expr:
    return {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": value}}


def _established() -> Expr:
    return {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}


def _prefix(cidr: str) -> Expr:
    network = ipaddress.IPv4Network(cidr)
    return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}

"""Compiles security policies to chains of nftables; pure.

Only packets in a connection's original direction come here, also those of connections that exist. So a changed policy
decides anew about what is open: what is still allowed goes on, what is not ends, and no connection is forgotten, which
would break those whose addresses are translated.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable

from nanocore.capabilities.network import PolicySpec, PortSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.model.network import PolicyAction, PolicyDirection, PolicyProtocol, PolicyRule
from nanocore.wire import encode_json
from nanoplugins.network_bridge.nft import (
    DROP,
    RETURN,
    Expr,
    Table,
    field,
    jump,
    match,
    meta,
    one_of,
    prefix,
    protocol_of,
)

VERDICTS = {PolicyAction.ACCEPT: RETURN, PolicyAction.DROP: DROP}
"""What may pass returns, as between two guests the other one's policy is asked as well."""
REMOTE_FIELDS = {PolicyDirection.INBOUND: "saddr", PolicyDirection.OUTBOUND: "daddr"}
ICMP = ["icmp", "ipv6-icmp"]


def chains(table: Table, ports: Iterable[PortSpec]) -> list[Expr]:
    """Return a pair of chains for each policy that a port has."""
    commands: list[Expr] = []
    for policy in {chain_name(port.policy): port.policy for port in ports if port.policy is not None}.values():
        for direction, default in (
            (PolicyDirection.INBOUND, policy.default_inbound),
            (PolicyDirection.OUTBOUND, policy.default_outbound),
        ):
            name = f"{direction.value}_{chain_name(policy)}"
            commands.append(table.chain(name))
            for index, rule in enumerate(policy.rules):
                if rule.direction is direction:
                    commands.append(table.rule(name, *_conditions(rule, index), VERDICTS[rule.action]))
            commands.append(table.rule(name, VERDICTS[default]))
    return commands


def verdicts(ports: Iterable[PortSpec], direction: PolicyDirection, version: int) -> list[tuple[str, Expr]]:
    """Return which chain an address of a port with a policy goes to."""
    return [
        (address, jump(f"{direction.value}_{chain_name(port.policy)}"))
        for port in ports
        if port.policy is not None
        for address in port.addresses
        if ipaddress.ip_address(address).version == version
    ]


def check(policy: PolicySpec) -> None:
    """Raise ``invalid_argument`` when a rule can't be compiled."""
    for index, rule in enumerate(policy.rules):
        _conditions(rule, index)


def chain_name(policy: PolicySpec) -> str:
    """Return a name by content: while a changed policy arrives port by port, both versions are in force."""
    return hashlib.sha256(encode_json(policy)).hexdigest()[:16]


def _conditions(rule: PolicyRule, index: int) -> list[Expr]:
    try:
        return [*_remote(rule), *_protocol(rule)]
    except ValueError as error:
        where = f"port.policy.rules[{index}]"
        raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{where}: {error}", field=where) from error


def _remote(rule: PolicyRule) -> list[Expr]:
    if rule.remote is None:
        return []
    network = ipaddress.ip_network(rule.remote)
    if "%" in rule.remote:
        message = f"{rule.remote!r} has a zone, which rules do not know"
        raise ValueError(message)
    if network.prefixlen == 0:
        return [match(meta("nfproto"), "ipv4" if network.version == 4 else "ipv6")]  # noqa: PLR2004
    return [match(field(protocol_of(network.version), REMOTE_FIELDS[rule.direction]), prefix(network))]


def _protocol(rule: PolicyRule) -> list[Expr]:
    match rule.protocol:
        case PolicyProtocol.ANY:
            return []
        case PolicyProtocol.ICMP:
            return [_match_protocol(one_of(ICMP))]
        case _ if rule.ports is None:
            return [_match_protocol(rule.protocol.value)]
        case _:
            return [_match_ports(rule.protocol.value, rule.ports)]


def _match_protocol(wanted: object) -> Expr:
    return match(meta("l4proto"), wanted)


def _match_ports(protocol: str, text: str) -> Expr:
    ports: list[object] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        ports.append({"range": [int(first), int(last)]} if dash else int(first))
    return match(field(protocol, "dport"), {"set": ports})

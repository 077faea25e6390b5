"""Checks a security policy's rules; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from nanocore.errors import ErrorCode, NanoError
from nanocore.model.network import PolicyProtocol, PolicyRule
from nanocore.wire import structs

LARGEST_PORT = 65535
WITH_PORTS = frozenset({PolicyProtocol.TCP, PolicyProtocol.UDP})


def parse_rules(rules: Iterable[PolicyRule]) -> list[PolicyRule]:
    """Return ``rules`` with ports and networks in canonical text; raise ``invalid_argument`` naming the field."""
    return [_parse(rule, f"rules[{index}]") for index, rule in enumerate(rules)]


def _parse(rule: PolicyRule, field: str) -> PolicyRule:
    ports = rule.ports or None
    if ports is not None:
        if rule.protocol not in WITH_PORTS:
            raise _invalid(f"{field}.ports", f"need protocol tcp or udp, got {rule.protocol.value}")
        ports = _parse_ports(ports, f"{field}.ports")
    remote = rule.remote or None
    if remote is not None:
        try:
            network = ipaddress.ip_network(remote)
        except ValueError as error:
            raise _invalid(f"{field}.remote", f"must be a network such as 10.0.0.0/8: {error}") from error
        if "%" in remote:
            raise _invalid(f"{field}.remote", "must have no zone (what follows a %), which rules do not know")
        remote = str(network)
    return structs.replace(rule, ports=ports, remote=remote)


def _parse_ports(text: str, field: str) -> str:
    parts: list[tuple[int, int]] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        if not all(end.strip().isascii() and end.strip().isdigit() for end in ends):
            raise _invalid(field, f"must be ports and ranges such as 22,80-90, got {text!r}")
        low, high = (int(end) for end in ends)
        if not 1 <= low <= high <= LARGEST_PORT:
            raise _invalid(field, f"must be ports from 1 to {LARGEST_PORT}, ranges upwards, got {part.strip()!r}")
        parts.append((low, high))
    return ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in _merged(parts))


def _merged(parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the same ports in order and without overlap, which a set of nftables must not have."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(parts):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _invalid(field: str, rule: str) -> NanoError:
    return NanoError(ErrorCode.INVALID_ARGUMENT, f"{field} {rule}", field=field)

"""Pieces of nftables' JSON; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Expr = dict[str, Any]
ACCEPT: Expr = {"accept": None}
DROP: Expr = {"drop": None}
RETURN: Expr = {"return": None}
REJECT: Expr = {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}


@dataclass(frozen=True, slots=True)
class Table:
    """One table of ours: everything in it is replaced in one transaction."""

    family: str
    name: str

    def fresh(self) -> list[Expr]:
        """Return what leaves an empty table whether or not there was one."""
        return [*self.removal(), self._table("add")]

    def removal(self) -> list[Expr]:
        """Return what takes the table away, also where there is none."""
        return [self._table("add"), self._table("delete")]

    def chain(self, name: str) -> Expr:
        """Return a chain that others jump to."""
        return {"add": {"chain": {"family": self.family, "table": self.name, "name": name}}}

    def base_chain(self, name: str, hook: str, priority: int, *, kind: str = "filter") -> Expr:
        """Return a chain that the kernel calls."""
        chain = {"family": self.family, "table": self.name, "name": name}
        place = {"type": kind, "hook": hook, "prio": priority, "policy": "accept"}
        return {"add": {"chain": chain | place}}

    def rule(self, chain: str, *expr: Expr) -> Expr:
        """Return a rule at the end of ``chain``."""
        return {"add": {"rule": {"family": self.family, "table": self.name, "chain": chain, "expr": list(expr)}}}

    def set(self, name: str, kind: str | Sequence[str], elements: Sequence[Any]) -> Expr:
        """Return a named set."""
        made: Expr = {"family": self.family, "table": self.name, "name": name, "type": kind}
        return {"add": {"set": made | ({"elem": list(elements)} if elements else {})}}

    def verdicts(self, name: str, kind: str, elements: Sequence[tuple[str, Expr]]) -> Expr:
        """Return a named map from an address to what is done with it."""
        made: Expr = {"family": self.family, "table": self.name, "name": name, "type": kind, "map": "verdict"}
        return {"add": {"map": made | ({"elem": [list(pair) for pair in elements]} if elements else {})}}

    def _table(self, verb: str) -> Expr:
        return {verb: {"table": {"family": self.family, "name": self.name}}}


def field(protocol: str, name: str) -> Expr:
    """Return a field of a packet."""
    return {"payload": {"protocol": protocol, "field": name}}


def meta(key: str) -> Expr:
    """Return what the kernel knows of a packet."""
    return {"meta": {"key": key}}


def match(left: Expr, right: object, *, op: str = "==") -> Expr:
    """Return a comparison."""
    return {"match": {"op": op, "left": left, "right": right}}


def concat(*parts: Any) -> Expr:  # noqa: ANN401  fields or values
    """Return several values as one."""
    return {"concat": list(parts)}


def prefix(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> object:
    """Return a network as a value."""
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}


def protocol_of(version: int) -> str:
    """Return nftables' name of an IP version."""
    return "ip" if version == 4 else "ip6"  # noqa: PLR2004


def one_of(values: Sequence[Any]) -> object:
    """Return a set without a name, or the only value."""
    return values[0] if len(values) == 1 else {"set": list(values)}


def jump(chain: str) -> Expr:
    """Return a call of another chain."""
    return {"jump": {"target": chain}}


def verdict_map(key: Expr, name: str) -> Expr:
    """Return a look-up of what to do; no entry means nothing."""
    return {"vmap": {"key": key, "data": f"@{name}"}}

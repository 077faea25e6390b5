"""Whether guests get addresses and reach out."""

from __future__ import annotations

import json
from typing import Any

from nanocore.errors import NanoError
from nanoplugins.network_bridge import programs
from nanoplugins.network_bridge.driver import BridgeDriver
from nanoplugins.network_bridge.names import TABLE_PREFIX

REMEDY = (
    "let it pass what comes from and goes to interfaces named nb* (with Docker: "
    "`iptables -I DOCKER-USER -i nb+ -j ACCEPT` and `iptables -I DOCKER-USER -o nb+ -j ACCEPT`)"
)


async def check_networks(driver: BridgeDriver) -> str | None:
    """Return what is wrong and what to do, or ``None``."""
    problems = driver.problems()
    if not problems and await driver.list_ports():
        try:
            blocker = find_blocker(json.loads(await programs.list_rules())["nftables"])
        except NanoError as error:
            return str(error)
        if blocker is not None:
            problems = [f"{blocker} drops forwarded packets, so guests may not reach out; {REMEDY}"]
    return "; ".join(problems) or None


def find_blocker(ruleset: list[dict[str, Any]]) -> str | None:
    """Return another program's chain whose policy is to drop what is forwarded and that never names a bridge; pure."""
    told = {
        (rule["family"], rule["table"]) for rule in _each(ruleset, "rule") if '"nb' in json.dumps(rule.get("expr", []))
    }
    for chain in _each(ruleset, "chain"):
        is_ours = chain["table"].startswith(TABLE_PREFIX)
        is_dropping = chain.get("hook") == "forward" and chain.get("policy") == "drop"
        if is_dropping and not is_ours and (chain["family"], chain["table"]) not in told:
            return f"the firewall (nftables table {chain['family']} {chain['table']}, chain {chain['name']})"
    return None


def _each(ruleset: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item[kind] for item in ruleset if kind in item]

"""Takes networks of this node down; the driver's last port and an uninstall without a kernel both come here."""

from __future__ import annotations

import asyncio
from pathlib import Path

from nanoplugins.network_bridge import forwarding, links, programs, records, ruleset
from nanoplugins.network_bridge.records import ServedNetwork

NETWORKS = "networks"


async def take_down(served: ServedNetwork) -> None:
    """End dnsmasq, remove bridge and rules; absent ones are fine. The record stays."""
    await programs.stop_dnsmasq(served.configuration)
    await asyncio.to_thread(links.delete_bridge, served.names)
    await programs.apply_rules(ruleset.removal(served.names))


async def take_down_all(folder: Path, *, forget: bool) -> list[str]:
    """Take down every network recorded in the plugin's state ``folder``; return their names.

    Without ``forget`` the next kernel brings them back.
    """
    networks, _ = records.load(folder / NETWORKS)
    for served in networks:
        await take_down(served)
        if forget:
            served.forget()
    if forget:
        await restore_forwarding(folder)
    return [served.spec.name for served in networks]


async def restore_forwarding(folder: Path) -> None:
    """Switch forwarding off again if we switched it on, unless a bridge is left that may need it."""
    if not await asyncio.to_thread(links.has_bridges):
        forwarding.restore(folder)

"""The network driver: brings a network up with its first port and takes it down with its last."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nanocore.capabilities.network import NetworkDriverInfo, NetworkSpec, PortInfo, PortSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NetworkId, NodeId, parse_id
from nanocore.model.network import NetworkMode
from nanoplugins.network_bridge import checks, dhcp, forwarding, links, programs, records, ruleset, teardown
from nanoplugins.network_bridge.config import NetworkBridgeConfig
from nanoplugins.network_bridge.names import NetworkNames, device_name
from nanoplugins.network_bridge.records import ServedNetwork
from nanoplugins.network_bridge.watch import ProcessWatch

if TYPE_CHECKING:
    import structlog

RETRY_SECONDS = (0.1, 1.0, 5.0, 30.0)
"""Pauses before dnsmasq is started again, the last one for ever; a start that lasts begins anew."""


class _Live:
    """What this process knows of a network beyond its record."""

    def __init__(self, served: ServedNetwork) -> None:
        self.served = served
        self.bridge = served.names.bridge
        """What guests' cards are plugged into; for mode ``bridge`` perhaps somebody else's."""
        self.lock = asyncio.Lock()
        self.wanted = 0
        """Counts changes, so that changes that arrive while one is being applied are applied together."""
        self.applied = 0
        self.watch: ProcessWatch | None = None
        self.deaths = 0
        self.started_at = 0.0
        """When dnsmasq was last seen to run, on the loop's clock."""

    def unwatch(self) -> None:
        if self.watch is not None:
            self.watch.cancel()
            self.watch = None


class BridgeDriver:
    """A Linux bridge, two nftables tables and a dnsmasq for each network that has a port on this node.

    Records are written before the act and deleted after it, so ``open`` finds everything that a killed kernel made.
    """

    name = "bridge"

    def __init__(
        self, *, node_id: NodeId, folder: Path, settings: NetworkBridgeConfig, log: structlog.stdlib.BoundLogger
    ) -> None:
        self._node_id = node_id
        self._folder = folder
        self._settings = settings
        self._log = log
        self._live: dict[NetworkId, _Live] = {}
        self._network_of: dict[str, NetworkId] = {}
        self._changes: set[asyncio.Task[None]] = set()
        self._in_background: set[asyncio.Task[None]] = set()
        self._user = ""

    @property
    def info(self) -> NetworkDriverInfo:
        """Return the facts."""
        return NetworkDriverInfo(name=self.name)

    async def open(self) -> None:
        """Adopt what runs and mend what does not; a network that can't be mended is logged, the others go on.

        Raises ``unavailable`` when a program is missing or the kernel may not change the node's network.
        """
        if os.geteuid() != 0:
            raise NanoError(
                ErrorCode.UNAVAILABLE,
                "making bridges needs root; run nano-kernel as root",
                reason="network_bridge.root",
            )
        programs.check_programs()
        self._user = programs.unprivileged_user()
        networks, broken = await asyncio.to_thread(records.load, self._folder / teardown.NETWORKS)
        for path in broken:
            self._log.error("record can't be read and is ignored", file=str(path))
        for served in networks:
            live = self._live[served.spec.id] = _Live(served)
            self._network_of.update(dict.fromkeys(served.ports, served.spec.id))
            try:
                await self._apply(live)
            except NanoError as error:
                self._log.error("network is down", network=served.spec.name, error=str(error))
        self._background(self._guard(), "guard rules")

    async def close(self) -> None:
        """Stop watching; bridges, rules and dnsmasq stay."""
        for task in self._in_background:
            task.cancel()
        await asyncio.gather(*self._in_background, *self._changes, return_exceptions=True)
        for live in self._live.values():
            live.unwatch()
        self._live.clear()
        self._network_of.clear()

    async def ensure_port(self, network: NetworkSpec, port: PortSpec) -> str:
        """Make network and port if need be; return the bridge's name.

        Raises ``invalid_argument``, ``conflict`` (the node has another way to these addresses, or another card has
        the MAC or an address), ``unavailable``. A failed call leaves nothing.
        """
        checks.check(network, port)
        before = self._network_of.get(port.nic_id)
        if before is not None and before != network.id:
            await self.delete_port(port.nic_id)
            before = None
        live = self._live.get(network.id)
        if live is None:
            names = NetworkNames.of(self._node_id, network.id)
            live = _Live(ServedNetwork(network, names, self._folder / teardown.NETWORKS / names.digest))
            self._live[network.id] = live
        _refuse_twins(live.served, port)
        previous = live.served.ports.get(port.nic_id)
        live.served.spec = network
        live.served.save_spec()
        live.served.save_port(port)
        self._network_of[port.nic_id] = network.id
        try:
            await self._apply(live)
        except BaseException:
            if previous is None:
                with suppress(NanoError):  # what failed once is told once, below
                    await self.delete_port(port.nic_id)
            raise
        return live.bridge

    async def delete_port(self, nic_id: str) -> None:
        """Remove a port, and its network with the last one; absent is fine."""
        parse_id(nic_id, field="nic_id")
        network_id = self._network_of.pop(nic_id, None)
        if network_id is not None:
            live = self._live[network_id]
            live.served.forget_port(nic_id)
            await self._apply(live)

    async def update_port(self, network: NetworkSpec, port: PortSpec) -> bool:
        """As ``ensure_port``, but only for a port that exists; return whether it does."""
        if port.nic_id not in self._network_of:
            return False
        await self.ensure_port(network, port)
        return True

    async def get_port(self, nic_id: str) -> PortInfo:
        """Return how a guest's card joins its port; ``not_found``."""
        network_id = self._network_of.get(nic_id)
        if network_id is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"network card {nic_id[:80]} has no port on this node")
        live = self._live[network_id]
        is_isolated = live.served.spec.mode is not NetworkMode.BRIDGE
        return PortInfo(bridge=live.bridge, device=device_name(nic_id), is_isolated=is_isolated)

    async def list_ports(self) -> list[str]:
        """Return the ids of all network cards with a port."""
        return list(self._network_of)

    async def remove_all(self) -> None:
        """Take down every network of this node, also those whose guests still run (uninstall)."""
        for nic_id in list(self._network_of):
            await self.delete_port(nic_id)
        for live in list(self._live.values()):
            await self._apply(live)
        await teardown.restore_forwarding(self._folder)

    def problems(self) -> list[str]:
        """Return what is wrong with the networks of this node, each with its remedy; for the health check."""
        return [
            f"dnsmasq of network {live.served.spec.name} does not run; guests get no address; see the node's log"
            for live in self._live.values()
            if live.served.ports and live.watch is None and live.served.spec.mode is not NetworkMode.BRIDGE
        ]

    async def _apply(self, live: _Live) -> None:
        """Bring the node in line with the record.

        Changes of one network that arrive together are applied together. A caller that is cancelled does not cut a
        change in two.
        """
        live.wanted += 1
        task = asyncio.create_task(self._apply_until(live, live.wanted), name=f"apply {live.served.names.bridge}")
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        await asyncio.shield(task)

    async def _apply_until(self, live: _Live, mine: int) -> None:
        async with live.lock:
            if live.applied >= mine:
                return
            target = live.wanted
            if live.served.ports:
                await self._bring_up(live)
            else:
                await self._take_down(live)
            live.applied = target

    async def _bring_up(self, live: _Live) -> None:
        served = live.served
        ports = list(served.ports.values())
        rules = ruleset.tables(served.names, served.spec, ports, is_node_open=self._settings.is_node_open)
        if served.spec.mode is NetworkMode.BRIDGE:
            live.bridge = await asyncio.to_thread(links.ensure_lan_bridge, served.names, served.spec)
            await programs.apply_rules(rules)
            return
        await asyncio.to_thread(links.ensure_bridge, served.names, served.spec)
        if served.spec.mode is NetworkMode.NAT or served.spec.ipv6_cidr:
            forwarding.ensure(self._folder, with_ipv6=bool(served.spec.ipv6_cidr))
        await asyncio.gather(
            programs.apply_rules(rules),
            asyncio.to_thread(links.set_neighbours, served.names, ports),
            self._serve(live, ports),
        )

    async def _take_down(self, live: _Live) -> None:
        served = live.served
        live.unwatch()
        await teardown.take_down(served)
        if not served.ports:
            served.forget()
            self._live.pop(served.spec.id, None)

    async def _serve(self, live: _Live, ports: list[PortSpec]) -> None:
        """Have dnsmasq run with the present configuration; one that does already is left alone."""
        served = live.served
        path = served.configuration
        text = dhcp.configuration(
            served.names, served.spec, ports, folder=served.folder, user=self._user, settings=self._settings
        )
        if not path.exists() or path.read_text(encoding="utf-8") != text or programs.find_dnsmasq(path) is None:
            live.unwatch()
            await programs.stop_dnsmasq(path)
            path.write_text(text, encoding="utf-8")
            leases = served.folder / "leases"
            if leases.exists():
                leases.write_text(dhcp.live_leases(leases.read_text(encoding="utf-8"), ports), encoding="utf-8")
            await programs.start_dnsmasq(path)
        if live.watch is None:
            self._watch(live)

    def _watch(self, live: _Live) -> None:
        pid = programs.find_dnsmasq(live.served.configuration)
        try:
            live.watch = None if pid is None else ProcessWatch(pid, lambda: self._died(live))
        except ProcessLookupError:
            pid = None
        live.started_at = asyncio.get_running_loop().time()
        if pid is None:
            self._died(live)

    def _died(self, live: _Live) -> None:
        live.watch = None
        self._log.warning("dnsmasq ended and is started again", network=live.served.spec.name)
        self._background(self._revive(live), f"revive {live.served.names.bridge}")

    def _background(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._in_background.add(task)
        task.add_done_callback(self._in_background.discard)

    async def _guard(self) -> None:
        """Put rules back that another program flushed: a firewall that is started again often begins so."""
        while True:
            await asyncio.sleep(self._settings.check_seconds)
            try:
                there = await programs.list_tables()
                for live in list(self._live.values()):
                    if (
                        live.served.ports
                        and not live.lock.locked()
                        and not ruleset.expected(live.served.names, live.served.spec) <= there
                    ):
                        self._log.warning("rules were gone and are put back", network=live.served.spec.name)
                        await self._apply(live)
            except NanoError as error:
                self._log.error("rules can't be checked or put back", error=str(error))

    async def _revive(self, live: _Live) -> None:
        if asyncio.get_running_loop().time() - live.started_at > RETRY_SECONDS[-1]:
            live.deaths = 0
        while True:
            pause = RETRY_SECONDS[min(live.deaths, len(RETRY_SECONDS) - 1)]
            live.deaths += 1
            await asyncio.sleep(pause)
            try:
                if live.served.ports:
                    await self._apply(live)
            except NanoError as error:
                self._log.error("dnsmasq can't be started", network=live.served.spec.name, error=str(error))
                continue
            return


def _refuse_twins(served: ServedNetwork, port: PortSpec) -> None:
    for other in served.ports.values():
        if other.nic_id == port.nic_id:
            continue
        shared = {other.mac} & {port.mac} or set(other.addresses) & set(port.addresses)
        if shared:
            raise NanoError(
                ErrorCode.CONFLICT,
                f"{shared.pop()} already belongs to network card {other.nic_id} of {other.hostname} "
                f"in network {served.spec.name}; delete that port first",
                reason="network_bridge.twin",
            )

"""Keeps networks, address pools, allocations and security policies in the core's store, and answers for them."""

from __future__ import annotations

import asyncio

from nanocore.capabilities.hypervisor import AgentReady
from nanocore.contracts.handler import CELL_ONLY, Handler, Subscription
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Delete, Put
from nanocore.ids import InstanceId
from nanocore.model.network import NetworkCardRecord
from nanoplugins.network.address_pools import AddressPools
from nanoplugins.network.allocation import Allocator
from nanoplugins.network.board import Board
from nanoplugins.network.networks import Networks
from nanoplugins.network.policies import SecurityPolicies
from nanoplugins.network.records import ALLOCATIONS, CARDS, NOUNS, NameRecord
from nanoplugins.network.updates import CellUpdates


class NetworkService:
    """Owner of the nouns ``networks``, ``address-pools`` and ``security-policies``."""

    name = "network"
    after: tuple[str, ...] = ()

    def __init__(self, context: PluginContext) -> None:
        lock = asyncio.Lock()
        """Held while records are checked and changed: what a check saw must still hold at the commit."""
        self.board = Board(context)
        self.allocator = Allocator(self.board, lock)
        self.updates = CellUpdates(context, self.allocator.describe, self._instance_of)
        self.networks = Networks(context, self.board, self.updates, lock)
        self.pools = AddressPools(context, self.board, lock)
        self.policies = SecurityPolicies(context, self.board, self.updates, lock)

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        parts = (self.networks, self.pools, self.policies, self.allocator)
        return [handler for part in parts for handler in part.handlers()]

    def subscriptions(self) -> list[Subscription]:
        """Return what the core listens to."""
        return [Subscription(AgentReady, self.updates.on_agent_ready, "network", allow=CELL_ONLY)]

    async def start(self) -> None:
        """Bring an older store in line, and make the default network at the first start."""
        await self._complete()
        await self.networks.create_default()
        self.board.open()

    async def stop(self) -> None:
        """Let go of the store."""
        self.board.close()

    async def _complete(self) -> None:
        """Add names and network cards that an older version did not record."""
        store = self.board.store
        missing: dict[tuple[str, str], Put | Delete] = {}
        for noun in NOUNS:
            for entry in store.list(noun.records):
                if store.get(noun.names, entry.value.name) is None:
                    name = entry.value.name
                    missing[noun.names.name, name] = Put(noun.names, name, NameRecord(id=entry.value.id), expect=0)
        for held in store.list(ALLOCATIONS):
            if store.get(CARDS, held.value.nic_id) is None:
                card = NetworkCardRecord(
                    nic_id=held.value.nic_id,
                    network_id=held.value.network_id,
                    mac=held.value.mac,
                    instance_id=held.value.instance_id,
                    name=held.value.name,
                )
                missing[CARDS.name, card.nic_id] = Put(CARDS, card.nic_id, card, expect=0)
        if missing:
            await store.commit(*missing.values())

    def _instance_of(self, nic_id: str) -> InstanceId | None:
        entry = self.board.store.get(CARDS, nic_id)
        return None if entry is None else entry.value.instance_id

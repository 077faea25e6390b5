"""Keeps networks and allocations in the core's store, and answers for them."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nanocore.capabilities.network import (
    AllocateAddress,
    AllocatedNics,
    Allocation,
    GetNetwork,
    ListAllocations,
    ListNetworks,
    NetworkSpec,
    ReleaseAddress,
)
from nanocore.contracts.handler import Call, Reply
from nanocore.contracts.listing import PageInfo, ResourceChanged
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Change, Collection, Delete, Entry, Put, StateStore
from nanocore.contracts.table import Table
from nanocore.errors import ConfigError, ErrorCode, NanoError
from nanocore.ids import NetworkId, new_id, parse_id, parse_name
from nanocore.model.network import AllocationRecord, Network, NetworkRecord
from nanoplugins.network import addresses
from nanoplugins.network.config import AUTOMATIC, NetworkConfig

NETWORKS = Collection("networks", NetworkRecord)
ALLOCATIONS = Collection(
    "address_allocations",
    AllocationRecord,
    indexes=(("nic", lambda record: record.nic_id), ("network", lambda record: record.network_id)),
)
COLLECTIONS = (NETWORKS, ALLOCATIONS)
ROUTES = Path("/proc/thread-self/net/route")
ATTEMPTS = 20
"""Another core may take the same address at the same moment; its ``conflict`` means: try the next one."""


class NetworkService:
    """Owner of the noun ``networks``."""

    name = "network"
    after: tuple[str, ...] = ()

    def __init__(self, context: PluginContext) -> None:
        self._context = context
        self._table: Table[Network] = Table("networks", context.clock, self._publish)
        self._allocating = asyncio.Lock()
        self._unwatch: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Make the default network at the first start."""
        store = self._store()
        self._unwatch = store.watch(self._on_changes)
        if not any(entry.value.is_default for entry in store.list(NETWORKS)):
            await self._make_default(store)
        for entry in store.list(NETWORKS):
            self._show(entry.value)

    async def stop(self) -> None:
        """Let go of the store."""
        self._unwatch()

    async def list(self, query: ListNetworks, _call: Call) -> Reply[PageInfo]:
        """Answer ``network.list_networks``."""
        return self._table.page(query)

    async def get(self, query: GetNetwork, _call: Call) -> Network:
        """Answer ``network.get_network``; an empty id means the default network."""
        return self._table.get(query.id or self._record(None).id)

    async def allocate(self, command: AllocateAddress, _call: Call) -> Allocation:
        """Answer ``network.allocate_address``."""
        store = self._store()
        parse_id(command.nic_id, field="nic_id")
        async with self._allocating:
            for _ in range(ATTEMPTS):
                held = store.list(ALLOCATIONS, index="nic", value=command.nic_id)
                if held:
                    return self._allocation(held)
                try:
                    await self._take_one(store, command)
                except NanoError as error:
                    if error.code is not ErrorCode.CONFLICT:
                        raise
        raise NanoError(
            ErrorCode.BUSY,
            "other cores keep taking the free addresses of this network; try again",
            retry_after_seconds=1,
        )

    async def release(self, command: ReleaseAddress, _call: Call) -> None:
        """Answer ``network.release_address``."""
        store = self._store()
        held = store.list(ALLOCATIONS, index="nic", value=command.nic_id)
        if held:
            await store.commit(*(Delete(ALLOCATIONS, entry.key) for entry in held))

    async def list_allocations(self, _query: ListAllocations, _call: Call) -> AllocatedNics:
        """Answer ``network.list_allocations``."""
        entries = self._store().list(ALLOCATIONS)
        return AllocatedNics(nics={entry.value.nic_id: entry.value.instance_id for entry in entries})

    async def _take_one(self, store: StateStore, command: AllocateAddress) -> None:
        record = self._record(command.network_id)
        taken = {entry.value.address for entry in store.list(ALLOCATIONS, index="network", value=record.id)}
        address = addresses.find_free(ipaddress.IPv4Network(record.cidr), taken)
        if address is None:
            raise NanoError(
                ErrorCode.NO_CAPACITY,
                f"network {record.name} ({record.cidr}) has no free address; delete instances that nobody needs",
                reason="network.full",
                network_id=record.id,
            )
        allocation = AllocationRecord(
            network_id=record.id,
            address=address,
            mac=command.mac,
            nic_id=command.nic_id,
            instance_id=command.instance_id,
            name=command.name,
        )
        await store.commit(Put(ALLOCATIONS, f"{record.id}/{address}", allocation, expect=0))

    def _allocation(self, held: Sequence[Entry[AllocationRecord]]) -> Allocation:
        record = self._record(held[0].value.network_id)
        spec = NetworkSpec(
            id=record.id,
            name=record.name,
            mode=record.mode,
            cidr=record.cidr,
            gateway=addresses.gateway(ipaddress.IPv4Network(record.cidr)),
            domain=record.domain,
        )
        return Allocation(network=spec, addresses=sorted(entry.value.address for entry in held))

    def _record(self, id: NetworkId | None) -> NetworkRecord:
        if id is not None:
            entry = self._store().get(NETWORKS, id)
            if entry is None:
                raise NanoError(ErrorCode.NOT_FOUND, f"there is no network with id {id[:80]}", field="network_id")
            return entry.value
        for entry in self._store().list(NETWORKS):
            if entry.value.is_default:
                return entry.value
        raise NanoError(ErrorCode.NOT_FOUND, "there is no default network; restart the core's kernel to have it made")

    async def _make_default(self, store: StateStore) -> None:
        config = self._context.config(NetworkConfig)
        try:
            for label in config.domain.split("."):
                parse_name(label, field="domain")
            cidr = self._default_range(config)
        except NanoError as error:
            raise ConfigError(error.message, key="[network]") from error
        record = NetworkRecord(
            id=NetworkId(new_id()),
            name="default",
            cidr=str(cidr),
            domain=config.domain,
            is_default=True,
            created_at=self._context.clock.now(),
        )
        await store.commit(Put(NETWORKS, record.id, record, expect=0))
        self._context.log.info("default network made", cidr=record.cidr)

    def _default_range(self, config: NetworkConfig) -> ipaddress.IPv4Network:
        if config.default_cidr != AUTOMATIC:
            return addresses.parse_cidr(config.default_cidr, field="default_cidr")
        # A core may run on a system without /proc/net/route; then no route is known and the first range is as good.
        routes = ROUTES.read_text(encoding="ascii") if ROUTES.exists() and sys.byteorder == "little" else ""
        return addresses.choose_range(addresses.parse_routes(routes))

    def _on_changes(self, changes: Sequence[Change]) -> None:
        touched: set[str] = set()
        for change in changes:
            if change.collection == NETWORKS.name:
                touched.add(change.key)
            elif change.collection == ALLOCATIONS.name:
                touched.add(change.key.partition("/")[0])
        for id in touched:
            entry = self._store().get(NETWORKS, id)
            if entry is None:
                self._table.delete(id)
            else:
                self._show(entry.value)

    def _show(self, record: NetworkRecord) -> None:
        cidr = ipaddress.IPv4Network(record.cidr)
        view = Network(
            id=record.id,
            name=record.name,
            mode=record.mode,
            cidr=record.cidr,
            gateway=addresses.gateway(cidr),
            domain=record.domain,
            is_default=record.is_default,
            addresses_total=addresses.capacity(cidr),
            addresses_allocated=len(self._store().list(ALLOCATIONS, index="network", value=record.id)),
            created_at=record.created_at,
        )
        self._table.put(view)

    def _publish(self, change: ResourceChanged) -> None:
        self._context.spawn(self._context.publish(change), name="network: resource.changed")

    def _store(self) -> StateStore:
        return self._context.chosen(StateStore)

"""The live tables behind every list of this plugin, kept up to date from the store's feed of changes."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Change, Entry, StateStore
from nanocore.contracts.table import Table
from nanocore.model.network import (
    AddressPool,
    AddressPoolRecord,
    AllocationRecord,
    Network,
    NetworkRecord,
    Reservation,
    ReservationRecord,
    SecurityPolicy,
    SecurityPolicyRecord,
)
from nanoplugins.network import addresses
from nanoplugins.network.records import (
    ADDRESS_POOLS,
    ALLOCATIONS,
    CARDS,
    NETWORKS,
    RESERVATIONS,
    SECURITY_POLICIES,
    address_key,
)


class Board:
    """Four tables: networks, address pools, reservations, security policies."""

    def __init__(self, context: PluginContext) -> None:
        self._context = context
        self.networks: Table[Network] = Table("networks", context.clock, self._publish)
        self.pools: Table[AddressPool] = Table("address-pools", context.clock, self._publish)
        self.reservations: Table[Reservation] = Table("reservations", context.clock, self._publish)
        self.policies: Table[SecurityPolicy] = Table("security-policies", context.clock, self._publish)
        self._unwatch: Callable[[], None] = lambda: None
        self._policy_of: dict[str, str | None] = {}
        """Card to policy as last seen, as a change tells only what is now."""

    @property
    def store(self) -> StateStore:
        """Return the core's store."""
        return self._context.chosen(StateStore)

    def open(self) -> None:
        """Fill the tables and follow the store."""
        self._unwatch = self.store.watch(self._on_changes)
        for card in self.store.list(CARDS):
            self._policy_of[card.key] = card.value.security_policy_id
        for entry in self.store.list(NETWORKS):
            self._show_network(entry.value.id)
        for policy in self.store.list(SECURITY_POLICIES):
            self._show_policy(policy.value.id)

    def close(self) -> None:
        """Let go of the store."""
        self._unwatch()

    def _on_changes(self, changes: Sequence[Change]) -> None:
        networks: dict[str, None] = {}
        policies: dict[str, None] = {}
        for change in changes:
            if change.collection == NETWORKS.name:
                networks[change.key] = None
            elif change.collection in (ALLOCATIONS.name, RESERVATIONS.name):
                networks[change.key.partition("/")[0]] = None
            elif change.collection == ADDRESS_POOLS.name:
                self._note_pool(change, networks)
            elif change.collection == SECURITY_POLICIES.name:
                policies[change.key] = None
            elif change.collection == CARDS.name:
                self._note_card(change, networks, policies)
        for network_id in networks:
            self._show_network(network_id)
        for policy_id in policies:
            self._show_policy(policy_id)

    def _note_pool(self, change: Change, networks: dict[str, None]) -> None:
        shown = self.pools.find(change.key)
        if isinstance(change.value, AddressPoolRecord):
            networks[change.value.network_id] = None
        elif shown is not None:
            networks[shown.network_id] = None

    def _note_card(self, change: Change, networks: dict[str, None], policies: dict[str, None]) -> None:
        entry = self.store.get(CARDS, change.key)
        now = None if entry is None else entry.value.security_policy_id
        for policy in (self._policy_of.pop(change.key, None), now):
            if policy is not None:
                policies[policy] = None
        if entry is not None:
            self._policy_of[change.key] = now
            networks[entry.value.network_id] = None
        else:
            # A card that is gone does not say where it was; networks are few.
            networks |= dict.fromkeys(each.id for each in self.networks.views())

    def _show_network(self, id: str) -> None:
        entry = self.store.get(NETWORKS, id)
        pools = self.store.list(ADDRESS_POOLS, index="network", value=id)
        known = {pool.value.id for pool in pools}
        for pool_view in list(self.pools.views()):
            if pool_view.network_id == id and pool_view.id not in known:
                self.pools.delete(pool_view.id)
        allocations = self.store.list(ALLOCATIONS, index="network", value=id)
        reservations = self.store.list(RESERVATIONS, index="network", value=id)
        self._show_reservations(id, entry, allocations, reservations)
        if entry is None:
            self.networks.delete(id)
            return
        record = entry.value
        for pool in pools:
            self.pools.put(_pool_view(pool.value, record, allocations, reservations))
        nics = len(self.store.list(CARDS, index="network", value=id))
        self.networks.put(_network_view(record, nics, len(allocations), len(reservations)))

    def _show_reservations(
        self,
        network_id: str,
        entry: Entry[NetworkRecord] | None,
        allocations: Sequence[Entry[AllocationRecord]],
        reservations: Sequence[Entry[ReservationRecord]],
    ) -> None:
        wanted = {each.key for each in reservations}
        prefix = address_key(network_id, "")
        for shown in list(self.reservations.views()):
            if shown.id.startswith(prefix) and shown.id not in wanted:
                self.reservations.delete(shown.id)
        if entry is not None and reservations:
            holders = {each.key: each.value for each in allocations}
            for each in reservations:
                view = reservation_view(each.key, each.value, entry.value, holders.get(each.key))
                self.reservations.put(view)

    def _show_policy(self, id: str) -> None:
        entry = self.store.get(SECURITY_POLICIES, id)
        if entry is None:
            self.policies.delete(id)
            return
        self.policies.put(_policy_view(entry.value, len(self.store.list(CARDS, index="policy", value=id))))

    def _publish(self, change: ResourceChanged) -> None:
        self._context.spawn(self._context.publish(change), name="network: resource.changed")


def reservation_view(
    key: str, record: ReservationRecord, network: NetworkRecord, holder: AllocationRecord | None
) -> Reservation:
    """Return a reservation as the API shows it."""
    twin = None
    if network.ipv6_cidr:
        twin = addresses.ipv6_twin(record.address, network.cidr, network.ipv6_cidr)
    return Reservation(
        id=key,
        address=record.address,
        ipv6_address=twin,
        address_pool_id=record.address_pool_id,
        description=record.description,
        nic_id=None if holder is None else holder.nic_id,
        instance_id=None if holder is None else holder.instance_id,
        created_at=record.created_at,
    )


def _network_view(record: NetworkRecord, nics: int, allocated: int, reserved: int) -> Network:
    cidr = ipaddress.IPv4Network(record.cidr) if record.cidr else None
    ipv6 = ipaddress.IPv6Network(record.ipv6_cidr) if record.ipv6_cidr else None
    return Network(
        id=record.id,
        name=record.name,
        description=record.description,
        mode=record.mode,
        cidr=record.cidr,
        gateway="" if cidr is None else addresses.gateway(cidr),
        ipv6_cidr=record.ipv6_cidr,
        ipv6_gateway="" if ipv6 is None else addresses.gateway(ipv6),
        domain=record.domain,
        interface=record.interface,
        is_default=record.is_default,
        nics_attached=nics,
        addresses_total=0 if cidr is None else addresses.size(addresses.whole(cidr)),
        addresses_allocated=allocated,
        addresses_reserved=reserved,
        created_at=record.created_at,
    )


def _pool_view(
    record: AddressPoolRecord,
    network: NetworkRecord,
    allocations: Sequence[Entry[AllocationRecord]],
    reservations: Sequence[Entry[ReservationRecord]],
) -> AddressPool:
    where = addresses.spans(record.ranges)
    return AddressPool(
        id=record.id,
        name=record.name,
        description=record.description,
        network_id=record.network_id,
        network=network.name,
        ranges=record.ranges,
        addresses_total=addresses.size(where),
        addresses_allocated=sum(addresses.is_within(each.value.address, where) for each in allocations),
        addresses_reserved=sum(each.value.address_pool_id == record.id for each in reservations),
        created_at=record.created_at,
    )


def _policy_view(record: SecurityPolicyRecord, nics: int) -> SecurityPolicy:
    return SecurityPolicy(
        id=record.id,
        name=record.name,
        description=record.description,
        default_inbound=record.default_inbound,
        default_outbound=record.default_outbound,
        rules=record.rules,
        nics_attached=nics,
        created_at=record.created_at,
    )

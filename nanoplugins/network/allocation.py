"""What a network card gets: its place in a network, its addresses and its security policy."""

from __future__ import annotations

import asyncio
import ipaddress

from nanocore.capabilities.network import (
    AllocateAddress,
    AllocatedNics,
    Allocation,
    ListAllocations,
    NetworkSpec,
    PolicySpec,
    PortSpec,
    ReleaseAddress,
)
from nanocore.contracts.handler import CORE_ONLY, Call, Handler
from nanocore.contracts.state_store import Delete, Put, StateStore
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NetworkId, SecurityPolicyId, parse_id
from nanocore.model.network import AllocationRecord, NetworkCardRecord, NetworkMode, NetworkRecord
from nanocore.wire import structs
from nanoplugins.network import addresses
from nanoplugins.network.board import Board
from nanoplugins.network.records import (
    ADDRESS_POOLS,
    ALLOCATIONS,
    CARDS,
    NETWORK,
    NETWORKS,
    RESERVATIONS,
    SECURITY_POLICY,
    address_key,
)

ATTEMPTS = 20
"""Another core may take the same address at the same moment; its ``conflict`` means: try the next one."""


class Allocator:
    """Handlers of what ``compute`` asks for its network cards."""

    def __init__(self, board: Board, lock: asyncio.Lock) -> None:
        self._board = board
        self._lock = lock

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        return [
            Handler(AllocateAddress, self.allocate, allow=CORE_ONLY),
            Handler(ReleaseAddress, self.release, allow=CORE_ONLY),
            Handler(ListAllocations, self.list_allocations, allow=CORE_ONLY),
        ]

    async def allocate(self, command: AllocateAddress, _call: Call) -> Allocation:
        """Answer ``network.allocate_address``."""
        store = self._board.store
        parse_id(command.nic_id, field="nic_id")
        async with self._lock:
            for _ in range(ATTEMPTS):
                try:
                    await self._bring_in_line(store, command)
                except NanoError as error:
                    if error.code is not ErrorCode.CONFLICT or error.reason == "network.address_taken":
                        raise
                    continue
                network, port = self.describe(command.nic_id)
                return Allocation(network=network, addresses=port.addresses, port=port)
        raise NanoError(
            ErrorCode.BUSY,
            "other cores keep taking the free addresses of this network; try again",
            retry_after_seconds=1,
        )

    async def release(self, command: ReleaseAddress, _call: Call) -> None:
        """Answer ``network.release_address``."""
        store = self._board.store
        held = store.list(ALLOCATIONS, index="nic", value=command.nic_id)
        gone = [Delete(ALLOCATIONS, entry.key) for entry in held]
        if store.get(CARDS, command.nic_id) is not None:
            gone.append(Delete(CARDS, command.nic_id))
        if gone:
            await store.commit(*gone)

    async def list_allocations(self, _query: ListAllocations, _call: Call) -> AllocatedNics:
        """Answer ``network.list_allocations``."""
        return AllocatedNics(nics={entry.key: entry.value.instance_id for entry in self._board.store.list(CARDS)})

    def describe(self, nic_id: str) -> tuple[NetworkSpec, PortSpec]:
        """Return a card's network and port as its cell is told; raise ``not_found``."""
        store = self._board.store
        entry = store.get(CARDS, nic_id)
        if entry is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"network card {nic_id[:80]} has nothing in any network")
        card = entry.value
        network = NETWORK.find(store, card.network_id).value
        held = [each.value.address for each in store.list(ALLOCATIONS, index="nic", value=nic_id)]
        if network.ipv6_cidr:
            held += [addresses.ipv6_twin(each, network.cidr, network.ipv6_cidr) for each in held]
        port = PortSpec(
            nic_id=nic_id,
            mac=card.mac,
            addresses=held,
            hostname=card.name,
            policy=self._policy_spec(card.security_policy_id),
        )
        return network_spec(network), port

    def _policy_spec(self, id: SecurityPolicyId | None) -> PolicySpec | None:
        if id is None:
            return None
        record = SECURITY_POLICY.find(self._board.store, id).value
        return PolicySpec(
            id=record.id,
            name=record.name,
            default_inbound=record.default_inbound,
            default_outbound=record.default_outbound,
            rules=record.rules,
        )

    async def _bring_in_line(self, store: StateStore, command: AllocateAddress) -> None:
        """Make or change the card's record; a card that is as wanted costs nothing."""
        entry = store.get(CARDS, command.nic_id)
        network = self._network(command.network_id if entry is None else entry.value.network_id)
        self._check_policy(store, network, command.security_policy_id)
        card = NetworkCardRecord(
            nic_id=command.nic_id,
            network_id=network.id,
            mac=command.mac,
            instance_id=command.instance_id,
            name=command.name,
            security_policy_id=command.security_policy_id,
        )
        changes: list[Put | Delete] = []
        if entry is None or entry.value != card:
            changes.append(Put(CARDS, card.nic_id, card, expect=0 if entry is None else entry.revision))
        held = store.list(ALLOCATIONS, index="nic", value=card.nic_id)
        for each in held:
            current = structs.replace(each.value, mac=card.mac, name=card.name)
            if current != each.value:
                changes.append(Put(ALLOCATIONS, each.key, current, expect=each.revision))
        if network.mode is NetworkMode.BRIDGE:
            _refuse_address(network, command.address)
        elif not held:
            address = self._choose(store, network, command)
            changes.append(Put(ALLOCATIONS, address_key(network.id, address), _allocation(card, address), expect=0))
        if changes:
            await store.commit(*changes)

    def _check_policy(self, store: StateStore, network: NetworkRecord, id: SecurityPolicyId | None) -> None:
        if id is None:
            return
        policy = SECURITY_POLICY.find(store, id, field="security_policy_id").value
        if network.mode is NetworkMode.BRIDGE:
            raise NanoError(
                ErrorCode.UNSUPPORTED,
                f"security policy {policy.name} can't be enforced in network {network.name}, which is a bridge to the "
                "LAN; take a network of mode nat or isolated, or leave the policy out",
                reason="network.policy_on_bridge",
                field="security_policy_id",
            )

    def _choose(self, store: StateStore, network: NetworkRecord, command: AllocateAddress) -> str:
        cidr = ipaddress.IPv4Network(network.cidr)
        pools = [each.value for each in store.list(ADDRESS_POOLS, index="network", value=network.id)]
        chosen = [pool for pool in pools if pool.id in command.address_pool_ids] or pools
        where = addresses.whole(cidr) if not chosen else [s for pool in chosen for s in addresses.spans(pool.ranges)]
        if command.address is not None:
            return self._check_wanted(store, network, command.address, where)
        taken = {each.value.address for each in store.list(ALLOCATIONS, index="network", value=network.id)}
        taken |= {each.value.address for each in store.list(RESERVATIONS, index="network", value=network.id)}
        address = addresses.find_free(where, taken)
        if address is None:
            pool_names = ", ".join(sorted(pool.name for pool in chosen))
            what = f"address pools {pool_names} of network {network.name} have" if chosen else f"network {network.name}"
            what += "" if chosen else f" ({network.cidr}) has"
            raise NanoError(
                ErrorCode.NO_CAPACITY,
                f"{what} no free address; delete instances or reservations that nobody needs"
                + (", or add a range" if chosen else ""),
                reason="network.full",
                network_id=network.id,
            )
        return address

    def _check_wanted(self, store: StateStore, network: NetworkRecord, wanted: str, where: addresses.Spans) -> str:
        address = addresses.parse_address(wanted, ipaddress.IPv4Network(network.cidr), field="address")
        if not addresses.is_within(address, where):
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"address {address} is in no address pool that network {network.name} may use here; "
                "see: nano address-pool list",
                field="address",
            )
        owner = store.get(ALLOCATIONS, address_key(network.id, address))
        if owner is not None:
            raise NanoError(
                ErrorCode.CONFLICT,
                f"address {address} of network {network.name} belongs to instance {owner.value.name}; "
                "choose another address",
                reason="network.address_taken",
                field="address",
            )
        return address

    def _network(self, id: NetworkId | None) -> NetworkRecord:
        if id is not None:
            return NETWORK.find(self._board.store, id, field="network_id").value  # type: ignore[no-any-return]
        return default_network(self._board.store)


def default_network(store: StateStore) -> NetworkRecord:
    """Return the network of cards that name none; raise ``not_found``."""
    for entry in store.list(NETWORKS):
        if entry.value.is_default:
            return entry.value
    raise NanoError(ErrorCode.NOT_FOUND, "there is no default network; restart the core's kernel to have it made")


def network_spec(record: NetworkRecord) -> NetworkSpec:
    """Return a network as its cells are told."""
    return NetworkSpec(
        id=record.id,
        name=record.name,
        mode=record.mode,
        cidr=record.cidr,
        gateway=addresses.gateway(ipaddress.IPv4Network(record.cidr)) if record.cidr else "",
        domain=record.domain,
        ipv6_cidr=record.ipv6_cidr,
        ipv6_gateway=addresses.gateway(ipaddress.IPv6Network(record.ipv6_cidr)) if record.ipv6_cidr else "",
        interface=record.interface,
    )


def cards_with(store: StateStore, *, network: str | None = None, policy: str | None = None) -> list[str]:
    """Return the ids of cards in a network, or with a policy."""
    if network is not None:
        return [entry.key for entry in store.list(CARDS, index="network", value=network)]
    return [entry.key for entry in store.list(CARDS, index="policy", value=policy)]


def _refuse_address(network: NetworkRecord, wanted: str | None) -> None:
    if wanted is not None:
        raise NanoError(
            ErrorCode.UNSUPPORTED,
            f"network {network.name} is a bridge to the LAN, which gives the addresses; leave address out",
            reason="network.address_on_bridge",
            field="address",
        )


def _allocation(card: NetworkCardRecord, address: str) -> AllocationRecord:
    return AllocationRecord(
        network_id=card.network_id,
        address=address,
        mac=card.mac,
        nic_id=card.nic_id,
        instance_id=card.instance_id,
        name=card.name,
    )

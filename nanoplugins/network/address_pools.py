"""What users ask about address pools and the addresses reserved in them."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

from nanocore.capabilities.network_api import (
    CreateAddressPool,
    DeleteAddressPool,
    DeleteReservation,
    GetAddressPool,
    ListAddressPools,
    ListReservations,
    ReserveAddress,
    UpdateAddressPool,
)
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Delete, Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import AddressPoolId, new_id
from nanocore.model.network import AddressPool, AddressPoolRecord, NetworkRecord, Reservation, ReservationRecord
from nanocore.wire import structs
from nanoplugins.network import addresses
from nanoplugins.network.board import Board
from nanoplugins.network.records import ADDRESS_POOL, ADDRESS_POOLS, ALLOCATIONS, NETWORK, RESERVATIONS, address_key


class AddressPools:
    """Handlers of ``network.*_address_pool`` and of reservations."""

    def __init__(self, context: PluginContext, board: Board, lock: asyncio.Lock) -> None:
        self._context = context
        self._board = board
        self._lock = lock

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        return [
            Handler(ListAddressPools, self._list),
            Handler(GetAddressPool, self._get, resource=_resource),
            Handler(CreateAddressPool, self._create),
            Handler(UpdateAddressPool, self._update, resource=_resource),
            Handler(DeleteAddressPool, self._delete, resource=_resource),
            Handler(ListReservations, self._list_reservations, resource=_resource),
            Handler(ReserveAddress, self._reserve, resource=_resource),
            Handler(DeleteReservation, self._delete_reservation, resource=_resource),
        ]

    async def _list(self, query: ListAddressPools, _call: Call) -> Reply[PageInfo]:
        return await self._board.pools.answer(query)

    async def _get(self, query: GetAddressPool, _call: Call) -> AddressPool:
        return self._board.pools.get(query.id)

    async def _create(self, command: CreateAddressPool, _call: Call) -> AddressPool:
        store = self._board.store
        async with self._lock:
            network = NETWORK.find(store, command.network_id, field="network_id").value
            record = AddressPoolRecord(
                id=AddressPoolId(new_id()),
                name=command.name,
                description=command.description,
                network_id=network.id,
                ranges=addresses.parse_ranges(command.ranges, _cidr(network)),
                created_at=self._context.clock.now(),
            )
            self._refuse_overlap(record)
            await store.commit(*ADDRESS_POOL.creation(store, record))
        return self._board.pools.get(record.id)

    async def _update(self, command: UpdateAddressPool, _call: Call) -> AddressPool:
        store = self._board.store
        async with self._lock:
            entry = ADDRESS_POOL.find(store, command.id)
            wanted = {
                name: getattr(command, name) for name in ("name", "description") if getattr(command, name) is not None
            }
            record = structs.replace(entry.value, **wanted)
            if command.ranges is not None:
                network = NETWORK.find(store, record.network_id).value
                record = structs.replace(record, ranges=addresses.parse_ranges(command.ranges, _cidr(network)))
                self._refuse_overlap(record)
                self._refuse_cut_reservations(record)
            await store.commit(*ADDRESS_POOL.change(store, entry, record))
        return self._board.pools.get(record.id)

    async def _delete(self, command: DeleteAddressPool, _call: Call) -> None:
        store = self._board.store
        async with self._lock:
            entry = ADDRESS_POOL.find(store, command.id)
            reserved = store.list(RESERVATIONS, index="pool", value=command.id)
            if reserved:
                raise NanoError(
                    ErrorCode.WRONG_STATE,
                    f"address pool {entry.value.name} has {len(reserved)} reserved addresses, such as "
                    f"{reserved[0].value.address}; release them first",
                )
            await store.commit(*ADDRESS_POOL.deletion(entry))

    async def _list_reservations(self, query: ListReservations, _call: Call) -> Reply[PageInfo]:
        ADDRESS_POOL.find(self._board.store, query.id)
        return await self._board.reservations.answer(query, where=lambda view: view.address_pool_id == query.id)

    async def _reserve(self, command: ReserveAddress, _call: Call) -> Reservation:
        store = self._board.store
        async with self._lock:
            pool = ADDRESS_POOL.find(store, command.id).value
            network = NETWORK.find(store, pool.network_id).value
            address = self._choose(pool, network, command.address)
            record = ReservationRecord(
                network_id=network.id,
                address=address,
                address_pool_id=pool.id,
                description=command.description,
                created_at=self._context.clock.now(),
            )
            key = address_key(network.id, address)
            await store.commit(Put(RESERVATIONS, key, record, expect=0))
        return self._board.reservations.get(key)

    async def _delete_reservation(self, command: DeleteReservation, _call: Call) -> None:
        store = self._board.store
        async with self._lock:
            pool = ADDRESS_POOL.find(store, command.id).value
            key = address_key(pool.network_id, command.address)
            entry = store.get(RESERVATIONS, key)
            if entry is None or entry.value.address_pool_id != pool.id:
                raise NanoError(
                    ErrorCode.NOT_FOUND,
                    f"address {command.address[:40]} is not reserved in address pool {pool.name}",
                    field="address",
                )
            await store.commit(Delete(RESERVATIONS, key, expect=entry.revision))

    def _choose(self, pool: AddressPoolRecord, network: NetworkRecord, wanted: str | None) -> str:
        store = self._board.store
        where = addresses.spans(pool.ranges)
        if wanted is None:
            taken = {each.value.address for each in store.list(ALLOCATIONS, index="network", value=network.id)}
            taken |= {each.value.address for each in store.list(RESERVATIONS, index="network", value=network.id)}
            address = addresses.find_free(where, taken)
            if address is None:
                raise NanoError(
                    ErrorCode.NO_CAPACITY,
                    f"address pool {pool.name} has no free address; add a range, or release what nobody needs",
                    reason="network.full",
                )
            return address
        address = addresses.parse_address(wanted, _cidr(network), field="address")
        if not addresses.is_within(address, where):
            message = f"address {address} is in no range of address pool {pool.name}"
            raise NanoError(ErrorCode.INVALID_ARGUMENT, message, field="address")
        if store.get(RESERVATIONS, address_key(network.id, address)) is not None:
            raise NanoError(ErrorCode.ALREADY_EXISTS, f"address {address} is reserved already", field="address")
        return address

    def _refuse_overlap(self, record: AddressPoolRecord) -> None:
        """Keep every address in one address pool at most."""
        mine = addresses.spans(record.ranges)
        for entry in self._board.store.list(ADDRESS_POOLS, index="network", value=record.network_id):
            if entry.value.id == record.id:
                continue
            for first, last in addresses.spans(entry.value.ranges):
                if any(first <= high and low <= last for low, high in mine):
                    shown = f"{ipaddress.IPv4Address(first)}-{ipaddress.IPv4Address(last)}"
                    raise NanoError(
                        ErrorCode.INVALID_ARGUMENT,
                        f"ranges overlap {shown} of address pool {entry.value.name}; choose others",
                        field="ranges",
                    )

    def _refuse_cut_reservations(self, record: AddressPoolRecord) -> None:
        where = addresses.spans(record.ranges)
        for entry in self._board.store.list(RESERVATIONS, index="pool", value=record.id):
            if not addresses.is_within(entry.value.address, where):
                raise NanoError(
                    ErrorCode.WRONG_STATE,
                    f"address {entry.value.address} is reserved and would be in no range of address pool "
                    f"{record.name}; release it first, or keep it in a range",
                    field="ranges",
                )


def _resource(message: Any) -> ResourceRef:  # noqa: ANN401  any message with an id
    return ResourceRef(kind="address_pool", id=message.id)


def _cidr(network: NetworkRecord) -> ipaddress.IPv4Network:
    if not network.cidr:
        raise NanoError(
            ErrorCode.UNSUPPORTED,
            f"network {network.name} is a bridge to the LAN, which gives the addresses; it has no address pools",
            reason="network.address_on_bridge",
            field="network_id",
        )
    return ipaddress.IPv4Network(network.cidr)

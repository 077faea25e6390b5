"""The collections of this plugin, and the names in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nanocore.contracts.state_store import Collection, Delete, Put, StateStore
from nanocore.errors import ErrorCode, NanoError
from nanocore.model.network import (
    AddressPoolRecord,
    AllocationRecord,
    NetworkCardRecord,
    NetworkRecord,
    ReservationRecord,
    SecurityPolicyRecord,
)
from nanocore.wire import Struct


class NameRecord(Struct, frozen=True, kw_only=True):
    """Who has a name; the key is the name, so that the store itself keeps names unique."""

    id: str


@dataclass(frozen=True, slots=True)
class Noun:
    """A collection whose records have names of their own."""

    text: str
    records: Collection[Any]
    names: Collection[NameRecord]

    def find(self, store: StateStore, id: str, *, field: str | None = None) -> Any:  # noqa: ANN401  the noun's record
        """Return the entry with ``id``; raise ``not_found``, naming ``field`` if it came from there."""
        entry = store.get(self.records, id)
        if entry is None:
            message = f"there is no {self.text} with id {id[:80]}"
            raise NanoError(ErrorCode.NOT_FOUND, message, **({} if field is None else {"field": field}))
        return entry

    def creation(self, store: StateStore, record: Any) -> list[Put | Delete]:  # noqa: ANN401
        """Return the changes that add ``record``; raise ``already_exists``."""
        self._refuse_taken(store, record.name)
        return [
            Put(self.names, record.name, NameRecord(id=record.id), expect=0),
            Put(self.records, record.id, record, expect=0),
        ]

    def change(self, store: StateStore, entry: Any, record: Any) -> list[Put | Delete]:  # noqa: ANN401
        """Return the changes that replace ``entry`` by ``record``; raise ``already_exists``."""
        changes: list[Put | Delete] = [Put(self.records, record.id, record, expect=entry.revision)]
        if record.name != entry.value.name:
            self._refuse_taken(store, record.name)
            changes += [
                Delete(self.names, entry.value.name),
                Put(self.names, record.name, NameRecord(id=record.id), expect=0),
            ]
        return changes

    def deletion(self, entry: Any) -> list[Put | Delete]:  # noqa: ANN401
        """Return the changes that remove ``entry``."""
        return [Delete(self.records, entry.value.id, expect=entry.revision), Delete(self.names, entry.value.name)]

    def _refuse_taken(self, store: StateStore, name: str) -> None:
        if store.get(self.names, name) is not None:
            message = f"a {self.text} named {name} exists already; choose another name"
            raise NanoError(ErrorCode.ALREADY_EXISTS, message, field="name")


NETWORKS = Collection("networks", NetworkRecord)
ADDRESS_POOLS = Collection("address_pools", AddressPoolRecord, indexes=(("network", lambda record: record.network_id),))
SECURITY_POLICIES = Collection("security_policies", SecurityPolicyRecord)
ALLOCATIONS = Collection(
    "address_allocations",
    AllocationRecord,
    indexes=(("nic", lambda record: record.nic_id), ("network", lambda record: record.network_id)),
)
RESERVATIONS = Collection(
    "address_reservations",
    ReservationRecord,
    indexes=(("network", lambda record: record.network_id), ("pool", lambda record: record.address_pool_id)),
)
CARDS = Collection(
    "network_cards",
    NetworkCardRecord,
    indexes=(
        ("network", lambda record: record.network_id),
        ("policy", lambda record: record.security_policy_id),
        ("instance", lambda record: record.instance_id),
    ),
)
NETWORK = Noun("network", NETWORKS, Collection("network_names", NameRecord))
ADDRESS_POOL = Noun("address pool", ADDRESS_POOLS, Collection("address_pool_names", NameRecord))
SECURITY_POLICY = Noun("security policy", SECURITY_POLICIES, Collection("security_policy_names", NameRecord))
NOUNS = (NETWORK, ADDRESS_POOL, SECURITY_POLICY)
COLLECTIONS: tuple[Collection[Any], ...] = (
    NETWORKS,
    ADDRESS_POOLS,
    SECURITY_POLICIES,
    ALLOCATIONS,
    RESERVATIONS,
    CARDS,
    *(noun.names for noun in NOUNS),
)


def address_key(network_id: str, address: str) -> str:
    """Return the key of an address among allocations and reservations."""
    return f"{network_id}/{address}"

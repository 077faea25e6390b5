"""Networks and the addresses allocated from them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from nanocore.ids import InstanceId, NetworkId
from nanocore.wire import Result, Struct, field


class NetworkMode(StrEnum):
    """How a network reaches the outside."""

    NAT = "nat"


class NetworkRecord(Struct, frozen=True, kw_only=True):
    """What the store holds."""

    id: NetworkId
    name: str
    mode: NetworkMode = NetworkMode.NAT
    cidr: str
    """IPv4 network; its first address is the gateway and DNS server on every cell."""
    domain: str = "nano.internal"
    is_default: bool = False
    created_at: datetime


class AllocationRecord(Struct, frozen=True, kw_only=True):
    """One address of a network, given to one network card; key ``<network id>/<address>``."""

    network_id: NetworkId
    address: str
    mac: str
    nic_id: str
    instance_id: InstanceId
    name: str


class Network(Result, frozen=True, kw_only=True):
    """As the API shows it."""

    id: NetworkId
    name: str
    mode: NetworkMode
    cidr: str
    gateway: str
    domain: str
    is_default: bool
    addresses_total: int
    addresses_allocated: int
    tags: list[str] = field(default_factory=list)
    created_at: datetime

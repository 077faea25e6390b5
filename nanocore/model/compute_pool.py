"""Compute pools: named sets of cells that instances are placed on."""

from __future__ import annotations

from datetime import datetime

from nanocore.ids import AddressPoolId, ComputePoolId, NodeId, StoragePoolId
from nanocore.wire import Result, Struct, field


class Usage(Result, frozen=True, kw_only=True):
    """Capacity of a zone, pool or cell and what of it is used. CPU per cent is of all cores, 0 to 100."""

    cores: int = 0
    vcpus_allocated: int = 0
    cpu_percent: float = 0.0
    memory_bytes: int = 0
    memory_used_bytes: int = 0
    memory_allocated_bytes: int = 0
    disk_bytes: int = 0
    disk_used_bytes: int = 0
    disk_read_bytes_per_second: float = 0.0
    disk_write_bytes_per_second: float = 0.0
    network_receive_bytes_per_second: float = 0.0
    network_transmit_bytes_per_second: float = 0.0


class ComputePoolRecord(Struct, frozen=True, kw_only=True):
    """What the store holds."""

    id: ComputePoolId
    name: str
    description: str = ""
    is_enabled: bool = True
    cells: list[NodeId] = field(default_factory=list)
    storage_pool_ids: list[StoragePoolId] = field(default_factory=list)
    address_pool_ids: list[AddressPoolId] = field(default_factory=list)
    cpu_overcommit: float | None = None
    """Virtual processors that may be promised for each core; ``None`` leaves it to ``[placement]``."""
    memory_overcommit: float | None = None
    created_at: datetime


class ComputePool(Result, frozen=True, kw_only=True):
    """As the API shows it."""

    id: ComputePoolId
    name: str
    description: str = ""
    is_enabled: bool
    cells: list[NodeId]
    cells_reachable: int
    instances: int
    instances_running: int
    instances_unknown: int = 0
    usage: Usage
    storage_pool_ids: list[StoragePoolId] = field(default_factory=list)
    address_pool_ids: list[AddressPoolId] = field(default_factory=list)
    cpu_overcommit: float | None = None
    memory_overcommit: float | None = None
    created_at: datetime

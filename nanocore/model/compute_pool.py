"""Compute pools: named sets of cells that instances are placed on."""

from __future__ import annotations

from datetime import datetime

from nanocore.ids import ComputePoolId, NodeId
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
    usage: Usage
    created_at: datetime

"""Storage pools: named sets of paths on cells."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from nanocore.ids import ComputePoolId, NodeId, StoragePoolId
from nanocore.wire import Meta, Result, Struct, field

PathText = Annotated[
    str, Meta(description="Absolute folder on the cell", pattern=r"^/[^\x00-\x1f\x7f]*$", max_length=1024)
]


class StoragePathCondition(StrEnum):
    """How a path is."""

    ONLINE = "online"
    DISABLED = "disabled"
    """It works; new volumes go elsewhere."""
    DRAINING = "draining"
    """Its volumes are being moved away."""
    FAILED = "failed"
    """It can't be used; the reason says why."""
    UNKNOWN = "unknown"
    """Its cell can't be asked."""


class StoragePoolPath(Result, frozen=True, kw_only=True):
    """One path of a storage pool."""

    id: str
    node_id: NodeId
    node: str | None = None
    path: str
    state: StoragePathCondition
    reason: str | None = None
    is_enabled: bool = True
    is_draining: bool = False
    is_configured: bool = False
    """It comes from the cell's own configuration."""
    total_bytes: int = 0
    used_bytes: int = 0
    volumes: int = 0


class StoragePool(Result, frozen=True, kw_only=True):
    """A storage pool as the API shows it; paths on one file system count its space once."""

    id: StoragePoolId
    name: str
    description: str = ""
    driver: str = ""
    compute_pool_ids: list[ComputePoolId] = field(default_factory=list)
    """Compute pools that have cells with a path of it."""
    paths: list[StoragePoolPath] = field(default_factory=list)
    total_bytes: int = 0
    used_bytes: int = 0
    volumes: int = 0
    created_at: datetime


class StoragePathRecord(Struct, frozen=True, kw_only=True):
    """A path that a storage pool was given."""

    id: str
    node_id: NodeId
    path: str
    is_enabled: bool = True
    is_draining: bool = False
    is_configured: bool = False


class StoragePoolRecord(Struct, frozen=True, kw_only=True):
    """What the core's store holds."""

    id: StoragePoolId
    name: str
    description: str = ""
    paths: list[StoragePathRecord] = field(default_factory=list)
    created_at: datetime

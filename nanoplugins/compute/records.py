"""What ``compute`` keeps in the state store, and the one way to change an instance's record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from nanocore.capabilities.placement import Decision
from nanocore.contracts.state_store import Collection, Delete, Put, StateStore
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, NodeId, SnapshotId, VolumeId
from nanocore.model.compute_pool import ComputePoolRecord
from nanocore.model.instance import InstanceRecord
from nanocore.wire import Struct, field

CHANGE_ATTEMPTS = 8


class NameRecord(Struct, frozen=True, kw_only=True):
    """Reserves a name for one object; its key is the name, so that compare-and-set keeps names unique."""

    id: str


class NodeSettings(Struct, frozen=True, kw_only=True):
    """What outlives a restart of the core: an administrator's word on a node, and its size."""

    id: NodeId
    is_enabled: bool = True
    cores: int = 0
    """With the next two, what it said last that it has: the zone's sums must not jump when the core restarts."""
    memory_bytes: int = 0
    disk_bytes: int = 0


class Tombstone(Struct, frozen=True, kw_only=True):
    """An instance that was deleted or never finished: what may be removed when a cell still has it."""

    id: InstanceId
    name: str
    volumes: list[VolumeId] = field(default_factory=list)
    nics: list[str] = field(default_factory=list)
    snapshots: list[SnapshotId] = field(default_factory=list)
    at: datetime


INSTANCES: Collection[InstanceRecord] = Collection(
    "instances",
    InstanceRecord,
    (
        ("node", lambda record: record.node_id),
        ("compute_pool", lambda record: record.compute_pool_id),
        ("template", lambda record: record.template_id),
    ),
)
INSTANCE_NAMES: Collection[NameRecord] = Collection("instance_names", NameRecord)
COMPUTE_POOLS: Collection[ComputePoolRecord] = Collection("compute_pools", ComputePoolRecord)
COMPUTE_POOL_NAMES: Collection[NameRecord] = Collection("compute_pool_names", NameRecord)
NODE_SETTINGS: Collection[NodeSettings] = Collection("node_settings", NodeSettings)
TOMBSTONES: Collection[Tombstone] = Collection("instance_tombstones", Tombstone)
DECISIONS: Collection[Decision] = Collection("placement_decisions", Decision)

ALL: list[Collection[Any]] = [
    INSTANCES,
    INSTANCE_NAMES,
    COMPUTE_POOLS,
    COMPUTE_POOL_NAMES,
    NODE_SETTINGS,
    TOMBSTONES,
    DECISIONS,
]


def get_instance(store: StateStore, id: InstanceId) -> InstanceRecord:
    """Return an instance's record; raise ``not_found``."""
    entry = store.get(INSTANCES, id)
    if entry is None:
        raise NanoError(ErrorCode.NOT_FOUND, f"there is no instance with id {id[:80]}")
    return entry.value


async def change_instance(
    store: StateStore, id: InstanceId, edit: Callable[[InstanceRecord], InstanceRecord]
) -> InstanceRecord:
    """Apply ``edit`` to the newest record, again if somebody else was quicker; raise ``not_found``."""
    for _ in range(CHANGE_ATTEMPTS):
        entry = store.get(INSTANCES, id)
        if entry is None:
            break
        changed = edit(entry.value)
        if changed == entry.value:
            return changed
        try:
            await store.commit(Put(INSTANCES, id, changed, expect=entry.revision))
        except NanoError as error:
            if error.code is not ErrorCode.CONFLICT:
                raise
            continue
        return changed
    return get_instance(store, id)


def forget_instance(
    record: InstanceRecord, at: datetime, *, snapshots: Sequence[SnapshotId] = ()
) -> list[Put | Delete]:
    """Return the changes that delete an instance's records and leave its tombstone, which names its ``snapshots``."""
    tombstone = Tombstone(
        id=record.id,
        name=record.name,
        volumes=[disk.volume_id for disk in record.disks],
        nics=[nic.id for nic in record.nics],
        snapshots=[*snapshots],
        at=at,
    )
    return [
        Delete(INSTANCES, record.id),
        Delete(INSTANCE_NAMES, record.name),
        Delete(DECISIONS, record.id),
        Put(TOMBSTONES, record.id, tombstone),
    ]

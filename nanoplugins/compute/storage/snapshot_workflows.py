"""The workflows ``snapshot.create``, ``snapshot.restore`` and ``snapshot.delete``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanocore.capabilities.hypervisor import PowerAction
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.operation import Step, StepContext
from nanocore.contracts.state_store import Delete, Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, NodeId, SnapshotId
from nanocore.model.instance import DesiredState, InstanceRecord, ObservedState
from nanocore.model.snapshot import SnapshotRecord, SnapshotState
from nanocore.wire import Struct, structs
from nanoplugins.compute.cell_commands import node_of
from nanoplugins.compute.records import TOMBSTONES, Tombstone, change_instance, get_instance
from nanoplugins.compute.storage.records import SNAPSHOTS, snapshots_of
from nanoplugins.compute.storage.volume_workflows import VolumeParts

LIVE = frozenset({ObservedState.RUNNING, ObservedState.PAUSED, ObservedState.STOPPING})


class SnapshotInput(Struct, frozen=True, kw_only=True):
    """The snapshot as it was decided, and where its instance is."""

    record: SnapshotRecord
    instance: str
    node_id: NodeId
    was_running: bool = False


class SnapshotParts:
    """What the three workflows share."""

    def __init__(self, parts: VolumeParts) -> None:
        self.volumes = parts

    async def take(self, input: SnapshotInput, step: StepContext) -> bool:
        """Take it, whether the guest runs or not; return whether it is consistent."""
        record = input.record
        taken = await self.volumes.commands.create_snapshot(
            input.node_id, record.id, record.instance_id, record.volume_ids, step.key
        )
        return taken.is_consistent

    async def remove(self, input: SnapshotInput, step: StepContext) -> None:
        """Remove it from the disks, whether the guest runs or not."""
        record = input.record
        await self.volumes.commands.delete_snapshot(
            input.node_id, record.id, record.instance_id, record.volume_ids, step.key
        )

    async def look(self, input: SnapshotInput) -> None:
        """Ask the cell what its volumes are like now, so that sizes and snapshots are shown as they are."""
        self.volumes.storage.put_volumes(input.node_id, await self.volumes.commands.list(input.node_id))

    def make_current(self, input: SnapshotInput, changed: SnapshotRecord) -> list[Put]:
        """Return the changes that make ``changed`` the parent of the next snapshot."""
        others = [
            Put(SNAPSHOTS, other.id, structs.replace(other, is_current=False))
            for other in snapshots_of(self.volumes.board.store, input.record.instance_id)
            if other.is_current and other.id != changed.id
        ]
        return [*others, Put(SNAPSHOTS, changed.id, structs.replace(changed, is_current=True))]


def snapshot_resources(input: SnapshotInput) -> list[ResourceRef]:
    """Return the instance, which has one change at a time, and the snapshot."""
    return [
        ResourceRef(kind="instance", id=input.record.instance_id, name=input.instance),
        ResourceRef(kind="snapshot", id=input.record.id, name=input.record.name),
    ]


class CreateSnapshotWorkflow:
    """Record, take, show."""

    kind = "snapshot.create"
    input = SnapshotInput

    def __init__(self, parts: VolumeParts) -> None:
        self._parts = SnapshotParts(parts)

    def resources(self, input: SnapshotInput) -> list[ResourceRef]:
        """Return instance and snapshot."""
        return snapshot_resources(input)

    def result(self, input: SnapshotInput, outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return which snapshot, and whether file systems were at rest."""
        return {"snapshot_id": input.record.id, "is_consistent": outcomes["take"]}

    def steps(self, input: SnapshotInput) -> Sequence[Step]:
        """Return the steps in order."""
        parts, record = self._parts, input.record
        store = parts.volumes.board.store

        async def note(_step: StepContext) -> None:
            try:
                await store.commit(Put(SNAPSHOTS, record.id, record, expect=0))
            except NanoError as error:
                if error.code is not ErrorCode.CONFLICT:
                    raise

        async def forget(_step: StepContext) -> None:
            grave = grave_of(record, parts)
            await store.commit(Delete(SNAPSHOTS, record.id), Put(TOMBSTONES, record.id, grave))

        async def take(step: StepContext) -> bool:
            return await parts.take(input, step)

        async def untake(step: StepContext) -> None:
            await parts.volumes.cell.unless_lost(input.node_id, parts.remove(input, step))

        async def finish(step: StepContext) -> None:
            ready = structs.replace(record, state=SnapshotState.READY, is_consistent=bool(step.outcomes["take"]))
            await store.commit(*parts.make_current(input, ready))
            await parts.volumes.cell.unless_lost(input.node_id, parts.look(input))

        return [
            Step("record", note, forget),
            Step("take", take, untake, timeout_seconds=200),
            Step("finish", finish, is_final_commit=True),
        ]


class DeleteSnapshotWorkflow:
    """Once marked it goes through to the end; a lost cell is cleared when it comes back."""

    kind = "snapshot.delete"
    input = SnapshotInput

    def __init__(self, parts: VolumeParts) -> None:
        self._parts = SnapshotParts(parts)

    def resources(self, input: SnapshotInput) -> list[ResourceRef]:
        """Return instance and snapshot."""
        return snapshot_resources(input)

    def result(self, input: SnapshotInput, _outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return which snapshot is gone."""
        return {"snapshot_id": input.record.id}

    def steps(self, input: SnapshotInput) -> Sequence[Step]:
        """Return the steps in order."""
        parts, store, id = self._parts, self._parts.volumes.board.store, input.record.id

        async def mark(_step: StepContext) -> None:
            entry = store.get(SNAPSHOTS, id)
            if entry is not None:
                await store.commit(Put(SNAPSHOTS, id, structs.replace(entry.value, state=SnapshotState.DELETING)))

        async def remove(step: StepContext) -> None:
            await parts.volumes.cell.unless_lost(input.node_id, parts.remove(input, step))

        async def forget(_step: StepContext) -> None:
            entry = store.get(SNAPSHOTS, id)
            if entry is not None:
                await store.commit(*self._forget(entry.value))
            await parts.volumes.cell.unless_lost(input.node_id, parts.look(input))

        return [
            Step("mark", mark, is_final_commit=True),
            Step("remove", remove, timeout_seconds=200),
            Step("forget", forget),
        ]

    def _forget(self, record: SnapshotRecord) -> list[Put | Delete]:
        """Return the changes that take it out of the tree: its children become its parent's."""
        changes: list[Put | Delete] = [
            Delete(SNAPSHOTS, record.id),
            Put(TOMBSTONES, record.id, grave_of(record, self._parts)),
        ]
        for other in snapshots_of(self._parts.volumes.board.store, record.instance_id):
            changed = other
            if other.parent_id == record.id:
                changed = structs.replace(changed, parent_id=record.parent_id)
            if record.is_current and other.id == record.parent_id:
                changed = structs.replace(changed, is_current=True)
            if changed != other:
                changes.append(Put(SNAPSHOTS, other.id, changed))
        return changes


class RestoreSnapshotWorkflow:
    """Off, back, sizes, on again. What the disks had before is gone once ``restore`` began."""

    kind = "snapshot.restore"
    input = SnapshotInput

    def __init__(self, parts: VolumeParts) -> None:
        self._parts = SnapshotParts(parts)

    def resources(self, input: SnapshotInput) -> list[ResourceRef]:
        """Return instance and snapshot."""
        return snapshot_resources(input)

    def result(self, input: SnapshotInput, _outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return what was brought back."""
        return {"snapshot_id": input.record.id, "instance_id": input.record.instance_id}

    def steps(self, input: SnapshotInput) -> Sequence[Step]:
        """Return the steps in order."""
        parts = self._parts
        board, record = parts.volumes.board, input.record

        async def power(step: StepContext, action: PowerAction) -> None:
            instance = get_instance(board.store, record.instance_id)
            if action is PowerAction.START:
                for nic in instance.nics:
                    await parts.volumes.cell.ensure_port(instance, nic, step.key)
                await parts.volumes.cell.define(instance, step.key)
            seen = await parts.volumes.cell.change_power(instance, action, step.key)
            board.cells.put_guest(node_of(instance), seen)

        async def power_off(step: StepContext) -> None:
            await power(step, PowerAction.POWER_OFF)

        async def start(step: StepContext) -> None:
            await power(step, PowerAction.START)

        async def restore(step: StepContext) -> list[Any]:
            volumes = await parts.volumes.commands.restore_snapshot(
                input.node_id, record.id, record.instance_id, record.volume_ids, step.key
            )
            return [[volume.id, volume.size_bytes] for volume in volumes]

        async def note(step: StepContext) -> None:
            sizes = dict(step.outcomes["restore"])
            await change_instance(
                board.store, record.instance_id, lambda now: _restored(now, sizes, is_started=input.was_running)
            )
            entry = board.store.get(SNAPSHOTS, record.id)
            if entry is not None:
                await board.store.commit(*parts.make_current(input, entry.value))
            board.refresh_instance(record.instance_id)
            await parts.volumes.cell.unless_lost(input.node_id, parts.look(input))

        steps = [
            Step("restore", restore, timeout_seconds=180),
            Step("record", note, is_final_commit=True),
        ]
        if not input.was_running:
            return steps
        return [
            Step("power_off", power_off, start, timeout_seconds=150),
            *steps,
            Step("start", start, timeout_seconds=150),
        ]


def _restored(record: InstanceRecord, sizes: Mapping[str, int], *, is_started: bool) -> InstanceRecord:
    """Return the record with the disks' sizes of then; what is started again is wanted running, also if it paused."""
    disks = [structs.replace(disk, size_bytes=sizes.get(disk.volume_id, disk.size_bytes)) for disk in record.disks]
    return structs.replace(record, disks=disks, desired=DesiredState.RUNNING if is_started else record.desired)


def grave_of(record: SnapshotRecord, parts: SnapshotParts) -> Tombstone:
    """Return what lets reconciliation remove the snapshot from disks that could not be reached."""
    return Tombstone(
        id=InstanceId(record.id),
        name=record.name,
        snapshots=[SnapshotId(record.id)],
        at=parts.volumes.context.clock.now(),
    )

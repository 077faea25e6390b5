"""What users ask about snapshots of instances."""

from __future__ import annotations

from nanocore.capabilities.snapshots import (
    CreateSnapshot,
    DeleteSnapshot,
    GetSnapshot,
    ListSnapshots,
    RestoreSnapshot,
)
from nanocore.contracts.authorizer import Principal, ResourceRef
from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.operation import Operation
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, SnapshotId, new_id
from nanocore.model.instance import InstanceAction, InstanceRecord, ObservedState
from nanocore.model.snapshot import SnapshotRecord, SnapshotState
from nanoplugins.compute.board import Board
from nanoplugins.compute.cell_commands import node_of
from nanoplugins.compute.config import ComputeConfig
from nanoplugins.compute.permits import check_devices_free, check_permitted, find_repeated
from nanoplugins.compute.records import get_instance
from nanoplugins.compute.storage.board import StorageBoard
from nanoplugins.compute.storage.records import get_snapshot, snapshots_of
from nanoplugins.compute.storage.snapshot_workflows import LIVE, SnapshotInput


class Snapshots:
    """Handlers of ``snapshots.*_snapshot``."""

    def __init__(self, context: PluginContext, board: Board, storage: StorageBoard) -> None:
        self._context = context
        self._board = board
        self._storage = storage

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        return [
            Handler(ListSnapshots, self._list, resource=_resource),
            Handler(GetSnapshot, self._get, resource=_resource),
            Handler(CreateSnapshot, self._create, resource=_resource),
            Handler(DeleteSnapshot, self._delete, resource=_resource),
            Handler(RestoreSnapshot, self._restore, resource=_resource),
        ]

    async def _list(self, message: ListSnapshots, _call: Call) -> Reply[PageInfo]:
        get_instance(self._board.store, message.id)
        return self._storage.snapshots.page(message, where=lambda view: view.instance_id == message.id)

    async def _get(self, message: GetSnapshot, _call: Call) -> Reply[PageInfo]:
        get_instance(self._board.store, message.id)
        get_snapshot(self._board.store, message.snapshot_id, message.id)
        self._storage.refresh_snapshot(message.snapshot_id)
        return self._storage.snapshots.reply(message.snapshot_id)

    async def _create(self, message: CreateSnapshot, call: Call) -> Operation:
        repeated = find_repeated(self._context, "snapshot.create", message, call)
        if repeated is not None:
            return repeated
        return await self.create(
            message.id,
            message.name,
            message.description,
            actor=call.actor,
            idempotency_key=message.idempotency_key,
        )

    async def create(
        self,
        instance_id: InstanceId,
        name: str,
        description: str = "",
        *,
        schedule_id: str | None = None,
        actor: Principal | None = None,
        idempotency_key: str | None = None,
    ) -> Operation:
        """Check everything, and begin; also for schedules."""
        instance, _ = check_permitted(self._context, self._board, InstanceAction.SNAPSHOT, instance_id)
        existing = snapshots_of(self._board.store, instance_id)
        self._check_limits(instance, existing, name)
        current = next((snapshot for snapshot in existing if snapshot.is_current), None)
        record = SnapshotRecord(
            id=SnapshotId(new_id()),
            name=name,
            description=description,
            instance_id=instance_id,
            parent_id=None if current is None else current.id,
            volume_ids=[disk.volume_id for disk in instance.disks],
            schedule_id=schedule_id,
            created_at=self._context.clock.now(),
        )
        return await self._run("snapshot.create", record, instance, actor, idempotency_key)

    def _check_limits(self, instance: InstanceRecord, existing: list[SnapshotRecord], name: str) -> None:
        if not instance.disks:
            raise NanoError(ErrorCode.WRONG_STATE, f"instance {instance.name} has no disks: nothing could be kept")
        if any(snapshot.name == name for snapshot in existing):
            raise NanoError(
                ErrorCode.ALREADY_EXISTS,
                f"instance {instance.name} has a snapshot named {name!r}; choose another name",
                field="name",
            )
        most = self._context.config(ComputeConfig).max_snapshots
        if len(existing) >= most:
            raise NanoError(
                ErrorCode.QUOTA_EXCEEDED,
                f"instance {instance.name} has {len(existing)} snapshots, the most that [compute] max_snapshots "
                "allows; delete some first",
                reason="compute.max_snapshots",
            )

    async def _delete(self, message: DeleteSnapshot, call: Call) -> Operation:
        repeated = find_repeated(self._context, "snapshot.delete", message, call)
        if repeated is not None:
            return repeated
        return await self.delete(message.id, message.snapshot_id, call.actor, message.idempotency_key)

    async def delete(
        self,
        instance_id: InstanceId,
        id: SnapshotId,
        actor: Principal | None = None,
        idempotency_key: str | None = None,
    ) -> Operation:
        """Begin to delete; also for schedules."""
        record = get_snapshot(self._board.store, id, instance_id).value
        instance, observed = check_permitted(self._context, self._board, InstanceAction.UPDATE, instance_id)
        check_devices_free(instance, observed)
        if observed is ObservedState.UNKNOWN:
            raise NanoError(
                ErrorCode.UNAVAILABLE, f"the node of instance {instance.name} can't be asked; try again once it answers"
            )
        return await self._run("snapshot.delete", record, instance, actor, idempotency_key)

    async def _restore(self, message: RestoreSnapshot, call: Call) -> Operation:
        repeated = find_repeated(self._context, "snapshot.restore", message, call)
        if repeated is not None:
            return repeated
        record = get_snapshot(self._board.store, message.snapshot_id, message.id).value
        if record.state is not SnapshotState.READY:
            raise NanoError(ErrorCode.WRONG_STATE, f"snapshot {record.name} is {record.state.value}")
        view = self._storage.snapshots.get(record.id)
        if view.state is SnapshotState.MISSING:
            raise NanoError(
                ErrorCode.WRONG_STATE, f"snapshot {record.name} is not in the disks any more; only deleting it is left"
            )
        instance, observed = check_permitted(self._context, self._board, InstanceAction.SNAPSHOT, message.id)
        return await self._run(
            "snapshot.restore",
            record,
            instance,
            call.actor,
            message.idempotency_key,
            was_running=observed in LIVE,
        )

    async def _run(
        self,
        kind: str,
        record: SnapshotRecord,
        instance: InstanceRecord,
        actor: Principal | None,
        idempotency_key: str | None,
        *,
        was_running: bool = False,
    ) -> Operation:
        operation = await self._context.operations.run(
            kind,
            SnapshotInput(record=record, instance=instance.name, node_id=node_of(instance), was_running=was_running),
            requested_by=actor,
            idempotency_key=idempotency_key,
        )
        self._board.refresh_instance(instance.id)
        return operation


def _resource(
    message: ListSnapshots | GetSnapshot | CreateSnapshot | DeleteSnapshot | RestoreSnapshot,
) -> ResourceRef:
    return ResourceRef(kind="instance", id=message.id)

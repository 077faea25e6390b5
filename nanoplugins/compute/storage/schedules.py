"""Schedules of snapshots: what users ask about them, and the job that runs what is due."""

from __future__ import annotations

from datetime import timedelta

from nanocore.capabilities.snapshots import (
    CreateSnapshotSchedule,
    DeleteSnapshotSchedule,
    GetSnapshotSchedule,
    ListSnapshotSchedules,
    UpdateSnapshotSchedule,
)
from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.operation import Operation, OperationState
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Delete, Entry, Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import new_id
from nanocore.model.snapshot import SnapshotRecord, SnapshotSchedule, SnapshotScheduleRecord, SnapshotState
from nanocore.wire import structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.records import get_instance
from nanoplugins.compute.storage.board import StorageBoard
from nanoplugins.compute.storage.records import SNAPSHOT_SCHEDULES, snapshots_of
from nanoplugins.compute.storage.snapshots import Snapshots
from nanoplugins.compute.storage.views import next_run

RUN_SECONDS = 300.0
MAX_SCHEDULES = 10
"""Of one instance."""


class Schedules:
    """Handlers of ``snapshots.*_snapshot_schedule``, and ``run_due`` for the scheduler."""

    def __init__(self, context: PluginContext, board: Board, storage: StorageBoard, snapshots: Snapshots) -> None:
        self._context = context
        self._board = board
        self._storage = storage
        self._snapshots = snapshots

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        return [
            Handler(ListSnapshotSchedules, self._list),
            Handler(GetSnapshotSchedule, self._get),
            Handler(CreateSnapshotSchedule, self._create),
            Handler(UpdateSnapshotSchedule, self._update),
            Handler(DeleteSnapshotSchedule, self._delete),
        ]

    async def run_due(self) -> None:
        """Run every schedule whose time has come: once, however often it was missed while the core was away."""
        now = self._context.clock.now()
        due = [
            entry.value
            for entry in self._board.store.list(SNAPSHOT_SCHEDULES)
            if entry.value.is_enabled and entry.value.next_run_at <= now
        ]
        for record in sorted(due, key=lambda record: record.next_run_at):
            await self._run(record)

    async def _run(self, record: SnapshotScheduleRecord) -> None:
        try:
            await self._make(record)
            await self._delete_oldest(record)
        except NanoError as error:
            if error.code is ErrorCode.BUSY:
                return  # Somebody changes the instance just now: the next look comes soon.
            self._context.log.warning("compute.schedule_failed", schedule=record.id, error=str(error))
            await self._note(record, error.message)
        else:
            await self._note(record, None)

    async def _make(self, record: SnapshotScheduleRecord) -> None:
        now = self._context.clock.now()
        name = f"{record.name} {now:%Y-%m-%d %H:%M:%S}"
        begun = [
            snapshot
            for snapshot in snapshots_of(self._board.store, record.instance_id)
            if snapshot.schedule_id == record.id and snapshot.created_at >= record.next_run_at
        ]
        if begun:
            # The core was stopped while this run went on; its operation has been, or is being, carried on.
            if begun[0].state is SnapshotState.CREATING:
                raise NanoError(ErrorCode.BUSY, f"snapshot {begun[0].name} is still being made")
            return
        operation = await self._snapshots.create(
            record.instance_id, name, f"By schedule {record.name}", schedule_id=record.id
        )
        await self._finish(operation)

    async def _delete_oldest(self, record: SnapshotScheduleRecord) -> None:
        for old in self._own(record)[: -record.keep]:
            await self._finish(await self._snapshots.delete(record.instance_id, old.id))

    def _own(self, record: SnapshotScheduleRecord) -> list[SnapshotRecord]:
        return [
            snapshot
            for snapshot in snapshots_of(self._board.store, record.instance_id)
            if snapshot.schedule_id == record.id and snapshot.state is SnapshotState.READY
        ]

    async def _finish(self, operation: Operation) -> None:
        ended = await self._context.operations.wait(operation.id, RUN_SECONDS)
        if not ended.state.is_final:
            raise NanoError(ErrorCode.DEADLINE_EXCEEDED, f"operation {ended.id} ({ended.kind}) is still running")
        if ended.state is not OperationState.SUCCEEDED:
            message = "it was cancelled" if ended.error is None else ended.error.message
            code = ErrorCode.CANCELLED if ended.error is None else ended.error.code
            raise NanoError(code, message)

    async def _note(self, record: SnapshotScheduleRecord, problem: str | None) -> None:
        entry = self._board.store.get(SNAPSHOT_SCHEDULES, record.id)
        if entry is None:
            return
        now = self._context.clock.now()
        changed = structs.replace(
            entry.value,
            last_run_at=now,
            next_run_at=next_run(entry.value, now) if entry.value.next_run_at <= now else entry.value.next_run_at,
            last_error=problem,
            failures=0 if problem is None else entry.value.failures + 1,
        )
        try:
            await self._board.store.commit(Put(SNAPSHOT_SCHEDULES, record.id, changed, expect=entry.revision))
        except NanoError as error:
            if error.code is not ErrorCode.CONFLICT:
                raise
            # Changed or deleted in this moment. If it is still due, the next look finds what this run made.
            self._context.log.info("compute.schedule_changed_meanwhile", schedule=record.id)

    async def _list(self, message: ListSnapshotSchedules, _call: Call) -> Reply[PageInfo]:
        return self._storage.schedules.page(message)

    async def _get(self, message: GetSnapshotSchedule, _call: Call) -> Reply[PageInfo]:
        return self._storage.schedules.reply(message.id)

    async def _create(self, message: CreateSnapshotSchedule, call: Call) -> SnapshotSchedule:
        instance = get_instance(self._board.store, message.instance_id)
        known = self._board.store.list(SNAPSHOT_SCHEDULES, index="instance", value=instance.id)
        if any(entry.value.name == message.name for entry in known):
            raise NanoError(
                ErrorCode.ALREADY_EXISTS,
                f"instance {instance.name} has a schedule named {message.name!r}; choose another name",
                field="name",
            )
        if len(known) >= MAX_SCHEDULES:
            raise NanoError(
                ErrorCode.QUOTA_EXCEEDED, f"instance {instance.name} has {len(known)} schedules; delete one first"
            )
        now = self._context.clock.now()
        record = SnapshotScheduleRecord(
            id=new_id(),
            name=message.name,
            instance_id=instance.id,
            interval_seconds=message.interval_seconds,
            keep=message.keep,
            is_enabled=message.is_enabled,
            next_run_at=now + timedelta(seconds=message.interval_seconds),
            owner="" if call.actor is None else call.actor.username,
            created_at=now,
        )
        await self._board.store.commit(Put(SNAPSHOT_SCHEDULES, record.id, record, expect=0))
        return self._storage.schedules.get(record.id)

    async def _update(self, message: UpdateSnapshotSchedule, _call: Call) -> SnapshotSchedule:
        entry = self._entry(message.id)
        names = ("name", "interval_seconds", "keep", "is_enabled")
        wanted = {name: getattr(message, name) for name in names if getattr(message, name) is not None}
        changed = structs.replace(entry.value, **wanted)
        now = self._context.clock.now()
        is_new_rhythm = changed.interval_seconds != entry.value.interval_seconds
        if is_new_rhythm or (changed.is_enabled and not entry.value.is_enabled):
            changed = structs.replace(changed, next_run_at=now + timedelta(seconds=changed.interval_seconds))
        await self._board.store.commit(Put(SNAPSHOT_SCHEDULES, message.id, changed, expect=entry.revision))
        return self._storage.schedules.get(message.id)

    async def _delete(self, message: DeleteSnapshotSchedule, _call: Call) -> None:
        entry = self._entry(message.id)
        await self._board.store.commit(Delete(SNAPSHOT_SCHEDULES, message.id, expect=entry.revision))

    def _entry(self, id: str) -> Entry[SnapshotScheduleRecord]:
        entry = self._board.store.get(SNAPSHOT_SCHEDULES, id)
        if entry is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"there is no schedule of snapshots with id {id[:80]}")
        return entry

"""The workflow ``instance.delete``: once marked it goes through to the end."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from nanocore.capabilities.network import ReleaseAddress
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.operation import Step, StepContext
from nanocore.contracts.plugin import PluginContext
from nanocore.model.instance import DesiredState, InstanceRecord
from nanocore.wire import Struct, structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.cell_commands import CellCommands, node_of
from nanoplugins.compute.records import INSTANCES, change_instance, forget_instance
from nanoplugins.compute.storage.commands import StorageCommands
from nanoplugins.compute.storage.records import forget_snapshots, release_kept, snapshots_of

DELETE = "instance.delete"


class DeleteInput(Struct, frozen=True, kw_only=True):
    """The record as it was when deletion was asked for: what has to go."""

    record: InstanceRecord


class DeleteWorkflow:
    """Guest, volumes, ports, addresses, record."""

    kind = DELETE
    input = DeleteInput

    def __init__(self, context: PluginContext, board: Board) -> None:
        self._context = context
        self._board = board
        self._cell = CellCommands(context, board.cells)

    def resources(self, input: DeleteInput) -> list[ResourceRef]:
        """Return the instance."""
        return [ResourceRef(kind="instance", id=input.record.id, name=input.record.name)]

    def result(self, input: DeleteInput, _outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is gone."""
        return {
            "instance_id": input.record.id,
            "volumes": [disk.volume_id for disk in input.record.disks if not disk.is_kept],
            "kept_volumes": [disk.volume_id for disk in input.record.disks if disk.is_kept],
        }

    def steps(self, input: DeleteInput) -> Sequence[Step]:
        """Return the steps in order."""
        run = _Delete(self._context, self._board, self._cell, input.record)
        return [
            Step("mark", run.mark, is_final_commit=True),
            Step("delete_guest", run.delete_guest),
            Step("free_kept", run.free_kept, timeout_seconds=200),
            Step("delete_volumes", run.delete_volumes),
            Step("delete_ports", run.delete_ports),
            Step("release_addresses", run.release_addresses),
            Step("forget", run.forget),
        ]


class _Delete:
    """The steps of one deletion."""

    def __init__(self, context: PluginContext, board: Board, cell: CellCommands, record: InstanceRecord) -> None:
        self._context = context
        self._board = board
        self._cell = cell
        self._record = record
        self._node_id = node_of(record)

    async def mark(self, _step: StepContext) -> None:
        """Want it gone."""
        await change_instance(
            self._board.store, self._record.id, lambda now: structs.replace(now, desired=DesiredState.DELETED)
        )
        self._board.refresh_instance(self._record.id)

    async def delete_guest(self, step: StepContext) -> None:
        """Cut the guest's power and forget it."""
        await self._remove(self._cell.delete_guest(self._node_id, self._record.id, step.key))

    async def free_kept(self, step: StepContext) -> None:
        """Take the instance's snapshots out of the disks that live on as volumes."""
        kept = [disk.volume_id for disk in self._record.disks if disk.is_kept]
        if not kept:
            return
        storage = StorageCommands(self._context)
        for snapshot in snapshots_of(self._board.store, self._record.id):
            await self._remove(storage.delete_snapshot(self._node_id, snapshot.id, None, kept, step.key))

    async def delete_volumes(self, step: StepContext) -> None:
        """Remove its disks, but for those that are kept."""
        for disk in self._record.disks:
            if disk.is_kept:
                continue
            await self._remove(self._cell.delete_volume(self._node_id, disk.volume_id, step.key))

    async def delete_ports(self, step: StepContext) -> None:
        """Remove its network cards' ports."""
        for nic in self._record.nics:
            await self._remove(self._cell.delete_port(self._node_id, nic.id, step.key))

    async def release_addresses(self, _step: StepContext) -> None:
        """Free its addresses."""
        for nic in self._record.nics:
            await self._context.call(ReleaseAddress(nic_id=nic.id))

    async def forget(self, _step: StepContext) -> None:
        """Delete the record and leave the tombstone."""
        id = self._record.id
        entry = self._board.store.get(INSTANCES, id)
        if entry is not None:
            now = self._context.clock.now()
            # Disks that are kept on a lost cell still have them; without kept disks nothing has.
            snapshots = [snapshot.id for snapshot in snapshots_of(self._board.store, id)]
            # As it is now: a new name may have been on its way to the store when deletion was asked for.
            await self._board.store.commit(
                *forget_instance(entry.value, now, snapshots=snapshots),
                *release_kept(entry.value, now),
                *forget_snapshots(self._board.store, id),
            )
        self._board.refresh_instance(id)
        self._board.refresh_node(self._node_id)

    async def _remove(self, command: Awaitable[None]) -> None:
        await self._cell.unless_lost(self._node_id, command)

"""The workflows ``volume.create``, ``volume.update`` and ``volume.delete`` of free volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.operation import Step, StepContext
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NodeId, VolumeId
from nanocore.model.volume import VolumeRecord, VolumeState
from nanocore.wire import Struct, structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.cell_commands import CellCommands
from nanoplugins.compute.storage.board import StorageBoard
from nanoplugins.compute.storage.commands import StorageCommands
from nanoplugins.compute.storage.records import VOLUMES, bury_volume


def volume_resource(record: VolumeRecord) -> ResourceRef:
    """Return what operations on a free volume lock."""
    return ResourceRef(kind="volume", id=record.id, name=record.name)


class VolumeParts:
    """What the workflows of volumes and disks share."""

    def __init__(self, context: PluginContext, board: Board, storage: StorageBoard) -> None:
        self.context = context
        self.board = board
        self.storage = storage
        self.cell = CellCommands(context, board.cells)
        self.commands = StorageCommands(context)

    def new_volume_steps(self, record: VolumeRecord) -> list[Step]:
        """Return the steps that make a volume, recorded before it exists so that nobody takes it for a leftover."""

        async def note(_step: StepContext) -> None:
            wanted = structs.replace(record, state=VolumeState.CREATING)
            try:
                await self.board.store.commit(Put(VOLUMES, record.id, wanted, expect=0))
            except NanoError as error:
                if error.code is not ErrorCode.CONFLICT:
                    raise

        async def forget(_step: StepContext) -> None:
            await self.board.store.commit(*bury_volume(record, self.context.clock.now()))

        async def create(step: StepContext) -> None:
            self.storage.put_volume(record.node_id, await self.commands.create(record, step.key))

        async def delete(step: StepContext) -> None:
            await self.delete_volume(record, step)

        return [Step("record", note, forget), Step("create_volume", create, delete, timeout_seconds=180)]

    def deletion_steps(self, record: VolumeRecord) -> list[Step]:
        """Return the steps that remove a free volume that is marked as going."""

        async def delete(step: StepContext) -> None:
            await self.delete_volume(record, step)

        async def forget(_step: StepContext) -> None:
            await self.board.store.commit(*bury_volume(record, self.context.clock.now()))

        return [Step("delete_volume", delete), Step("forget", forget)]

    async def define_paths(self, node_id: NodeId) -> None:
        """Tell a cell its paths, and show how they are."""
        self.storage.put_paths(node_id, await self.commands.define_paths(self.board.store, node_id))

    async def delete_volume(self, record: VolumeRecord, step: StepContext) -> None:
        """Remove a volume from its cell; a lost cell is cleared when it comes back."""
        await self.cell.unless_lost(record.node_id, self.commands.delete(record.node_id, record.id, step.key))
        self.storage.drop_volume(record.node_id, record.id)

    async def change_volume(self, id: VolumeId, **changes: Any) -> None:  # noqa: ANN401  fields of the record
        """Change a free volume's record; one that is gone stays gone."""
        entry = self.board.store.get(VOLUMES, id)
        if entry is not None:
            await self.board.store.commit(
                Put(VOLUMES, id, structs.replace(entry.value, **changes), expect=entry.revision)
            )


class VolumeInput(Struct, frozen=True, kw_only=True):
    """The record as it was decided, or as it was when deletion was asked for."""

    record: VolumeRecord


class CreateVolumeWorkflow:
    """Record, volume, ready."""

    kind = "volume.create"
    input = VolumeInput

    def __init__(self, parts: VolumeParts) -> None:
        self._parts = parts

    def resources(self, input: VolumeInput) -> list[ResourceRef]:
        """Return the volume."""
        return [volume_resource(input.record)]

    def result(self, input: VolumeInput, _outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return what was made where."""
        return {"volume_id": input.record.id, "node_id": input.record.node_id}

    def steps(self, input: VolumeInput) -> Sequence[Step]:
        """Return the steps in order."""

        async def finish(_step: StepContext) -> None:
            await self._parts.change_volume(input.record.id, state=VolumeState.READY)

        return [*self._parts.new_volume_steps(input.record), Step("finish", finish, is_final_commit=True)]


class DeleteVolumeWorkflow:
    """Once marked it goes through to the end."""

    kind = "volume.delete"
    input = VolumeInput

    def __init__(self, parts: VolumeParts) -> None:
        self._parts = parts

    def resources(self, input: VolumeInput) -> list[ResourceRef]:
        """Return the volume."""
        return [volume_resource(input.record)]

    def result(self, input: VolumeInput, _outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is gone."""
        return {"volume_id": input.record.id}

    def steps(self, input: VolumeInput) -> Sequence[Step]:
        """Return the steps in order."""

        async def mark(_step: StepContext) -> None:
            await self._parts.change_volume(input.record.id, state=VolumeState.DELETING)

        return [Step("mark", mark, is_final_commit=True), *self._parts.deletion_steps(input.record)]


class UpdateVolumeInput(Struct, frozen=True, kw_only=True):
    """What is to change; ``None`` stays."""

    record: VolumeRecord
    name: str | None = None
    size_bytes: int | None = None
    is_shrink_confirmed: bool = False


class UpdateVolumeWorkflow:
    """The cell first: a size that the cell refuses never gets into the record."""

    kind = "volume.update"
    input = UpdateVolumeInput

    def __init__(self, parts: VolumeParts) -> None:
        self._parts = parts

    def resources(self, input: UpdateVolumeInput) -> list[ResourceRef]:
        """Return the volume."""
        return [volume_resource(input.record)]

    def result(self, input: UpdateVolumeInput, _outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return which volume."""
        return {"volume_id": input.record.id}

    def steps(self, input: UpdateVolumeInput) -> Sequence[Step]:
        """Return the steps in order."""
        parts, record, size = self._parts, input.record, input.size_bytes

        async def resize(step: StepContext) -> None:
            if size is not None:
                volume = await parts.commands.resize(
                    record.node_id, record.id, size, step.key, is_shrink_confirmed=input.is_shrink_confirmed
                )
                parts.storage.put_volume(record.node_id, volume)

        async def note(_step: StepContext) -> None:
            wanted = {"name": input.name, "size_bytes": size}
            await parts.change_volume(record.id, **{name: value for name, value in wanted.items() if value is not None})

        steps = [] if size is None else [Step("resize", resize, timeout_seconds=180)]
        return [*steps, Step("record", note, is_final_commit=True)]

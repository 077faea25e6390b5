"""The workflows ``storage_pool.drain_path`` and ``volume.move``.

Draining moves one volume at a time, each in an operation of its own that locks the volume's instance: nobody starts a
guest whose disk is being copied. Disks of guests that run wait until these stop; a job looks again every so often.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.operation import OperationState, Step, StepContext
from nanocore.contracts.state_store import Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, NodeId, StoragePoolId, VolumeId
from nanocore.model.instance import ObservedState
from nanocore.model.storage_pool import StoragePathRecord, StoragePoolRecord
from nanocore.model.volume import Volume, VolumeState
from nanocore.wire import Struct, structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.records import CHANGE_ATTEMPTS, INSTANCES
from nanoplugins.compute.storage.records import STORAGE_POOLS, get_pool, paths_of
from nanoplugins.compute.storage.volume_workflows import VolumeParts
from nanoplugins.compute.views import observe

DRAIN = "storage_pool.drain_path"
MOVE = "volume.move"
MOVE_SECONDS = 4 * 3600.0
DRAIN_SECONDS = 24 * 3600.0
WAIT_SECONDS = 30.0
AT_REST = frozenset({ObservedState.STOPPED, ObservedState.MISSING})


class MoveInput(Struct, frozen=True, kw_only=True):
    """One volume and the path it goes to."""

    volume_id: VolumeId
    name: str
    node_id: NodeId
    path_id: str
    instance_id: InstanceId | None = None


class MoveVolumeWorkflow:
    """One step: the cell's move is whole or not at all, and may be repeated."""

    kind = MOVE
    input = MoveInput

    def __init__(self, parts: VolumeParts) -> None:
        self._parts = parts

    def resources(self, input: MoveInput) -> list[ResourceRef]:
        """Return the volume, and the instance whose disk it is."""
        volume = ResourceRef(kind="volume", id=input.volume_id, name=input.name)
        if input.instance_id is None:
            return [volume]
        return [volume, ResourceRef(kind="instance", id=input.instance_id)]

    def result(self, input: MoveInput, outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return where it lies now."""
        return {"volume_id": input.volume_id, "path": outcomes["move"]}

    def steps(self, input: MoveInput) -> Sequence[Step]:
        """Return the one step."""

        async def move(step: StepContext) -> str:
            moved = await self._parts.commands.move(
                input.node_id, input.volume_id, input.path_id, step.key, input.instance_id
            )
            self._parts.storage.put_volume(input.node_id, moved)
            return moved.folder

        return [Step("move", move, timeout_seconds=MOVE_SECONDS)]


class DrainInput(Struct, frozen=True, kw_only=True):
    """The path to empty, and what it was used for before."""

    pool_id: StoragePoolId
    path: StoragePathRecord
    previous: StoragePathRecord


class DrainPathWorkflow:
    """Mark the path, so that nothing new comes; move what can be moved; tell what waits."""

    kind = DRAIN
    input = DrainInput

    def __init__(self, parts: VolumeParts) -> None:
        self._parts = parts

    def resources(self, input: DrainInput) -> list[ResourceRef]:
        """Return the path."""
        return [ResourceRef(kind="storage_path", id=input.path.id, name=input.path.path)]

    def result(self, _input: DrainInput, outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return what was moved and what waits, each with the reason."""
        told: dict[str, Any] = outcomes["move_volumes"]
        return told

    def steps(self, input: DrainInput) -> Sequence[Step]:
        """Return the steps in order."""
        parts, path = self._parts, input.path

        async def mark(_step: StepContext) -> None:
            await set_path(parts.board, input.pool_id, path.id, is_enabled=path.is_enabled, is_draining=True)
            await parts.define_paths(path.node_id)

        async def unmark(_step: StepContext) -> None:
            before = input.previous
            await set_path(
                parts.board, input.pool_id, path.id, is_enabled=before.is_enabled, is_draining=before.is_draining
            )
            await parts.cell.unless_lost(path.node_id, parts.define_paths(path.node_id))

        async def move_volumes(step: StepContext) -> dict[str, Any]:
            return await Drain(parts, input).run(step)

        return [
            Step("mark", mark, unmark),
            Step("move_volumes", move_volumes, timeout_seconds=DRAIN_SECONDS),
        ]


class Drain:
    """One pass over the volumes of a path."""

    def __init__(self, parts: VolumeParts, input: DrainInput) -> None:
        self._parts = parts
        self._input = input

    async def run(self, step: StepContext) -> dict[str, Any]:
        """Move what can be moved; return the names of what was, and of what waits with the reason."""
        path = self._input.path
        self._parts.storage.put_volumes(path.node_id, await self._parts.commands.list(path.node_id))
        volumes = volumes_on(self._parts, path)
        moved: list[str] = []
        waiting: dict[str, str] = {}
        for volume in volumes:
            step.progress(len(moved) + len(waiting), len(volumes), "volumes")
            reason = await self._move(volume)
            if reason is None:
                moved.append(volume.name)
            else:
                waiting[volume.name] = reason
        return {"moved": moved, "waiting": waiting}

    async def _move(self, volume: Volume) -> str | None:
        """Return why it has to wait, or ``None`` when it is moved."""
        reason = waits_because(self._parts.board, volume)
        if reason is not None or volume.node_id is None:
            return reason
        operations = self._parts.context.operations
        # After a crash the move goes on by itself before this does.
        operation = operations.find_running(ResourceRef(kind="volume", id=volume.id))
        if operation is None:
            try:
                operation = await operations.run(MOVE, self._move_input(volume, volume.node_id))
            except NanoError as error:
                return error.message
            if volume.instance_id is not None:
                self._parts.board.refresh_instance(volume.instance_id)
        if operation.kind != MOVE:
            return f"waits for operation {operation.id} ({operation.kind})"
        while not operation.state.is_final:
            operation = await operations.wait(operation.id, WAIT_SECONDS)
        if operation.state is OperationState.SUCCEEDED:
            return None
        return operation.error.message if operation.error is not None else "its move was cancelled"

    def _move_input(self, volume: Volume, node_id: NodeId) -> MoveInput:
        return MoveInput(
            volume_id=volume.id,
            name=volume.name,
            node_id=node_id,
            path_id=self._target(volume).id,
            instance_id=volume.instance_id,
        )

    def _target(self, volume: Volume) -> StoragePathRecord:
        pool = get_pool(self._parts.board.store, self._input.pool_id).value
        found = find_target(self._parts.board, pool, self._input.path, volume)
        if found is None:
            raise NanoError(
                ErrorCode.NO_CAPACITY, f"no other path of the storage pool can take volume {volume.name} now"
            )
        return found


def find_target(
    board: Board, pool: StoragePoolRecord, path: StoragePathRecord, volume: Volume
) -> StoragePathRecord | None:
    """Return the enabled path of the same cell with the most free space, if what the volume uses fits there."""
    cell = board.cells.find(path.node_id)
    told = {} if cell is None else {told.path: told for told in cell.report.storage_paths}
    fits = [
        (told[known.path].total_bytes - told[known.path].used_bytes, known.id, known)
        for known in pool.paths
        if known.node_id == path.node_id
        and known.id != path.id
        and known.is_enabled
        and not known.is_draining
        and known.path in told
        and told[known.path].reason is None
    ]
    free, _, found = max(fits, default=(0, "", None))
    return found if free >= (volume.used_bytes or 0) else None


def volumes_on(parts: VolumeParts, path: StoragePathRecord) -> list[Volume]:
    """Return the volumes that lie in a path."""
    found = [
        volume
        for volume in parts.storage.volumes.views()
        if volume.node_id == path.node_id and volume.path == path.path
    ]
    return sorted(found, key=lambda volume: (volume.created_at, volume.id))


def waits_because(board: Board, volume: Volume) -> str | None:
    """Return why a volume can't be moved now, or ``None``."""
    if volume.state is not VolumeState.READY:
        return volume.reason or f"it is {volume.state.value}"
    if volume.instance_id is None:
        return None
    entry = board.store.get(INSTANCES, volume.instance_id)
    if entry is None:
        return "its instance is gone"
    observed, _ = observe(entry.value, board.cells.find(entry.value.node_id))
    if observed in AT_REST:
        return None
    return f"waits until instance {entry.value.name} stops (it is {observed.value})"


async def change_pool(board: Board, id: StoragePoolId, edit: Callable[[StoragePoolRecord], StoragePoolRecord]) -> None:
    """Apply ``edit`` to a storage pool's newest record, again if somebody else was quicker."""
    for attempt in range(CHANGE_ATTEMPTS):
        entry = get_pool(board.store, id)
        changed = edit(entry.value)
        if changed == entry.value:
            return
        try:
            await board.store.commit(Put(STORAGE_POOLS, id, changed, expect=entry.revision))
        except NanoError as error:
            if error.code is not ErrorCode.CONFLICT or attempt == CHANGE_ATTEMPTS - 1:
                raise
        else:
            return


async def set_path(board: Board, pool_id: StoragePoolId, path_id: str, *, is_enabled: bool, is_draining: bool) -> None:
    """Commit what a path is used for."""

    def edit(record: StoragePoolRecord) -> StoragePoolRecord:
        paths = [
            structs.replace(path, is_enabled=is_enabled, is_draining=is_draining) if path.id == path_id else path
            for path in record.paths
        ]
        return structs.replace(record, paths=paths)

    await change_pool(board, pool_id, edit)


async def forget_paths(board: Board, node_id: NodeId) -> None:
    """Take the paths of a cell that goes out of every storage pool."""

    def edit(record: StoragePoolRecord) -> StoragePoolRecord:
        return structs.replace(record, paths=[path for path in record.paths if path.node_id != node_id])

    for pool_id in {pool.id for pool, _ in paths_of(board.store, node_id)}:
        await change_pool(board, pool_id, edit)

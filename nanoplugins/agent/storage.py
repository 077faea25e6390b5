"""Handlers of the core's commands about volumes, their snapshots and the paths they lie in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nanocore.capabilities.storage import (
    CreateSnapshot,
    DefinePaths,
    DeleteSnapshot,
    EnsurePath,
    ListVolumes,
    MoveVolume,
    ResizeVolume,
    RestoreSnapshot,
    SnapshotTaken,
    StoragePathState,
    VolumeInfo,
)
from nanocore.contracts.handler import CORE_ONLY, Call, Handler
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId
from nanocore.model.instance import ObservedState
from nanocore.wire import Request
from nanoplugins.agent.drivers import Drivers

HOLDING = frozenset(
    {
        ObservedState.RUNNING,
        ObservedState.PAUSED,
        ObservedState.STOPPING,
        ObservedState.SUSPENDED,
        ObservedState.CRASHED,
    }
)
"""States in which a guest has its disks open, or memory that fits only these disks."""


class StorageCommands:
    """What a cell does with volumes for its core."""

    def __init__(self, drivers: Drivers) -> None:
        self._drivers = drivers

    def changes(self) -> dict[type[Request[Any]], Callable[[Any, Call], Awaitable[Any]]]:
        """Return what changes something, by message."""
        return {
            ResizeVolume: self._resize,
            MoveVolume: self._move,
            CreateSnapshot: self._create_snapshot,
            RestoreSnapshot: self._restore_snapshot,
            DeleteSnapshot: self._delete_snapshot,
            DefinePaths: self._define_paths,
        }

    def questions(self) -> list[Handler]:
        """Return what only asks."""
        return [Handler(ListVolumes, self._list, CORE_ONLY), Handler(EnsurePath, self._ensure_path, CORE_ONLY)]

    async def _list(self, _message: ListVolumes, _call: Call) -> list[VolumeInfo]:
        return await self._drivers.storage.list()

    async def _resize(self, message: ResizeVolume, _call: Call) -> VolumeInfo:
        storage = self._drivers.storage
        await self._require_off(message.instance_id, "resized")
        return await storage.resize(message.id, message.size_bytes, is_shrink_confirmed=message.is_shrink_confirmed)

    async def _move(self, message: MoveVolume, _call: Call) -> VolumeInfo:
        await self._require_off(message.instance_id, "moved")
        return await self._drivers.storage.move(message.id, message.path_id)

    async def _create_snapshot(self, message: CreateSnapshot, _call: Call) -> SnapshotTaken:
        await self._require_off(message.instance_id, "changed by the storage driver")
        await self._drivers.storage.create_snapshot(message.volumes, message.id)
        return SnapshotTaken(is_consistent=True)

    async def _restore_snapshot(self, message: RestoreSnapshot, _call: Call) -> list[VolumeInfo]:
        await self._require_off(message.instance_id, "brought back")
        await self._drivers.storage.restore_snapshot(message.volumes, message.id)
        return [await self._drivers.storage.get(id) for id in message.volumes]

    async def _delete_snapshot(self, message: DeleteSnapshot, _call: Call) -> None:
        await self._require_off(message.instance_id, "changed by the storage driver")
        await self._drivers.storage.delete_snapshot(message.volumes, message.id)

    async def _define_paths(self, message: DefinePaths, _call: Call) -> list[StoragePathState]:
        return [*await self._drivers.storage.define_paths(message.paths)]

    async def _ensure_path(self, message: EnsurePath, _call: Call) -> None:
        await self._drivers.storage.ensure_path(message.path)

    async def _require_off(self, id: InstanceId | None, what: str) -> None:
        """Raise ``wrong_state`` while the guest has its disks in use."""
        if await self._is_holding(id):
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"the disks of instance {id} can't be {what} while it is not stopped",
                reason="agent.not_stopped",
            )

    async def _is_holding(self, id: InstanceId | None) -> bool:
        if id is None:
            return False
        try:
            seen = await self._drivers.hypervisor.get(id)
        except NanoError as error:
            if error.code is ErrorCode.NOT_FOUND:
                return False
            raise
        return seen.state in HOLDING

"""Handlers of the core's commands about volumes, their snapshots and the paths they lie in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nanocore.capabilities.storage import (
    CopyVolume,
    CreateSnapshot,
    DefinePaths,
    DeleteSnapshot,
    EnsurePath,
    ListVolumes,
    MoveVolume,
    ReadVolume,
    ResizeVolume,
    RestoreSnapshot,
    SnapshotTaken,
    StoragePathState,
    VolumeFile,
    VolumeInfo,
)
from nanocore.contracts.handler import CORE_ONLY, Call, Handler
from nanocore.contracts.stream import MAX_CHUNK_BYTES
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId
from nanocore.model.instance import ObservedState
from nanocore.wire import Request, encode_json
from nanoplugins.agent.drivers import Drivers
from nanoplugins.agent.guests import GuestCommands

LIVE = frozenset({ObservedState.RUNNING, ObservedState.PAUSED, ObservedState.STOPPING})
"""States in which the hypervisor has the disks open and can work on them."""
HOLDING = LIVE | {ObservedState.SUSPENDED, ObservedState.CRASHED}
"""States in which nobody else may: the disks are open, or there is memory that fits only these disks."""


class StorageCommands:
    """What a cell does with volumes for its core."""

    def __init__(self, drivers: Drivers, guests: GuestCommands) -> None:
        self._drivers = drivers
        self._guests = guests

    def changes(self) -> dict[type[Request[Any]], Callable[[Any, Call], Awaitable[Any]]]:
        """Return what changes something, by message."""
        return {
            ResizeVolume: self._resize,
            MoveVolume: self._move,
            CopyVolume: self._copy,
            CreateSnapshot: self._create_snapshot,
            RestoreSnapshot: self._restore_snapshot,
            DeleteSnapshot: self._delete_snapshot,
            DefinePaths: self._define_paths,
        }

    def questions(self) -> list[Handler]:
        """Return what only asks."""
        return [
            Handler(ListVolumes, self._list, CORE_ONLY),
            Handler(EnsurePath, self._ensure_path, CORE_ONLY),
            Handler(ReadVolume, self._read, CORE_ONLY, is_stream=True),
        ]

    async def _list(self, _message: ListVolumes, _call: Call) -> list[VolumeInfo]:
        return await self._drivers.storage.list()

    async def _resize(self, message: ResizeVolume, _call: Call) -> VolumeInfo:
        storage = self._drivers.storage
        state = await self._state(message.instance_id)
        if message.instance_id is not None and state in LIVE:
            if message.size_bytes < (await storage.get(message.id)).size_bytes:
                raise _not_stopped(message.instance_id, "made smaller")
            await self._drivers.hypervisor.resize_disk(message.instance_id, message.id, message.size_bytes)
            return await storage.get(message.id)
        _require_off(message.instance_id, state, "resized")
        return await storage.resize(message.id, message.size_bytes, is_shrink_confirmed=message.is_shrink_confirmed)

    async def _move(self, message: MoveVolume, _call: Call) -> VolumeInfo:
        _require_off(message.instance_id, await self._state(message.instance_id), "moved")
        return await self._drivers.storage.move(message.id, message.path_id)

    async def _copy(self, message: CopyVolume, _call: Call) -> VolumeInfo:
        _require_off(message.instance_id, await self._state(message.instance_id), "copied")
        return await self._drivers.storage.copy(message.id, message.target_id, message.storage_pool_id)

    async def _read(self, message: ReadVolume, call: Call) -> None:
        stream = call.stream
        if stream is None:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{message.op} is sent as a stream")
        volume = await self._drivers.storage.get(message.id)
        reader = await self._drivers.storage.read(message.id)
        try:
            await stream.send(encode_json(VolumeFile(format=volume.format, size_bytes=reader.size_bytes)))
            while data := await reader.read(MAX_CHUNK_BYTES):
                await stream.send(data)
        finally:
            await reader.close()
        await stream.end()
        await stream.close()

    async def _create_snapshot(self, message: CreateSnapshot, _call: Call) -> SnapshotTaken:
        id, driver = message.instance_id, self._drivers.hypervisor
        state = await self._state(id)
        if state in LIVE:
            try:
                if state is ObservedState.PAUSED:
                    # Its agent can't answer; nothing is being written, but caches are not on the disks.
                    await driver.snapshot_disks(id, message.id)
                    return SnapshotTaken(is_consistent=False)
                told = await self._guests.quiesced(id, lambda: driver.snapshot_disks(id, message.id))
                return SnapshotTaken(is_consistent=told.is_consistent)
            except NanoError as error:
                state = await self._state(id)
                if error.code is not ErrorCode.WRONG_STATE or state in LIVE:
                    raise  # Else it has stopped meanwhile.
        _require_off(id, state, "kept")
        await self._drivers.storage.create_snapshot(message.volumes, message.id)
        return SnapshotTaken(is_consistent=True)

    async def _restore_snapshot(self, message: RestoreSnapshot, _call: Call) -> list[VolumeInfo]:
        _require_off(message.instance_id, await self._state(message.instance_id), "brought back")
        await self._drivers.storage.restore_snapshot(message.volumes, message.id)
        return [await self._drivers.storage.get(id) for id in message.volumes]

    async def _delete_snapshot(self, message: DeleteSnapshot, _call: Call) -> None:
        state = await self._state(message.instance_id)
        if message.instance_id is not None and state in LIVE:
            try:
                await self._drivers.hypervisor.delete_snapshot(message.instance_id, message.id)
            except NanoError as error:
                state = await self._state(message.instance_id)
                if error.code is not ErrorCode.WRONG_STATE or state in LIVE:
                    raise
            else:
                return
        _require_off(message.instance_id, state, "freed of a snapshot")
        await self._drivers.storage.delete_snapshot(message.volumes, message.id)

    async def _define_paths(self, message: DefinePaths, _call: Call) -> list[StoragePathState]:
        return [*await self._drivers.storage.define_paths(message.paths)]

    async def _ensure_path(self, message: EnsurePath, _call: Call) -> None:
        await self._drivers.storage.ensure_path(message.path)

    async def _state(self, id: InstanceId | None) -> ObservedState:
        """Return what the guest does now; one that is not there is ``missing``."""
        if id is None:
            return ObservedState.MISSING
        try:
            return (await self._drivers.hypervisor.get(id)).state
        except NanoError as error:
            if error.code is ErrorCode.NOT_FOUND:
                return ObservedState.MISSING
            raise


def _require_off(id: InstanceId | None, state: ObservedState, what: str) -> None:
    if id is not None and state in HOLDING:
        raise _not_stopped(id, what)


def _not_stopped(id: InstanceId, what: str) -> NanoError:
    return NanoError(
        ErrorCode.WRONG_STATE,
        f"disks of instance {id} can't be {what} while it is not stopped",
        reason="agent.not_stopped",
    )

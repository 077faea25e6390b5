"""What users ask about storage pools and their paths, and what cells' own configuration adds to ``default``."""

from __future__ import annotations

from nanocore.capabilities.hypervisor import CellReport
from nanocore.capabilities.storage_pools import (
    ActOnPath,
    AddPath,
    CreateStoragePool,
    DeleteStoragePool,
    DrainPath,
    GetStoragePool,
    ListStoragePools,
    RemovePath,
    UpdateStoragePool,
)
from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.operation import Operation
from nanocore.contracts.state_store import Delete, Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NodeId, StoragePoolId, new_id
from nanocore.model.storage_pool import StoragePathRecord, StoragePool, StoragePoolRecord
from nanocore.wire import structs
from nanoplugins.compute.permits import find_repeated
from nanoplugins.compute.records import COMPUTE_POOLS, NameRecord
from nanoplugins.compute.storage.drain import DRAIN, DrainInput, change_pool, set_path
from nanoplugins.compute.storage.records import (
    DEFAULT_POOL,
    STORAGE_POOL_NAMES,
    STORAGE_POOLS,
    find_pool_by_name,
    get_pool,
    paths_of,
)
from nanoplugins.compute.storage.volume_workflows import VolumeParts

PATH_ACTIONS = {"enable": True, "disable": False}


class StoragePools:
    """Handlers of ``storage_pools.*``."""

    def __init__(self, parts: VolumeParts) -> None:
        self._parts = parts
        self._context = parts.context
        self._board = parts.board
        self._storage = parts.storage

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        return [
            Handler(ListStoragePools, self._list),
            Handler(GetStoragePool, self._get),
            Handler(CreateStoragePool, self._create),
            Handler(UpdateStoragePool, self._update),
            Handler(DeleteStoragePool, self._delete),
            Handler(AddPath, self._add_path),
            Handler(RemovePath, self._remove_path),
            Handler(ActOnPath, self._act_on_path),
            Handler(DrainPath, self._drain_path),
        ]

    async def create_first(self) -> None:
        """Make the storage pool ``default``; every cell's configured paths go into it."""
        if find_pool_by_name(self._board.store, DEFAULT_POOL) is None:
            await self._commit_new(DEFAULT_POOL, "The paths of each cell's own configuration")

    async def adopt(self, node_id: NodeId, report: CellReport) -> None:
        """Put a cell's configured paths into ``default``, and tell the cell every path that it has."""
        known = {path.path for _, path in paths_of(self._board.store, node_id)}
        new = [
            StoragePathRecord(id=new_id(), node_id=node_id, path=told.path, is_configured=True)
            for told in report.storage_paths
            if told.is_configured and told.path not in known
        ]
        pool_id = find_pool_by_name(self._board.store, DEFAULT_POOL)
        if new and pool_id is not None:
            await change_pool(self._board, pool_id, lambda record: structs.replace(record, paths=[*record.paths, *new]))
        if report.storage_paths:
            await self._parts.define_paths(node_id)

    async def _list(self, message: ListStoragePools, _call: Call) -> Reply[PageInfo]:
        self._storage.refresh_pools_now()
        return self._storage.pools.page(message)

    async def _get(self, message: GetStoragePool, _call: Call) -> Reply[PageInfo]:
        self._storage.refresh_pools_now()
        return self._storage.pools.reply(message.id)

    async def _create(self, message: CreateStoragePool, _call: Call) -> StoragePool:
        return self._view(await self._commit_new(message.name, message.description))

    async def _commit_new(self, name: str, description: str) -> StoragePoolId:
        record = StoragePoolRecord(
            id=StoragePoolId(new_id()), name=name, description=description, created_at=self._context.clock.now()
        )
        self._refuse_taken(name)
        await self._board.store.commit(
            Put(STORAGE_POOL_NAMES, name, NameRecord(id=record.id), expect=0),
            Put(STORAGE_POOLS, record.id, record, expect=0),
        )
        return record.id

    async def _update(self, message: UpdateStoragePool, _call: Call) -> StoragePool:
        entry = get_pool(self._board.store, message.id)
        before = entry.value
        wanted = {
            name: getattr(message, name) for name in ("name", "description") if getattr(message, name) is not None
        }
        changed = structs.replace(before, **wanted)
        changes: list[Put | Delete] = [Put(STORAGE_POOLS, message.id, changed, expect=entry.revision)]
        if changed.name != before.name:
            if before.name == DEFAULT_POOL:
                raise NanoError(
                    ErrorCode.WRONG_STATE, "default keeps its name: what names no storage pool uses it", field="name"
                )
            self._refuse_taken(changed.name)
            changes += [
                Put(STORAGE_POOL_NAMES, changed.name, NameRecord(id=message.id), expect=0),
                Delete(STORAGE_POOL_NAMES, before.name),
            ]
        await self._board.store.commit(*changes)
        return self._view(message.id)

    async def _delete(self, message: DeleteStoragePool, _call: Call) -> None:
        entry = get_pool(self._board.store, message.id)
        record = entry.value
        if record.name == DEFAULT_POOL:
            raise NanoError(ErrorCode.WRONG_STATE, "default can't be deleted: what names no storage pool uses it")
        if record.paths:
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"storage pool {record.name} has {len(record.paths)} paths, such as {record.paths[0].path}; "
                "remove them first",
            )
        users = [
            pool.value.name
            for pool in self._board.store.list(COMPUTE_POOLS)
            if record.id in pool.value.storage_pool_ids
        ]
        if users:
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"compute pool {users[0]} uses storage pool {record.name}; take it out there first",
            )
        await self._board.store.commit(
            Delete(STORAGE_POOLS, record.id, expect=entry.revision), Delete(STORAGE_POOL_NAMES, record.name)
        )

    async def _add_path(self, message: AddPath, _call: Call) -> StoragePool:
        get_pool(self._board.store, message.id)
        cell = self._board.cells.find(message.node_id)
        if cell is None or not cell.is_cell:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT, f"there is no cell with id {message.node_id[:80]}", field="node_id"
            )
        await self._parts.commands.ensure_path(message.node_id, message.path)
        path = StoragePathRecord(id=new_id(), node_id=message.node_id, path=message.path)

        def add(record: StoragePoolRecord) -> StoragePoolRecord:
            if any(known.path == path.path for _, known in paths_of(self._board.store, path.node_id)):
                raise NanoError(ErrorCode.ALREADY_EXISTS, f"path {path.path} is a storage path already", field="path")
            return structs.replace(record, paths=[*record.paths, path])

        await change_pool(self._board, message.id, add)
        await self._parts.define_paths(message.node_id)
        return self._view(message.id)

    async def _remove_path(self, message: RemovePath, _call: Call) -> StoragePool:
        path = self._path(message.id, message.path_id)
        if path.is_configured:
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"path {path.path} comes from the cell's own configuration ([storage_local] paths); disable it here, "
                "or remove it there",
            )
        held = [volume.name for volume in self._storage.volumes.views() if self._lies_in(volume.id, path)]
        if held:
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"path {path.path} has {len(held)} volumes, such as {held[0]}; drain it first",
            )
        # The cell looks once more, and is told first: a path that it still uses never leaves the record.
        await change_pool(self._board, message.id, lambda record: _without(record, path.id))
        try:
            await self._parts.define_paths(path.node_id)
        except NanoError:
            await change_pool(
                self._board, message.id, lambda record: structs.replace(record, paths=[*record.paths, path])
            )
            raise
        return self._view(message.id)

    def _lies_in(self, id: str, path: StoragePathRecord) -> bool:
        volume = self._storage.volumes.get(id)
        return volume.node_id == path.node_id and volume.path == path.path

    async def _act_on_path(self, message: ActOnPath, _call: Call) -> StoragePool:
        if message.action not in PATH_ACTIONS:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"action must be one of {', '.join(PATH_ACTIONS)}, got {message.action[:80]!r}",
                field="action",
            )
        path = self._path(message.id, message.path_id)
        is_enabled = PATH_ACTIONS[message.action]
        is_draining = path.is_draining and not is_enabled
        await set_path(self._board, message.id, path.id, is_enabled=is_enabled, is_draining=is_draining)
        # What is committed counts: a lost cell learns of it when it comes back.
        await self._parts.cell.unless_lost(path.node_id, self._parts.define_paths(path.node_id))
        return self._view(message.id)

    async def _drain_path(self, message: DrainPath, call: Call) -> Operation:
        repeated = find_repeated(self._context, DRAIN, message, call)
        if repeated is not None:
            return repeated
        path = self._path(message.id, message.path_id)
        others = [
            known
            for known in get_pool(self._board.store, message.id).value.paths
            if known.node_id == path.node_id and known.id != path.id and known.is_enabled and not known.is_draining
        ]
        if not others:
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"there is no other enabled path of this storage pool on that cell for the volumes of {path.path}; "
                "add one first",
            )
        return await self._context.operations.run(
            DRAIN,
            DrainInput(pool_id=message.id, path=path, previous=path),
            requested_by=call.actor,
            idempotency_key=message.idempotency_key,
        )

    def _path(self, pool_id: StoragePoolId, path_id: str) -> StoragePathRecord:
        record = get_pool(self._board.store, pool_id).value
        found = next((path for path in record.paths if path.id == path_id), None)
        if found is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"storage pool {record.name} has no path with id {path_id[:80]}")
        return found

    def _refuse_taken(self, name: str) -> None:
        if self._board.store.get(STORAGE_POOL_NAMES, name) is not None:
            raise NanoError(
                ErrorCode.ALREADY_EXISTS,
                f"a storage pool named {name} exists already; choose another name",
                field="name",
            )

    def _view(self, id: StoragePoolId) -> StoragePool:
        self._storage.refresh_pools_now()
        return self._storage.pools.get(id)


def _without(record: StoragePoolRecord, path_id: str) -> StoragePoolRecord:
    return structs.replace(record, paths=[path for path in record.paths if path.id != path_id])

"""What users ask about compute pools."""

from __future__ import annotations

from collections.abc import Callable

from nanocore.capabilities.compute import (
    AddCell,
    CreateComputePool,
    DeleteComputePool,
    GetComputePool,
    ListComputePools,
    RemoveCell,
    UpdateComputePool,
)
from nanocore.capabilities.rest import Route
from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Delete, Entry, Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ComputePoolId, NodeId, new_id
from nanocore.model.compute_pool import ComputePool, ComputePoolRecord
from nanocore.wire import structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.nodes import living_there
from nanoplugins.compute.records import COMPUTE_POOL_NAMES, COMPUTE_POOLS, INSTANCES, NameRecord

CHANGEABLE = (
    "name",
    "description",
    "is_enabled",
    "storage_pool_ids",
    "address_pool_ids",
    "cpu_overcommit",
    "memory_overcommit",
)


class ComputePools:
    """Handlers of ``compute.*_compute_pool`` and of the cells in one."""

    def __init__(self, context: PluginContext, board: Board) -> None:
        self._context = context
        self._board = board

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        return [
            Handler(ListComputePools, self._list),
            Handler(GetComputePool, self._get),
            Handler(CreateComputePool, self._create),
            Handler(UpdateComputePool, self._update),
            Handler(DeleteComputePool, self._delete),
            Handler(AddCell, self._add_cell),
            Handler(RemoveCell, self._remove_cell),
        ]

    async def create_first(self) -> None:
        """Make the pool ``default`` in a new zone, with this node in it if it is a cell."""
        if self._board.store.list(COMPUTE_POOLS):
            return
        own = self._board.cells.find(self._context.node.id)
        cells = [own.info.id] if own is not None and own.is_cell else []
        record = ComputePoolRecord(
            id=ComputePoolId(new_id()),
            name="default",
            description="Made at first start",
            cells=cells,
            created_at=self._context.clock.now(),
        )
        await self._commit_new(record)

    async def _list(self, message: ListComputePools, _call: Call) -> Reply[PageInfo]:
        self._board.refresh_sums_now()
        return await self._board.pools.answer(message)

    async def _get(self, message: GetComputePool, _call: Call) -> ComputePool:
        return self._view(message.id)

    async def _create(self, message: CreateComputePool, call: Call) -> ComputePool:
        await self._check_attached(message, call)
        record = ComputePoolRecord(
            id=ComputePoolId(new_id()),
            name=message.name,
            description=message.description,
            storage_pool_ids=list(dict.fromkeys(message.storage_pool_ids)),
            address_pool_ids=list(dict.fromkeys(message.address_pool_ids)),
            cpu_overcommit=message.cpu_overcommit or None,
            memory_overcommit=message.memory_overcommit or None,
            created_at=self._context.clock.now(),
        )
        await self._commit_new(record)
        return self._view(record.id)

    async def _commit_new(self, record: ComputePoolRecord) -> None:
        name = record.name
        if self._board.store.get(COMPUTE_POOL_NAMES, name) is not None:
            raise _name_taken(name)
        await self._board.store.commit(
            Put(COMPUTE_POOL_NAMES, name, NameRecord(id=record.id), expect=0),
            Put(COMPUTE_POOLS, record.id, record, expect=0),
        )

    async def _update(self, message: UpdateComputePool, call: Call) -> ComputePool:
        self._entry(message.id)
        await self._check_attached(message, call)
        entry = self._entry(message.id)
        wanted = {name: getattr(message, name) for name in CHANGEABLE if getattr(message, name) is not None}
        for name in ("cpu_overcommit", "memory_overcommit"):
            if wanted.get(name) == 0:
                wanted[name] = None
        changed = structs.replace(entry.value, **wanted)
        changes: list[Put | Delete] = [Put(COMPUTE_POOLS, message.id, changed, expect=entry.revision)]
        if changed.name != entry.value.name:
            if self._board.store.get(COMPUTE_POOL_NAMES, changed.name) is not None:
                raise _name_taken(changed.name)
            changes += [
                Put(COMPUTE_POOL_NAMES, changed.name, NameRecord(id=message.id), expect=0),
                Delete(COMPUTE_POOL_NAMES, entry.value.name),
            ]
        await self._board.store.commit(*changes)
        self._refresh(changed)
        return self._view(message.id)

    async def _check_attached(self, message: CreateComputePool | UpdateComputePool, call: Call) -> None:
        """Ask the owners of the named pools whether they exist, as the caller: by the route under which they show one.

        So a compute pool takes what any plugin offers there, and this one needs to know none of them.
        """
        for field, ids, path in (
            ("storage_pool_ids", message.storage_pool_ids, "/storage-pools/{id}"),
            ("address_pool_ids", message.address_pool_ids, "/address-pools/{id}"),
        ):
            for id in ids or ():
                route = self._context.collected(Route).get(f"GET {path}")
                if route is None:
                    noun = path.split("/")[1].replace("-", " ")
                    raise NanoError(ErrorCode.UNSUPPORTED, f"no plugin of this zone has {noun}", field=field)
                try:
                    await self._context.call(route.message(id=id), credential=call.credential)
                except NanoError as error:
                    if error.code is not ErrorCode.NOT_FOUND:
                        raise
                    raise NanoError(ErrorCode.NOT_FOUND, error.message, field=field) from error

    async def _delete(self, message: DeleteComputePool, _call: Call) -> None:
        entry = self._entry(message.id)
        record = entry.value
        if len(self._board.store.list(COMPUTE_POOLS)) == 1:
            raise NanoError(ErrorCode.WRONG_STATE, f"{record.name} is the last compute pool; make another one first")
        instances = self._board.store.list(INSTANCES, index="compute_pool", value=record.id)
        if instances:
            names = living_there([entry.value.name for entry in instances], f"in compute pool {record.name}")
            text = f"{names}; delete them first"
            raise NanoError(ErrorCode.WRONG_STATE, text, reason="compute.pool_in_use")
        await self._board.store.commit(
            Delete(COMPUTE_POOLS, record.id, expect=entry.revision), Delete(COMPUTE_POOL_NAMES, record.name)
        )
        self._refresh(record)

    async def _add_cell(self, message: AddCell, _call: Call) -> ComputePool:
        entry = self._entry(message.id)
        cell = self._board.cells.find(message.node_id)
        if cell is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"there is no node with id {message.node_id[:80]}", field="node_id")
        if not cell.is_cell:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"node {cell.info.name} is no cell (its roles: {', '.join(cell.info.roles)})",
                field="node_id",
            )
        changes: list[Put | Delete] = []
        now_in = self._board.pool_of(message.node_id)
        if now_in is not None and now_in.id != message.id:
            self._refuse_while_used(now_in, message.node_id)
            changes.append(self._change_cells(now_in.id, lambda cells: [id for id in cells if id != message.node_id]))
        if message.node_id not in entry.value.cells:
            changes.append(self._change_cells(message.id, lambda cells: [*cells, message.node_id]))
        if changes:
            await self._board.store.commit(*changes)
        self._board.refresh_node(message.node_id)
        return self._view(message.id)

    async def _remove_cell(self, message: RemoveCell, _call: Call) -> ComputePool:
        record = self._entry(message.id).value
        if message.node_id in record.cells:
            self._refuse_while_used(record, message.node_id)
            await self._board.store.commit(
                self._change_cells(record.id, lambda cells: [id for id in cells if id != message.node_id])
            )
            self._board.refresh_node(message.node_id)
        return self._view(message.id)

    def _refuse_while_used(self, pool: ComputePoolRecord, node_id: NodeId) -> None:
        living = self._board.store.list(INSTANCES, index="node", value=node_id)
        if living:
            names = living_there([entry.value.name for entry in living], f"on this cell of compute pool {pool.name}")
            text = f"{names}; delete them first, or move them away"
            raise NanoError(ErrorCode.WRONG_STATE, text, reason="compute.node_in_use")

    def _change_cells(self, id: ComputePoolId, edit: Callable[[list[NodeId]], list[NodeId]]) -> Put:
        entry = self._entry(id)
        changed = structs.replace(entry.value, cells=edit(entry.value.cells))
        return Put(COMPUTE_POOLS, id, changed, expect=entry.revision)

    def _entry(self, id: ComputePoolId) -> Entry[ComputePoolRecord]:
        entry = self._board.store.get(COMPUTE_POOLS, id)
        if entry is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"there is no compute pool with id {id[:80]}")
        return entry

    def _refresh(self, record: ComputePoolRecord) -> None:
        for node_id in record.cells:
            self._board.refresh_node(node_id)
        for entry in self._board.store.list(INSTANCES, index="compute_pool", value=record.id):
            self._board.refresh_instance(entry.value.id)
        self._board.refresh_sums_now()

    def _view(self, id: ComputePoolId) -> ComputePool:
        self._board.refresh_sums_now()
        return self._board.pools.get(id)


def _name_taken(name: str) -> NanoError:
    return NanoError(
        ErrorCode.ALREADY_EXISTS, f"a compute pool named {name} exists already; choose another name", field="name"
    )

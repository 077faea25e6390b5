"""Keeps the board true: listens to nodes and cells, asks for inventories, settles differences."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from nanocore.capabilities.compute import CellUsed
from nanocore.capabilities.guest import GuestReported
from nanocore.capabilities.hypervisor import AgentReady, CellReported, GetInventory, GuestObserved, Inventory
from nanocore.capabilities.network import ListAllocations, ReleaseAddress
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import CELL_ONLY, CORE_ONLY, Subscription
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.node import ListPeers, NodeInfo, NodeRegistered, Peer
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Delete
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, NodeId, OperationId, StepKey
from nanocore.model.instance import DesiredState, InstanceAction, InstanceRecord, ObservedState
from nanocore.wire import structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.cell_commands import CellCommands
from nanoplugins.compute.config import ComputeConfig
from nanoplugins.compute.names import Names
from nanoplugins.compute.pools import ComputePools
from nanoplugins.compute.power import PowerInput, power_kind
from nanoplugins.compute.reconcile import Plan, plan
from nanoplugins.compute.records import INSTANCES, TOMBSTONES, change_instance, get_instance
from nanoplugins.compute.storage.parts import Storage
from nanoplugins.compute.templates import Templates

INVENTORY_RETRY_SECONDS = 2.0
AUTOSTART_SECONDS = 30.0
"""How long an instance's start may hold up that of the next."""


class ComputeService:
    """Started after the store and the owners of images and networks."""

    name = "compute"
    after: tuple[str, ...] = ("images", "network")

    def __init__(
        self, context: PluginContext, board: Board, pools: ComputePools, storage: Storage, templates: Templates
    ) -> None:
        self._context = context
        self._board = board
        self._pools = pools
        self._storage = storage
        self._templates = templates
        self._cell = CellCommands(context, board.cells)
        self._names = Names(context, board)
        self._asking: dict[NodeId, asyncio.Task[None]] = {}
        self._is_started = False

    async def start(self) -> None:
        """Learn who is there, fill the tables, and ask every cell what it has."""
        for peer in await self._context.call(ListPeers()):
            self._board.cells.put_peer(peer)
        await self._pools.create_first()
        await self._storage.start()
        await self._names.load()
        self._templates.start()
        self._board.load()
        self._storage.load()
        self._is_started = True
        for cell in self._board.cells.all():
            self._ask(cell.info.id)

    async def stop(self) -> None:
        """End every question."""
        self._is_started = False
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        self._storage.close()
        self._templates.close()
        self._board.close()

    def subscriptions(self) -> list[Subscription]:
        """Return what we listen to."""
        return [
            Subscription(CellReported, self._on_report, "compute", allow=CELL_ONLY),
            Subscription(GuestObserved, self._on_guest, "compute", allow=CELL_ONLY),
            Subscription(GuestReported, self._on_told, "compute", allow=CELL_ONLY),
            Subscription(NodeRegistered, self._on_registered, "compute", allow=CORE_ONLY),
            Subscription(AgentReady, self._on_ready, "compute", allow=CELL_ONLY),
            Subscription(ResourceChanged, self._on_resource, "compute", allow=CORE_ONLY),
        ]

    def node_joined(self, info: NodeInfo) -> None:
        """Show a node that answers, and ask what it has."""
        self._board.cells.put_joined(info)
        self._storage.node_changed(info.id)
        self._ask(info.id)

    def node_lost(self, info: NodeInfo, reason: str) -> None:
        """Show a node that does not answer."""
        self._board.cells.put_lost(info, reason)
        self._storage.node_changed(info.id)

    async def delete_old_tombstones(self) -> None:
        """Forget what was deleted long ago."""
        oldest = self._context.clock.now() - timedelta(days=self._context.config(ComputeConfig).tombstone_days)
        old = [entry for entry in self._board.store.list(TOMBSTONES) if entry.value.at < oldest]
        if old:
            await self._board.store.commit(*(Delete(TOMBSTONES, entry.key) for entry in old))

    async def release_lost_addresses(self) -> None:
        """Free addresses of network cards that no record and no operation has."""
        allocated = await self._context.call(ListAllocations())
        for nic_id, instance_id in allocated.nics.items():
            if self._board.store.get(INSTANCES, instance_id) is None and not self._is_busy(instance_id):
                self._context.log.warning("compute.address_released", nic=nic_id, instance=instance_id)
                await self._context.call(ReleaseAddress(nic_id=nic_id))

    async def _on_report(self, event: CellReported, source: NodeInfo) -> None:
        own = self._board.cells.put_report(source.id, event.report)
        if own is not None:
            await self._board.keep_size(source.id)
            await self._context.publish(CellUsed(node_id=source.id, report=own))
        self._storage.cell_reported()

    async def _on_told(self, event: GuestReported, source: NodeInfo) -> None:
        entry = self._board.store.get(INSTANCES, event.id)
        if entry is not None and entry.value.node_id == source.id:
            self._board.cells.put_told(source.id, event)

    async def _on_registered(self, event: NodeRegistered, _source: NodeInfo) -> None:
        if self._board.cells.find(event.node.id) is None:
            self._board.cells.put_peer(Peer(info=event.node, is_reachable=False))

    async def _on_ready(self, _event: AgentReady, source: NodeInfo) -> None:
        if self._is_started:
            self._ask(source.id)

    async def _on_guest(self, event: GuestObserved, source: NodeInfo) -> None:
        self._board.cells.put_guest(source.id, event.guest)
        entry = self._board.store.get(INSTANCES, event.guest.id)
        if entry is None or entry.value.node_id != source.id or self._is_busy(event.guest.id):
            return
        record = entry.value
        is_off = event.guest.state is ObservedState.STOPPED
        if is_off and record.is_created and record.desired is DesiredState.RUNNING:
            # Nobody asked: the guest was shut down from inside, and what its user did there counts.
            await self._settle(record, DesiredState.STOPPED)

    async def _on_resource(self, event: ResourceChanged, _source: NodeInfo) -> None:
        if event.noun == "operations":
            self._board.operation_changed(OperationId(event.id))
        else:
            await self._names.follow(event)

    def _ask(self, id: NodeId) -> None:
        cell = self._board.cells.find(id)
        if not self._is_started or cell is None or not cell.is_cell or not cell.is_reachable:
            return
        running = self._asking.get(id)
        if running is None or running.done():
            self._asking[id] = asyncio.create_task(self._ask_until_known(id), name=f"compute.inventory.{id}")

    async def _ask_until_known(self, id: NodeId) -> None:
        while (cell := self._board.cells.find(id)) is not None and cell.is_reachable:
            try:
                inventory = await self._context.call(GetInventory(), dst=id)
                await self._reconcile(id, inventory)
            except NanoError as error:
                self._context.log.info("compute.no_inventory", node=id, error=str(error))
            except Exception:
                self._context.log.exception("compute.reconcile_failed", node=id)
            else:
                return
            await asyncio.sleep(INVENTORY_RETRY_SECONDS)

    async def _reconcile(self, id: NodeId, inventory: Inventory) -> None:
        self._board.cells.put_inventory(id, inventory)
        await self._board.keep_size(id)
        await self._storage.put_inventory(id, inventory)
        store = self._board.store
        records = [entry.value for entry in store.list(INSTANCES, index="node", value=id)]
        graves = [entry.value for entry in store.list(TOMBSTONES)]
        candidates = {record.id for record in records} | {grave.id for grave in graves}
        busy = {instance_id for instance_id in candidates if self._is_busy(instance_id)}
        wanted = plan(inventory, records, graves, busy, self._storage.free_volumes())
        await self._carry_out(id, wanted)

    async def _carry_out(self, id: NodeId, wanted: Plan) -> None:
        key = StepKey(f"reconcile/{id}")
        log = self._context.log
        for guest in wanted.delete_guests:
            log.warning("compute.leftover_guest_deleted", node=id, instance=guest)
            await self._cell.delete_guest(id, guest, key)
        for volume in wanted.delete_volumes:
            log.warning("compute.leftover_volume_deleted", node=id, volume=volume)
            await self._cell.delete_volume(id, volume, key)
        for snapshot, volumes in wanted.delete_snapshots.items():
            log.warning("compute.leftover_snapshot_deleted", node=id, snapshot=snapshot, volumes=volumes)
            await self._storage.delete_leftover(id, snapshot, volumes, key)
        for port in wanted.delete_ports:
            log.warning("compute.leftover_port_deleted", node=id, nic=port)
            await self._cell.delete_port(id, port, key)
        for instance_id, desired in wanted.settle.items():
            await self._settle(get_instance(self._board.store, instance_id), desired)
        if wanted.start:
            self._context.spawn(self._autostart_all(wanted.start), name=f"compute.autostart.{id}")
        cell = self._board.cells.find(id)
        if cell is not None:
            cell.findings = wanted.findings

    async def _settle(self, record: InstanceRecord, desired: DesiredState) -> None:
        self._context.log.info("compute.record_follows_guest", instance=record.id, desired=desired.value)
        await change_instance(self._board.store, record.id, lambda now: structs.replace(now, desired=desired))
        self._board.refresh_instance(record.id)

    async def _autostart_all(self, ids: list[InstanceId]) -> None:
        """Start them one after the other, the oldest first: what others were made to need is there before them."""
        for id in ids:
            operation_id = await self._autostart(id)
            if operation_id is not None:
                await self._context.operations.wait(operation_id, AUTOSTART_SECONDS)

    async def _autostart(self, id: InstanceId) -> OperationId | None:
        self._context.log.info("compute.autostart", instance=id)
        operation = None
        try:
            operation = await self._context.operations.run(
                power_kind(InstanceAction.START),
                PowerInput(id=id, action=InstanceAction.START, grace_seconds=0, previous=DesiredState.RUNNING),
            )
        except NanoError as error:
            if error.code is not ErrorCode.BUSY:
                raise
        self._board.refresh_instance(id)
        return None if operation is None else operation.id

    def _is_busy(self, id: InstanceId) -> bool:
        """Return whether an instance, or a volume or snapshot that left a tombstone, is being changed."""
        running = self._context.operations.find_running
        return any(running(ResourceRef(kind=kind, id=id)) for kind in ("instance", "volume", "snapshot"))

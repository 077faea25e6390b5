"""The workflow ``instance.create``: every step has its undo, a failure leaves nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from nanocore.capabilities.hypervisor import PowerAction
from nanocore.capabilities.network import ReleaseAddress
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.operation import Step, StepContext
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NodeId
from nanocore.model.instance import DesiredState, DiskRecord, InstanceRecord
from nanocore.model.volume import VolumeRecord
from nanocore.wire import Struct, field, structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.cell_commands import CellCommands, node_of
from nanoplugins.compute.placing import Placing
from nanoplugins.compute.records import (
    DECISIONS,
    INSTANCE_NAMES,
    INSTANCES,
    NameRecord,
    change_instance,
    forget_instance,
    get_instance,
)
from nanoplugins.compute.sources import SourceImage
from nanoplugins.compute.storage.records import VOLUMES, claim_volume
from nanoplugins.compute.storage.volume_workflows import volume_resource

CREATE = "instance.create"
VOLUMES_SECONDS = 600


class CreateInput(Struct, frozen=True, kw_only=True):
    """Everything that was decided when the request was accepted."""

    record: InstanceRecord
    images: list[SourceImage] = field(default_factory=list)
    """What has to be on the cell: the boot disk's image and the media."""
    volumes: list[VolumeRecord] = field(default_factory=list)
    """Free volumes that become its disks; given back if it can't be made."""
    node_id: NodeId | None = None
    is_started: bool = True


class CreateWorkflow:
    """Record and place, addresses, images, ports, volumes, guest, start."""

    kind = CREATE
    input = CreateInput

    def __init__(self, context: PluginContext, board: Board, placing: Placing) -> None:
        self._context = context
        self._board = board
        self._placing = placing
        self._cell = CellCommands(context, board.cells)

    def resources(self, input: CreateInput) -> list[ResourceRef]:
        """Return the new instance, and the volumes it takes."""
        return [
            ResourceRef(kind="instance", id=input.record.id, name=input.record.name),
            *(volume_resource(volume) for volume in input.volumes),
        ]

    def result(self, input: CreateInput, outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return where it went and what it got."""
        return {
            "instance_id": input.record.id,
            "node_id": outcomes["place"]["node_id"],
            "addresses": outcomes["allocate_address"]["addresses"],
        }

    def steps(self, input: CreateInput) -> Sequence[Step]:
        """Return the steps in order."""
        run = _Create(self._context, self._board, self._placing, self._cell, input)
        steps = [
            Step("place", run.place, run.forget),
            Step("allocate_address", run.allocate, run.release),
            Step("cache_image", run.cache_image, timeout_seconds=3600),
            Step("create_port", run.create_port, run.delete_port),
            Step("create_volume", run.create_volume, run.delete_volume, timeout_seconds=VOLUMES_SECONDS),
            Step("define", run.define, run.delete_guest),
        ]
        if input.is_started:
            steps.append(Step("start", run.start, timeout_seconds=150))
        return [*steps, Step("finish", run.finish, is_final_commit=True)]


class _Create:
    """The steps of one creation."""

    def __init__(
        self, context: PluginContext, board: Board, placing: Placing, cell: CellCommands, input: CreateInput
    ) -> None:
        self._context = context
        self._board = board
        self._placing = placing
        self._cell = cell
        self._input = input
        self._id = input.record.id

    @property
    def _record(self) -> InstanceRecord:
        return get_instance(self._board.store, self._id)

    async def place(self, _step: StepContext) -> dict[str, Any]:
        """Choose the cell and commit the record, its name and the decision in one."""
        store = self._board.store
        existing = store.get(INSTANCES, self._id)
        if existing is not None:
            return {"node_id": existing.value.node_id}
        record = self._input.record
        with self._placing.reserve(record, self._input.node_id) as decision:
            placed = structs.replace(record, node_id=decision.node_id, placement_reason=decision.reason)
            try:
                await store.commit(
                    Put(INSTANCE_NAMES, record.name, NameRecord(id=record.id), expect=0),
                    Put(INSTANCES, record.id, placed, expect=0),
                    Put(DECISIONS, record.id, decision),
                    *(change for volume in self._input.volumes for change in claim_volume(store, volume.id)),
                )
            except NanoError as error:
                if error.code is ErrorCode.CONFLICT:
                    raise name_taken(record.name) from error
                raise
        for image in self._input.images:
            self._board.image_names[image.id] = image.name
        self._board.refresh_instance(record.id)
        return {"node_id": placed.node_id}

    async def forget(self, _step: StepContext) -> None:
        """Delete the record; its tombstone lets reconciliation clear what an unreachable cell may still have."""
        entry = self._board.store.get(INSTANCES, self._id)
        if entry is None:
            return
        await self._board.store.commit(
            *forget_instance(entry.value, self._context.clock.now()),
            *(Put(VOLUMES, volume.id, volume) for volume in self._input.volumes),
        )
        self._board.refresh_instance(self._id)
        if entry.value.node_id is not None:
            self._board.refresh_node(entry.value.node_id)

    async def allocate(self, _step: StepContext) -> dict[str, Any]:
        """Get an address for every network card."""
        record = self._record
        nics = [await self._cell.allocate_for(record, nic, self._board) for nic in record.nics]
        await change_instance(self._board.store, self._id, lambda now: structs.replace(now, nics=nics))
        self._board.refresh_instance(self._id)
        return {"addresses": [address for nic in nics for address in nic.addresses]}

    async def release(self, _step: StepContext) -> None:
        """Give the addresses back."""
        for nic in self._input.record.nics:
            await self._context.call(ReleaseAddress(nic_id=nic.id))

    async def cache_image(self, step: StepContext) -> None:
        """Have the images on the cell."""
        for image in self._input.images:
            await self._cell.ensure_cached(node_of(self._record), image, step.key)

    async def create_port(self, step: StepContext) -> None:
        """Make networks and ports on the cell."""
        record = self._record
        for nic in record.nics:
            await self._cell.ensure_port(record, nic, step.key)

    async def delete_port(self, step: StepContext) -> None:
        """Remove the ports."""
        record = self._record
        for nic in record.nics:
            await self._remove(record, self._cell.delete_port(node_of(record), nic.id, step.key))

    async def create_volume(self, step: StepContext) -> None:
        """Make the disks, one after the other: each costs the same disk's time."""
        record = self._record
        for disk in self._new_disks(record):
            await self._cell.create_volume(node_of(record), disk, step.key)

    async def delete_volume(self, step: StepContext) -> None:
        """Remove the disks."""
        record = self._record
        for disk in self._new_disks(record):
            await self._remove(record, self._cell.delete_volume(node_of(record), disk.volume_id, step.key))

    async def define(self, step: StepContext) -> None:
        """Make the guest known."""
        await self._cell.define(self._record, step.key)

    async def delete_guest(self, step: StepContext) -> None:
        """Forget the guest, whatever it does."""
        record = self._record
        await self._remove(record, self._cell.delete_guest(node_of(record), self._id, step.key))

    async def start(self, step: StepContext) -> None:
        """Start the guest; undone together with ``define``."""
        seen = await self._cell.change_power(self._record, PowerAction.START, step.key)
        self._board.cells.put_guest(node_of(self._record), seen)

    def _new_disks(self, record: InstanceRecord) -> list[DiskRecord]:
        taken = {volume.id for volume in self._input.volumes}
        return [disk for disk in record.disks if disk.volume_id not in taken]

    async def _remove(self, record: InstanceRecord, command: Awaitable[None]) -> None:
        await self._cell.unless_lost(node_of(record), command)

    async def finish(self, _step: StepContext) -> None:
        """Show the instance as made."""
        desired = DesiredState.RUNNING if self._input.is_started else DesiredState.STOPPED
        record = await change_instance(
            self._board.store, self._id, lambda record: structs.replace(record, is_created=True, desired=desired)
        )
        self._board.refresh_instance(record.id)


def name_taken(name: str) -> NanoError:
    """Return the error for a name that another instance has."""
    return NanoError(
        ErrorCode.ALREADY_EXISTS, f"an instance named {name} exists already; choose another name", field="name"
    )

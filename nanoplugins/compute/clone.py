"""The workflow ``instance.clone``: another instance with whole copies of all disks, and nothing else in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanocore.capabilities.compute import CloneInstance
from nanocore.capabilities.guest_changes import CancelCopy, CopiedVolume, GetCopy, StartCopy
from nanocore.capabilities.hypervisor import CopyState, PowerAction
from nanocore.capabilities.network import ReleaseAddress
from nanocore.capabilities.storage import CopyVolume
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import Call, Handler
from nanocore.contracts.operation import Operation, Step, StepContext, Workflow
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, VolumeId, new_id
from nanocore.model.instance import DesiredState, DiskRecord, InstanceAction, InstanceRecord, NicRecord, ObservedState
from nanocore.wire import Struct, field, structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.cell_commands import CellCommands, node_of
from nanoplugins.compute.composing import Composer
from nanoplugins.compute.create import name_taken
from nanoplugins.compute.permits import check_permitted, find_repeated
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

CLONE = "instance.clone"
COPY_SECONDS = 6 * 3600.0
LOOK_SECONDS = 0.5
"""How often the cell is asked how far a copy of a running guest is."""


class CloneInput(Struct, frozen=True, kw_only=True):
    """The original and the copy; ``volumes`` maps the original's disks to the copy's."""

    source: InstanceRecord
    record: InstanceRecord
    volumes: list[CopiedVolume] = field(default_factory=list)
    is_live: bool
    """The original runs: its disks are copied by its hypervisor, as they are at one moment."""
    is_started: bool


class Clones:
    """Handler of ``compute.clone_instance`` and its workflow."""

    def __init__(self, context: PluginContext, board: Board, placing: Placing) -> None:
        self._context = context
        self._board = board
        self._placing = placing
        self._composer = Composer(context, board)

    def handlers(self) -> list[Handler]:
        """Return the handler."""
        return [Handler(CloneInstance, self._clone, resource=_resource)]

    def workflows(self) -> list[Workflow[Any]]:
        """Return the workflow."""
        return [CloneWorkflow(self._context, self._board, self._placing)]

    async def _clone(self, message: CloneInstance, call: Call) -> Operation:
        repeated = find_repeated(self._context, CLONE, message, call)
        if repeated is not None:
            return repeated
        source, observed = check_permitted(self._context, self._board, InstanceAction.CLONE, message.id)
        if message.node_id not in (None, source.node_id):
            raise NanoError(
                ErrorCode.UNSUPPORTED,
                f"the disks of instance {source.name} lie on its own node: a copy can only be made there; "
                "make a disk image from the instance to get it elsewhere",
                field="node_id",
            )
        if self._board.store.get(INSTANCE_NAMES, message.name) is not None:
            raise name_taken(message.name)
        volumes = [CopiedVolume(volume_id=disk.volume_id, target_id=VolumeId(new_id())) for disk in source.disks]
        record = self._copy_of(source, message, volumes, call)
        self._placing.decide(record, source.node_id)
        operation = await self._context.operations.run(
            CLONE,
            CloneInput(
                source=source,
                record=record,
                volumes=volumes,
                is_live=observed in (ObservedState.RUNNING, ObservedState.PAUSED),
                is_started=message.is_started,
            ),
            requested_by=call.actor,
            idempotency_key=message.idempotency_key,
        )
        self._board.refresh_instance(source.id)
        return operation

    def _copy_of(
        self, source: InstanceRecord, message: CloneInstance, volumes: list[CopiedVolume], call: Call
    ) -> InstanceRecord:
        targets = {copied.volume_id: copied.target_id for copied in volumes}
        cloud_init = source.cloud_init
        return structs.replace(
            source,
            id=InstanceId(new_id()),
            name=message.name,
            desired=DesiredState.RUNNING if message.is_started else DesiredState.STOPPED,
            node_id=None,
            disks=[_copied(disk, targets[disk.volume_id]) for disk in source.disks],
            nics=[self._card_like(nic) for nic in source.nics],
            cloud_init=None if cloud_init is None else structs.replace(cloud_init, hostname=None),
            protected=False,
            owner="" if call.actor is None else call.actor.username,
            placement_reason=None,
            is_created=False,
            created_at=self._context.clock.now(),
        )

    def _card_like(self, nic: NicRecord) -> NicRecord:
        return structs.replace(nic, id=new_id(), mac=self._composer.new_mac(), addresses=[])


class CloneWorkflow:
    """Record and place, addresses, ports, copies, guest, start."""

    kind = CLONE
    input = CloneInput

    def __init__(self, context: PluginContext, board: Board, placing: Placing) -> None:
        self._context = context
        self._board = board
        self._placing = placing

    def resources(self, input: CloneInput) -> list[ResourceRef]:
        """Return both instances: the original's disks must not change meanwhile."""
        return [
            ResourceRef(kind="instance", id=input.record.id, name=input.record.name),
            ResourceRef(kind="instance", id=input.source.id, name=input.source.name),
        ]

    def result(self, input: CloneInput, outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the copy, and whether its disks were copied at rest."""
        return {
            "instance_id": input.record.id,
            "source_id": input.source.id,
            "addresses": outcomes["allocate_address"]["addresses"],
            "is_consistent": outcomes["copy_disks"]["is_consistent"],
        }

    def steps(self, input: CloneInput) -> Sequence[Step]:
        """Return the steps in order."""
        run = _Clone(self._context, self._board, self._placing, input)
        steps = [
            Step("place", run.place, run.forget),
            Step("allocate_address", run.allocate, run.release),
            Step("create_port", run.create_port, run.delete_port),
            Step("copy_disks", run.copy_disks, run.delete_disks, timeout_seconds=COPY_SECONDS),
            Step("define", run.define, run.delete_guest),
        ]
        if input.is_started:
            steps.append(Step("start", run.start, timeout_seconds=150))
        return [*steps, Step("finish", run.finish, is_final_commit=True)]


class _Clone:
    """The steps of one copy."""

    def __init__(self, context: PluginContext, board: Board, placing: Placing, input: CloneInput) -> None:
        self._context = context
        self._board = board
        self._placing = placing
        self._cell = CellCommands(context, board.cells)
        self._input = input
        self._id = input.record.id
        self._node_id = node_of(input.source)

    @property
    def _record(self) -> InstanceRecord:
        return get_instance(self._board.store, self._id)

    async def place(self, _step: StepContext) -> dict[str, Any]:
        """Commit the record beside the original."""
        store, record = self._board.store, self._input.record
        if store.get(INSTANCES, self._id) is None:
            with self._placing.reserve(record, self._node_id) as decision:
                reason = f"it was cloned from {self._input.source.name}, whose disks are on this node"
                placed = structs.replace(record, node_id=self._node_id, placement_reason=reason)
                try:
                    await store.commit(
                        Put(INSTANCE_NAMES, record.name, NameRecord(id=record.id), expect=0),
                        Put(INSTANCES, record.id, placed, expect=0),
                        Put(DECISIONS, record.id, structs.replace(decision, reason=reason)),
                    )
                except NanoError as error:
                    if error.code is ErrorCode.CONFLICT:
                        raise name_taken(record.name) from error
                    raise
        self._board.refresh_instance(self._id)
        return {"node_id": self._node_id}

    async def forget(self, _step: StepContext) -> None:
        """Delete the record and leave the tombstone."""
        entry = self._board.store.get(INSTANCES, self._id)
        if entry is not None:
            await self._board.store.commit(*forget_instance(entry.value, self._context.clock.now()))
        self._board.refresh_instance(self._id)
        self._board.refresh_node(self._node_id)

    async def allocate(self, _step: StepContext) -> dict[str, Any]:
        """Get addresses of its own for every network card."""
        record = self._record
        nics = [await self._cell.allocate_for(record, nic, self._board) for nic in record.nics]
        await change_instance(self._board.store, self._id, lambda now: structs.replace(now, nics=nics))
        self._board.refresh_instance(self._id)
        return {"addresses": [address for nic in nics for address in nic.addresses]}

    async def release(self, _step: StepContext) -> None:
        """Give the addresses back."""
        for nic in self._input.record.nics:
            await self._context.call(ReleaseAddress(nic_id=nic.id))

    async def create_port(self, step: StepContext) -> None:
        """Make the ports."""
        record = self._record
        for nic in record.nics:
            await self._cell.ensure_port(record, nic, step.key)

    async def delete_port(self, step: StepContext) -> None:
        """Remove the ports."""
        for nic in self._input.record.nics:
            await self._cell.unless_lost(self._node_id, self._cell.delete_port(self._node_id, nic.id, step.key))

    async def copy_disks(self, step: StepContext) -> dict[str, Any]:
        """Copy every disk; of a running original all of them at one moment."""
        if self._input.is_live:
            return {"is_consistent": await self._copy_live(step)}
        total = len(self._input.volumes)
        for index, copied in enumerate(self._input.volumes):
            step.progress(index, total, "disks")
            message = CopyVolume(
                step_key=step.key,
                id=copied.volume_id,
                target_id=copied.target_id,
                storage_pool_id=self._disk(copied.target_id).storage_pool_id,
                instance_id=self._input.source.id,
            )
            await self._context.call(message, dst=self._node_id)
        return {"is_consistent": True}

    async def _copy_live(self, step: StepContext) -> bool:
        for copied in self._input.volumes:
            await self._cell.create_volume(self._node_id, self._disk(copied.target_id), step.key)
        message = StartCopy(step_key=step.key, id=self._input.source.id, volumes=self._input.volumes)
        quiesced = await self._context.call(message, dst=self._node_id)
        while True:
            progress = await self._context.call(GetCopy(id=self._input.source.id), dst=self._node_id)
            step.progress(progress.copied_bytes, progress.total_bytes, "bytes")
            if progress.state is CopyState.DONE:
                return quiesced.is_consistent
            if progress.state is not CopyState.RUNNING:
                raise NanoError(
                    ErrorCode.WRONG_STATE,
                    f"the copy of instance {self._input.source.name} ended: "
                    f"{progress.reason or 'the guest stopped meanwhile'}",
                )
            await self._board.cells.wait_for_change(self._input.source.id, LOOK_SECONDS)

    async def delete_disks(self, step: StepContext) -> None:
        """End the copy and remove what there is of it."""
        if self._input.is_live:
            message = CancelCopy(step_key=step.key, id=self._input.source.id)
            await self._cell.unless_lost(self._node_id, self._context.call(message, dst=self._node_id))
        for copied in self._input.volumes:
            command = self._cell.delete_volume(self._node_id, copied.target_id, step.key)
            await self._cell.unless_lost(self._node_id, command)

    async def define(self, step: StepContext) -> None:
        """Make the guest known."""
        await self._cell.define(self._record, step.key)

    async def delete_guest(self, step: StepContext) -> None:
        """Forget the guest, whatever it does."""
        await self._cell.unless_lost(self._node_id, self._cell.delete_guest(self._node_id, self._id, step.key))

    async def start(self, step: StepContext) -> None:
        """Start the copy; undone together with ``define``."""
        seen = await self._cell.change_power(self._record, PowerAction.START, step.key)
        self._board.cells.put_guest(self._node_id, seen)

    async def finish(self, _step: StepContext) -> None:
        """Show the copy as made."""
        await change_instance(self._board.store, self._id, lambda now: structs.replace(now, is_created=True))
        self._board.refresh_instance(self._id)

    def _disk(self, id: VolumeId) -> DiskRecord:
        return next(disk for disk in self._input.record.disks if disk.volume_id == id)


def _copied(disk: DiskRecord, target_id: VolumeId) -> DiskRecord:
    """Return the copy of a disk: whole, so that it needs no image any more."""
    return structs.replace(disk, volume_id=target_id, image_id=None, is_kept=False)


def _resource(message: CloneInstance) -> ResourceRef:
    return ResourceRef(kind="instance", id=message.id)

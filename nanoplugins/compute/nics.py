"""Network cards of instances: added, changed and removed, while the guest runs where it allows that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nanocore.capabilities.compute import MAX_NICS, AddNic, NewNic, RemoveNic, UpdateNic
from nanocore.capabilities.guest_changes import AttachNic, DetachNic
from nanocore.capabilities.network import ReleaseAddress
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import Call, Handler
from nanocore.contracts.operation import Operation, Step, StepContext, Workflow
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, NodeId
from nanocore.model.instance import InstanceAction, InstanceRecord, NicRecord
from nanocore.wire import Struct, structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.cell_commands import CellCommands, define_nic, node_of
from nanoplugins.compute.composing import Composer
from nanoplugins.compute.field_errors import FieldErrors
from nanoplugins.compute.permits import check_devices_free, check_permitted, find_repeated
from nanoplugins.compute.records import TOMBSTONES, Tombstone, change_instance, get_instance

ADD = "instance.add_nic"
UPDATE = "instance.update_nic"
REMOVE = "instance.remove_nic"
KINDS: dict[type, str] = {AddNic: ADD, UpdateNic: UPDATE, RemoveNic: REMOVE}
UNPLUG_SECONDS = 120.0
"""A guest that still boots does not hear that it is to let go; it is asked again within this time."""


class NicInput(Struct, frozen=True, kw_only=True):
    """Which card at which instance; ``before`` is the card as it was, for an update's undo."""

    instance_id: InstanceId
    instance: str
    node_id: NodeId
    nic: NicRecord
    before: NicRecord | None = None


class Nics:
    """Handlers of ``compute.*_nic`` and their workflows."""

    def __init__(self, context: PluginContext, board: Board) -> None:
        self._context = context
        self._board = board
        self._composer = Composer(context, board)

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        return [
            Handler(AddNic, self._add, resource=_resource),
            Handler(UpdateNic, self._update, resource=_resource),
            Handler(RemoveNic, self._remove, resource=_resource),
        ]

    def workflows(self) -> list[Workflow[Any]]:
        """Return the workflows of network cards."""
        parts = NicParts(self._context, self._board)
        return [AddNicWorkflow(parts), UpdateNicWorkflow(parts), RemoveNicWorkflow(parts)]

    async def _add(self, message: AddNic, call: Call) -> Operation:
        repeated = find_repeated(self._context, ADD, message, call)
        if repeated is not None:
            return repeated
        record, observed = check_permitted(self._context, self._board, InstanceAction.UPDATE, message.id)
        check_devices_free(record, observed)
        if len(record.nics) >= MAX_NICS:
            text = f"instance {record.name} has {MAX_NICS} network cards, which is the most it can have"
            raise NanoError(ErrorCode.WRONG_STATE, text)
        errors = FieldErrors()
        wanted = NewNic(**{name: getattr(message, name) for name in NewNic.__struct_fields__})
        nic = await self._composer.nic(wanted, "", errors)
        errors.check()
        return await self._run(message, record, nic, call)

    async def _update(self, message: UpdateNic, call: Call) -> Operation:
        repeated = find_repeated(self._context, UPDATE, message, call)
        if repeated is not None:
            return repeated
        record, _ = check_permitted(self._context, self._board, InstanceAction.UPDATE, message.id)
        before = _nic_of(record, message.nic_id)
        errors = FieldErrors()
        await self._composer.check_policy(message.security_policy_id, "security_policy_id", errors)
        errors.check()
        nic = structs.replace(before, security_policy_id=message.security_policy_id)
        return await self._run(message, record, nic, call, before)

    async def _remove(self, message: RemoveNic, call: Call) -> Operation:
        repeated = find_repeated(self._context, REMOVE, message, call)
        if repeated is not None:
            return repeated
        record, observed = check_permitted(self._context, self._board, InstanceAction.UPDATE, message.id)
        check_devices_free(record, observed)
        return await self._run(message, record, _nic_of(record, message.nic_id), call)

    async def _run(
        self,
        message: AddNic | UpdateNic | RemoveNic,
        record: InstanceRecord,
        nic: NicRecord,
        call: Call,
        before: NicRecord | None = None,
    ) -> Operation:
        input = NicInput(instance_id=record.id, instance=record.name, node_id=node_of(record), nic=nic, before=before)
        operation = await self._context.operations.run(
            KINDS[type(message)], input, requested_by=call.actor, idempotency_key=message.idempotency_key
        )
        self._board.refresh_instance(record.id)
        return operation


class NicParts:
    """What the three workflows are put together from."""

    def __init__(self, context: PluginContext, board: Board) -> None:
        self._context = context
        self._board = board
        self._cell = CellCommands(context, board.cells)

    async def allocate(self, input: NicInput) -> NicRecord:
        """Get the card's addresses; a repeat gets the same."""
        record = get_instance(self._board.store, input.instance_id)
        return await self._cell.allocate_for(record, input.nic, self._board)

    async def release(self, input: NicInput) -> None:
        """Free the card's addresses."""
        await self._context.call(ReleaseAddress(nic_id=input.nic.id))

    async def make_port(self, input: NicInput, nic: NicRecord, step: StepContext) -> None:
        """Make or change the card's port, with its policy."""
        await self._cell.ensure_port(get_instance(self._board.store, input.instance_id), nic, step.key)

    async def delete_port(self, input: NicInput, step: StepContext) -> None:
        """Remove the card's port; a lost cell is cleared when it comes back, by the tombstone that this leaves."""
        grave = Tombstone(
            id=InstanceId(input.nic.id), name=input.instance, nics=[input.nic.id], at=self._context.clock.now()
        )
        await self._board.store.commit(Put(TOMBSTONES, grave.id, grave))
        await self._cell.unless_lost(input.node_id, self._cell.delete_port(input.node_id, input.nic.id, step.key))

    async def note(self, input: NicInput, edit: Callable[[list[NicRecord]], list[NicRecord]]) -> None:
        """Change the record's list of cards."""
        await change_instance(
            self._board.store, input.instance_id, lambda record: structs.replace(record, nics=edit(record.nics))
        )
        self._board.refresh_instance(input.instance_id)

    async def plug(self, input: NicInput, nic: NicRecord, step: StepContext) -> None:
        """Give the guest the card."""
        await self._cell.change_guest(
            input.node_id, AttachNic(step_key=step.key, id=input.instance_id, nic=define_nic(nic))
        )

    async def unplug(self, input: NicInput, step: StepContext) -> None:
        """Take the card from the guest."""
        await self._cell.change_guest(
            input.node_id, DetachNic(step_key=step.key, id=input.instance_id, nic_id=input.nic.id)
        )


class _NicWorkflow:
    input = NicInput

    def __init__(self, parts: NicParts) -> None:
        self._parts = parts

    def resources(self, input: NicInput) -> list[ResourceRef]:
        """Return the instance."""
        return [ResourceRef(kind="instance", id=input.instance_id, name=input.instance)]

    def result(self, input: NicInput, outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return which card at which instance, and what addresses it got."""
        got = outcomes.get("allocate")
        addresses = {} if got is None else {"addresses": got["addresses"]}
        return {"instance_id": input.instance_id, "nic_id": input.nic.id, **addresses}


class AddNicWorkflow(_NicWorkflow):
    """Addresses, port, record, guest: a card that the record names has everything already."""

    kind = ADD

    def steps(self, input: NicInput) -> Sequence[Step]:
        """Return the steps in order."""
        run = _AddNic(self._parts, input)
        return [
            Step("allocate", run.allocate, run.release),
            Step("create_port", run.make_port, run.delete_port),
            Step("record", run.note, run.forget),
            Step("plug", run.plug, run.unplug, timeout_seconds=90),
        ]


class _AddNic:
    """The steps of one addition."""

    def __init__(self, parts: NicParts, input: NicInput) -> None:
        self._parts = parts
        self._input = input

    def _made(self, step: StepContext) -> NicRecord:
        got = step.outcomes["allocate"]
        return structs.replace(self._input.nic, network_id=got["network_id"], addresses=got["addresses"])

    def _others(self, nics: list[NicRecord]) -> list[NicRecord]:
        return [nic for nic in nics if nic.id != self._input.nic.id]

    async def allocate(self, _step: StepContext) -> dict[str, Any]:
        nic = await self._parts.allocate(self._input)
        return {"network_id": nic.network_id, "addresses": nic.addresses}

    async def release(self, _step: StepContext) -> None:
        await self._parts.release(self._input)

    async def make_port(self, step: StepContext) -> None:
        await self._parts.make_port(self._input, self._made(step), step)

    async def delete_port(self, step: StepContext) -> None:
        await self._parts.delete_port(self._input, step)

    async def note(self, step: StepContext) -> None:
        await self._parts.note(self._input, lambda nics: [*self._others(nics), self._made(step)])

    async def forget(self, _step: StepContext) -> None:
        await self._parts.note(self._input, self._others)

    async def plug(self, step: StepContext) -> None:
        await self._parts.plug(self._input, self._made(step), step)

    async def unplug(self, step: StepContext) -> None:
        await self._parts.unplug(self._input, step)


class UpdateNicWorkflow(_NicWorkflow):
    """The cell first: a policy that it can't keep never gets into the record."""

    kind = UPDATE

    def steps(self, input: NicInput) -> Sequence[Step]:
        """Return the steps in order."""
        parts, before = self._parts, input.before or input.nic

        def put(nic: NicRecord) -> Callable[[list[NicRecord]], list[NicRecord]]:
            return lambda nics: [nic if each.id == nic.id else each for each in nics]

        async def enforce(step: StepContext) -> None:
            await parts.make_port(input, input.nic, step)

        async def enforce_before(step: StepContext) -> None:
            await parts.make_port(input, before, step)

        async def note(_step: StepContext) -> None:
            await parts.note(input, put(input.nic))

        return [Step("enforce", enforce, enforce_before), Step("record", note, is_final_commit=True)]


class RemoveNicWorkflow(_NicWorkflow):
    """The guest first: a card that it does not let go stays its card."""

    kind = REMOVE

    def steps(self, input: NicInput) -> Sequence[Step]:
        """Return the steps in order."""
        parts = self._parts

        async def unplug(step: StepContext) -> None:
            await parts.unplug(input, step)

        async def plug(step: StepContext) -> None:
            await parts.plug(input, input.nic, step)

        async def forget(_step: StepContext) -> None:
            await parts.note(input, lambda nics: [nic for nic in nics if nic.id != input.nic.id])

        async def delete_port(step: StepContext) -> None:
            await parts.delete_port(input, step)

        async def release(_step: StepContext) -> None:
            await parts.release(input)

        return [
            Step("unplug", unplug, plug, timeout_seconds=UNPLUG_SECONDS),
            Step("record", forget, is_final_commit=True),
            Step("delete_port", delete_port),
            Step("release", release),
        ]


def _nic_of(record: InstanceRecord, id: str) -> NicRecord:
    found = next((nic for nic in record.nics if nic.id == id), None)
    if found is None:
        raise NanoError(ErrorCode.NOT_FOUND, f"instance {record.name} has no network card {id[:80]}")
    return found


def _resource(message: AddNic | UpdateNic | RemoveNic) -> ResourceRef:
    return ResourceRef(kind="instance", id=message.id)

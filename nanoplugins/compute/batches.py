"""The workflow ``instance.batch``: every item is an operation of its own, which a kill never makes happen twice."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from nanocore.capabilities.batches import (
    BatchAction,
    BatchItem,
    CreateInstanceBatch,
    ItemState,
    NewBatch,
)
from nanocore.capabilities.compute import ActOnInstance, DeleteInstance
from nanocore.contracts.authorizer import Authorizer, Principal, ResourceRef
from nanocore.contracts.handler import Call, Handler
from nanocore.contracts.operation import CancelOperation, Operation, OperationState, Step, StepContext, Workflow
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, OperationId, VolumeId, new_id, parse_id
from nanocore.model.instance import DesiredState, InstanceRecord
from nanocore.wire import Struct, field, structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.composing import Composer, values_of
from nanoplugins.compute.create import CREATE, CreateInput
from nanoplugins.compute.field_errors import FieldErrors
from nanoplugins.compute.instances import Instances
from nanoplugins.compute.name_patterns import expand_names
from nanoplugins.compute.placing import Placing
from nanoplugins.compute.records import INSTANCE_NAMES, INSTANCES
from nanoplugins.compute.templates import Templates

BATCH = "instance.batch"
PARALLEL = 8
"""Items under way at once: enough to keep cells busy, and other users' requests are still heard."""
BATCH_SECONDS = 24 * 3600.0
WAIT_SECONDS = 60.0
MAX_MESSAGE = 200
"""Characters of an item's error in the result, whose length is bounded."""


class BatchInput(Struct, frozen=True, kw_only=True):
    """Everything that was decided when the request was accepted."""

    names: list[str]
    """Of the items, in their order."""
    ids: list[InstanceId] = field(default_factory=list)
    """Instances to act upon, beside their names."""
    new: CreateInput | None = None
    """What every new instance is made of, but for ids, addresses and name."""
    action: BatchAction | None = None
    grace_seconds: float = 60
    actor: Principal | None = None


class Batches:
    """Handler of ``batches.create_instance_batch`` and its workflow."""

    def __init__(
        self, context: PluginContext, board: Board, placing: Placing, templates: Templates, instances: Instances
    ) -> None:
        self._context = context
        self._board = board
        self._placing = placing
        self._templates = templates
        self._instances = instances
        self._composer = Composer(context, board)

    def handlers(self) -> list[Handler]:
        """Return the handler."""
        return [Handler(CreateInstanceBatch, self._create)]

    def workflows(self) -> list[Workflow[Any]]:
        """Return the workflow."""
        return [BatchWorkflow(self._context, self._composer, self._instances)]

    async def _create(self, message: CreateInstanceBatch, call: Call) -> Operation:
        repeated = self._context.operations.find_repeated(
            BATCH, requested_by=call.actor, idempotency_key=message.idempotency_key
        )
        if repeated is not None:
            return repeated
        if (message.create is None) == (message.action is None):
            raise NanoError(ErrorCode.INVALID_ARGUMENT, "give either create or action, not both", field="action")
        if message.create is not None:
            input = await self._new_instances(message.create, message, call)
        else:
            input = await self._known_instances(message, call)
        return await self._context.operations.run(
            BATCH, input, requested_by=call.actor, idempotency_key=message.idempotency_key
        )

    async def _new_instances(self, new: NewBatch, message: CreateInstanceBatch, call: Call) -> BatchInput:
        if message.instance_ids is not None:
            text = "instance_ids belong to an action; create makes instances of its own"
            raise NanoError(ErrorCode.INVALID_ARGUMENT, text, field="instance_ids")
        await self._authorize(call, "instance.create", None)
        template = None
        if new.template_id is not None:
            template = self._templates.get(new.template_id, field="create.template_id")
        errors = FieldErrors("create.")
        names = expand_names(new.name_pattern, new.first, new.count, errors)
        taken = [name for name in names if self._board.store.get(INSTANCE_NAMES, name) is not None]
        if taken:
            errors.add("name_pattern", f"{len(taken)} of the names are taken, such as {taken[0]}; choose other numbers")
        values = values_of(new)
        self._composer.check_unique(values, errors)
        errors.check()
        composed = await self._composer.compose(names[0], values, call, template=template, prefix="create.")
        self._placing.decide(composed.record, composed.node_id)
        made = CreateInput(
            record=composed.record,
            images=composed.images,
            node_id=composed.node_id,
            is_started=composed.record.desired is DesiredState.RUNNING,
        )
        return BatchInput(names=names, new=made, actor=call.actor)

    async def _known_instances(self, message: CreateInstanceBatch, call: Call) -> BatchInput:
        action = message.action
        if action is None or message.instance_ids is None:
            text = "say which instances; an empty list does nothing"
            raise NanoError(ErrorCode.INVALID_ARGUMENT, text, field="instance_ids")
        permission = "instance.delete" if action is BatchAction.DELETE else "instance.power"
        await self._authorize(call, permission, None)
        errors = FieldErrors()
        ids = list(dict.fromkeys(message.instance_ids))
        names = []
        for index, id in enumerate(message.instance_ids):
            await errors.catch(_parsed(id, f"instance_ids[{index}]"))
        errors.check()
        for id in ids:
            await self._authorize(call, permission, ResourceRef(kind="instance", id=id))
            entry = self._board.store.get(INSTANCES, id)
            names.append(id if entry is None else entry.value.name)
        return BatchInput(names=names, ids=ids, action=action, grace_seconds=message.grace_seconds, actor=call.actor)

    async def _authorize(self, call: Call, permission: str, resource: ResourceRef | None) -> None:
        """Ask as for each item alone: a batch is no way round."""
        await self._context.chosen(Authorizer).authorize(call.actor, permission, resource)


class BatchWorkflow:
    """One step that begins the items' operations, a few at a time, and waits for them."""

    kind = BATCH
    input = BatchInput

    def __init__(self, context: PluginContext, composer: Composer, instances: Instances) -> None:
        self._context = context
        self._composer = composer
        self._instances = instances

    def resources(self, _input: BatchInput) -> list[ResourceRef]:
        """Return nothing: each item's own operation locks its instance."""
        return []

    def result(self, _input: BatchInput, outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return what became of each item, and how many failed."""
        items = outcomes["items"]
        return {"items": items, "failed": sum(item["state"] != ItemState.SUCCEEDED for item in items)}

    def steps(self, input: BatchInput) -> Sequence[Step]:
        """Return the one step."""
        run = _Batch(self._context, self._composer, self._instances, input)
        return [Step("items", run.do, run.cancel_rest, timeout_seconds=BATCH_SECONDS)]


class _Batch:
    """The items of one batch. Each begins under a key of its own: a repeat after a kill finds what was begun."""

    def __init__(self, context: PluginContext, composer: Composer, instances: Instances, input: BatchInput) -> None:
        self._context = context
        self._composer = composer
        self._instances = instances
        self._input = input

    async def do(self, step: StepContext) -> list[BatchItem]:
        """Do every item and return what became of it, in their order."""
        places = asyncio.Semaphore(PARALLEL)
        total = len(self._input.names)
        done = 0

        async def one(index: int) -> BatchItem:
            nonlocal done
            async with places:
                item = await self._item(index, step)
            done += 1
            step.progress(done, total, "instances")
            return item

        step.progress(0, total, "instances")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(index)) for index in range(total)]
        return [task.result() for task in tasks]

    async def cancel_rest(self, step: StepContext) -> None:
        """Cancel what is under way; what is done stays done, as each item stands for itself."""
        for index in range(len(self._input.names)):
            operation = self._find(index, step)
            if operation is not None and not operation.state.is_final:
                await self._cancel(operation.id)

    async def _cancel(self, id: OperationId) -> None:
        try:
            await self._context.call(CancelOperation(id=id))
        except NanoError as error:
            if error.code is not ErrorCode.WRONG_STATE:
                raise  # past the point where it can be undone: it is carried to its end

    async def _item(self, index: int, step: StepContext) -> BatchItem:
        name = self._input.names[index]
        id = self._input.ids[index] if self._input.ids else None
        try:
            operation = self._find(index, step) or await self._begin(index, step)
        except NanoError as error:
            return BatchItem(id=id, name=name, state=ItemState.FAILED, error=_told(error.code, error.message))
        step.add_child(operation.id)
        while not operation.state.is_final:
            operation = await self._context.operations.wait(operation.id, WAIT_SECONDS)
        ended = operation.error
        return BatchItem(
            id=id or next((InstanceId(ref.id) for ref in operation.resources if ref.kind == "instance"), None),
            name=name,
            state=_STATES[operation.state],
            operation_id=operation.id,
            error=None if ended is None else _told(ended.code, ended.message),
        )

    def _key(self, index: int, step: StepContext) -> str:
        return f"{step.key}/{index}"

    def _find(self, index: int, step: StepContext) -> Operation | None:
        action = self._input.action
        kind = CREATE if action is None else f"instance.{action.value}"
        return self._context.operations.find_repeated(
            kind, requested_by=self._input.actor, idempotency_key=self._key(index, step)
        )

    async def _begin(self, index: int, step: StepContext) -> Operation:
        input, key = self._input, self._key(index, step)
        if input.new is not None:
            record = self._another(input.new.record, input.names[index])
            return await self._context.operations.run(
                CREATE,
                structs.replace(input.new, record=record),
                requested_by=input.actor,
                idempotency_key=key,
            )
        id = input.ids[index]
        if input.action is BatchAction.DELETE:
            return await self._instances.delete(DeleteInstance(id=id, idempotency_key=key), input.actor)
        message = ActOnInstance(
            id=id,
            action="" if input.action is None else input.action.value,
            grace_seconds=input.grace_seconds,
            idempotency_key=key,
        )
        return await self._instances.act(message, input.actor)

    def _another(self, record: InstanceRecord, name: str) -> InstanceRecord:
        """Return a record like the first one's, with a name, ids and MAC addresses of its own."""
        return structs.replace(
            record,
            id=InstanceId(new_id()),
            name=name,
            disks=[structs.replace(disk, volume_id=VolumeId(new_id())) for disk in record.disks],
            nics=[structs.replace(nic, id=new_id(), mac=self._composer.new_mac()) for nic in record.nics],
            created_at=self._context.clock.now(),
        )


_STATES = {
    OperationState.SUCCEEDED: ItemState.SUCCEEDED,
    OperationState.FAILED: ItemState.FAILED,
    OperationState.CANCELLED: ItemState.CANCELLED,
}


def _told(code: ErrorCode, message: str) -> dict[str, Any]:
    return {"code": code.value, "message": message[:MAX_MESSAGE]}


async def _parsed(id: str, field: str) -> str:
    return parse_id(id, field=field)

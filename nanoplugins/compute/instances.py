"""What users ask about instances: everything is checked before anything is changed."""

from __future__ import annotations

from nanocore.capabilities.compute import (
    ActOnInstance,
    CreateInstance,
    DeleteInstance,
    GetInstance,
    GetPlacement,
    ListInstances,
    UpdateInstance,
)
from nanocore.capabilities.placement import Decision
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.operation import Operation
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Delete, Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId
from nanocore.model.instance import (
    DesiredState,
    InstanceAction,
    ObservedState,
)
from nanocore.wire import structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.composing import Composer, values_of
from nanoplugins.compute.create import CreateInput, name_taken
from nanoplugins.compute.delete import DeleteInput
from nanoplugins.compute.placing import Placing
from nanoplugins.compute.power import POWER_ACTIONS, PowerInput, power_kind
from nanoplugins.compute.records import (
    DECISIONS,
    INSTANCE_NAMES,
    INSTANCES,
    NameRecord,
    get_instance,
)
from nanoplugins.compute.views import observe, refuse

APPEAR_SECONDS = 2.0
CREATE = "instance.create"


class Instances:
    """Handlers of ``compute.*_instance``."""

    def __init__(self, context: PluginContext, board: Board, placing: Placing) -> None:
        self._context = context
        self._board = board
        self._placing = placing
        self._composer = Composer(context, board)

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        return [
            Handler(ListInstances, self._list),
            Handler(GetInstance, self._get, resource=_resource),
            Handler(GetPlacement, self._get_placement, resource=_resource),
            Handler(CreateInstance, self._create),
            Handler(UpdateInstance, self._update, resource=_resource),
            Handler(DeleteInstance, self._delete, resource=_resource),
            Handler(ActOnInstance, self._act, resource=_resource),
        ]

    async def _list(self, message: ListInstances, _call: Call) -> Reply[PageInfo]:
        return await self._board.instances.answer(message)

    async def _get(self, message: GetInstance, _call: Call) -> Reply[PageInfo]:
        return self._board.instances.reply(message.id)

    async def _get_placement(self, message: GetPlacement, _call: Call) -> Decision:
        get_instance(self._board.store, message.id)
        entry = self._board.store.get(DECISIONS, message.id)
        if entry is None:
            raise NanoError(ErrorCode.NOT_FOUND, "no placement decision is kept for this instance")
        return entry.value

    async def _create(self, message: CreateInstance, call: Call) -> Operation:
        repeated = self._context.operations.find_repeated(
            CREATE, requested_by=call.actor, idempotency_key=message.idempotency_key
        )
        if repeated is not None:
            return repeated
        composed = await self._composer.compose(message.name, values_of(message), call)
        if self._board.store.get(INSTANCE_NAMES, message.name) is not None:
            raise name_taken(message.name)
        self._placing.decide(composed.record, message.node_id)
        operation = await self._context.operations.run(
            CREATE,
            CreateInput(
                record=composed.record,
                images=composed.images,
                node_id=message.node_id,
                is_started=composed.record.desired is DesiredState.RUNNING,
            ),
            requested_by=call.actor,
            idempotency_key=message.idempotency_key,
        )
        await self._wait_until_listed(operation)
        return operation

    async def _wait_until_listed(self, operation: Operation) -> None:
        """Let the record appear before the operation is answered with, so that a client can read it at once."""
        ids = [resource.id for resource in operation.resources if resource.kind == "instance"]
        clock = self._context.clock
        ends = clock.monotonic() + APPEAR_SECONDS
        while clock.monotonic() < ends and not all(self._board.instances.find(id) for id in ids):
            if (await self._context.operations.wait(operation.id, 0.02)).state.is_final:
                return

    async def _update(self, message: UpdateInstance, _call: Call) -> Reply[PageInfo]:
        self._may(InstanceAction.UPDATE, message.id)
        store = self._board.store
        entry = store.get(INSTANCES, message.id)
        view_revision = self._board.instances.reply(message.id).body.revision
        if entry is None or (message.expect_revision is not None and message.expect_revision != view_revision):
            raise NanoError(ErrorCode.CONFLICT, "the instance has changed since you read it; read it again")
        names = ("name", "description", "vcpus", "memory_bytes", "tags", "autostart", "protected")
        wanted = {name: getattr(message, name) for name in names if getattr(message, name) is not None}
        changed = structs.replace(entry.value, **wanted)
        changes: list[Put | Delete] = [Put(INSTANCES, message.id, changed, expect=entry.revision)]
        if changed.name != entry.value.name:
            if store.get(INSTANCE_NAMES, changed.name) is not None:
                raise name_taken(changed.name)
            changes += [
                Put(INSTANCE_NAMES, changed.name, NameRecord(id=message.id), expect=0),
                Delete(INSTANCE_NAMES, entry.value.name),
            ]
        if changed != entry.value:
            await store.commit(*changes)
        self._board.refresh_instance(message.id)
        return self._board.instances.reply(message.id)

    async def _delete(self, message: DeleteInstance, call: Call) -> Operation:
        self._may(InstanceAction.DELETE, message.id)
        record = get_instance(self._board.store, message.id)
        operation = await self._context.operations.run(
            "instance.delete",
            DeleteInput(record=record),
            requested_by=call.actor,
            idempotency_key=message.idempotency_key,
        )
        self._board.refresh_instance(message.id)
        return operation

    async def _act(self, message: ActOnInstance, call: Call) -> Operation:
        if message.action not in [action.value for action in POWER_ACTIONS]:
            possible = ", ".join(action.value for action in POWER_ACTIONS)
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"action must be one of {possible}, got {message.action[:80]!r}",
                field="action",
            )
        action = InstanceAction(message.action)
        self._may(action, message.id)
        record = get_instance(self._board.store, message.id)
        operation = await self._context.operations.run(
            power_kind(action),
            PowerInput(
                id=message.id,
                action=action,
                grace_seconds=message.grace_seconds if action is InstanceAction.STOP else 0,
                previous=record.desired,
                name=record.name,
            ),
            requested_by=call.actor,
            idempotency_key=message.idempotency_key,
        )
        self._board.refresh_instance(message.id)
        return operation

    def _may(self, action: InstanceAction, id: InstanceId) -> None:
        record = get_instance(self._board.store, id)
        running = self._context.operations.find_running(ResourceRef(kind="instance", id=id))
        if running is not None:
            raise NanoError(
                ErrorCode.BUSY,
                f"instance {record.name}: {running.kind} is running; wait for operation {running.id} or cancel it",
                operation_id=running.id,
                retry_after_seconds=1,
            )
        observed, reason = observe(record, self._board.cells.find(record.node_id))
        why_not = refuse(action, record, observed, reason, None)
        if why_not is not None:
            code = ErrorCode.UNAVAILABLE if observed is ObservedState.UNKNOWN else ErrorCode.WRONG_STATE
            raise NanoError(code, f"instance {record.name} can't {action.value.replace('_', ' ')}: {why_not}")


def _resource(message: GetInstance) -> ResourceRef:
    return ResourceRef(kind="instance", id=message.id)

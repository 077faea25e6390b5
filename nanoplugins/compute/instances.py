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
from nanocore.contracts.authorizer import Principal, ResourceRef
from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.operation import Operation
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Delete, Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.model.instance import (
    MIB,
    DesiredState,
    InstanceAction,
)
from nanocore.wire import structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.composing import Composer, compose_cloud_init, values_of
from nanoplugins.compute.create import CREATE, CreateInput, name_taken
from nanoplugins.compute.delete import DELETE, DeleteInput
from nanoplugins.compute.field_errors import FieldErrors
from nanoplugins.compute.live_changes import LiveChanges
from nanoplugins.compute.permits import check_permitted
from nanoplugins.compute.placing import Placing
from nanoplugins.compute.power import POWER_ACTIONS, PowerInput, power_kind
from nanoplugins.compute.records import (
    DECISIONS,
    INSTANCE_NAMES,
    INSTANCES,
    NameRecord,
    get_instance,
)
from nanoplugins.compute.templates import Templates

APPEAR_SECONDS = 2.0
EDITABLE = (
    "name",
    "description",
    "vcpus",
    "memory_bytes",
    "tags",
    "autostart",
    "protected",
    "qos",
    "firmware",
)


class Instances:
    """Handlers of ``compute.*_instance``."""

    def __init__(self, context: PluginContext, board: Board, placing: Placing, templates: Templates) -> None:
        self._context = context
        self._board = board
        self._placing = placing
        self._templates = templates
        self._composer = Composer(context, board)
        self._live = LiveChanges(context, board)

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
        template = None if message.template_id is None else self._templates.get(message.template_id)
        composed = await self._composer.compose(message.name, values_of(message), call, template=template)
        if self._board.store.get(INSTANCE_NAMES, message.name) is not None:
            raise name_taken(message.name)
        self._placing.decide(composed.record, composed.node_id)
        operation = await self._context.operations.run(
            CREATE,
            CreateInput(
                record=composed.record,
                images=composed.images,
                volumes=composed.volumes,
                node_id=composed.node_id,
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
        before, _ = check_permitted(self._context, self._board, InstanceAction.UPDATE, message.id)
        self._check_sizes(message)
        errors = FieldErrors()
        cloud_init = compose_cloud_init(message.cloud_init, errors)
        await self._composer.check_user_data(cloud_init, errors)
        errors.check()
        store = self._board.store
        entry = store.get(INSTANCES, message.id)
        view_revision = self._board.instances.reply(message.id).body.revision
        if entry is None or (message.expect_revision is not None and message.expect_revision != view_revision):
            raise NanoError(ErrorCode.CONFLICT, "the instance has changed since you read it; read it again")
        wanted = {name: getattr(message, name) for name in EDITABLE if getattr(message, name) is not None}
        changed = structs.replace(entry.value, **wanted)
        if cloud_init is not None:
            changed = structs.replace(changed, cloud_init=cloud_init)
        self._placing.check_growth(entry.value, changed)
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
        await self._live.change(before, changed)
        self._board.refresh_instance(message.id)
        return self._board.instances.reply(message.id)

    def _check_sizes(self, message: UpdateInstance) -> None:
        if message.memory_bytes is not None and message.memory_bytes % MIB:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"memory_bytes must be a multiple of {MIB} (1 MiB), got {message.memory_bytes}",
                field="memory_bytes",
            )

    async def _delete(self, message: DeleteInstance, call: Call) -> Operation:
        return await self.delete(message, call.actor)

    async def delete(self, message: DeleteInstance, actor: Principal | None) -> Operation:
        """Begin to delete an instance; also for a batch."""
        repeated = self._context.operations.find_repeated(
            DELETE, requested_by=actor, idempotency_key=message.idempotency_key
        )
        if repeated is not None:
            return repeated
        record, _ = check_permitted(self._context, self._board, InstanceAction.DELETE, message.id)
        operation = await self._context.operations.run(
            DELETE,
            DeleteInput(record=record),
            requested_by=actor,
            idempotency_key=message.idempotency_key,
        )
        self._board.refresh_instance(message.id)
        return operation

    async def _act(self, message: ActOnInstance, call: Call) -> Operation:
        return await self.act(message, call.actor)

    async def act(self, message: ActOnInstance, actor: Principal | None) -> Operation:
        """Begin a power action; also for a batch."""
        if message.action not in [action.value for action in POWER_ACTIONS]:
            possible = ", ".join(action.value for action in POWER_ACTIONS)
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"action must be one of {possible}, got {message.action[:80]!r}",
                field="action",
            )
        action = InstanceAction(message.action)
        repeated = self._context.operations.find_repeated(
            power_kind(action), requested_by=actor, idempotency_key=message.idempotency_key
        )
        if repeated is not None:
            return repeated
        record, _ = check_permitted(self._context, self._board, action, message.id)
        operation = await self._context.operations.run(
            power_kind(action),
            PowerInput(
                id=message.id,
                action=action,
                grace_seconds=message.grace_seconds if action is InstanceAction.STOP else 0,
                previous=record.desired,
                name=record.name,
            ),
            requested_by=actor,
            idempotency_key=message.idempotency_key,
        )
        self._board.refresh_instance(message.id)
        return operation


def _resource(message: GetInstance) -> ResourceRef:
    return ResourceRef(kind="instance", id=message.id)

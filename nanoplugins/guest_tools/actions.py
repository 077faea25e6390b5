"""The core's side: what users ask about the inside of an instance, and the operations that change it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from nanocore.capabilities.compute import GetInstance
from nanocore.capabilities.guest import (
    ChangeGuest,
    ChangeGuestHostname,
    ChangeGuestPassword,
    FindUserData,
    FreezeInstance,
    GetGuestTools,
    GetInstanceGuest,
    Guest,
    ThawInstance,
    UserDataInfo,
)
from nanocore.capabilities.guest_changes import FreezeGuest, ThawGuest
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import CORE_ONLY, Call, Handler
from nanocore.contracts.operation import Operation, Step, StepContext
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, NodeId
from nanocore.model.instance import Instance, ObservedState, Readiness
from nanocore.model.password import hash_password
from nanocore.wire import Request, Struct, decode_json
from nanoplugins.guest_tools import user_data

PASSWORD, HOSTNAME, FREEZE, THAW = (
    "guest.set_password",
    "guest.set_hostname",
    "guest.freeze",
    "guest.thaw",
)
ACT_SECONDS = 90.0


class GuestInput(Struct, frozen=True, kw_only=True):
    """What was asked; of a password its hash only, as this is kept in the journal."""

    id: InstanceId
    node_id: NodeId
    name: str
    username: str | None = None
    password_hash: str | None = None
    hostname: str | None = None
    seconds: float = 60


class GuestWorkflow:
    """One act in one guest. Nothing can cancel it half-way: it is done or it is not."""

    input = GuestInput

    def __init__(self, context: PluginContext, kind: str) -> None:
        self.kind = kind
        self._context = context

    def resources(self, input: GuestInput) -> list[ResourceRef]:
        """Return the instance."""
        return [ResourceRef(kind="instance", id=input.id, name=input.name)]

    def result(self, input: GuestInput, _outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return whom it was done to."""
        return {"instance_id": input.id}

    def steps(self, input: GuestInput) -> Sequence[Step]:
        """Return the one step; a freeze that did not succeed is thawed again."""

        async def act(step: StepContext) -> None:
            command: Request[Any] = self._command(input, step)
            await self._context.call(command, dst=input.node_id)

        async def thaw(step: StepContext) -> None:
            try:
                await self._context.call(ThawGuest(step_key=step.key, id=input.id), dst=input.node_id)
            except NanoError as error:
                # A guest that can't be asked was not frozen, or thaws by itself when its time is over.
                self._context.log.info("guest_tools.not_thawed", instance=input.id, error=str(error))

        undo = thaw if self.kind == FREEZE else None
        name = self.kind.partition(".")[2]
        return [Step(name, act, undo, timeout_seconds=ACT_SECONDS, is_final_commit=True)]

    def _command(self, input: GuestInput, step: StepContext) -> ChangeGuest | FreezeGuest | ThawGuest:
        if self.kind == FREEZE:
            return FreezeGuest(step_key=step.key, id=input.id, seconds=input.seconds)
        if self.kind == THAW:
            return ThawGuest(step_key=step.key, id=input.id)
        return ChangeGuest(
            step_key=step.key,
            id=input.id,
            username=input.username,
            password_hash=input.password_hash,
            hostname=input.hostname,
        )


class GuestActions:
    """Handlers of the core."""

    def __init__(self, context: PluginContext) -> None:
        self._context = context

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        return [
            Handler(FindUserData, self._find_user_data, CORE_ONLY),
            Handler(GetInstanceGuest, self._get, resource=_resource),
            Handler(ChangeGuestPassword, self._set_password, resource=_resource),
            Handler(ChangeGuestHostname, self._set_hostname, resource=_resource),
            Handler(FreezeInstance, self._freeze, resource=_resource),
            Handler(ThawInstance, self._thaw, resource=_resource),
        ]

    def workflows(self) -> list[GuestWorkflow]:
        """Return the kinds of operation."""
        return [GuestWorkflow(self._context, kind) for kind in (PASSWORD, HOSTNAME, FREEZE, THAW)]

    async def _find_user_data(self, message: FindUserData, _call: Call) -> UserDataInfo:
        # In a thread, as the parser takes its time over the largest texts.
        return UserDataInfo(kind=await asyncio.to_thread(user_data.check, message.user_data))

    async def _get(self, message: GetInstanceGuest, _call: Call) -> Guest:
        instance = await self._instance(message.id)
        if instance.state.observed is not ObservedState.RUNNING or instance.node_id is None:
            reason = f"the instance is {instance.state.observed.value.replace('_', ' ')}"
            return Guest(id=instance.id, ready=Readiness(reason=reason))
        return await self._context.call(GetGuestTools(id=instance.id), dst=instance.node_id)

    async def _set_password(self, message: ChangeGuestPassword, call: Call) -> Operation:
        if any(ord(letter) < ord(" ") for letter in message.password):
            text = "password must not have control characters, which can't be typed at a login"
            raise NanoError(ErrorCode.INVALID_ARGUMENT, text, field="password")
        hashed = await asyncio.to_thread(hash_password, message.password)
        return await self._run(PASSWORD, message, call, username=message.username, password_hash=hashed)

    async def _set_hostname(self, message: ChangeGuestHostname, call: Call) -> Operation:
        return await self._run(HOSTNAME, message, call, hostname=message.hostname)

    async def _freeze(self, message: FreezeInstance, call: Call) -> Operation:
        return await self._run(FREEZE, message, call, seconds=message.seconds)

    async def _thaw(self, message: ThawInstance, call: Call) -> Operation:
        return await self._run(THAW, message, call)

    async def _run(
        self,
        kind: str,
        message: ChangeGuestPassword | ChangeGuestHostname | FreezeInstance | ThawInstance,
        call: Call,
        **values: Any,  # noqa: ANN401  fields of GuestInput
    ) -> Operation:
        repeated = self._context.operations.find_repeated(
            kind, requested_by=call.actor, idempotency_key=message.idempotency_key
        )
        if repeated is not None:
            return repeated
        instance = await self._instance(message.id)
        if instance.state.observed is not ObservedState.RUNNING or instance.node_id is None:
            observed = instance.state.observed.value.replace("_", " ")
            code = ErrorCode.UNAVAILABLE if instance.state.observed is ObservedState.UNKNOWN else ErrorCode.WRONG_STATE
            text = f"instance {instance.name} is {observed}; its guest can be asked only while it runs"
            raise NanoError(code, text)
        return await self._context.operations.run(
            kind,
            GuestInput(id=instance.id, node_id=instance.node_id, name=instance.name, **values),
            requested_by=call.actor,
            idempotency_key=message.idempotency_key,
        )

    async def _instance(self, id: InstanceId) -> Instance:
        page = await self._context.call_reply(GetInstance(id=id))
        return decode_json(bytes(page.blobs[0]), Instance)


def _resource(message: GetInstanceGuest) -> ResourceRef:
    return ResourceRef(kind="instance", id=message.id)

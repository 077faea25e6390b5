"""A plugin that owns instances, consoles and uploads in memory, behind the messages of the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from nanocore.capabilities.compute import (
    ActOnInstance,
    AttachConsole,
    CreateInstance,
    DeleteInstance,
    GetInstance,
    GetSystemOverview,
    ListInstances,
    SystemOverview,
    UpdateInstance,
)
from nanocore.capabilities.images import AppendUpload, GetUpload, UploadState
from nanocore.capabilities.rest import Route
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.listing import PageInfo, ResourceChanged
from nanocore.contracts.operation import Operation, OperationState
from nanocore.contracts.plugin import PluginContext, PluginInfo
from nanocore.contracts.table import Table
from nanocore.errors import ErrorCode, NanoError
from nanocore.hookspecs import hookimpl
from nanocore.ids import ComputePoolId, InstanceId, OperationId, new_id
from nanocore.model.compute_pool import Usage
from nanocore.model.instance import (
    AllowedAction,
    DesiredState,
    Instance,
    InstanceAction,
    InstanceState,
    ObservedState,
)
from nanocore.wire import encode_json, structs

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def instance(name: str, *, has_console: bool = True) -> Instance:
    why = None if has_console else "it is stopped"
    return Instance(
        id=InstanceId(new_id()),
        name=name,
        state=InstanceState(desired=DesiredState.RUNNING, observed=ObservedState.RUNNING, since=WHEN),
        compute_pool_id=ComputePoolId(new_id()),
        compute_pool="default",
        vcpus=1,
        memory_bytes=1 << 30,
        tags=["toy"],
        created_at=WHEN,
        allowed_actions=[AllowedAction(name=InstanceAction.CONSOLE, allowed=has_console, why_not=why)],
    )


class ToyCompute:
    """``created`` counts commands that ran; ``gate`` holds them back while it is clear."""

    def __init__(self) -> None:
        self.created: list[CreateInstance] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.upload = bytearray()
        self.upload_size = 10
        self.upload_pieces = 0
        self.console_closed = asyncio.Event()
        self.console_input = bytearray()
        self.fail_upload: NanoError | None = None

    @hookimpl
    def nano_plugin_info(self) -> list[PluginInfo]:
        return [PluginInfo("toy_compute", "0", "instances in memory")]

    @hookimpl
    def nano_message_handlers(self, context: PluginContext) -> list[Handler]:
        self.context = context
        self.table: Table[Instance] = Table("instances", context.clock, self._changed)

        def about(message: Any) -> ResourceRef:
            return ResourceRef(kind="instance", id=message.id)

        return [
            Handler(ListInstances, self.list_instances),
            Handler(GetInstance, self.get_instance, resource=about),
            Handler(CreateInstance, self.create_instance),
            Handler(UpdateInstance, self.update_instance, resource=about),
            Handler(DeleteInstance, self.delete_instance, resource=about),
            Handler(ActOnInstance, self.act, resource=about),
            Handler(GetSystemOverview, self.overview),
            Handler(AttachConsole, self.console, is_stream=True, resource=about),
            Handler(GetUpload, self.get_upload),
            Handler(AppendUpload, self.append_upload, is_stream=True),
        ]

    @hookimpl
    def nano_rest_routes(self) -> list[Route]:
        item = {"item": Instance}
        example = {"name": "web-1", "image_id": "6f1c2a5e-0b7d-4c1e-9a55-3f0e8a1d2b4c"}
        actions = [
            Route(
                "POST", f"/instances/{{id}}/actions/{name}", ActOnInstance, f"{name} it", constants=(("action", name),)
            )
            for name in ("start", "stop")
        ]
        return [
            Route("GET", "/instances", ListInstances, "List instances", is_list=True, item=Instance),
            Route("POST", "/instances", CreateInstance, "Create an instance", example=example),
            Route("GET", "/instances/{id}", GetInstance, "Get an instance", **item),  # type: ignore[arg-type]
            Route(
                "PATCH", "/instances/{id}", UpdateInstance, "Change an instance", example={"vcpus": 2}, item=Instance
            ),
            Route("DELETE", "/instances/{id}", DeleteInstance, "Delete an instance"),
            Route("GET", "/system", GetSystemOverview, "The zone at a glance"),
            *actions,
        ]

    def _changed(self, change: ResourceChanged) -> None:
        self.context.spawn(self.context.publish(change), name="toy change")

    async def list_instances(self, message: ListInstances, call: Call) -> Reply[PageInfo]:
        return self.table.page(message)

    async def get_instance(self, message: GetInstance, call: Call) -> Reply[PageInfo]:
        return self.table.reply(message.id)

    async def create_instance(self, message: CreateInstance, call: Call) -> Operation:
        await self.gate.wait()
        self.created.append(message)
        made = instance(message.name)
        self.table.put(made)
        return self._operation("instance.create", made.id)

    async def update_instance(self, message: UpdateInstance, call: Call) -> Reply[PageInfo]:
        old = self.table.get(message.id)
        revision = self.table.reply(message.id).body.revision
        if message.expect_revision is not None and message.expect_revision != revision:
            raise NanoError(ErrorCode.CONFLICT, f"{old.name} is at revision {revision}")
        self.table.put(structs.replace(old, description=message.description or ""))
        return self.table.reply(message.id)

    async def delete_instance(self, message: DeleteInstance, call: Call) -> Operation:
        self.table.get(message.id)
        self.table.delete(message.id)
        return self._operation("instance.delete", message.id)

    async def act(self, message: ActOnInstance, call: Call) -> Operation:
        self.table.get(message.id)
        return self._operation(f"instance.{message.action}", message.id)

    async def overview(self, message: GetSystemOverview, call: Call) -> SystemOverview:
        return SystemOverview(
            name="zone", version="1", zone="default", features=[], usage=Usage(), instances=len(self.table),
            instances_running=0, nodes=1, nodes_online=1, images=0,
        )  # fmt: skip

    async def console(self, message: AttachConsole, call: Call) -> None:
        assert call.stream is not None
        await call.stream.send(b"hello from " + message.kind.value.encode())
        try:
            while (chunk := await call.stream.receive()) is not None:
                self.console_input += chunk
                await call.stream.send(bytes(chunk).upper())
        finally:
            self.console_closed.set()
            await call.stream.close()

    async def get_upload(self, message: GetUpload, call: Call) -> UploadState:
        return self._upload_state()

    async def append_upload(self, message: AppendUpload, call: Call) -> None:
        stream = call.stream
        assert stream is not None
        if message.offset_bytes != len(self.upload):
            error = NanoError(ErrorCode.CONFLICT, f"the upload stands at {len(self.upload)}")
            await stream.close(error)
            return
        while (chunk := await stream.receive()) is not None:
            if self.fail_upload is not None:
                await stream.close(self.fail_upload)
                return
            self.upload_pieces += 1
            await self.gate.wait()
            self.upload += chunk
        await stream.send(encode_json(self._upload_state()))
        await stream.end()

    def _upload_state(self) -> UploadState:
        return UploadState(offset_bytes=len(self.upload), size_bytes=self.upload_size)

    def _operation(self, kind: str, id: str) -> Operation:
        return Operation(
            id=OperationId(new_id()),
            kind=kind,
            state=OperationState.PENDING,
            resources=[ResourceRef(kind="instance", id=id)],
            created_at=WHEN,
        )


def run(main: Callable[[], Coroutine[Any, Any, None]], *, seconds: float = 45) -> None:
    """Run an async test, with an end."""

    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await main()

    asyncio.run(bounded())


async def until(is_so: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until ``is_so`` holds."""
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.01)

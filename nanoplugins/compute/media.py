"""Media in the CD drives of instances: inserted and ejected, while the guest runs where it allows that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanocore.capabilities.compute import EjectMedia, InsertMedia
from nanocore.capabilities.guest_changes import ChangeMedia
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import Call, Handler
from nanocore.contracts.operation import Operation, Step, StepContext, Workflow
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, InstanceId, NodeId
from nanocore.model.instance import InstanceAction, InstanceRecord, MediaRecord
from nanocore.wire import Struct, structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.cell_commands import CellCommands, node_of
from nanoplugins.compute.permits import check_devices_free, check_permitted, find_repeated
from nanoplugins.compute.records import change_instance
from nanoplugins.compute.sources import SourceImage, get_media_source

INSERT = "instance.insert_media"
EJECT = "instance.eject_media"


class MediaInput(Struct, frozen=True, kw_only=True):
    """What goes into which drive; ``before`` is what was in it, for the undo."""

    instance_id: InstanceId
    instance: str
    node_id: NodeId
    slot: int
    image: SourceImage | None = None
    """``None`` ejects."""
    before: ImageId | None = None
    is_new_drive: bool = False
    is_forced: bool = False


class Media:
    """Handlers of ``compute.insert_media`` and ``compute.eject_media``, and their workflows."""

    def __init__(self, context: PluginContext, board: Board) -> None:
        self._context = context
        self._board = board

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        return [
            Handler(InsertMedia, self._insert, resource=_resource),
            Handler(EjectMedia, self._eject, resource=_resource),
        ]

    def workflows(self) -> list[Workflow[Any]]:
        """Return the workflows of media."""
        return [MediaWorkflow(self._context, self._board, kind) for kind in (INSERT, EJECT)]

    async def _insert(self, message: InsertMedia, call: Call) -> Operation:
        repeated = find_repeated(self._context, INSERT, message, call)
        if repeated is not None:
            return repeated
        record = self._permitted(message.id)
        image = await get_media_source(self._context, message.media_image_id, "media_image_id")
        self._board.image_names[image.id] = image.name
        return await self._run(INSERT, record, message, image, call)

    async def _eject(self, message: EjectMedia, call: Call) -> Operation:
        repeated = find_repeated(self._context, EJECT, message, call)
        if repeated is not None:
            return repeated
        record = self._permitted(message.id)
        if _drive_of(record, message.slot) is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"instance {record.name} has no CD drive {message.slot}")
        return await self._run(EJECT, record, message, None, call)

    def _permitted(self, id: InstanceId) -> InstanceRecord:
        record, observed = check_permitted(self._context, self._board, InstanceAction.UPDATE, id)
        check_devices_free(record, observed)
        return record

    async def _run(
        self,
        kind: str,
        record: InstanceRecord,
        message: InsertMedia | EjectMedia,
        image: SourceImage | None,
        call: Call,
    ) -> Operation:
        drive = _drive_of(record, message.slot)
        input = MediaInput(
            instance_id=record.id,
            instance=record.name,
            node_id=node_of(record),
            slot=message.slot,
            image=image,
            before=None if drive is None else drive.media_image_id,
            is_new_drive=drive is None,
            is_forced=message.is_forced,
        )
        operation = await self._context.operations.run(
            kind, input, requested_by=call.actor, idempotency_key=message.idempotency_key
        )
        self._board.refresh_instance(record.id)
        return operation


class MediaWorkflow:
    """The cell first: what a guest's locked drive refuses never gets into the record."""

    input = MediaInput

    def __init__(self, context: PluginContext, board: Board, kind: str) -> None:
        self.kind = kind
        self._board = board
        self._cell = CellCommands(context, board.cells)

    def resources(self, input: MediaInput) -> list[ResourceRef]:
        """Return the instance."""
        return [ResourceRef(kind="instance", id=input.instance_id, name=input.instance)]

    def result(self, input: MediaInput, _outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is in which drive."""
        return {
            "instance_id": input.instance_id,
            "slot": input.slot,
            "media_image_id": None if input.image is None else input.image.id,
        }

    def steps(self, input: MediaInput) -> Sequence[Step]:
        """Return the steps in order."""
        wanted = None if input.image is None else input.image.id

        async def cache(step: StepContext) -> None:
            if input.image is not None:
                await self._cell.ensure_cached(input.node_id, input.image, step.key)

        async def change(step: StepContext) -> None:
            await self._change(input, wanted, step, is_forced=input.is_forced)

        async def change_back(step: StepContext) -> None:
            await self._change(input, input.before, step, is_forced=True)

        async def note(_step: StepContext) -> None:
            drive = MediaRecord(slot=input.slot, media_image_id=wanted)

            def edit(record: InstanceRecord) -> InstanceRecord:
                others = [each for each in record.media if each.slot != input.slot]
                return structs.replace(record, media=sorted([*others, drive], key=lambda each: each.slot))

            await change_instance(self._board.store, input.instance_id, edit)
            self._board.refresh_instance(input.instance_id)

        return [
            *([] if input.image is None else [Step("cache_image", cache, timeout_seconds=3600)]),
            Step("change", change, change_back, timeout_seconds=90),
            Step("record", note, is_final_commit=True),
        ]

    async def _change(self, input: MediaInput, image_id: ImageId | None, step: StepContext, *, is_forced: bool) -> None:
        if input.is_new_drive:
            return  # the guest gets the drive, with what is in it, at its next start
        message = ChangeMedia(
            step_key=step.key, id=input.instance_id, slot=input.slot, media_image_id=image_id, is_forced=is_forced
        )
        await self._cell.change_guest(input.node_id, message)


def _drive_of(record: InstanceRecord, slot: int) -> MediaRecord | None:
    return next((drive for drive in record.media if drive.slot == slot), None)


def _resource(message: InsertMedia | EjectMedia) -> ResourceRef:
    return ResourceRef(kind="instance", id=message.id)

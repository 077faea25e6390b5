"""The workflows ``image.build`` (from an instance) and ``image.import`` (from a URL): an image, or nothing at all.

Both note the image, bring its bytes to where an upload's would be, have them inspected as an upload's are, and only
then show it as ready. A step that died half-way is begun afresh: what it had brought is thrown away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from nanocore.capabilities.guest_changes import CancelCopy, CopiedVolume, GetCopy, StartCopy
from nanocore.capabilities.hypervisor import CopyState, GetGuest
from nanocore.capabilities.network import ListNetworks
from nanocore.capabilities.storage import CopyVolume, CreateVolume, DeleteVolume, ReadVolume, VolumeFile
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.operation import Step, StepContext
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.stream import Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.failpoints import fail_point
from nanocore.ids import InstanceId, NodeId, StoragePoolId, VolumeId
from nanocore.model.image import ImageState
from nanocore.model.instance import ObservedState
from nanocore.wire import Struct, decode_json, structs
from nanoplugins.images import addresses
from nanoplugins.images.config import ImagesConfig
from nanoplugins.images.folders import ImageFolders
from nanoplugins.images.growing_file import GrowingFile, write_error
from nanoplugins.images.intake import Intake
from nanoplugins.images.library import Announcement, ImageLibrary
from nanoplugins.images.records import WORDS
from nanoplugins.images.web_fetch import Fetch

T = TypeVar("T")

COPY_SECONDS = 4 * 3600.0
INSPECT_SECONDS = 2 * 3600.0
POLL_SECONDS = 0.5
BATCH_BYTES = 4 * 1024**2
ROOM_CHECK_BYTES = 64 * 1024**2
_CREATING = frozenset({ImageState.CREATING})
LIVE = frozenset({ObservedState.RUNNING})


class MakeInput(Struct, frozen=True, kw_only=True):
    """What both workflows need."""

    image: Announcement


class BuildInput(MakeInput, frozen=True, kw_only=True):
    """An instance's boot disk, and the volume beside it that becomes its copy."""

    instance_id: InstanceId
    instance: str
    node_id: NodeId
    volume_id: VolumeId
    copy_id: VolumeId
    size_bytes: int
    storage_pool_id: StoragePoolId | None = None


class ImportInput(MakeInput, frozen=True, kw_only=True):
    """Where the file is; the address may hold a signature and is shown nowhere as it is."""

    url: str


class Tools:
    """What the steps work with."""

    def __init__(
        self, context: PluginContext, config: ImagesConfig, folders: ImageFolders, library: ImageLibrary, intake: Intake
    ) -> None:
        self.context = context
        self.config = config
        self.folders = folders
        self.library = library
        self.intake = intake


class _Make:
    """The steps that both share."""

    def __init__(self, tools: Tools, input: MakeInput) -> None:
        self.tools = tools
        self.image = input.image

    async def announce(self, _step: StepContext) -> None:
        """Note the image."""
        if self.tools.library.find(self.image.id) is None:
            await self.tools.library.create(self.image)

    async def forget(self, _step: StepContext) -> None:
        """Leave neither record nor bytes."""
        if self.tools.library.find(self.image.id) is not None:
            await self.tools.intake.delete(self.image.id)
        else:
            await self.tools.intake.remove_files(self.image.id)

    async def inspect(self, _step: StepContext) -> dict[str, Any]:
        """Look at the bytes as at any upload's; a refusal ends the operation."""
        fields = await self.tools.intake.judge(self.image.id, _CREATING)
        if fields["state"] is ImageState.FAILED:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, str(fields["reason"]), reason="images.refused")
        fail_point("images/make/judged")
        return {name: value for name, value in fields.items() if name not in ("state", "source")} | {
            "source": structs.asdict(fields["source"])
        }

    async def finish(self, step: StepContext) -> None:
        """Show it as ready."""
        record = self.tools.library.find(self.image.id)
        if record is None or record.state is not ImageState.CREATING:
            return
        found = dict(step.outcomes["inspect"])
        copied = step.outcomes.get("copy") or {}
        source = structs.replace(
            record.source, is_consistent=copied.get("is_consistent"), **_known(found.pop("source"), "format", "sha256")
        )
        await self.tools.library.change(record.id, _CREATING, state=ImageState.READY, source=source, **found)

    def require_room(self, size_bytes: int) -> None:
        """Return if that many more bytes may come."""
        limit, free = self.tools.config.max_image_bytes, self.tools.library.free_bytes()
        if size_bytes > limit:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"the file has more than the {limit} bytes that an image may have ([images] max_image_bytes)",
                reason="images.too_large",
            )
        if size_bytes > free:
            raise NanoError(
                ErrorCode.NO_CAPACITY,
                f"the file has {size_bytes} bytes, {max(free, 0)} are free on the core; delete images or add space",
                reason="images.full",
            )


class _Build(_Make):
    """An instance's boot disk: copied on its cell, brought here, removed there."""

    def __init__(self, tools: Tools, input: BuildInput) -> None:
        super().__init__(tools, input)
        self._input = input

    async def copy(self, step: StepContext) -> dict[str, Any]:
        """Have a whole copy on the cell, of a moment at which the guest's file systems were at rest if possible."""
        await self.drop_copy(step)
        state = (await self._call(GetGuest(id=self._input.instance_id))).state
        if state is ObservedState.STOPPED:
            await self._call(
                CopyVolume(
                    step_key=step.key,
                    id=self._input.volume_id,
                    target_id=self._input.copy_id,
                    storage_pool_id=self._input.storage_pool_id,
                    instance_id=self._input.instance_id,
                )
            )
            return {"is_consistent": True}
        if state not in LIVE:
            raise _not_copyable(self._input.instance, state)
        return {"is_consistent": await self._copy_live(step)}

    async def _copy_live(self, step: StepContext) -> bool:
        target = CreateVolume(
            step_key=step.key,
            id=self._input.copy_id,
            size_bytes=self._input.size_bytes,
            storage_pool_id=self._input.storage_pool_id,
        )
        await self._call(target)
        pair = CopiedVolume(volume_id=self._input.volume_id, target_id=self._input.copy_id)
        told = await self._call(StartCopy(step_key=step.key, id=self._input.instance_id, volumes=[pair]))
        fail_point("images/build/copying")
        while (now := await self._call(GetCopy(id=self._input.instance_id))).state is CopyState.RUNNING:
            step.progress(now.copied_bytes, now.total_bytes, "bytes")
            await asyncio.sleep(POLL_SECONDS)
        if now.state is not CopyState.DONE:
            why = now.reason or "it was stopped or its copy was ended meanwhile"
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"the disk of instance {self._input.instance} was not copied: {why}; try again",
                reason="images.not_copied",
            )
        return bool(told.is_consistent)

    async def drop_copy(self, step: StepContext) -> None:
        """Leave nothing on the cell."""
        await self._call(CancelCopy(step_key=step.key, id=self._input.instance_id))
        await self._call(DeleteVolume(step_key=step.key, id=self._input.copy_id))

    async def fetch(self, step: StepContext) -> None:
        """Bring the copy's file here."""
        stream = await self.tools.context.open_stream(ReadVolume(id=self._input.copy_id), dst=self._input.node_id)
        try:
            await stream.end()
            first = await stream.receive()
            facts = decode_json(first or b"", VolumeFile)
            self.require_room(facts.size_bytes)
            await self.tools.library.change(self.image.id, _CREATING, size_bytes=facts.size_bytes)
            await self._receive(stream, facts, step)
        finally:
            await stream.close()

    async def _receive(self, stream: Stream, facts: VolumeFile, step: StepContext) -> None:
        file = await _in_thread(lambda: GrowingFile(self.tools.folders.upload(self.image.id), 0))
        try:
            batch: list[bytes] = []
            gathered = 0
            while (chunk := await stream.receive()) is not None:
                batch.append(chunk)
                gathered += len(chunk)
                if file.offset + gathered > facts.size_bytes:
                    raise NanoError(ErrorCode.INTERNAL, "the cell sent more bytes than it said the copy has")
                if gathered >= BATCH_BYTES:
                    full, batch, gathered = batch, [], 0
                    await _in_thread(lambda full=full: file.append(full))  # type: ignore[misc]
                    step.progress(file.offset, facts.size_bytes, "bytes")
            await _in_thread(lambda: file.append(batch))
            if file.offset != facts.size_bytes:
                raise NanoError(ErrorCode.UNAVAILABLE, "the copy did not come whole", reason="images.short_copy")
            await _in_thread(file.sync)
        finally:
            file.close()

    async def _call(self, message: Any) -> Any:  # noqa: ANN401  each message has its own result
        return await self.tools.context.call(message, dst=self._input.node_id)


class _Import(_Make):
    """A file that some web site offers."""

    def __init__(self, tools: Tools, input: ImportInput) -> None:
        super().__init__(tools, input)
        self._url = input.url

    async def fetch(self, step: StepContext) -> None:
        """Bring the file here; ending the step ends the thread that does it."""
        allowed = addresses.parse_networks(self.tools.config.import_allowed_networks)
        platform = await self._platform_networks()
        file = await _in_thread(lambda: GrowingFile(self.tools.folders.upload(self.image.id), 0))
        sizes: list[int | None] = []

        def on_size(size: int | None) -> None:
            self.require_room(size or 0)
            sizes.append(size)

        checked = 0

        def on_bytes(data: bytes) -> None:
            nonlocal checked
            if file.offset + len(data) - checked > ROOM_CHECK_BYTES or not checked:
                checked = file.offset + len(data)
                self.require_room(min(ROOM_CHECK_BYTES, self.tools.config.max_image_bytes))
            if file.offset + len(data) > self.tools.config.max_image_bytes:
                self.require_room(file.offset + len(data))
            file.append([data])

        fetch = Fetch(
            url=self._url,
            refuse=lambda address: addresses.refusal(address, allowed, platform),
            on_size=on_size,
            on_bytes=on_bytes,
            timeout_seconds=self.tools.config.import_timeout_seconds,
        )
        try:
            await _watched(fetch, lambda: step.progress(fetch.received, (sizes or [0])[0] or 0, "bytes"))
            await _in_thread(file.sync)
        finally:
            file.close()
        fail_point("images/import/fetched")
        await self.tools.library.change(self.image.id, _CREATING, size_bytes=file.offset)

    async def _platform_networks(self) -> list[addresses.Network]:
        """Return what the platform's own networks are, where it has any."""
        try:
            reply = await self.tools.context.call_reply(ListNetworks(limit=1000))
        except NanoError as error:
            if error.code is ErrorCode.UNIMPLEMENTED:
                return []
            raise
        shown = [decode_json(bytes(blob), _Network) for blob in reply.blobs]
        return addresses.parse_networks([text for one in shown for text in (one.cidr, one.ipv6_cidr) if text])


class _Network(Struct, frozen=True):
    cidr: str = ""
    ipv6_cidr: str = ""


class BuildWorkflow:
    """Note, copy, bring, tidy up, inspect, show."""

    kind = "image.build"
    input = BuildInput

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def resources(self, input: BuildInput) -> list[ResourceRef]:
        """Return the image, and the instance, which nothing else changes meanwhile."""
        return [_image(input), ResourceRef(kind="instance", id=input.instance_id, name=input.instance)]

    def result(self, input: BuildInput, outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the image's id."""
        return {"image_id": input.image.id, "is_consistent": outcomes["copy"]["is_consistent"]}

    def steps(self, input: BuildInput) -> Sequence[Step]:
        """Return the steps in order."""
        run = _Build(self._tools, input)
        return [
            Step("announce", run.announce, run.forget),
            Step("copy", run.copy, run.drop_copy, timeout_seconds=COPY_SECONDS),
            Step("fetch", run.fetch, timeout_seconds=COPY_SECONDS),
            Step("drop_copy", run.drop_copy),
            Step("inspect", run.inspect, timeout_seconds=INSPECT_SECONDS),
            Step("finish", run.finish, is_final_commit=True),
        ]


class ImportWorkflow:
    """Note, fetch, inspect, show."""

    kind = "image.import"
    input = ImportInput

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def resources(self, input: ImportInput) -> list[ResourceRef]:
        """Return the image."""
        return [_image(input)]

    def result(self, input: ImportInput, _outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the image's id."""
        return {"image_id": input.image.id}

    def steps(self, input: ImportInput) -> Sequence[Step]:
        """Return the steps in order."""
        run = _Import(self._tools, input)
        return [
            Step("announce", run.announce, run.forget),
            Step("fetch", run.fetch, timeout_seconds=self._tools.config.import_timeout_seconds + 60),
            Step("inspect", run.inspect, timeout_seconds=INSPECT_SECONDS),
            Step("finish", run.finish, is_final_commit=True),
        ]


def check_copyable(instance: str, state: ObservedState) -> None:
    """Return if an image can be built from an instance in ``state``."""
    if state is not ObservedState.STOPPED and state not in LIVE:
        raise _not_copyable(instance, state)


async def _watched(fetch: Fetch, on_progress: Callable[[], None]) -> None:
    work = asyncio.ensure_future(asyncio.to_thread(fetch.run))
    try:
        while not work.done():
            await asyncio.wait({work}, timeout=POLL_SECONDS)
            on_progress()
        await work
    except OSError as error:
        raise write_error(error) from error
    finally:
        fetch.stop()
        with suppress(Exception):
            await asyncio.shield(work)


def _not_copyable(instance: str, state: ObservedState) -> NanoError:
    return NanoError(
        ErrorCode.WRONG_STATE,
        f"instance {instance} is {state.value}; an image is built from one that runs or is stopped",
        reason="images.not_copyable",
    )


def _image(input: MakeInput) -> ResourceRef:
    kind = WORDS[input.image.kind].replace(" ", "_")
    return ResourceRef(kind=kind, id=input.image.id, name=input.image.texts.name or "")


def _known(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: fields[name] for name in names if fields.get(name) is not None}


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise write_error(error) from error

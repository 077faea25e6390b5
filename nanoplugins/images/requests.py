"""What users ask for when they make an image: an upload's announcement, or an operation; checked before anything."""

from __future__ import annotations

from collections.abc import Sequence

from nanocore.capabilities.compute import GetInstance
from nanocore.capabilities.images import CreateDiskImage, CreateMediaImage
from nanocore.contracts.handler import Call
from nanocore.contracts.operation import Operation
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, InstanceId, NodeId, StoragePoolId, VolumeId, new_id
from nanocore.model.image import DiskImage, ImageKind, ImageSource, ImageSourceKind, ImageState, MediaImage
from nanocore.model.instance import ObservedState
from nanocore.wire import Struct, decode_json, field
from nanoplugins.images.library import Announcement, Texts, check_texts
from nanoplugins.images.making import BuildInput, ImportInput, Tools, check_copyable
from nanoplugins.images.web_fetch import check_url, shown

Create = CreateDiskImage | CreateMediaImage


class _Disk(Struct, frozen=True):
    id: VolumeId
    size_bytes: int
    is_boot: bool = False
    storage_pool_id: StoragePoolId | None = None


class _State(Struct, frozen=True):
    observed: ObservedState


class _Instance(Struct, frozen=True):
    id: InstanceId
    name: str
    state: _State
    node_id: NodeId | None = None
    disks: Sequence[_Disk] = field(default_factory=list)


class Requests:
    """Turns a request into an announcement or an operation."""

    def __init__(self, tools: Tools) -> None:
        self._context = tools.context
        self._library = tools.library

    async def announce_upload(self, kind: ImageKind, message: Create, call: Call) -> DiskImage | MediaImage:
        """Note an image whose bytes are going to be uploaded."""
        wanted = _announcement(kind, message, call, ImageSource())
        record = await self._library.create(wanted)
        return self._library.get(kind, record.id)

    async def begin(self, kind: ImageKind, message: Create, call: Call) -> Operation | None:
        """Begin the operation that ``message`` asks for; ``None`` if it announces an upload."""
        instance_id = message.from_instance_id if isinstance(message, CreateDiskImage) else None
        given = [value for value in (message.size_bytes, instance_id, message.import_url) if value is not None]
        if len(given) != 1:
            ways = "size_bytes, from_instance_id and" if kind is ImageKind.DISK else "size_bytes and"
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"say by exactly one of {ways} import_url where it comes from",
                field="size_bytes",
            )
        if message.import_url is not None:
            return await self._begin_import(kind, message, message.import_url, call)
        if instance_id is not None:
            return await self._begin_build(message, instance_id, call)
        return None

    async def _begin_import(self, kind: ImageKind, message: Create, url: str, call: Call) -> Operation:
        check_url(url)
        source = ImageSource(kind=ImageSourceKind.URL, url=shown(url))
        image = _announcement(kind, message, call, source, state=ImageState.CREATING)
        return await self._run("image.import", ImportInput(image=image, url=url), message, call)

    async def _begin_build(self, message: Create, instance_id: InstanceId, call: Call) -> Operation:
        if message.sha256 is not None:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                "nobody knows the digest of an image that is built; leave sha256 out",
                field="sha256",
            )
        reply = await self._context.call_reply(GetInstance(id=instance_id), credential=call.credential or None)
        instance = decode_json(bytes(reply.blobs[0]), _Instance)
        check_copyable(instance.name, instance.state.observed)
        disk = next((disk for disk in instance.disks if disk.is_boot), None)
        if disk is None or instance.node_id is None:
            raise NanoError(ErrorCode.WRONG_STATE, f"instance {instance.name} has no boot disk to copy")
        source = ImageSource(kind=ImageSourceKind.INSTANCE, instance_id=instance.id, instance=instance.name)
        wanted = BuildInput(
            image=_announcement(ImageKind.DISK, message, call, source, state=ImageState.CREATING),
            instance_id=instance.id,
            instance=instance.name,
            node_id=instance.node_id,
            volume_id=disk.id,
            copy_id=VolumeId(new_id()),
            size_bytes=disk.size_bytes,
            storage_pool_id=disk.storage_pool_id,
        )
        return await self._run("image.build", wanted, message, call)

    async def _run(self, kind: str, input: BuildInput | ImportInput, message: Create, call: Call) -> Operation:
        check_texts(input.image.texts)
        return await self._context.operations.run(
            kind, input, requested_by=call.actor, idempotency_key=message.idempotency_key
        )


def _announcement(
    kind: ImageKind, message: Create, call: Call, source: ImageSource, state: ImageState = ImageState.UPLOADING
) -> Announcement:
    return Announcement(
        id=ImageId(new_id()),
        kind=kind,
        state=state,
        texts=Texts(name=message.name, description=message.description, tags=message.tags),
        size_bytes=message.size_bytes or 0,
        sha256=message.sha256,
        source=source,
        owner="" if call.actor is None else call.actor.username,
    )

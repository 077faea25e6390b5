"""From what a user asks for to a whole instance record: every check before anything is changed."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass
from typing import TypeVar

from nanocore.capabilities.compute import InstanceValues, NewCloudInit, NewDisk, NewNic
from nanocore.capabilities.guest import FindUserData
from nanocore.capabilities.network import GetNetwork
from nanocore.capabilities.network_api import GetSecurityPolicy
from nanocore.contracts.handler import Call
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import (
    ComputePoolId,
    ImageId,
    InstanceId,
    NetworkId,
    NodeId,
    SecurityPolicyId,
    StoragePoolId,
    VolumeId,
    new_id,
    parse_id,
)
from nanocore.model.instance import (
    GIB,
    MIB,
    CloudInit,
    DesiredState,
    DiskRecord,
    Firmware,
    InstanceRecord,
    MediaRecord,
    NicRecord,
    Qos,
)
from nanocore.model.password import hash_password
from nanocore.model.volume import VolumeRecord, VolumeState
from nanocore.wire import Struct, structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.field_errors import FieldErrors
from nanoplugins.compute.records import COMPUTE_POOL_NAMES
from nanoplugins.compute.sources import SourceImage, get_disk_source, get_media_source
from nanoplugins.compute.storage.records import VOLUMES, choose_pool, disk_of, get_volume
from nanoplugins.compute.template_records import TemplateRecord

SECTOR_BYTES = 512
MULTICAST_BIT = 0x01
T = TypeVar("T")


class Composed(Struct, frozen=True, kw_only=True):
    """A record that was checked, and what its making needs beside it."""

    record: InstanceRecord
    images: list[SourceImage]
    """Every image that has to be on the cell: the boot disk's and the media."""
    volumes: list[VolumeRecord]
    """Free volumes that become its disks."""
    node_id: NodeId | None
    """The cell that was asked for, or where its volumes lie."""


@dataclass
class _Parts:
    image: SourceImage | None
    media: list[SourceImage | None]
    data: list[DiskRecord]
    nics: list[NicRecord]
    cloud_init: CloudInit | None
    volumes: list[VolumeRecord]
    storage_pool_id: StoragePoolId | None


class Composer:
    """Checks everything that can be checked before a cell is chosen."""

    def __init__(self, context: PluginContext, board: Board) -> None:
        self._context = context
        self._board = board

    async def compose(
        self,
        name: str,
        values: InstanceValues,
        call: Call,
        *,
        template: TemplateRecord | None = None,
        prefix: str = "",
    ) -> Composed:
        """Return the whole record; raise ``invalid_argument`` with every wrong field, after ``prefix``, at once."""
        errors = FieldErrors(prefix)
        said = values.cloud_init
        if template is not None:
            values = merge_values(values, template.values)
        pool_id = values.compute_pool_id or self._default_pool()
        parts = await self._parts(structs.replace(values, compute_pool_id=pool_id), errors)
        values = structs.replace(values, storage_pool_id=parts.storage_pool_id)
        boot = _boot_disk(values, parts.image, errors)
        errors.check()
        cloud_init = parts.cloud_init
        if template is not None and said is None and cloud_init is not None:
            cloud_init = structs.replace(cloud_init, password_hash=template.password_hash)
        record = InstanceRecord(
            id=InstanceId(new_id()),
            name=name,
            description=_or(values.description, ""),
            desired=DesiredState.STOPPED if values.is_started is False else DesiredState.RUNNING,
            compute_pool_id=pool_id,
            vcpus=_or(values.vcpus, 1),
            memory_bytes=_or(values.memory_bytes, 1 * GIB),
            disks=[boot, *parts.data],
            nics=parts.nics,
            image_id=None if parts.image is None else parts.image.id,
            template_id=None if template is None else template.id,
            media=_drives(parts.media),
            firmware=_or(values.firmware, Firmware.BIOS),
            has_tpm=bool(values.has_tpm),
            qos=_or(values.qos, Qos()),
            cloud_init=cloud_init,
            tags=_or(values.tags, []),
            autostart=bool(values.autostart),
            protected=bool(values.protected),
            owner="" if call.actor is None else call.actor.username,
            created_at=self._context.clock.now(),
        )
        return Composed(
            record=record,
            images=[found for found in (parts.image, *parts.media) if found is not None],
            volumes=parts.volumes,
            node_id=parts.volumes[0].node_id if parts.volumes else values.node_id,
        )

    async def check_reusable(self, values: InstanceValues, prefix: str) -> None:
        """Raise ``invalid_argument`` unless ``values`` can be those of many instances; what is left out comes later."""
        errors = FieldErrors(prefix)
        await self._parts(values, errors)
        self.check_unique(values, errors)
        errors.check()

    def check_unique(self, values: InstanceValues, errors: FieldErrors) -> None:
        """Note what only one instance can have."""
        for index, disk in enumerate(values.disks or []):
            if disk.volume_id is not None:
                errors.add(f"disks[{index}].volume_id", "a volume can be a disk of one instance only")
        for index, nic in enumerate(values.nics or []):
            if nic.mac is not None:
                errors.add(f"nics[{index}].mac", "a MAC address can be that of one network card only")
            if nic.address is not None:
                errors.add(f"nics[{index}].address", "an address can be that of one network card only")

    async def _parts(self, values: InstanceValues, errors: FieldErrors) -> _Parts:
        memory_bytes = _or(values.memory_bytes, 1 * GIB)
        if memory_bytes % MIB:
            errors.add("memory_bytes", f"must be a multiple of {MIB} (1 MiB), got {memory_bytes}")
        image = await self._image(values.image_id, errors)
        media = [
            await errors.catch(get_media_source(self._context, id, f"media_image_ids[{index}]"))
            for index, id in enumerate(values.media_image_ids or [])
        ]
        storage_pool_id = self._storage_pool(values.storage_pool_id, values.compute_pool_id, "storage_pool_id", errors)
        values = structs.replace(values, storage_pool_id=storage_pool_id)
        data = [
            self._data_disk(values, disk, f"disks[{index}]", errors) for index, disk in enumerate(values.disks or [])
        ]
        nics = await self._nics(values, errors)
        cloud_init = compose_cloud_init(values.cloud_init, errors)
        volumes = self._volumes(values, errors)
        await self.check_user_data(cloud_init, errors)
        return _Parts(image, media, data, nics, cloud_init, volumes, storage_pool_id)

    async def _image(self, id: ImageId | None, errors: FieldErrors) -> SourceImage | None:
        if id is None:
            return None
        return await errors.catch(get_disk_source(self._context, id, "image_id"))

    def _data_disk(self, values: InstanceValues, disk: NewDisk, field: str, errors: FieldErrors) -> DiskRecord:
        if disk.volume_id is not None:
            return self._free_volume(disk, field, errors)
        if disk.size_bytes is None:
            errors.add(f"{field}.size_bytes", "say how large the disk is to be, or which volume_id to attach")
        if disk.storage_pool_id is not None:
            self._storage_pool(disk.storage_pool_id, values.compute_pool_id, f"{field}.storage_pool_id", errors)
        return DiskRecord(
            volume_id=VolumeId(new_id()),
            name=disk.name,
            size_bytes=whole_sectors(disk.size_bytes or 0),
            storage_pool_id=disk.storage_pool_id or values.storage_pool_id,
            is_kept=disk.is_kept,
        )

    def _free_volume(self, disk: NewDisk, field: str, errors: FieldErrors) -> DiskRecord:
        if disk.size_bytes is not None or disk.storage_pool_id is not None:
            errors.add(f"{field}.volume_id", "a volume that exists has its size and storage pool: give volume_id alone")
        volume = None
        try:
            volume = get_volume(self._board.store, disk.volume_id or VolumeId("")).value
        except NanoError as error:
            errors.add(f"{field}.volume_id", error.message)
        if volume is None:
            return DiskRecord(volume_id=VolumeId(""), size_bytes=0)
        if volume.state is not VolumeState.READY:
            errors.add(f"{field}.volume_id", f"volume {volume.name} is {volume.state.value}; wait until it is ready")
        return disk_of(volume, name=disk.name or volume.name, is_kept=disk.is_kept)

    def _volumes(self, values: InstanceValues, errors: FieldErrors) -> list[VolumeRecord]:
        """Return the volumes to attach; all of them have to lie on one cell, the one that was asked for."""
        found: list[VolumeRecord] = []
        for index, disk in enumerate(values.disks or []):
            entry = None if disk.volume_id is None else self._board.store.get(VOLUMES, disk.volume_id)
            if entry is None:
                continue
            field = f"disks[{index}].volume_id"
            if entry.key in {volume.id for volume in found}:
                errors.add(field, f"volume {entry.value.name} is given more than once")
            elif found and found[0].node_id != entry.value.node_id:
                errors.add(field, f"volumes {found[0].name} and {entry.value.name} lie on different nodes")
            elif values.node_id not in (None, entry.value.node_id):
                errors.add(field, f"volume {entry.value.name} lies on another node than the one asked for")
            found.append(entry.value)
        return found

    def _storage_pool(
        self, id: StoragePoolId | None, compute_pool_id: ComputePoolId | None, field: str, errors: FieldErrors
    ) -> StoragePoolId | None:
        try:
            return choose_pool(self._board.store, id, compute_pool_id)
        except NanoError as error:
            errors.add(field, error.message)
            return id

    async def _nics(self, values: InstanceValues, errors: FieldErrors) -> list[NicRecord]:
        if values.nics is not None and values.network_id is not None:
            errors.add("network_id", "give either network_id or nics, not both")
        wanted = values.nics if values.nics is not None else [NewNic(network_id=values.network_id)]
        is_short = values.nics is None
        made = []
        for index, nic in enumerate(wanted):
            field = "" if is_short else f"nics[{index}]."
            made.append(await self.nic(nic, field, errors))
        given = [nic.mac for nic in wanted if nic.mac is not None]
        for index, nic in enumerate(wanted):
            if nic.mac is not None and given.count(nic.mac) > 1:
                errors.add(f"nics[{index}].mac", f"{nic.mac} is given more than once")
        return made

    async def nic(self, nic: NewNic, field: str, errors: FieldErrors) -> NicRecord:
        """Return a network card that was checked; ``field`` is the path before its fields' names."""
        if nic.network_id is not None:
            try:
                await self._context.call(GetNetwork(id=NetworkId(parse_id(nic.network_id, field="network_id"))))
            except NanoError as error:
                if error.code not in (ErrorCode.NOT_FOUND, ErrorCode.INVALID_ARGUMENT):
                    raise
                is_missing = error.code is ErrorCode.NOT_FOUND
                text = f"there is no network with id {nic.network_id[:80]}" if is_missing else error.message
                errors.add(f"{field}network_id", text)
        if nic.mac is not None:
            self._check_mac(nic.mac, f"{field}mac", errors)
        if nic.address is not None and not _is_ipv4(nic.address):
            errors.add(f"{field}address", f"must be an IPv4 address of the network, got {nic.address[:45]!r}")
        await self.check_policy(nic.security_policy_id, f"{field}security_policy_id", errors)
        return NicRecord(
            id=new_id(),
            mac=nic.mac or self.new_mac(),
            network_id=NetworkId(nic.network_id or ""),
            addresses=[] if nic.address is None else [nic.address],
            security_policy_id=nic.security_policy_id,
        )

    async def check_policy(self, id: SecurityPolicyId | None, field: str, errors: FieldErrors) -> None:
        """Note an unknown security policy."""
        if id is None:
            return
        try:
            await self._context.call(GetSecurityPolicy(id=id))
        except NanoError as error:
            if error.code is not ErrorCode.NOT_FOUND:
                raise
            errors.add(field, f"there is no security policy with id {id[:80]}")

    def new_mac(self) -> str:
        """Return a random address in the range that QEMU's guests use, which no instance has."""
        while True:
            mac = "52:54:00:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
            if mac not in self._board.macs:
                return mac

    def _check_mac(self, mac: str, field: str, errors: FieldErrors) -> None:
        if int(mac[:2], 16) & MULTICAST_BIT or mac == "00:00:00:00:00:00":
            errors.add(field, f"{mac} is no address of a single card: its first byte must be even, and not all be zero")
        elif mac in self._board.macs:
            errors.add(field, f"{mac} belongs to another instance's network card; leave it out to get a new one")

    def _default_pool(self) -> ComputePoolId:
        entry = self._board.store.get(COMPUTE_POOL_NAMES, "default")
        if entry is None:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                "there is no compute pool named default; say which compute_pool_id to use",
                field="compute_pool_id",
            )
        return ComputePoolId(entry.value.id)

    async def check_user_data(self, cloud_init: CloudInit | None, errors: FieldErrors) -> None:
        """Ask what knows cloud-init; a cell could only tell later that the guest never became ready."""
        if cloud_init is None or not cloud_init.user_data:
            return
        try:
            await self._context.call(FindUserData(user_data=cloud_init.user_data))
        except NanoError as error:
            if error.code is not ErrorCode.INVALID_ARGUMENT:
                raise
            errors.add("cloud_init.user_data", error.message)


def whole_sectors(size_bytes: int) -> int:
    """Return the size rounded up to whole sectors: QEMU has no others."""
    return -(-size_bytes // SECTOR_BYTES) * SECTOR_BYTES


def compose_cloud_init(values: NewCloudInit | None, errors: FieldErrors) -> CloudInit | None:
    """Return what is kept of first-boot settings: of a password its hash only."""
    if values is None:
        return None
    for index, key in enumerate(values.ssh_keys):
        if not _is_public_key(key):
            errors.add(
                f"cloud_init.ssh_keys[{index}]",
                "must be one public key as in authorized_keys, such as `ssh-ed25519 AAAA… you@home`",
            )
    return CloudInit(
        hostname=values.hostname,
        username=values.username,
        ssh_keys=[key.strip() for key in values.ssh_keys],
        password_hash=None if values.password is None else hash_password(values.password),
        user_data=values.user_data,
    )


def _boot_disk(values: InstanceValues, image: SourceImage | None, errors: FieldErrors) -> DiskRecord:
    size = values.disk_size_bytes
    if image is None and values.image_id is None and size is None:
        errors.add("disk_size_bytes", "say how large the blank boot disk is to be, or which image_id to clone it from")
    if image is not None and size is not None and size < image.virtual_size_bytes:
        errors.add("disk_size_bytes", f"must be at least the image's {image.virtual_size_bytes} bytes")
    return DiskRecord(
        volume_id=VolumeId(new_id()),
        size_bytes=whole_sectors(size or (0 if image is None else image.virtual_size_bytes)),
        storage_pool_id=values.storage_pool_id,
        is_boot=True,
        image_id=None if image is None else image.id,
    )


def _drives(media: list[SourceImage | None]) -> list[MediaRecord]:
    """Return the CD drives; an empty one at least, as drives can't be added to a running guest."""
    return [
        MediaRecord(slot=slot, media_image_id=None if found is None else found.id)
        for slot, found in enumerate(media or [None])
    ]


def _is_public_key(text: str) -> bool:
    words = text.strip().split()
    has_kind = any(word.startswith(("ssh-", "ecdsa-", "sk-")) for word in words)
    return has_kind and "\n" not in text.strip() and "PRIVATE KEY" not in text


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def merge_values(values: InstanceValues, template: InstanceValues) -> InstanceValues:
    """Return ``values`` with what they do not say taken from ``template``."""
    said = {name for name in InstanceValues.__struct_fields__ if getattr(values, name) is not None}
    # One way to say where the network cards go replaces the other.
    if said & {"network_id", "nics"}:
        said |= {"network_id", "nics"}
    taken = {name: getattr(values if name in said else template, name) for name in InstanceValues.__struct_fields__}
    return InstanceValues(**taken)


def values_of(message: Struct) -> InstanceValues:
    """Return the values alone, without the name and the rest of a request."""
    return InstanceValues(**{name: getattr(message, name) for name in InstanceValues.__struct_fields__})

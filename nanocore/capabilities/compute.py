"""Instances, compute pools and nodes: what users ask of the core."""

from __future__ import annotations

from typing import Annotated, ClassVar

from nanocore.capabilities.hypervisor import CellReport, ConsoleKind
from nanocore.capabilities.placement import Decision
from nanocore.contracts.health import PluginHealth
from nanocore.contracts.listing import ListQuery, PageInfo
from nanocore.contracts.operation import Operation
from nanocore.ids import (
    LABEL_PATTERN,
    AddressPoolId,
    ComputePoolId,
    ImageId,
    InstanceId,
    NetworkId,
    NodeId,
    SecurityPolicyId,
    StoragePoolId,
    TemplateId,
    VolumeId,
)
from nanocore.model.compute_pool import ComputePool, Usage
from nanocore.model.instance import DiskBytes, Firmware, InstanceName, MemoryBytes, Qos, Vcpus
from nanocore.model.node import Node
from nanocore.wire import Command, Event, Meta, Query, Result, Struct, field

MAX_DATA_DISKS = 15
MAX_NICS = 8
MAX_MEDIA = 4
"""What QEMU's machine types surely have the slots for."""

Description = Annotated[str, Meta(description="Free text", max_length=2000)]
Tags = Annotated[
    list[Annotated[str, Meta(max_length=100, pattern=LABEL_PATTERN)]], Meta(description="Labels", max_length=50)
]


Overcommit = Annotated[
    float, Meta(description="How often each core or byte may be promised; 0: as `[placement]` says", ge=0, le=100)
]
StoragePoolIds = Annotated[
    list[StoragePoolId], Meta(description="Storage pools that its instances may use; none: every one", max_length=100)
]
AddressPoolIds = Annotated[
    list[AddressPoolId],
    Meta(description="Address pools that its instances get addresses from; none: every one", max_length=100),
]


class ListInstances(ListQuery, Query[PageInfo], frozen=True, kw_only=True):
    """A page of instances."""

    op: ClassVar[str] = "compute.list_instances"
    permission: ClassVar[str | None] = "instance.read"


class GetInstance(Query[PageInfo], frozen=True, kw_only=True):
    """One instance, as a page of one."""

    op: ClassVar[str] = "compute.get_instance"
    permission: ClassVar[str | None] = "instance.read"

    id: InstanceId


class NewDisk(Struct, frozen=True, kw_only=True):
    """A disk beside the boot disk: a new one of ``size_bytes``, or the free volume ``volume_id``."""

    size_bytes: Annotated[DiskBytes | None, Meta(description="Size of a new, empty disk in bytes")] = None
    name: Annotated[str, Meta(description="What it is for, in words", max_length=100)] = ""
    is_kept: Annotated[bool, Meta(description="Keep it as a volume of its own when the instance is deleted")] = False
    volume_id: Annotated[VolumeId | None, Meta(description="A free volume to attach instead of a new disk")] = None
    storage_pool_id: Annotated[StoragePoolId | None, Meta(description="Storage pool of a new disk")] = None


class NewNic(Struct, frozen=True, kw_only=True):
    """A network card; what is not said is chosen."""

    network_id: Annotated[NetworkId | None, Meta(description="Network; default: the default network")] = None
    address: Annotated[
        Annotated[str, Meta(max_length=45)] | None, Meta(description="Address to have; default: a free one")
    ] = None
    mac: Annotated[
        Annotated[str, Meta(pattern="^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")] | None,
        Meta(description="MAC address, such as 52:54:00:12:34:56; default: a new one"),
    ] = None
    security_policy_id: Annotated[
        SecurityPolicyId | None, Meta(description="Security policy; default: everything is allowed")
    ] = None


class NewCloudInit(Struct, frozen=True, kw_only=True):
    """What cloud-init in the guest is told at its first boot."""

    hostname: Annotated[InstanceName | None, Meta(description="Host name; default: the instance's name")] = None
    username: Annotated[
        Annotated[str, Meta(pattern="^[a-z_][a-z0-9_-]{0,31}$")] | None,
        Meta(description="User to make, who may become root; default: the image's own"),
    ] = None
    ssh_keys: Annotated[
        list[Annotated[str, Meta(max_length=8192)]],
        Meta(description="Public keys that may log in, as in authorized_keys", max_length=50),
    ] = field(default_factory=list)
    password: Annotated[
        Annotated[str, Meta(min_length=1, max_length=256)] | None,
        Meta(description="Password of the user; kept as its hash only, and never shown again"),
    ] = None
    user_data: Annotated[
        Annotated[str, Meta(max_length=65536)] | None,
        Meta(description="More user-data: #cloud-config, a script or any other part that cloud-init takes"),
    ] = None


class InstanceValues(Struct, frozen=True, kw_only=True):
    """Everything but the name that a new instance can be told; what is not said is the template's, or chosen."""

    image_id: Annotated[
        ImageId | None, Meta(description="Disk image to clone the boot disk from; default: a blank boot disk")
    ] = None
    vcpus: Annotated[Vcpus | None, Meta(description="Virtual processors; default: 1")] = None
    memory_bytes: Annotated[
        MemoryBytes | None, Meta(description="Memory in bytes, a multiple of 1 MiB; default: 1 GiB")
    ] = None
    disk_size_bytes: Annotated[
        DiskBytes | None,
        Meta(description="Size of the boot disk; default and least: the image's virtual size; needed without image"),
    ] = None
    disks: Annotated[
        Annotated[list[NewDisk], Meta(max_length=MAX_DATA_DISKS)] | None, Meta(description="Disks beside the boot disk")
    ] = None
    network_id: Annotated[
        NetworkId | None, Meta(description="Network of the only network card; default: the default network")
    ] = None
    nics: Annotated[
        Annotated[list[NewNic], Meta(max_length=MAX_NICS)] | None,
        Meta(description="Network cards, instead of `network_id`; an empty list for none"),
    ] = None
    media_image_ids: Annotated[
        Annotated[list[ImageId], Meta(max_length=MAX_MEDIA)] | None,
        Meta(description="Media images to insert; with a blank boot disk it boots from them"),
    ] = None
    firmware: Annotated[Firmware | None, Meta(description="What it boots with; default: bios")] = None
    has_tpm: Annotated[bool | None, Meta(description="Give it a TPM 2.0; default: false")] = None
    qos: Annotated[Qos | None, Meta(description="Limits")] = None
    cloud_init: Annotated[NewCloudInit | None, Meta(description="What the first boot is told")] = None
    compute_pool_id: Annotated[ComputePoolId | None, Meta(description="Compute pool; default: the pool `default`")] = (
        None
    )
    node_id: Annotated[NodeId | None, Meta(description="Cell to run on; default: placement chooses")] = None
    storage_pool_id: Annotated[
        StoragePoolId | None, Meta(description="Storage pool of all new disks that do not say one")
    ] = None
    description: Description | None = None
    tags: Tags | None = None
    autostart: Annotated[bool | None, Meta(description="Start again whenever its cell starts; default: false")] = None
    protected: Annotated[bool | None, Meta(description="Refuse to delete it while set; default: false")] = None
    is_started: Annotated[bool | None, Meta(description="Start it once it is made; default: true")] = None


class CreateInstance(InstanceValues, Command[Operation], frozen=True, kw_only=True):
    """Make an instance, blank or cloned from a disk image, place it, and start it unless told not to."""

    op: ClassVar[str] = "compute.create_instance"
    permission: ClassVar[str | None] = "instance.create"

    name: InstanceName
    template_id: Annotated[
        TemplateId | None, Meta(description="Template to take from what this request does not say")
    ] = None
    idempotency_key: Annotated[str | None, Meta(description="Set from the Idempotency-Key header")] = None


class UpdateInstance(Command[PageInfo], frozen=True, kw_only=True):
    """Change what is given, at once where the guest allows it; the rest is in ``changes_at_next_start``.

    The answer is the instance as a page of one.
    """

    op: ClassVar[str] = "compute.update_instance"
    permission: ClassVar[str | None] = "instance.update"
    timeout_seconds: ClassVar[float] = 30

    id: InstanceId
    name: InstanceName | None = None
    description: Description | None = None
    vcpus: Vcpus | None = None
    memory_bytes: MemoryBytes | None = None
    tags: Tags | None = None
    autostart: bool | None = None
    protected: bool | None = None
    qos: Annotated[Qos | None, Meta(description="All limits: what is left out has none from now on")] = None
    firmware: Annotated[Firmware | None, Meta(description="What it boots with from its next start on")] = None
    cloud_init: Annotated[
        NewCloudInit | None, Meta(description="What the next first boot is told, which comes after a rebuild")
    ] = None
    expect_revision: Annotated[int | None, Meta(description="Set from the If-Match header")] = None


class DeleteInstance(Command[Operation], frozen=True, kw_only=True):
    """Cut its power, delete it with its disks, free its addresses."""

    op: ClassVar[str] = "compute.delete_instance"
    permission: ClassVar[str | None] = "instance.delete"

    id: InstanceId
    idempotency_key: str | None = None


class ActOnInstance(Command[Operation], frozen=True, kw_only=True):
    """A power action; ``stop`` asks the guest and forces it after ``grace_seconds``."""

    op: ClassVar[str] = "compute.act_on_instance"
    permission: ClassVar[str | None] = "instance.power"

    id: InstanceId
    action: Annotated[str, Meta(description="start, stop, power_off, reboot, reset, pause or resume")]
    grace_seconds: Annotated[float, Meta(description="For stop: how long the guest may take", ge=0, le=3600)] = 60
    idempotency_key: str | None = None


IdempotencyKey = Annotated[str | None, Meta(description="Set from the Idempotency-Key header")]
MediaSlot = Annotated[int, Meta(description="Number of the CD drive, from 0", ge=0, lt=MAX_MEDIA)]
IsForced = Annotated[bool, Meta(description="Also when the guest has locked the drive")]


class AddNic(NewNic, Command[Operation], frozen=True, kw_only=True):
    """Give an instance, running or not, another network card."""

    op: ClassVar[str] = "compute.add_nic"
    permission: ClassVar[str | None] = "instance.update"

    id: Annotated[InstanceId, Meta(description="Instance")]
    idempotency_key: IdempotencyKey = None


class UpdateNic(Command[Operation], frozen=True, kw_only=True):
    """Change a network card's security policy; it counts at once."""

    op: ClassVar[str] = "compute.update_nic"
    permission: ClassVar[str | None] = "instance.update"

    id: Annotated[InstanceId, Meta(description="Instance")]
    nic_id: Annotated[str, Meta(description="Network card", max_length=36)]
    security_policy_id: Annotated[SecurityPolicyId | None, Meta(description="Security policy; null for none")]
    idempotency_key: IdempotencyKey = None


class RemoveNic(Command[Operation], frozen=True, kw_only=True):
    """Take a network card from an instance, running or not, and free its addresses."""

    op: ClassVar[str] = "compute.remove_nic"
    permission: ClassVar[str | None] = "instance.update"

    id: Annotated[InstanceId, Meta(description="Instance")]
    nic_id: Annotated[str, Meta(description="Network card", max_length=36)]
    idempotency_key: IdempotencyKey = None


class InsertMedia(Command[Operation], frozen=True, kw_only=True):
    """Insert a media image into a CD drive, instead of what is in it. A drive that is new comes at the next start."""

    op: ClassVar[str] = "compute.insert_media"
    permission: ClassVar[str | None] = "instance.update"

    id: Annotated[InstanceId, Meta(description="Instance")]
    slot: MediaSlot
    media_image_id: Annotated[ImageId, Meta(description="Media image")]
    is_forced: IsForced = False
    idempotency_key: IdempotencyKey = None


class EjectMedia(Command[Operation], frozen=True, kw_only=True):
    """Empty a CD drive; the drive stays."""

    op: ClassVar[str] = "compute.eject_media"
    permission: ClassVar[str | None] = "instance.update"

    id: Annotated[InstanceId, Meta(description="Instance")]
    slot: MediaSlot
    is_forced: IsForced = False
    idempotency_key: IdempotencyKey = None


class RebuildInstance(Command[Operation], frozen=True, kw_only=True):
    """Give a stopped instance a fresh boot disk from an image; its other disks, addresses and settings stay.

    The old boot disk is removed once the new one is in use; if anything fails, the instance is as before.
    """

    op: ClassVar[str] = "compute.rebuild_instance"
    permission: ClassVar[str | None] = "instance.update"

    id: Annotated[InstanceId, Meta(description="Instance")]
    image_id: Annotated[ImageId | None, Meta(description="Disk image; default: the one it was made from")] = None
    is_started: Annotated[bool, Meta(description="Start it afterwards")] = True
    idempotency_key: IdempotencyKey = None


class CloneInstance(Command[Operation], frozen=True, kw_only=True):
    """Make another instance with copies of all disks, and new ids, MACs and addresses; the original may run."""

    op: ClassVar[str] = "compute.clone_instance"
    permission: ClassVar[str | None] = "instance.create"

    id: Annotated[InstanceId, Meta(description="Instance to copy")]
    name: InstanceName
    is_started: Annotated[bool, Meta(description="Start the copy once it is made")] = True
    node_id: Annotated[
        NodeId | None, Meta(description="Cell of the copy; only the original's, where its disks are")
    ] = None
    idempotency_key: IdempotencyKey = None


class AttachConsole(Command[None], frozen=True, kw_only=True):
    """Frontend to core, as a stream: connects it to the instance's screen or serial port, wherever it runs."""

    op: ClassVar[str] = "compute.attach_console"
    permission: ClassVar[str | None] = "instance.console"

    id: InstanceId
    kind: ConsoleKind


class ListComputePools(ListQuery, Query[PageInfo], frozen=True, kw_only=True):
    """A page of compute pools."""

    op: ClassVar[str] = "compute.list_compute_pools"
    permission: ClassVar[str | None] = "compute_pool.read"


class GetComputePool(Query[ComputePool], frozen=True, kw_only=True):
    """One compute pool."""

    op: ClassVar[str] = "compute.get_compute_pool"
    permission: ClassVar[str | None] = "compute_pool.read"

    id: ComputePoolId


class CreateComputePool(Command[ComputePool], frozen=True, kw_only=True):
    """Make an empty compute pool."""

    op: ClassVar[str] = "compute.create_compute_pool"
    permission: ClassVar[str | None] = "compute_pool.create"

    name: InstanceName
    description: Description = ""
    storage_pool_ids: StoragePoolIds = field(default_factory=list)
    address_pool_ids: AddressPoolIds = field(default_factory=list)
    cpu_overcommit: Overcommit | None = None
    memory_overcommit: Overcommit | None = None


class UpdateComputePool(Command[ComputePool], frozen=True, kw_only=True):
    """Change what is given."""

    op: ClassVar[str] = "compute.update_compute_pool"
    permission: ClassVar[str | None] = "compute_pool.update"

    id: ComputePoolId
    name: InstanceName | None = None
    description: Description | None = None
    is_enabled: bool | None = None
    storage_pool_ids: StoragePoolIds | None = None
    address_pool_ids: AddressPoolIds | None = None
    cpu_overcommit: Overcommit | None = None
    memory_overcommit: Overcommit | None = None


class DeleteComputePool(Command[None], frozen=True, kw_only=True):
    """Delete an empty compute pool; the last one stays."""

    op: ClassVar[str] = "compute.delete_compute_pool"
    permission: ClassVar[str | None] = "compute_pool.delete"

    id: ComputePoolId


class AddCell(Command[ComputePool], frozen=True, kw_only=True):
    """Put a cell into a compute pool (out of the one it was in)."""

    op: ClassVar[str] = "compute.add_cell"
    permission: ClassVar[str | None] = "compute_pool.update"
    is_idempotent: ClassVar[bool] = True

    id: ComputePoolId
    node_id: NodeId


class RemoveCell(Command[ComputePool], frozen=True, kw_only=True):
    """Take a cell out of its compute pool; ``wrong_state`` while instances live on it."""

    op: ClassVar[str] = "compute.remove_cell"
    permission: ClassVar[str | None] = "compute_pool.update"
    is_idempotent: ClassVar[bool] = True

    id: ComputePoolId
    node_id: NodeId


class ListNodes(ListQuery, Query[PageInfo], frozen=True, kw_only=True):
    """A page of nodes."""

    op: ClassVar[str] = "compute.list_nodes"
    permission: ClassVar[str | None] = "node.read"


class GetNode(Query[Node], frozen=True, kw_only=True):
    """One node."""

    op: ClassVar[str] = "compute.get_node"
    permission: ClassVar[str | None] = "node.read"

    id: NodeId


class ActOnNode(Command[Node], frozen=True, kw_only=True):
    """Enable or disable a cell for new instances."""

    op: ClassVar[str] = "compute.act_on_node"
    permission: ClassVar[str | None] = "node.update"

    id: NodeId
    action: Annotated[str, Meta(description="enable or disable")]


class StopNode(Command[Node], frozen=True, kw_only=True):
    """Restart a node's kernel, or stop it until it is started on its own host; neither ever touches guests."""

    op: ClassVar[str] = "compute.stop_node"
    permission: ClassVar[str | None] = "node.stop"

    id: NodeId
    is_restart: Annotated[bool, Meta(description="Whether it comes back by itself")] = False


class PoolUsage(Result, frozen=True, kw_only=True):
    """What is used of a compute pool, or of the zone, right now."""

    usage: Usage
    instances_running: int


class ZoneUsage(Result, frozen=True, kw_only=True):
    """What is used of the zone and of each compute pool, right now."""

    zone: PoolUsage
    compute_pools: dict[str, PoolUsage] = field(default_factory=dict)


class GetZoneUsage(Query[ZoneUsage], frozen=True, kw_only=True):
    """What is used now; asked by whoever keeps its history."""

    op: ClassVar[str] = "compute.get_zone_usage"


class CellUsed(Event, frozen=True, kw_only=True):
    """What a cell uses, as far as it is its own to say: of instances only those that live there. On the core only."""

    op: ClassVar[str] = "cell.used"
    is_forwarded: ClassVar[bool] = False

    node_id: NodeId
    report: CellReport


class ListNodePlugins(Query[list[PluginHealth]], frozen=True, kw_only=True):
    """Every plugin found on a node: state, reason, failures and the outcome of its health checks."""

    op: ClassVar[str] = "compute.list_node_plugins"
    permission: ClassVar[str | None] = "plugin.read"

    id: NodeId


class DeleteNode(Command[None], frozen=True, kw_only=True):
    """Revoke a node; ``wrong_state`` while instances live on it, and for the core itself."""

    op: ClassVar[str] = "compute.delete_node"
    permission: ClassVar[str | None] = "node.delete"

    id: NodeId


class Problem(Result, frozen=True, kw_only=True):
    """Something that a person should look at."""

    kind: str
    id: str
    text: str


class SystemOverview(Result, frozen=True, kw_only=True):
    """The zone at a glance. Before login only ``name`` and ``version``."""

    name: str
    version: str
    zone: str
    features: list[str]
    usage: Usage
    instances: int
    instances_running: int
    instances_unknown: int = 0
    nodes: int
    nodes_online: int
    images: int
    problems: list[Problem] = field(default_factory=list)


class GetSystemOverview(Query[SystemOverview], frozen=True, kw_only=True):
    """The zone at a glance."""

    op: ClassVar[str] = "compute.get_system_overview"
    permission: ClassVar[str | None] = "system.read"


class GetPlacement(Query[Decision], frozen=True, kw_only=True):
    """Why an instance is where it is."""

    op: ClassVar[str] = "compute.get_placement"
    permission: ClassVar[str | None] = "instance.read"

    id: InstanceId

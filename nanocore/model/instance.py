"""Instances: what the API shows, what the record wants, and which action is allowed when."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from nanocore.ids import (
    NAME_PATTERN,
    ComputePoolId,
    ImageId,
    InstanceId,
    NetworkId,
    NodeId,
    OperationId,
    SecurityPolicyId,
    StoragePoolId,
    TemplateId,
    VolumeId,
)
from nanocore.wire import Meta, Result, Struct, field

MIB = 1024**2
GIB = 1024**3

InstanceName = Annotated[
    str,
    Meta(description="Host name label: lower-case letters, digits, inner hyphens", pattern=NAME_PATTERN, max_length=63),
]
Vcpus = Annotated[int, Meta(description="Virtual processors", ge=1, le=256)]
MemoryBytes = Annotated[int, Meta(description="Memory in bytes, a multiple of 1 MiB", ge=32 * MIB, le=4096 * GIB)]
DiskBytes = Annotated[int, Meta(description="Disk size in bytes, a multiple of 512", ge=1 * MIB, le=64 * 1024 * GIB)]
ByteRate = Annotated[int, Meta(description="Bytes a second", ge=1024, le=2**40)]


class DesiredState(StrEnum):
    """What the record wants."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    DELETED = "deleted"


class ObservedState(StrEnum):
    """What the cell reported last; ``unknown`` when the cell is unreachable or has not reported yet."""

    CREATING = "creating"
    STOPPED = "stopped"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    SUSPENDED = "suspended"
    """Its memory is kept on disk; ``restore`` goes on where it was."""
    CRASHED = "crashed"
    MISSING = "missing"
    """The cell is there and has no such domain."""
    UNKNOWN = "unknown"


class InstanceAction(StrEnum):
    """What a user can ask of an instance; power actions are REST's ``actions/{name}``."""

    START = "start"
    STOP = "stop"
    POWER_OFF = "power_off"
    REBOOT = "reboot"
    RESET = "reset"
    PAUSE = "pause"
    RESUME = "resume"
    SUSPEND = "suspend"
    RESTORE = "restore"
    REBUILD = "rebuild"
    CLONE = "clone"
    SNAPSHOT = "snapshot"
    CONSOLE = "console"
    UPDATE = "update"
    DELETE = "delete"


TRANSITIONS: dict[InstanceAction, frozenset[ObservedState]] = {
    InstanceAction.START: frozenset({ObservedState.STOPPED, ObservedState.CRASHED}),
    InstanceAction.STOP: frozenset({ObservedState.RUNNING, ObservedState.STOPPING}),
    InstanceAction.POWER_OFF: frozenset(
        {
            ObservedState.RUNNING,
            ObservedState.PAUSED,
            ObservedState.STOPPING,
            ObservedState.SUSPENDED,
            ObservedState.CRASHED,
        }
    ),
    InstanceAction.REBOOT: frozenset({ObservedState.RUNNING}),
    InstanceAction.RESET: frozenset({ObservedState.RUNNING, ObservedState.PAUSED}),
    InstanceAction.PAUSE: frozenset({ObservedState.RUNNING}),
    InstanceAction.RESUME: frozenset({ObservedState.PAUSED}),
    InstanceAction.SUSPEND: frozenset({ObservedState.RUNNING}),
    InstanceAction.RESTORE: frozenset({ObservedState.SUSPENDED}),
    InstanceAction.REBUILD: frozenset({ObservedState.STOPPED, ObservedState.CRASHED}),
    InstanceAction.CLONE: frozenset({ObservedState.STOPPED, ObservedState.RUNNING, ObservedState.PAUSED}),
    InstanceAction.SNAPSHOT: frozenset({ObservedState.STOPPED, ObservedState.RUNNING, ObservedState.PAUSED}),
    InstanceAction.CONSOLE: frozenset({ObservedState.RUNNING, ObservedState.PAUSED, ObservedState.STOPPING}),
    InstanceAction.UPDATE: frozenset(ObservedState) - {ObservedState.CREATING},
    InstanceAction.DELETE: frozenset(ObservedState) - {ObservedState.CREATING, ObservedState.UNKNOWN},
}
"""In which observed states an action makes sense; everything else is refused with ``wrong_state``."""


class AllowedAction(Result, frozen=True, kw_only=True):
    """Whether an action is possible now, and if not, why."""

    name: InstanceAction
    allowed: bool
    why_not: str | None = None


class InstanceState(Result, frozen=True, kw_only=True):
    """Wanted and seen."""

    desired: DesiredState
    observed: ObservedState
    reason: str | None = None
    since: datetime


class Firmware(StrEnum):
    """What the guest boots with."""

    BIOS = "bios"
    UEFI = "uefi"


class Qos(Result, frozen=True, kw_only=True):
    """Limits of an instance; ``None`` is no limit. Bytes are per second, each disk and each network card by itself."""

    cpu_weight: Annotated[
        Annotated[int, Meta(ge=1, le=10_000)] | None,
        Meta(description="Share of contended processors, beside the others' 100"),
    ] = None
    disk_iops: Annotated[
        Annotated[int, Meta(ge=1, le=10_000_000)] | None, Meta(description="Reads and writes a second of each disk")
    ] = None
    disk_bytes_per_second: Annotated[ByteRate | None, Meta(description="Bytes a second of each disk")] = None
    network_bytes_per_second: Annotated[
        ByteRate | None, Meta(description="Bytes a second each way of each network card")
    ] = None


class Disk(Result, frozen=True, kw_only=True):
    """A volume as attached to an instance."""

    id: VolumeId
    name: str = ""
    size_bytes: int
    used_bytes: int | None = None
    storage_pool_id: StoragePoolId | None = None
    is_boot: bool = False
    is_kept: bool = False
    """Whether it stays as a volume of its own when the instance is deleted."""
    image_id: ImageId | None = None


class MediaDrive(Result, frozen=True, kw_only=True):
    """A CD drive of an instance; ``media_image_id`` is ``None`` while it is empty."""

    slot: int
    media_image_id: ImageId | None = None
    media_image: str | None = None


class Nic(Result, frozen=True, kw_only=True):
    """A network card of an instance."""

    id: str
    mac: str
    network_id: NetworkId
    network: str
    addresses: list[str] = field(default_factory=list)
    security_policy_id: SecurityPolicyId | None = None
    security_policy: str | None = None


class ImageRef(Result, frozen=True, kw_only=True):
    """The disk image that the boot disk was cloned from."""

    id: ImageId
    name: str


class Readiness(Result, frozen=True, kw_only=True):
    """Whether the guest serves, apart from running; ``None`` while nobody can tell."""

    is_ready: bool | None = None
    reason: str | None = None
    stage: str | None = None
    """The stage of the first boot that failed or is going on."""


class GuestFacts(Result, frozen=True, kw_only=True):
    """What the guest's own agent tells; empty without an agent."""

    has_agent: bool = False
    agent_reason: str | None = None
    """Why there is no answer from an agent."""
    hostname: str | None = None
    system: str | None = None
    addresses: list[str] = field(default_factory=list)
    memory_bytes: int | None = None
    """What the guest's system counts as its memory."""
    memory_available_bytes: int | None = None
    """How much of it new programs could have."""
    is_frozen: bool = False
    """Whether writing to its file systems is held."""


class InstanceUsage(Result, frozen=True, kw_only=True):
    """Last measured use. ``cpu_percent`` is of all vCPUs together, 0 to 100; rates are per second."""

    cpu_percent: float = 0.0
    memory_bytes: int = 0
    disk_read_bytes_per_second: float = 0.0
    disk_write_bytes_per_second: float = 0.0
    network_receive_bytes_per_second: float = 0.0
    network_transmit_bytes_per_second: float = 0.0
    at: datetime | None = None


class Instance(Result, frozen=True, kw_only=True):
    """The managed virtual machine, as the API shows it."""

    id: InstanceId
    name: str
    description: str = ""
    state: InstanceState
    ready: Readiness = field(default_factory=Readiness)
    compute_pool_id: ComputePoolId
    compute_pool: str
    node_id: NodeId | None = None
    node: str | None = None
    zone: str = "default"
    vcpus: int
    memory_bytes: int
    disks: list[Disk] = field(default_factory=list)
    nics: list[Nic] = field(default_factory=list)
    image: ImageRef | None = None
    template: str | None = None
    media: list[MediaDrive] = field(default_factory=list)
    firmware: Firmware = Firmware.BIOS
    has_tpm: bool = False
    tags: list[str] = field(default_factory=list)
    autostart: bool = False
    protected: bool = False
    qos: Qos = field(default_factory=Qos)
    limits_unsupported: list[str] = field(default_factory=list)
    """Fields of ``qos`` that its cell can't enforce."""
    changes_at_next_start: list[str] = field(default_factory=list)
    """Fields whose wanted value the running guest does not have yet."""
    guest: GuestFacts = field(default_factory=GuestFacts)
    has_cloud_init: bool = False
    owner: str = ""
    group: str | None = None
    operation_id: OperationId | None = None
    """The operation that is changing it now."""
    usage: InstanceUsage | None = None
    placement_reason: str | None = None
    """Why it is on this node, in a sentence."""
    created_at: datetime
    started_at: datetime | None = None
    allowed_actions: list[AllowedAction] = field(default_factory=list)


class DiskRecord(Struct, frozen=True, kw_only=True):
    """A wanted disk."""

    volume_id: VolumeId
    name: str = ""
    size_bytes: int
    storage_pool_id: StoragePoolId | None = None
    is_boot: bool = False
    is_kept: bool = False
    image_id: ImageId | None = None


class MediaRecord(Struct, frozen=True, kw_only=True):
    """A wanted CD drive."""

    slot: int
    media_image_id: ImageId | None = None


class NicRecord(Struct, frozen=True, kw_only=True):
    """A wanted network card; ``addresses`` are those allocated for it."""

    id: str
    mac: str
    network_id: NetworkId
    addresses: list[str] = field(default_factory=list)
    security_policy_id: SecurityPolicyId | None = None


class CloudInit(Struct, frozen=True, kw_only=True):
    """What the guest's first boot is told (cloud-init, NoCloud).

    ``user_data`` is appended as a part of its own. The password is kept as its crypt(3) hash only.
    """

    hostname: str | None = None
    username: str | None = None
    ssh_keys: list[str] = field(default_factory=list)
    password_hash: str | None = None
    user_data: str | None = None


class InstanceRecord(Struct, frozen=True, kw_only=True):
    """What the core's store holds: only what is wanted, never what was seen."""

    id: InstanceId
    name: str
    description: str = ""
    desired: DesiredState
    compute_pool_id: ComputePoolId
    node_id: NodeId | None = None
    vcpus: int
    memory_bytes: int
    disks: list[DiskRecord] = field(default_factory=list)
    nics: list[NicRecord] = field(default_factory=list)
    image_id: ImageId | None = None
    template_id: TemplateId | None = None
    media: list[MediaRecord] = field(default_factory=list)
    firmware: Firmware = Firmware.BIOS
    has_tpm: bool = False
    qos: Qos = field(default_factory=Qos)
    cloud_init: CloudInit | None = None
    tags: list[str] = field(default_factory=list)
    autostart: bool = False
    protected: bool = False
    owner: str = ""
    placement_reason: str | None = None
    is_created: bool = False
    """False until the creating operation has succeeded."""
    created_at: datetime

"""Running guests: what a hypervisor driver promises, and the commands by which the core asks a cell.

The cell's ``agent`` plugin turns the commands into driver calls. Every command is idempotent: doing it twice, or for
a domain that is already as wanted, succeeds. The suite ``nanocore.testing.hypervisor_suite`` proves a driver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Protocol

from nanocore.capabilities.storage import VolumeInfo
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, InstanceId, NodeId, SnapshotId, StepKey, VolumeId
from nanocore.model.instance import Firmware, InstanceUsage, ObservedState, Qos
from nanocore.wire import Command, Event, Meta, Query, Result, Struct, field


class ConsoleKind(StrEnum):
    """Screen (RFB) or serial (raw bytes)."""

    SCREEN = "screen"
    SERIAL = "serial"


class DiskSpec(Struct, frozen=True, kw_only=True):
    """A disk of a guest, as the hypervisor driver gets it from the agent."""

    volume_id: VolumeId
    path: str
    """Absolute path, or another address that the storage driver's ``Info`` promises."""
    format: str
    is_boot: bool = False


class NicSpec(Struct, frozen=True, kw_only=True):
    """A network card of a guest: the hypervisor is only given a bridge's name, and how its port joins it."""

    id: str
    mac: str
    bridge: str
    device: str | None = None
    """Name of the tap device, at most 15 characters; ``None`` lets the hypervisor choose."""
    is_isolated: bool = False
    """The port exchanges frames with the bridge itself only, never with other isolated ports."""


class MediaSpec(Struct, frozen=True, kw_only=True):
    """A CD drive of a guest; ``path`` is ``None`` while it is empty.

    Drives can't be added to a running guest: a guest that shall get media later is defined with an empty one.
    """

    slot: int
    path: str | None = None


class GuestSpec(Struct, frozen=True, kw_only=True):
    """Everything a hypervisor driver needs to define a guest; holds no policy."""

    id: InstanceId
    name: str
    vcpus: int
    memory_bytes: int
    disks: list[DiskSpec]
    nics: list[NicSpec]
    media: list[MediaSpec] = field(default_factory=list)
    firmware: Firmware = Firmware.BIOS
    has_tpm: bool = False
    qos: Qos = field(default_factory=Qos)
    seed_path: str | None = None
    """ISO 9660 file with the cloud-init seed, on a drive of its own behind the others."""
    signal_path: str | None = None
    """UNIX socket that the hypervisor listens on while the guest runs: what the guest writes to its virtio port
    ``org.nano.ready.0`` comes out there."""
    step_key: StepKey


class Observed(Struct, frozen=True, kw_only=True):
    """One guest as the driver sees it. ``is_managed`` is false for domains that Nano did not make.

    Sizes, devices and limits are those in force: of what runs while it runs, of its definition otherwise.
    """

    id: InstanceId
    name: str
    state: ObservedState
    reason: str | None = None
    is_managed: bool = True
    step_key: StepKey | None = None
    vcpus: int = 0
    memory_bytes: int = 0
    disks: list[VolumeId] = field(default_factory=list)
    nics: list[str] = field(default_factory=list)
    media: list[MediaSpec] = field(default_factory=list)
    firmware: Firmware = Firmware.BIOS
    has_tpm: bool = False
    qos: Qos = field(default_factory=Qos)
    """The limits that are in force; what is wanted and missing here is in ``limits_unsupported``."""
    limits_unsupported: list[str] = field(default_factory=list)
    """Fields of ``Qos`` that could not be put in force here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HypervisorInfo:
    """Facts that a caller may branch on."""

    name: str
    accelerator: str
    """``kvm``, ``tcg`` or ``sim``."""
    accelerator_reason: str
    """Why it is not ``kvm``, or empty."""
    can_pause: bool = True
    has_screen: bool = True
    has_serial: bool = True
    has_statistics: bool = True
    can_suspend: bool = True
    can_hotplug_disks: bool = True
    can_hotplug_nics: bool = True
    can_change_media: bool = True
    """Insert into and eject from a running guest."""
    can_resize_live: bool = True
    """Processors and memory of a running guest."""
    can_grow_disks_live: bool = True
    can_change_limits_live: bool = True
    can_snapshot_live: bool = True
    can_copy_live: bool = True
    has_agent_channel: bool = True
    has_uefi: bool = True
    has_tpm: bool = True
    limits_unsupported: Mapping[str, str] = attribute(default_factory=dict)
    """Fields of ``Qos`` that can't be put in force here, each with the reason."""
    reasons: Mapping[str, str] = attribute(default_factory=dict)
    """Why a fact above is false, by its name."""

    @property
    def lacks(self) -> dict[str, str]:
        """What can't be done here, by the name of the fact or of the field of ``Qos``, each with the reason."""
        return {**self.reasons, **self.limits_unsupported}

    def require(self, ability: str) -> None:
        """Raise ``unsupported``, naming the ability and the reason, unless the fact of that name is true."""
        if not getattr(self, ability):
            reason = self.reasons.get(ability, "its driver can't")
            message = f"hypervisor {self.name} of this cell lacks {ability}: {reason}"
            raise NanoError(ErrorCode.UNSUPPORTED, message, reason=f"hypervisor.{ability}", ability=ability)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostUsage:
    """What the cell has and uses, as a hypervisor driver can tell."""

    cores: int
    cpu_percent: float
    memory_bytes: int
    memory_used_bytes: int


MAX_AGENT_REPLY_BYTES = 1024 * 1024
"""A guest's agent may say anything, but not endlessly."""
NO_AGENT = "hypervisor.no_agent"
"""Reason of errors where no agent in the guest is connected."""


class Console(Protocol):
    """An open connection to a guest's screen or serial port."""

    async def read(self) -> bytes:
        """Return the next bytes; empty when the guest is gone."""
        ...

    async def write(self, data: bytes) -> None:
        """Send bytes to the guest."""
        ...

    async def close(self) -> None:
        """Let go. Safe to call twice."""
        ...


class DiskCopy(Struct, frozen=True, kw_only=True):
    """Copy a disk of a running guest into ``target``: an existing, empty volume of at least the same size."""

    volume_id: VolumeId
    target: DiskSpec


class CopyState(StrEnum):
    """How far the last copy of a guest's disks is."""

    NONE = "none"
    """Nothing is known of a copy: none was begun, it was aborted, or the guest is gone."""
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class CopyProgress(Result, frozen=True, kw_only=True):
    """The last copy of a guest's disks."""

    state: CopyState
    total_bytes: int = 0
    copied_bytes: int = 0
    reason: str | None = None


class HypervisorDriver(Protocol):
    """Declared by ``nano_hypervisor_drivers``; one is picked by ``[agent] hypervisor``.

    Every call raises ``not_found`` for an unknown guest, ``wrong_state`` where the state forbids it,
    ``unavailable`` while the hypervisor can't be reached (and reconnects by itself), ``unsupported`` where ``info``
    says so.
    """

    name: str

    @property
    def info(self) -> HypervisorInfo:
        """Return the facts; complete after ``open``."""
        ...

    async def open(self, on_change: Callable[[Observed], None]) -> None:
        """Connect and probe; call ``on_change`` on the loop at every state change of a guest, seen or missed."""
        ...

    async def close(self) -> None:
        """Let go of the hypervisor; guests run on."""
        ...

    async def define(self, spec: GuestSpec) -> None:
        """Make the guest known, or change it (from its next start on if it runs)."""
        ...

    async def delete(self, id: InstanceId) -> None:
        """Cut its power if it runs and forget it; an absent guest is no error. Its disks stay."""
        ...

    async def start(self, id: InstanceId) -> None:
        """Start it; a running one is no error."""
        ...

    async def shut_down(self, id: InstanceId) -> None:
        """Ask the guest to power off (ACPI) and return at once; a stopped one is no error."""
        ...

    async def power_off(self, id: InstanceId) -> None:
        """Cut its power; a stopped one is no error."""
        ...

    async def reboot(self, id: InstanceId) -> None:
        """Ask the guest to reboot; ``wrong_state`` unless it runs."""
        ...

    async def reset(self, id: InstanceId) -> None:
        """Press its reset button; ``wrong_state`` unless it runs."""
        ...

    async def pause(self, id: InstanceId) -> None:
        """Stop its processors; a paused one is no error."""
        ...

    async def resume(self, id: InstanceId) -> None:
        """Let its processors go on; a running one is no error."""
        ...

    async def suspend(self, id: InstanceId) -> None:
        """Keep its memory on disk and stop it; a suspended one is no error. ``wrong_state`` unless it runs."""
        ...

    async def restore(self, id: InstanceId) -> None:
        """Let a suspended one go on where it was; a running one is no error.

        ``start`` of a suspended one is ``wrong_state``, and so are changes of its disks, cards and media: its memory
        would use them again. ``power_off`` forgets its memory.
        """
        ...

    async def attach_disk(self, id: InstanceId, disk: DiskSpec) -> None:
        """Add a disk, live where it runs and lasting; one that is there is no error."""
        ...

    async def detach_disk(self, id: InstanceId, volume_id: VolumeId, *, timeout_seconds: float = 20) -> None:
        """Remove a disk, live and lasting; an absent one is no error. Returns when the guest let go.

        ``deadline_exceeded`` when a running guest does not: it keeps the disk until it lets go or stops, the
        definition has lost it already.
        """
        ...

    async def attach_nic(self, id: InstanceId, nic: NicSpec) -> None:
        """Add a network card, as ``attach_disk``."""
        ...

    async def detach_nic(self, id: InstanceId, nic_id: str, *, timeout_seconds: float = 20) -> None:
        """Remove a network card, as ``detach_disk``."""
        ...

    async def set_media(self, id: InstanceId, slot: int, path: str | None, *, is_forced: bool = False) -> None:
        """Insert into a drive, or eject with ``None``, live and lasting. ``not_found`` for a drive that is not there.

        A guest may lock its drive: ``busy``, unless ``is_forced``.
        """
        ...

    async def resize(self, id: InstanceId, *, vcpus: int, memory_bytes: int) -> Observed:
        """Set both, lasting, and live as far as the guest allows; return what is in force."""
        ...

    async def resize_disk(self, id: InstanceId, volume_id: VolumeId, size_bytes: int) -> None:
        """Grow a disk under a running guest; ``wrong_state`` unless it runs, ``invalid_argument`` to shrink it."""
        ...

    async def set_qos(self, id: InstanceId, qos: Qos) -> Observed:
        """Set all limits, live and lasting; return what is in force and what can't be."""
        ...

    async def snapshot_disks(self, id: InstanceId, snapshot_id: SnapshotId) -> None:
        """Take a snapshot inside every disk of a running guest, all at one moment; one that is there is no error.

        ``wrong_state`` unless it runs or is paused: the storage driver does it then.
        """
        ...

    async def delete_snapshot(self, id: InstanceId, snapshot_id: SnapshotId) -> None:
        """Remove that snapshot from every disk of a running guest; an absent one is no error."""
        ...

    async def start_copy(self, id: InstanceId, copies: Sequence[DiskCopy]) -> None:
        """Begin to copy disks of a running guest as they are at this moment; the same copy going on is no error.

        ``busy`` while another copy of the guest's disks goes on.
        """
        ...

    async def get_copy(self, id: InstanceId) -> CopyProgress:
        """Return how far the last copy is."""
        ...

    async def cancel_copy(self, id: InstanceId) -> None:
        """End a copy that goes on; none is no error. The targets are left as they are."""
        ...

    async def agent_command(
        self, id: InstanceId, execute: str, arguments: Mapping[str, Any] | None = None, *, timeout_seconds: float = 10
    ) -> object:
        """Ask the guest's agent (QEMU guest agent protocol) and return its answer.

        ``unavailable`` (reason ``hypervisor.no_agent``) when none is connected, ``deadline_exceeded`` when it does not
        answer, ``unsupported`` for a command that it does not know, ``wrong_state`` when it refuses. What it answers is
        a stranger's word, at most ``MAX_AGENT_REPLY_BYTES``.
        """
        ...

    async def freeze(self, id: InstanceId, *, timeout_seconds: float = 60) -> int:
        """Ask the agent to stop all writing to file systems, return how many; frozen is no error.

        Thaws by itself after ``timeout_seconds``, also when the node was killed meanwhile.
        """
        ...

    async def thaw(self, id: InstanceId) -> None:
        """Let file systems be written again; thawed is no error."""
        ...

    async def get(self, id: InstanceId) -> Observed:
        """Return what is seen of one guest."""
        ...

    async def list(self) -> list[Observed]:
        """Return every guest, Nano's and others'; cheap."""
        ...

    async def usage(self, ids: Sequence[InstanceId]) -> dict[InstanceId, InstanceUsage]:
        """Return the last rates of running guests; costs some ms a guest."""
        ...

    async def host_usage(self) -> HostUsage:
        """Return what the cell has and uses."""
        ...

    async def open_console(self, id: InstanceId, kind: ConsoleKind) -> Console:
        """Connect to a running guest's screen or serial port."""
        ...


class DefineDisk(Struct, frozen=True, kw_only=True):
    """A disk in ``DefineGuest``: the cell finds its path."""

    volume_id: VolumeId
    is_boot: bool = False


class DefineNic(Struct, frozen=True, kw_only=True):
    """A network card in ``DefineGuest``: the cell finds its bridge."""

    id: str
    mac: str
    network_id: str


class DefineMedia(Struct, frozen=True, kw_only=True):
    """A CD drive in ``DefineGuest``: the cell finds the file in its image cache."""

    slot: int
    media_image_id: ImageId | None = None


class DefineGuest(Command[None], frozen=True, kw_only=True):
    """Core to cell: make the guest known from volumes and ports that exist there."""

    op: ClassVar[str] = "hypervisor.define_guest"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId
    name: str
    vcpus: int
    memory_bytes: int
    disks: list[DefineDisk] = field(default_factory=list)
    nics: list[DefineNic] = field(default_factory=list)
    media: list[DefineMedia] = field(default_factory=list)
    firmware: Firmware = Firmware.BIOS
    has_tpm: bool = False
    qos: Qos = field(default_factory=Qos)


class DeleteGuest(Command[None], frozen=True, kw_only=True):
    """Core to cell: cut power and forget; absent is fine."""

    op: ClassVar[str] = "hypervisor.delete_guest"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId


class PowerAction(StrEnum):
    """What ``ChangePower`` does."""

    START = "start"
    SHUT_DOWN = "shut_down"
    POWER_OFF = "power_off"
    REBOOT = "reboot"
    RESET = "reset"
    PAUSE = "pause"
    RESUME = "resume"
    SUSPEND = "suspend"
    RESTORE = "restore"


class ChangePower(Command[Observed], frozen=True, kw_only=True):
    """Core to cell: one driver call by name; replies with what is seen afterwards."""

    op: ClassVar[str] = "hypervisor.change_power"
    timeout_seconds: ClassVar[float] = 300
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId
    action: PowerAction


class GetGuest(Query[Observed], frozen=True, kw_only=True):
    """Core to cell: what is seen of one guest."""

    op: ClassVar[str] = "hypervisor.get_guest"

    id: InstanceId


class OpenConsole(Command[None], frozen=True, kw_only=True):
    """Core to cell, as a stream: connects it to the guest's screen or serial port."""

    op: ClassVar[str] = "hypervisor.open_console"

    id: InstanceId
    kind: ConsoleKind


ReportedCount = Annotated[int, Meta(ge=0, le=2**56)]
"""What a cell says of itself is summed up: bounds keep one that lies from breaking the sum for everybody."""
ReportedPercent = Annotated[float, Meta(ge=-1e6, le=1e6)]
ReportedName = Annotated[str, Meta(max_length=100)]
ReportedReason = Annotated[str, Meta(max_length=1000)]
MAX_REPORTED = 10_000
"""Guests and cached images in one report."""


class PathReport(Struct, frozen=True, array_like=True):
    """One path of the storage pools, in a cell's report."""

    path: Annotated[str, Meta(max_length=4096)]
    reason: Annotated[str, Meta(max_length=4096)] | None = None
    total_bytes: ReportedCount = 0
    used_bytes: ReportedCount = 0
    volumes: ReportedCount = 0
    is_configured: bool = False


class CellReport(Struct, frozen=True, array_like=True):
    """What a cell says every 2 s; array-encoded, fields are only appended."""

    cores: ReportedCount = 0
    cpu_percent: ReportedPercent = 0.0
    memory_bytes: ReportedCount = 0
    memory_used_bytes: ReportedCount = 0
    disk_bytes: ReportedCount = 0
    disk_used_bytes: ReportedCount = 0
    accelerator: str = ""
    accelerator_reason: str = ""
    usage: Annotated[dict[str, InstanceUsage], Meta(max_length=MAX_REPORTED)] = field(default_factory=dict)
    cached_images: Annotated[list[str], Meta(max_length=MAX_REPORTED)] = field(default_factory=list)
    storage_paths: Annotated[list[PathReport], Meta(max_length=MAX_REPORTED)] = field(default_factory=list)
    storage_driver: Annotated[str, Meta(max_length=100)] = ""
    lacks: Annotated[dict[ReportedName, ReportedReason], Meta(max_length=100)] = field(default_factory=dict)
    """Abilities (facts of ``HypervisorInfo``, fields of ``Qos``) that are missing there, each with the reason."""


class CellReported(Event, frozen=True, kw_only=True):
    """Cell to core, every 2 s."""

    op: ClassVar[str] = "cell.reported"

    report: CellReport


class GuestObserved(Event, frozen=True, kw_only=True):
    """Cell to core, at every state change."""

    op: ClassVar[str] = "guest.observed"

    guest: Observed


class Inventory(Result, frozen=True, kw_only=True):
    """Everything that really is on a cell."""

    guests: list[Observed]
    volumes: list[VolumeId]
    ports: list[str]
    """Ids of network cards that have a port."""
    report: CellReport
    volume_infos: list[VolumeInfo] = field(default_factory=list)
    """The volumes as they are now."""
    seeds: list[InstanceId] = field(default_factory=list)
    """Instances that have first-boot settings there."""


class GetInventory(Query[Inventory], frozen=True, kw_only=True):
    """Core to cell: sent whenever the cell (re)connects, for reconciliation."""

    op: ClassVar[str] = "hypervisor.get_inventory"
    timeout_seconds: ClassVar[float] = 30


class AgentReady(Event, frozen=True, kw_only=True):
    """Cell to core: the drivers are open (again); ask for the inventory."""

    op: ClassVar[str] = "agent.ready"

    node_id: NodeId

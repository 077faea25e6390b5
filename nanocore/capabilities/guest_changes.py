"""Changes of guests, live where they run: the commands by which the core asks a cell.

They are handled by ``agent`` with the calls of ``HypervisorDriver``, whose docstrings say what each promises. Commands
that reply with ``Observed`` tell what is in force afterwards; what a running guest did not take comes with its next
start.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from nanocore.capabilities.hypervisor import CopyProgress, DefineDisk, DefineNic, Observed
from nanocore.ids import ImageId, InstanceId, StepKey, VolumeId
from nanocore.model.instance import Qos
from nanocore.wire import Command, Meta, Query, Result, Struct


class Quiesced(Result, frozen=True, kw_only=True):
    """Whether the guest's file systems were frozen at the moment that counted, and if not, why."""

    is_consistent: bool
    reason: str | None = None


class FrozenFileSystems(Result, frozen=True, kw_only=True):
    """How many of the guest's file systems are frozen."""

    count: int


class AttachDisk(Command[Observed], frozen=True, kw_only=True):
    """Core to cell: add a volume that exists there, live and lasting."""

    op: ClassVar[str] = "hypervisor.attach_disk"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId
    disk: DefineDisk


class DetachDisk(Command[Observed], frozen=True, kw_only=True):
    """Core to cell: remove a disk, live and lasting; ``deadline_exceeded`` when the guest does not let go of it."""

    op: ClassVar[str] = "hypervisor.detach_disk"
    timeout_seconds: ClassVar[float] = 90
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId
    volume_id: VolumeId


class AttachNic(Command[Observed], frozen=True, kw_only=True):
    """Core to cell: add a network card whose port exists there, live and lasting."""

    op: ClassVar[str] = "hypervisor.attach_nic"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId
    nic: DefineNic


class DetachNic(Command[Observed], frozen=True, kw_only=True):
    """Core to cell: remove a network card, live and lasting; ``deadline_exceeded`` as for a disk."""

    op: ClassVar[str] = "hypervisor.detach_nic"
    timeout_seconds: ClassVar[float] = 90
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId
    nic_id: str


class ChangeMedia(Command[Observed], frozen=True, kw_only=True):
    """Core to cell: insert a media image that is in the cell's cache, or eject with ``None``; live and lasting."""

    op: ClassVar[str] = "hypervisor.change_media"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId
    slot: int
    media_image_id: ImageId | None = None
    is_forced: bool = False


class ResizeGuest(Command[Observed], frozen=True, kw_only=True):
    """Core to cell: processors and memory, live as far as the guest allows; replies with what is in force."""

    op: ClassVar[str] = "hypervisor.resize_guest"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId
    vcpus: int
    memory_bytes: int


class ChangeQos(Command[Observed], frozen=True, kw_only=True):
    """Core to cell: all limits, live and lasting; replies with what is in force."""

    op: ClassVar[str] = "hypervisor.change_qos"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId
    qos: Qos


class CopiedVolume(Struct, frozen=True, kw_only=True):
    """A disk of a guest, and the new volume (made before, empty, of the same size) that becomes its copy."""

    volume_id: VolumeId
    target_id: VolumeId


class StartCopy(Command[Quiesced], frozen=True, kw_only=True):
    """Core to cell: begin to copy disks of a running guest, frozen for a moment where its agent answers.

    ``GetCopy`` tells when it is done; deleting the targets after
    ``CancelCopy`` undoes it.
    """

    op: ClassVar[str] = "hypervisor.start_copy"
    timeout_seconds: ClassVar[float] = 120
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId
    volumes: list[CopiedVolume]


class GetCopy(Query[CopyProgress], frozen=True, kw_only=True):
    """Core to cell: how far the last copy of a guest's disks is."""

    op: ClassVar[str] = "hypervisor.get_copy"

    id: InstanceId


class CancelCopy(Command[None], frozen=True, kw_only=True):
    """Core to cell: end a copy that goes on; none, and an absent guest, are fine."""

    op: ClassVar[str] = "hypervisor.cancel_copy"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId


class FreezeGuest(Command[FrozenFileSystems], frozen=True, kw_only=True):
    """Core to cell: stop writing to the guest's file systems, for at most ``seconds``."""

    op: ClassVar[str] = "hypervisor.freeze_guest"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId
    seconds: Annotated[float, Meta(gt=0, le=600)] = 60


class ThawGuest(Command[None], frozen=True, kw_only=True):
    """Core to cell: let the guest's file systems be written again."""

    op: ClassVar[str] = "hypervisor.thaw_guest"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: InstanceId

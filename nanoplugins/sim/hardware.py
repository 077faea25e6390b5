"""What changing a simulated guest's hardware makes of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nanocore.capabilities.hypervisor import CopyProgress, CopyState, DiskCopy, DiskSpec, GuestSpec, NicSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import VolumeId
from nanocore.model.instance import MIB
from nanocore.wire import structs
from nanoplugins.sim.guests import SimCopy, SimGuest

DISK_FORMATS = frozenset({"qcow2", "raw"})
COPIED_BYTES = 64 * MIB
"""What a simulated disk has to copy."""


def check_disk(disk: DiskSpec) -> None:
    """Raise what a real hypervisor would raise for a disk that it can't open."""
    if disk.format not in DISK_FORMATS:
        message = f"volume {disk.volume_id} has format {disk.format!r}; supported are {', '.join(sorted(DISK_FORMATS))}"
        raise NanoError(ErrorCode.UNSUPPORTED, message, reason="sim.disk_format")
    if not disk.path:
        message = f"volume {disk.volume_id} has no path"
        raise NanoError(ErrorCode.INVALID_ARGUMENT, message, field="disks")


def wrong_state(guest: SimGuest, done: str, remedy: str) -> NanoError:
    """Return the error for a state that forbids an action."""
    message = f"guest {guest.spec.name} is {guest.state} and can't be {done}; {remedy}"
    return NanoError(ErrorCode.WRONG_STATE, message, state=guest.state.value)


def attach_disk(guest: SimGuest, disk: DiskSpec) -> SimGuest:
    """Add a disk to definition and guest."""
    return _both(guest, lambda spec: structs.replace(spec, disks=[*_others(spec, disk.volume_id), disk]))


def detach_disk(guest: SimGuest, volume_id: VolumeId) -> SimGuest:
    """Remove a disk from both."""
    return _both(guest, lambda spec: structs.replace(spec, disks=_others(spec, volume_id)))


def attach_nic(guest: SimGuest, nic: NicSpec) -> SimGuest:
    """Add a network card to both."""
    return _both(
        guest, lambda spec: structs.replace(spec, nics=[*(other for other in spec.nics if other.id != nic.id), nic])
    )


def detach_nic(guest: SimGuest, nic_id: str) -> SimGuest:
    """Remove a network card from both."""
    return _both(guest, lambda spec: structs.replace(spec, nics=[nic for nic in spec.nics if nic.id != nic_id]))


def set_media(guest: SimGuest, slot: int, path: str | None) -> SimGuest:
    """Insert or eject; a drive that only the definition has is there from the next start on."""
    if slot not in {drive.slot for drive in (*guest.spec.media, *guest.live.media)}:
        raise NanoError(ErrorCode.NOT_FOUND, f"guest {guest.spec.name} has no media drive {slot}")

    def change(spec: GuestSpec) -> GuestSpec:
        media = [structs.replace(drive, path=path) if drive.slot == slot else drive for drive in spec.media]
        return structs.replace(spec, media=media)

    return _both(guest, change)


def resize(guest: SimGuest, vcpus: int, memory_bytes: int, *, is_live: bool) -> SimGuest:
    """Set both sizes; a running guest gets no more memory than it was started with."""
    spec = structs.replace(guest.spec, vcpus=vcpus, memory_bytes=memory_bytes)
    if not is_live:
        return structs.replace(guest, spec=spec, live=spec)
    memory = min(memory_bytes, guest.booted_memory_bytes or guest.live.memory_bytes)
    if memory < memory_bytes:
        memory = guest.live.memory_bytes
    return structs.replace(guest, spec=spec, live=structs.replace(guest.live, vcpus=vcpus, memory_bytes=memory))


def start_copy(guest: SimGuest, copies: Sequence[DiskCopy], *, now: float, seconds: float) -> SimGuest:
    """Begin to copy; the same copy going on is left alone."""
    there = {disk.volume_id for disk in guest.live.disks}
    for copy in copies:
        check_disk(copy.target)
        if copy.volume_id not in there:
            message = f"guest {guest.spec.name} has no disk with volume {copy.volume_id}"
            raise NanoError(ErrorCode.NOT_FOUND, message)
    targets = sorted(copy.target.path for copy in copies)
    if guest.copy is not None and now < guest.copy.began_at + guest.copy.seconds:
        if guest.copy.targets == targets:
            return guest
        message = f"disks of guest {guest.spec.name} are being copied already; wait for that, or abort it"
        raise NanoError(ErrorCode.BUSY, message)
    return structs.replace(guest, copy=SimCopy(targets=targets, began_at=now, seconds=seconds))


def copy_progress(guest: SimGuest, now: float) -> CopyProgress:
    """Return how far the copy is."""
    if guest.copy is None:
        return CopyProgress(state=CopyState.NONE)
    total = COPIED_BYTES * len(guest.copy.targets)
    elapsed = now - guest.copy.began_at
    if elapsed >= guest.copy.seconds:
        return CopyProgress(state=CopyState.DONE, total_bytes=total, copied_bytes=total)
    copied = int(total * elapsed / guest.copy.seconds)
    return CopyProgress(state=CopyState.RUNNING, total_bytes=total, copied_bytes=copied)


def _both(guest: SimGuest, change: Callable[[GuestSpec], GuestSpec]) -> SimGuest:
    return structs.replace(guest, spec=change(guest.spec), live=change(guest.live))


def _others(spec: GuestSpec, volume_id: VolumeId) -> list[DiskSpec]:
    return [disk for disk in spec.disks if disk.volume_id != volume_id]

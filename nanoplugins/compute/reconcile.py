"""Compares what a cell has with what the records want. Pure: facts in, decisions out.

Only what a tombstone names is removed: an instance that this zone deleted, or whose creation was undone. Anything else
without a record is shown and left alone, whoever made it.
"""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from nanocore.capabilities.hypervisor import Inventory
from nanocore.ids import InstanceId, SnapshotId, VolumeId
from nanocore.model.instance import DesiredState, InstanceRecord, ObservedState
from nanoplugins.compute.records import Tombstone

SEEN_AS = {
    ObservedState.RUNNING: DesiredState.RUNNING,
    ObservedState.STOPPING: DesiredState.RUNNING,
    ObservedState.PAUSED: DesiredState.PAUSED,
    ObservedState.SUSPENDED: DesiredState.SUSPENDED,
}
"""What a guest in that state was wanted to be by whoever brought it there."""


@dataclass
class Plan:
    """What is to be done about one cell."""

    delete_guests: list[InstanceId] = field(default_factory=list)
    delete_volumes: list[VolumeId] = field(default_factory=list)
    delete_ports: list[str] = field(default_factory=list)
    delete_snapshots: dict[SnapshotId, list[VolumeId]] = field(default_factory=dict)
    """Snapshots that were deleted while the cell was away, and the volumes that still have them."""
    start: list[InstanceId] = field(default_factory=list)
    """Autostart: wanted, found off."""
    settle: dict[InstanceId, DesiredState] = field(default_factory=dict)
    """Found otherwise than wanted, with nobody asking: the record follows the guest."""
    findings: dict[str, str] = field(default_factory=dict)


def plan(
    inventory: Inventory,
    records: Sequence[InstanceRecord],
    tombstones: Iterable[Tombstone],
    busy: Container[InstanceId],
    free_volumes: Container[VolumeId] = frozenset(),
) -> Plan:
    """Compare one cell's ``inventory`` with the ``records`` placed on it, and the free volumes wherever they are.

    ``busy`` instances are left to their operation.
    """
    result = Plan()
    graves = list(tombstones)
    _compare_leftovers(result, inventory, records, graves, busy, free_volumes=free_volumes)
    _compare_snapshots(result, inventory, graves, busy)
    _compare_states(result, inventory, records, busy)
    return result


def _compare_leftovers(
    result: Plan,
    inventory: Inventory,
    records: Sequence[InstanceRecord],
    graves: list[Tombstone],
    busy: Container[InstanceId],
    *,
    free_volumes: Container[VolumeId],
) -> None:
    wanted_guests = {record.id for record in records}
    wanted_volumes = {disk.volume_id for record in records for disk in record.disks} | {*free_volumes}
    wanted_ports = {nic.id for record in records for nic in record.nics}
    dead = [grave for grave in graves if grave.id not in busy]
    dead_guests = {grave.id for grave in dead}
    dead_volumes = {volume for grave in dead for volume in grave.volumes}
    dead_ports = {nic for grave in dead for nic in grave.nics}
    for guest in inventory.guests:
        if not guest.is_managed or guest.id in wanted_guests or guest.id in busy:
            continue
        if guest.id in dead_guests:
            result.delete_guests.append(guest.id)
        else:
            result.findings[guest.id] = f"guest {guest.name} ({guest.id}) has no record; it was left alone"
    seen = {guest.id for guest in inventory.guests}
    # Made before the guest and removed with it: without a guest it is left from a creation that was undone.
    result.delete_guests += [id for id in inventory.seeds if id in dead_guests - wanted_guests - seen]
    for volume in inventory.volumes:
        if volume in dead_volumes and volume not in wanted_volumes:
            result.delete_volumes.append(volume)
        elif volume not in wanted_volumes and not busy:
            result.findings[volume] = f"volume {volume} belongs to no instance; it was left alone"
    result.delete_ports += [port for port in inventory.ports if port in dead_ports and port not in wanted_ports]


def _compare_snapshots(
    result: Plan, inventory: Inventory, graves: list[Tombstone], busy: Container[InstanceId]
) -> None:
    dead = {snapshot for grave in graves if grave.id not in busy for snapshot in grave.snapshots}
    for volume in inventory.volume_infos:
        for snapshot in volume.snapshots:
            if snapshot in dead:
                result.delete_snapshots.setdefault(snapshot, []).append(volume.id)


def _compare_states(
    result: Plan, inventory: Inventory, records: Sequence[InstanceRecord], busy: Container[InstanceId]
) -> None:
    guests = {guest.id: guest for guest in inventory.guests if guest.is_managed}
    for record in sorted(records, key=lambda record: record.created_at):
        guest = guests.get(record.id)
        if guest is None or record.id in busy or not record.is_created or record.desired is DesiredState.DELETED:
            continue
        is_off = guest.state is ObservedState.STOPPED
        if is_off and record.desired is DesiredState.RUNNING:
            if record.autostart:
                result.start.append(record.id)
            else:
                result.settle[record.id] = DesiredState.STOPPED
        elif is_off and record.desired in (DesiredState.SUSPENDED, DesiredState.PAUSED):
            # Its memory is lost: what was to be gone on with is not there any more.
            result.settle[record.id] = DesiredState.STOPPED
        elif guest.state in SEEN_AS and record.desired is not SEEN_AS[guest.state]:
            result.settle[record.id] = SEEN_AS[guest.state]

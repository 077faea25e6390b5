"""From records and reports to what the API shows. All pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from nanocore.capabilities.hypervisor import Observed
from nanocore.ids import ImageId, NetworkId, OperationId, SecurityPolicyId, TemplateId
from nanocore.model.compute_pool import ComputePool, ComputePoolRecord, Usage
from nanocore.model.instance import (
    TRANSITIONS,
    AllowedAction,
    DesiredState,
    Disk,
    DiskRecord,
    GuestFacts,
    ImageRef,
    Instance,
    InstanceAction,
    InstanceRecord,
    InstanceState,
    MediaDrive,
    MediaRecord,
    Nic,
    NicRecord,
    ObservedState,
    Qos,
    Readiness,
)
from nanocore.model.node import Node, NodeState
from nanocore.wire import structs
from nanoplugins.compute.cells import Cell

HOW_TO_START = "a node that is down is started on its own host, by ./quickstart or systemctl start nano-kernel"
ACTIVE = frozenset({ObservedState.RUNNING, ObservedState.PAUSED, ObservedState.STOPPING})


@dataclass(frozen=True)
class InstanceFacts:
    """Everything beside the record that an instance's view is made of."""

    pool_name: str
    cell: Cell | None
    images: dict[ImageId, str]
    networks: dict[NetworkId, str]
    policies: dict[SecurityPolicyId, str]
    templates: dict[TemplateId, str]
    operation_id: OperationId | None
    operation_kind: str | None
    since: datetime
    started_at: datetime | None


def observe(record: InstanceRecord, cell: Cell | None) -> tuple[ObservedState, str | None]:
    """Return the observed state of an instance and the reason for it."""
    if not record.is_created:
        return ObservedState.CREATING, None
    if cell is None:
        return ObservedState.UNKNOWN, "its node is not registered any more"
    if not cell.is_reachable:
        return ObservedState.UNKNOWN, f"node {cell.info.name} is unreachable"
    if not cell.has_inventory:
        return ObservedState.UNKNOWN, f"node {cell.info.name} has not reported yet"
    guest = cell.guests.get(record.id)
    if guest is None:
        return ObservedState.MISSING, f"node {cell.info.name} has no such guest; start makes it again from its disks"
    return guest.state, guest.reason


def allowed_actions(
    record: InstanceRecord, observed: ObservedState, reason: str | None, operation_kind: str | None
) -> list[AllowedAction]:
    """Return every action with whether it is possible now, and why not."""
    return [
        AllowedAction(name=action, allowed=why_not is None, why_not=why_not)
        for action in InstanceAction
        for why_not in [refuse(action, record, observed, reason, operation_kind)]
    ]


def refuse(
    action: InstanceAction,
    record: InstanceRecord,
    observed: ObservedState,
    reason: str | None,
    operation_kind: str | None,
) -> str | None:
    """Return why ``action`` is not possible now, or ``None``."""
    is_known = observed is not ObservedState.UNKNOWN
    if operation_kind is not None and action is not InstanceAction.CONSOLE:
        return f"{operation_kind} is running"
    if action is InstanceAction.DELETE and observed is ObservedState.CREATING:
        return None  # Nobody is making it any more: its creation failed, and could not be undone.
    if action is InstanceAction.DELETE and record.protected:
        return "it is protected; switch protection off first"
    if action is InstanceAction.START and observed is ObservedState.MISSING:
        return None
    if observed not in TRANSITIONS[action]:
        return f"it is {observed.value.replace('_', ' ')}" if is_known else (reason or "its state is unknown")
    return None


def instance_view(record: InstanceRecord, facts: InstanceFacts) -> Instance:
    """Return what the API shows of an instance."""
    observed, reason = observe(record, facts.cell)
    cell = facts.cell
    guest = None if cell is None or observed is ObservedState.UNKNOWN else cell.guests.get(record.id)
    told = None if cell is None or observed not in ACTIVE else cell.told.get(record.id)
    usage = None if cell is None or observed not in ACTIVE else cell.report.usage.get(record.id)
    return Instance(
        id=record.id,
        name=record.name,
        description=record.description,
        state=InstanceState(desired=record.desired, observed=observed, reason=reason, since=facts.since),
        compute_pool_id=record.compute_pool_id,
        compute_pool=facts.pool_name,
        node_id=record.node_id,
        node=None if cell is None else cell.info.name,
        zone="default" if cell is None else cell.info.zone,
        vcpus=record.vcpus,
        memory_bytes=record.memory_bytes,
        disks=[_disk_view(disk) for disk in record.disks],
        nics=[_nic_view(nic, facts) for nic in record.nics],
        image=None
        if record.image_id is None
        else ImageRef(id=record.image_id, name=facts.images.get(record.image_id, "")),
        template=None if record.template_id is None else facts.templates.get(record.template_id),
        media=[_media_view(drive, facts) for drive in record.media],
        changes_at_next_start=changes_at_next_start(record, guest),
        firmware=record.firmware,
        has_tpm=record.has_tpm,
        qos=record.qos,
        has_cloud_init=record.cloud_init is not None,
        limits_unsupported=[] if guest is None else guest.limits_unsupported,
        ready=(None if told is None else told.ready) or Readiness(),
        guest=(None if told is None else told.facts) or GuestFacts(),
        tags=record.tags,
        autostart=record.autostart,
        protected=record.protected,
        owner=record.owner,
        operation_id=facts.operation_id,
        usage=usage,
        placement_reason=record.placement_reason,
        created_at=record.created_at,
        started_at=facts.started_at if observed in ACTIVE else None,
        allowed_actions=allowed_actions(record, observed, reason, facts.operation_kind),
    )


def changes_at_next_start(record: InstanceRecord, guest: Observed | None) -> list[str]:
    """Return the fields of which a guest that has devices now has not what its record wants. Pure."""
    if guest is None or guest.state not in ACTIVE | {ObservedState.SUSPENDED}:
        return []
    wanted = {
        "vcpus": record.vcpus == guest.vcpus,
        "memory_bytes": record.memory_bytes == guest.memory_bytes,
        "disks": {disk.volume_id for disk in record.disks} == set(guest.disks),
        "nics": {nic.id for nic in record.nics} == set(guest.nics),
        "media": {drive.slot for drive in record.media} == {drive.slot for drive in guest.media},
        "firmware": record.firmware is guest.firmware,
        "has_tpm": record.has_tpm == guest.has_tpm,
        "qos": _possible(record.qos, guest.limits_unsupported) == _possible(guest.qos, guest.limits_unsupported),
    }
    return [name for name, is_met in wanted.items() if not is_met]


def _possible(qos: Qos, unsupported: list[str]) -> Qos:
    known = {name for name in Qos.__struct_fields__ if name in unsupported}
    return structs.replace(qos, **dict.fromkeys(known))


def _disk_view(disk: DiskRecord) -> Disk:
    return Disk(
        id=disk.volume_id,
        name=disk.name,
        size_bytes=disk.size_bytes,
        storage_pool_id=disk.storage_pool_id,
        is_boot=disk.is_boot,
        is_kept=disk.is_kept,
        image_id=disk.image_id,
    )


def _nic_view(nic: NicRecord, facts: InstanceFacts) -> Nic:
    return Nic(
        id=nic.id,
        mac=nic.mac,
        network_id=nic.network_id,
        network=facts.networks.get(nic.network_id, ""),
        addresses=nic.addresses,
        security_policy_id=nic.security_policy_id,
        security_policy=None if nic.security_policy_id is None else facts.policies.get(nic.security_policy_id),
    )


def _media_view(drive: MediaRecord, facts: InstanceFacts) -> MediaDrive:
    id = drive.media_image_id
    return MediaDrive(slot=drive.slot, media_image_id=id, media_image=None if id is None else facts.images.get(id))


def cell_usage(cell: Cell, records: Iterable[InstanceRecord]) -> Usage:
    """Return what a cell has, what is used and what was promised to ``records``."""
    report = cell.report
    wanted = [record for record in records if record.desired is not DesiredState.DELETED]
    rates = list(report.usage.values()) if cell.is_reachable else []
    return Usage(
        cores=report.cores,
        vcpus_allocated=sum(record.vcpus for record in wanted),
        cpu_percent=report.cpu_percent if cell.is_reachable else 0.0,
        memory_bytes=report.memory_bytes,
        memory_used_bytes=report.memory_used_bytes if cell.is_reachable else 0,
        memory_allocated_bytes=sum(record.memory_bytes for record in wanted),
        disk_bytes=report.disk_bytes,
        disk_used_bytes=report.disk_used_bytes,
        disk_read_bytes_per_second=sum(rate.disk_read_bytes_per_second for rate in rates),
        disk_write_bytes_per_second=sum(rate.disk_write_bytes_per_second for rate in rates),
        network_receive_bytes_per_second=sum(rate.network_receive_bytes_per_second for rate in rates),
        network_transmit_bytes_per_second=sum(rate.network_transmit_bytes_per_second for rate in rates),
    )


def sum_usage(usages: Sequence[Usage]) -> Usage:
    """Return the sum; CPU per cent is weighted by cores."""
    cores = sum(usage.cores for usage in usages)
    totals = {
        name: sum(getattr(usage, name) for usage in usages) for name in Usage.__struct_fields__ if name != "cpu_percent"
    }
    busy = sum(usage.cpu_percent * usage.cores for usage in usages)
    return structs.replace(Usage(**totals), cpu_percent=round(busy / cores, 1) if cores else 0.0)


def count_running(cell: Cell) -> int:
    """Return how many guests of a cell run; an unreachable cell's are unknown, so none."""
    if not (cell.is_reachable and cell.has_inventory):
        return 0
    return sum(guest.state in ACTIVE for guest in cell.guests.values())


def node_view(
    cell: Cell, pool: ComputePoolRecord | None, records: Sequence[InstanceRecord], *, is_enabled: bool, is_self: bool
) -> Node:
    """Return what the API shows of a node."""
    return Node(
        id=cell.info.id,
        name=cell.info.name,
        roles=cell.info.roles,
        zone=cell.info.zone,
        version=cell.info.version,
        state=NodeState.ONLINE if cell.is_reachable else NodeState.UNREACHABLE,
        reason=None if cell.reason is None else f"{cell.reason}; {HOW_TO_START}",
        since=cell.since,
        compute_pool_id=None if pool is None else pool.id,
        compute_pool=None if pool is None else pool.name,
        is_enabled=is_enabled,
        accelerator=cell.report.accelerator or None,
        accelerator_reason=cell.report.accelerator_reason or None,
        lacks=cell.report.lacks,
        instances=len(records),
        instances_running=count_running(cell),
        instances_unknown=0 if cell.is_reachable and cell.has_inventory else len(records),
        usage=cell_usage(cell, records),
        is_self=is_self,
    )


def pool_view(record: ComputePoolRecord, nodes: Sequence[Node], instances: int) -> ComputePool:
    """Return what the API shows of a compute pool; ``nodes`` are its cells."""
    return ComputePool(
        id=record.id,
        name=record.name,
        description=record.description,
        is_enabled=record.is_enabled,
        cells=record.cells,
        cells_reachable=sum(node.state is NodeState.ONLINE for node in nodes),
        instances=instances,
        instances_running=sum(node.instances_running for node in nodes),
        instances_unknown=sum(node.instances_unknown for node in nodes),
        usage=sum_usage([node.usage for node in nodes]),
        storage_pool_ids=record.storage_pool_ids,
        address_pool_ids=record.address_pool_ids,
        cpu_overcommit=record.cpu_overcommit,
        memory_overcommit=record.memory_overcommit,
        created_at=record.created_at,
    )

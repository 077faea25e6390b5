"""Copies of a running guest's disks: libvirt's backup job, which goes on in QEMU whatever becomes of Nano.

Everything here blocks and runs in the host's threads.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

import libvirt

from nanocore.capabilities.hypervisor import CopyProgress, CopyState, DiskCopy
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import VolumeId
from nanoplugins.kvm import definition, devices

_BACKUP = libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP
_KEEP = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
_RUNNING = frozenset({libvirt.VIR_DOMAIN_JOB_BOUNDED, libvirt.VIR_DOMAIN_JOB_UNBOUNDED})
_ENDS = {
    libvirt.VIR_DOMAIN_JOB_COMPLETED: CopyState.DONE,
    libvirt.VIR_DOMAIN_JOB_FAILED: CopyState.FAILED,
}


def begin(domain: libvirt.virDomain, copies: Sequence[DiskCopy]) -> None:
    """Begin a push backup into files that exist; the same one going on is no error."""
    for copy in copies:
        devices.check_disk(copy.target)
    going_on = _targets(domain)
    if going_on and going_on == {copy.target.path for copy in copies}:
        return
    if going_on:
        message = f"disks of guest {definition.guest_name(domain)} are being copied already; wait for that, or abort it"
        raise NanoError(ErrorCode.BUSY, message)
    xml = _job(domain, copies)
    domain.backupBegin(xml, None, libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL)


def progress(domain: libvirt.virDomain) -> CopyProgress:
    """Return how far the last one is."""
    if not domain.isActive():
        return CopyProgress(state=CopyState.NONE)
    stats = domain.jobStats()
    if stats.get("operation") == _BACKUP and stats.get("type") in _RUNNING:
        return _progress(CopyState.RUNNING, stats)
    stats = domain.jobStats(_KEEP)
    if stats.get("operation") != _BACKUP:
        return CopyProgress(state=CopyState.NONE)
    state = _ENDS.get(stats.get("type", 0), CopyState.NONE)
    return _progress(state, stats)


def abort(domain: libvirt.virDomain) -> None:
    """End one that goes on."""
    if not domain.isActive() or domain.jobStats().get("operation") != _BACKUP:
        return
    try:
        domain.abortJob()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:  # it ended in this moment
            raise


def _progress(state: CopyState, stats: dict[str, object]) -> CopyProgress:
    def number(key: str) -> int:
        value = stats.get(key, 0)
        return value if isinstance(value, int) else 0

    reason = stats.get("errmsg")
    return CopyProgress(
        state=state,
        total_bytes=number("disk_total"),
        copied_bytes=number("disk_processed"),
        reason=reason if isinstance(reason, str) else None,
    )


def _targets(domain: libvirt.virDomain) -> set[str]:
    try:
        root = definition.parse(domain.backupGetXMLDesc())
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_BACKUP:
            return set()
        raise
    return {target.get("file", "") for target in root.findall("disks/disk/target")}


def _job(domain: libvirt.virDomain, copies: Sequence[DiskCopy]) -> str:
    root = definition.live(domain)
    names = definition.disk_targets(root)
    wanted: dict[str, DiskCopy] = {}
    for copy in copies:
        name = names.get(VolumeId(copy.volume_id))
        if name is None:
            message = f"guest {definition.guest_name(domain)} has no disk with volume {copy.volume_id}"
            raise NanoError(ErrorCode.NOT_FOUND, message)
        wanted[name] = copy
    job = ET.Element("domainbackup", mode="push")
    disks = ET.SubElement(job, "disks")
    for name in (name for name in definition.taken_names(root) if name):
        chosen = wanted.get(name)
        if chosen is None:
            ET.SubElement(disks, "disk", name=name, backup="no")
            continue
        disk = ET.SubElement(disks, "disk", name=name, backup="yes", type="file")
        ET.SubElement(disk, "target", file=chosen.target.path)
        ET.SubElement(disk, "driver", type=chosen.target.format)
    return ET.tostring(job, encoding="unicode")

"""Changes of one libvirt domain, live where it runs and lasting; each is idempotent.

Everything here blocks and runs in the host's threads. Lasting definitions are edited as trees and defined again, which
every libvirt driver can do; what runs is changed by libvirt's own calls. Live comes first: what it refuses leaves the
definition as it was.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable

import libvirt

from nanocore.capabilities.hypervisor import DiskSpec, NicSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import VolumeId
from nanocore.model.instance import Qos
from nanoplugins.kvm import definition, devices, domain_xml
from nanoplugins.kvm.domain_xml import Mark, Platform
from nanoplugins.kvm.errors import translate

_KIB = 1024
_LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
_QOS_DISK = ("disk_iops", "disk_bytes_per_second")


def define_edited(domain: libvirt.virDomain, edit: Callable[[ET.Element], bool]) -> None:
    """Edit the lasting definition; ``edit`` returns whether it changed anything."""
    root = definition.lasting(domain)
    if edit(root):
        domain.connect().defineXML(ET.tostring(root, encoding="unicode"))


def attach_disk(domain: libvirt.virDomain, disk: DiskSpec) -> None:
    """Add a disk."""
    devices.check_disk(disk)
    alias = f"{devices.DISK_ALIAS}{disk.volume_id}"

    def make(root: ET.Element) -> ET.Element:
        mark = domain_xml.read_mark(root)
        name = devices.free_disk_name(definition.taken_names(root))
        return devices.disk(disk, name, mark.enforced if mark else Qos())

    _attach(domain, alias, make)


def attach_nic(domain: libvirt.virDomain, nic: NicSpec) -> None:
    """Add a network card."""

    def make(root: ET.Element) -> ET.Element:
        mark = domain_xml.read_mark(root)
        return devices.nic(nic, mark.enforced if mark else Qos())

    _attach(domain, f"{devices.NIC_ALIAS}{nic.id}", make)


def _attach(domain: libvirt.virDomain, alias: str, make: Callable[[ET.Element], ET.Element]) -> None:
    place = None
    if domain.isActive():
        root = definition.live(domain)
        if definition.find_device(root, alias) is None:
            domain.attachDeviceFlags(ET.tostring(make(root), encoding="unicode"), _LIVE)
            root = definition.live(domain)
        added = definition.find_device(root, alias)
        place = added.find("address[@type='pci']") if added is not None else None

    def edit(root: ET.Element) -> bool:
        if definition.find_device(root, alias) is not None:
            return False
        element = make(root)
        # The same place after the next start: network cards are named after it inside the guest.
        if place is not None:
            element.append(place)
        definition.add_device(root, element)
        return True

    try:
        define_edited(domain, edit)
    except libvirt.libvirtError:
        if place is None:
            raise
        place = None  # taken by a device that the running guest does not have yet
        define_edited(domain, edit)


def begin_detach(domain: libvirt.virDomain, alias: str) -> bool:
    """Remove a device from the definition and ask a running guest to let go of it; whether it did already."""
    define_edited(domain, lambda root: definition.remove_device(root, alias))
    return ask_to_let_go(domain, alias)


def ask_to_let_go(domain: libvirt.virDomain, alias: str) -> bool:
    """Ask a running guest for a device; whether it let go."""
    if not domain.isActive():
        return True
    element = definition.find_device(definition.live(domain), alias)
    if element is None:
        return True
    try:
        domain.detachDeviceFlags(ET.tostring(element, encoding="unicode"), _LIVE)
    except libvirt.libvirtError:
        # Gone in this moment, or asked before and still thinking, which QEMU takes for an error.
        return not _is_active(domain) or definition.find_device(definition.live(domain), alias) is None
    return definition.find_device(definition.live(domain), alias) is None


def has_let_go(domain: libvirt.virDomain, alias: str) -> bool:
    """Whether a guest is rid of a device."""
    return not domain.isActive() or definition.find_device(definition.live(domain), alias) is None


def set_media(domain: libvirt.virDomain, slot: int, path: str | None, *, is_forced: bool) -> None:
    """Insert or eject."""
    alias = f"{devices.MEDIA_ALIAS}{slot}"
    found = False
    if domain.isActive():
        drive = definition.find_device(definition.live(domain), alias)
        found = drive is not None
        if drive is not None and definition.source_of(drive) != path:
            definition.set_source(drive, path)
            _change_medium(domain, drive, slot, is_forced=is_forced)

    def edit(root: ET.Element) -> bool:
        nonlocal found
        drive = definition.find_device(root, alias)
        if drive is None or definition.source_of(drive) == path:
            found = found or drive is not None
            return False
        found = True
        definition.set_source(drive, path)
        return True

    define_edited(domain, edit)
    if not found:
        message = f"guest {definition.guest_name(domain)} has no media drive {slot}; add one first"
        raise NanoError(ErrorCode.NOT_FOUND, message)


def _change_medium(domain: libvirt.virDomain, drive: ET.Element, slot: int, *, is_forced: bool) -> None:
    flags = _LIVE | (libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE if is_forced else 0)
    try:
        domain.updateDeviceFlags(ET.tostring(drive, encoding="unicode"), flags)
    except libvirt.libvirtError as error:
        # libvirt has no number for it.
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_FAILED or "open tray" not in str(error):
            raise
        message = (
            f"guest {definition.guest_name(domain)} holds media drive {slot} locked, as it uses what is in it; "
            "eject it inside the guest, or force it"
        )
        raise NanoError(ErrorCode.BUSY, message, reason="kvm.media_locked") from error


def resize(domain: libvirt.virDomain, vcpus: int, memory_bytes: int, *, is_live: bool) -> None:
    """Set processors and memory."""

    def edit(root: ET.Element) -> bool:
        definition.set_size(root, vcpus=vcpus, memory_bytes=memory_bytes)
        return True

    define_edited(domain, edit)
    if not is_live or not domain.isActive():
        return
    _, most_kib, current_kib, current_vcpus, _ = domain.info()
    memory_kib = memory_bytes // _KIB
    if memory_kib <= most_kib and memory_kib != current_kib:
        domain.setMemoryFlags(memory_kib, _LIVE)
    if vcpus != current_vcpus and vcpus <= domain.maxVcpus():
        try:
            domain.setVcpusFlags(vcpus, _LIVE)
        except libvirt.libvirtError:
            # The guest keeps the processors that it does not give back until its next start.
            if vcpus > current_vcpus:
                raise


def resize_disk(domain: libvirt.virDomain, volume_id: VolumeId, size_bytes: int) -> None:
    """Grow a disk of a running guest."""
    if not domain.isActive():
        message = f"guest {definition.guest_name(domain)} does not run; the storage driver grows volume {volume_id}"
        raise NanoError(ErrorCode.WRONG_STATE, message)
    name = definition.target_of(definition.live(domain), volume_id)
    if name is None:
        message = f"guest {definition.guest_name(domain)} has no disk with volume {volume_id}"
        raise NanoError(ErrorCode.NOT_FOUND, message)
    size, _, _ = domain.blockInfo(name)
    if size_bytes < size:
        message = f"volume {volume_id} has {size} bytes and can't shrink to {size_bytes} while its guest runs"
        raise NanoError(ErrorCode.INVALID_ARGUMENT, message, field="size_bytes")
    if size_bytes > size:
        domain.blockResize(name, size_bytes, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)


def set_qos(domain: libvirt.virDomain, qos: Qos, platform: Platform, *, is_live: bool) -> dict[str, str]:
    """Set all limits; return those that libvirt refused, each with its words."""
    mark = domain_xml.read_mark(definition.lasting(domain))
    assert mark is not None  # noqa: S101  only our own domains are changed
    refused: dict[str, str] = {}
    if is_live and domain.isActive():
        refused = _set_live_limits(domain, domain_xml.without(qos, platform.limits_unsupported), platform)
    missing = {*domain_xml.unsupported_of(qos, platform), *refused}
    changed = Mark(mark.id, mark.name, mark.zone, mark.step_key, qos, tuple(sorted(missing)))

    define_edited(domain, lambda root: definition.set_limits(root, changed, platform))
    if is_live and domain.isActive():
        write_live_mark(domain, changed)
    return refused


def write_live_mark(domain: libvirt.virDomain, mark: Mark) -> None:
    """Write the mark of what runs, which tells the limits in force."""
    element = domain_xml.mark_element(mark)
    # libvirt adds prefix and namespace by itself.
    attributes = {name: value for name, value in element.attrib.items() if not name.startswith("xmlns")}
    xml = ET.tostring(ET.Element("instance", attributes), encoding="unicode")
    kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
    domain.setMetadata(kind, xml, domain_xml.METADATA_PREFIX, domain_xml.METADATA_URI, _LIVE)


def _set_live_limits(domain: libvirt.virDomain, qos: Qos, platform: Platform) -> dict[str, str]:
    root = definition.live(domain)
    before = domain_xml.read_mark(root)
    old = before.enforced if before else Qos()
    refused = {}
    if qos.cpu_weight != old.cpu_weight:
        shares = domain_xml.cpu_shares(qos.cpu_weight or 100, platform)
        if words := _refusal(lambda: domain.setSchedulerParametersFlags({"cpu_shares": shares}, _LIVE)):
            refused["cpu_weight"] = words
    throttle = {"total_bytes_sec": qos.disk_bytes_per_second or 0, "total_iops_sec": qos.disk_iops or 0}
    for name in definition.disk_targets(root).values():
        if words := _refusal(lambda name=name: domain.setBlockIoTune(name, throttle, _LIVE)):  # type: ignore[misc]
            refused |= {field: words for field in _QOS_DISK if getattr(qos, field) is not None}
    if qos.network_bytes_per_second != old.network_bytes_per_second:
        average = devices.bandwidth_kib(qos.network_bytes_per_second) if qos.network_bytes_per_second else 0
        limits = {"inbound.average": average, "outbound.average": average}
        for element in root.findall("devices/interface/mac"):
            mac = element.get("address")
            if words := _refusal(lambda mac=mac: domain.setInterfaceParameters(mac, limits, _LIVE)):  # type: ignore[misc]
                refused["network_bytes_per_second"] = words
    return {field: words for field, words in refused.items() if getattr(qos, field) is not None}


def _refusal(call: Callable[[], object]) -> str | None:
    try:
        call()
    except libvirt.libvirtError as error:
        translated = translate(error, "")
        if translated.code in {ErrorCode.UNAVAILABLE, ErrorCode.NOT_FOUND}:
            raise
        return str(error.get_error_message() or error)
    return None


def _is_active(domain: libvirt.virDomain) -> bool:
    try:
        return bool(domain.isActive())
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return False
        raise

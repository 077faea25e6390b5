"""What stands in a domain's XML, and edits of it. Pure: trees in, trees out."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

import libvirt

from nanocore.capabilities.hypervisor import MediaSpec, Observed
from nanocore.ids import InstanceId, StepKey, VolumeId
from nanocore.model.instance import Firmware, ObservedState
from nanocore.wire import structs
from nanoplugins.kvm import devices, domain_xml
from nanoplugins.kvm.domain_xml import Mark

_KIB = 1024


@dataclass(frozen=True, slots=True)
class Facts:
    """What changes only when a domain is defined, started or changed; kept, so that lists cost few calls."""

    template: Observed

    @property
    def id(self) -> InstanceId:
        """The guest's id."""
        return self.template.id

    @property
    def name(self) -> str:
        """The guest's name."""
        return self.template.name

    @property
    def is_managed(self) -> bool:
        """Whether Nano made it."""
        return self.template.is_managed

    def observed(self, state: ObservedState, reason: str | None) -> Observed:
        """Return the guest in ``state``."""
        return structs.replace(self.template, state=state, reason=reason)


def parse(xml: str) -> ET.Element:
    """Return libvirt's XML as a tree."""
    return ET.fromstring(xml)  # noqa: S314  libvirtd's own output


def lasting(domain: libvirt.virDomain) -> ET.Element:
    """Read the lasting definition; blocks."""
    return parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))


def live(domain: libvirt.virDomain) -> ET.Element:
    """Read what runs; blocks."""
    return parse(domain.XMLDesc())


def guest_name(domain: libvirt.virDomain) -> str:
    """Return the name that users know, for messages; blocks."""
    try:
        return str(domain.metadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None, 0))
    except libvirt.libvirtError:
        return str(domain.name())


def read_facts(domain: libvirt.virDomain) -> Facts:
    """Read the name of the lasting definition and the devices of what runs; blocks."""
    definition = lasting(domain)
    present = live(domain) if domain.isActive() else definition
    mark = domain_xml.read_mark(definition)
    in_force = domain_xml.read_mark(present) or Mark("", "", "", "")
    _, _, memory_kib, vcpus, _ = domain.info()
    return Facts(
        Observed(
            id=InstanceId(domain.UUIDString()),
            name=mark.name if mark else domain.name(),
            state=ObservedState.UNKNOWN,
            is_managed=mark is not None,
            step_key=StepKey(mark.step_key) if mark else None,
            vcpus=vcpus,
            memory_bytes=memory_kib * _KIB,
            disks=[VolumeId(alias) for alias in _aliases(present, "disk", devices.DISK_ALIAS)],
            nics=_aliases(present, "interface", devices.NIC_ALIAS),
            media=_media(present),
            firmware=_firmware(present),
            has_tpm=present.find("devices/tpm") is not None,
            qos=in_force.enforced,
            limits_unsupported=[*in_force.limits_unsupported],
        )
    )


def _firmware(root: ET.Element) -> Firmware:
    system = root.find("os")
    is_uefi = system is not None and (
        system.get("firmware") == "efi" or system.find("loader[@type='pflash']") is not None
    )
    return Firmware.UEFI if is_uefi else Firmware.BIOS


def find_device(root: ET.Element, alias: str) -> ET.Element | None:
    """Return the device with our alias."""
    for element in root.findall("devices/*"):
        name = element.find("alias")
        if name is not None and name.get("name") == alias:
            return element
    return None


def target_of(root: ET.Element, volume_id: VolumeId) -> str | None:
    """Return libvirt's name (vda …) of a disk."""
    return target_name(find_device(root, f"{devices.DISK_ALIAS}{volume_id}"))


def target_name(element: ET.Element | None) -> str | None:
    """Return libvirt's name of a device."""
    target = element.find("target") if element is not None else None
    return target.get("dev") if target is not None else None


def disk_targets(root: ET.Element) -> dict[VolumeId, str]:
    """Return libvirt's names of all our disks."""
    found = {}
    for volume_id in _aliases(root, "disk", devices.DISK_ALIAS):
        name = target_of(root, VolumeId(volume_id))
        if name is not None:
            found[VolumeId(volume_id)] = name
    return found


def taken_names(root: ET.Element) -> list[str | None]:
    """Return the names of all block devices."""
    return [target_name(element) for element in root.findall("devices/disk")]


def add_device(root: ET.Element, element: ET.Element) -> None:
    """Append a device."""
    parts = root.find("devices")
    assert parts is not None  # noqa: S101  every domain has devices
    parts.append(element)


def remove_device(root: ET.Element, alias: str) -> bool:
    """Remove the device with our alias; whether it was there."""
    element, parts = find_device(root, alias), root.find("devices")
    if element is None or parts is None:
        return False
    parts.remove(element)
    return True


def set_source(drive: ET.Element, path: str | None) -> None:
    """Put a file into a CD drive, or take it out."""
    source = drive.find("source")
    if source is not None:
        drive.remove(source)
    if path is not None:
        drive.append(ET.Element("source", file=path))


def source_of(drive: ET.Element) -> str | None:
    """Return the file in a CD drive."""
    source = drive.find("source")
    return source.get("file") if source is not None else None


def set_mark(root: ET.Element, mark: Mark) -> None:
    """Write the mark anew."""
    metadata = root.find("metadata")
    assert metadata is not None  # noqa: S101  only our own domains are edited
    for old in metadata.findall(f"{{{domain_xml.METADATA_URI}}}instance"):
        metadata.remove(old)
    metadata.append(domain_xml.mark_element(mark))


def set_size(root: ET.Element, *, vcpus: int, memory_bytes: int) -> None:
    """Write processors and memory, with the room to grow that they have from the next start on."""
    for tag in ("memory", "currentMemory"):
        old = root.find(tag)
        if old is not None:
            root.remove(old)
        devices.text(root, tag, str(memory_bytes), unit="b")
    old = root.find("vcpu")
    if old is not None:
        root.remove(old)
    for stale in root.findall("vcpus"):
        root.remove(stale)
    most = domain_xml.most_vcpus(vcpus)
    devices.text(root, "vcpu", str(most), placement="static", current=str(vcpus))
    topology = root.find("cpu/topology")
    if topology is not None:
        topology.set("cores", str(most))


def set_limits(root: ET.Element, mark: Mark, platform: domain_xml.Platform) -> bool:
    """Write the limits of ``mark`` that are possible, and the mark; an edit that always changes something."""
    qos = mark.enforced
    if platform.is_qemu:
        domain_xml.set_cpu_weight(root, qos, platform)
        _set_part(root, "disk", devices.DISK_ALIAS, "iotune", devices.iotune(qos))
        _set_part(root, "interface", devices.NIC_ALIAS, "bandwidth", devices.bandwidth(qos))
    set_mark(root, mark)
    return True


def _set_part(root: ET.Element, tag: str, alias: str, part: str, wanted: ET.Element | None) -> None:
    for name in _aliases(root, tag, alias):
        device = find_device(root, f"{alias}{name}")
        if device is None:
            continue
        for old in device.findall(part):
            device.remove(old)
        if wanted is not None:
            device.append(wanted)


def _aliases(root: ET.Element, tag: str, prefix: str) -> list[str]:
    names = (alias.get("name", "") for alias in root.findall(f"devices/{tag}/alias"))
    return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]


def _media(root: ET.Element) -> list[MediaSpec]:
    found = []
    for slot in _aliases(root, "disk", devices.MEDIA_ALIAS):
        drive = find_device(root, f"{devices.MEDIA_ALIAS}{slot}")
        if drive is not None:
            found.append(MediaSpec(slot=int(slot), path=source_of(drive)))
    return found

"""A guest's specification as libvirt's domain XML. Pure: builds a tree, holds no policy, asks nobody.

Built as a tree, never as text, so that no name or path can become markup.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from nanocore.capabilities.hypervisor import GuestSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.model.instance import Firmware, Qos
from nanocore.wire import structs
from nanoplugins.kvm import devices
from nanoplugins.kvm.devices import text

METADATA_URI = "https://nano.example/xmlns/instance/1"
"""Marks a domain as ours; a name, not an address, that is never fetched."""
METADATA_PREFIX = "nano"
SHORT_ID_LENGTH = 8

FREE_PORTS = 8
"""Room for devices that are added to a running guest."""
DEVICES_ON_PORTS = 7
"""USB, SCSI, the agent's channel, balloon, random numbers, the seed, and one to spare."""
VCPU_GROWTH = 4
MOST_GROWN_VCPUS = 16

_BALLOON_PERIOD_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Platform:
    """What the guest is built for. ``domain_type``: ``kvm``, ``qemu`` (software emulation) or ``test``."""

    domain_type: str
    arch: str = "x86_64"
    limits_unsupported: Mapping[str, str] = field(default_factory=dict)
    """Fields of ``Qos`` that are not even tried, each with the reason."""
    full_cpu_shares: int = 100
    """libvirt's ``shares`` of a guest with weight 100: 100 in the unified cgroup hierarchy, 1024 in the old one."""

    @property
    def is_qemu(self) -> bool:
        """Whether a real QEMU runs the guest, with devices."""
        return self.domain_type in {"kvm", "qemu"}


@dataclass(frozen=True, slots=True)
class Mark:
    """What Nano wrote into a domain's metadata. ``qos`` is what is wanted."""

    id: str
    name: str
    zone: str
    step_key: str
    qos: Qos = field(default_factory=Qos)
    limits_unsupported: tuple[str, ...] = ()

    @property
    def enforced(self) -> Qos:
        """What is wanted and possible here."""
        return without(self.qos, self.limits_unsupported)

    def lacking(self, names: Iterable[str]) -> Mark:
        """Return it with more limits that are not possible."""
        return replace(self, limits_unsupported=tuple(sorted({*self.limits_unsupported, *names})))


def without(qos: Qos, fields: Mapping[str, object] | tuple[str, ...]) -> Qos:
    """Return the limits without some of them."""
    return structs.replace(qos, **dict.fromkeys(fields))


def unsupported_of(qos: Qos, platform: Platform) -> tuple[str, ...]:
    """Return the limits that are wanted and not possible."""
    return tuple(name for name in sorted(platform.limits_unsupported) if getattr(qos, name) is not None)


def domain_name(spec: GuestSpec) -> str:
    """Return libvirt's name for a new guest: readable, and unique also where others made a domain of that name."""
    return f"{spec.name}-{spec.id[:SHORT_ID_LENGTH]}"


def most_vcpus(vcpus: int) -> int:
    """Return how many processors a guest that is started with ``vcpus`` may grow to while it runs."""
    return max(vcpus, min(vcpus * VCPU_GROWTH, MOST_GROWN_VCPUS))


def build(spec: GuestSpec, platform: Platform, *, zone: str, before: ET.Element | None = None) -> str:
    """Return the domain XML. ``before`` is the definition of a domain that exists already.

    Its name is kept, and the places of devices that stay, so that a guest's network cards keep their names inside.
    Raises ``invalid_argument`` for a relative disk path and ``unsupported`` for a disk format QEMU is not to open.
    """
    _check(spec)
    mark = Mark(spec.id, spec.name, zone, spec.step_key, spec.qos, unsupported_of(spec.qos, platform))
    root = ET.Element("domain", type=platform.domain_type)
    text(root, "name", (before.findtext("name") if before is not None else None) or domain_name(spec))
    text(root, "uuid", spec.id)
    text(root, "title", spec.name)
    ET.SubElement(root, "metadata").append(mark_element(mark))
    text(root, "memory", str(spec.memory_bytes), unit="b")
    text(root, "currentMemory", str(spec.memory_bytes), unit="b")
    text(root, "vcpu", str(most_vcpus(spec.vcpus)), placement="static", current=str(spec.vcpus))
    if platform.is_qemu:
        set_cpu_weight(root, mark.enforced, platform)
    _add_machine(root, spec, platform)
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "preserve")):
        text(root, f"on_{event}", action)
    parts = ET.SubElement(root, "devices")
    _add_drives(parts, spec, mark.enforced)
    for nic in spec.nics:
        parts.append(devices.nic(nic, mark.enforced))
    if platform.is_qemu:
        _add_qemu_devices(parts, spec)
        _keep_places(parts, before)
    return ET.tostring(root, encoding="unicode")


def read_mark(root: ET.Element) -> Mark | None:
    """Return what Nano wrote into a domain, or ``None`` if it is not ours."""
    element = root.find(f"metadata/{{{METADATA_URI}}}instance")
    if element is None:
        return None
    limits = {name: int(value) for name in Qos.__struct_fields__ if (value := element.get(name.replace("_", "-")))}
    return Mark(
        id=element.get("id", ""),
        name=element.get("name", ""),
        zone=element.get("zone", ""),
        step_key=element.get("step-key", ""),
        qos=Qos(**limits),
        limits_unsupported=tuple(element.get("limits-unsupported", "").split()),
    )


def mark_element(mark: Mark) -> ET.Element:
    """Return the mark as it stands in the metadata."""
    # Written with its prefix, as ElementTree keeps prefixes in a registry of the whole process.
    attributes = {"id": mark.id, "name": mark.name, "zone": mark.zone, "step-key": mark.step_key}
    for name in Qos.__struct_fields__:
        if (value := getattr(mark.qos, name)) is not None:
            attributes[name.replace("_", "-")] = str(value)
    if mark.limits_unsupported:
        attributes["limits-unsupported"] = " ".join(mark.limits_unsupported)
    return ET.Element(f"{METADATA_PREFIX}:instance", {f"xmlns:{METADATA_PREFIX}": METADATA_URI, **attributes})


def set_cpu_weight(root: ET.Element, qos: Qos, platform: Platform) -> None:
    """Set the guest's share of contended processors, or remove it."""
    tune = root.find("cputune")
    if tune is not None:
        root.remove(tune)
    if qos.cpu_weight is not None:
        text(ET.SubElement(root, "cputune"), "shares", str(cpu_shares(qos.cpu_weight, platform)))


def cpu_shares(weight: int, platform: Platform) -> int:
    """Return libvirt's number for a weight."""
    return max(2, weight * platform.full_cpu_shares // 100)


def _check(spec: GuestSpec) -> None:
    for disk in spec.disks:
        devices.check_disk(disk)
    for medium in spec.media:
        if medium.path is not None and not medium.path.startswith("/"):
            message = f"media drive {medium.slot}: the path must be absolute, got {medium.path!r}"
            raise NanoError(ErrorCode.INVALID_ARGUMENT, message, field="media")


def _add_machine(root: ET.Element, spec: GuestSpec, platform: Platform) -> None:
    if not platform.is_qemu:
        text(ET.SubElement(root, "os"), "type", "hvm")
        return
    if spec.firmware is Firmware.UEFI:
        system = ET.SubElement(root, "os", firmware="efi")
        text(system, "type", "hvm", arch=platform.arch, machine="q35")
        # Keys of a vendor's own would refuse the systems of others.
        choice = ET.SubElement(system, "firmware")
        ET.SubElement(choice, "feature", enabled="no", name="enrolled-keys")
        ET.SubElement(choice, "feature", enabled="no", name="secure-boot")
    else:
        system = ET.SubElement(root, "os")
        text(system, "type", "hvm", arch=platform.arch, machine="q35")
    features = ET.SubElement(root, "features")
    for feature in ("acpi", "apic"):
        ET.SubElement(features, feature)
    cpu = ET.SubElement(root, "cpu", mode="host-passthrough" if platform.domain_type == "kvm" else "maximum")
    # Follows the number of processors, or changing that number would contradict it.
    ET.SubElement(cpu, "topology", sockets="1", dies="1", cores=str(most_vcpus(spec.vcpus)), threads="1")
    clock = ET.SubElement(root, "clock", offset="utc")
    ET.SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
    ET.SubElement(clock, "timer", name="pit", tickpolicy="delay")
    ET.SubElement(clock, "timer", name="hpet", present="no")
    power = ET.SubElement(root, "pm")
    ET.SubElement(power, "suspend-to-mem", enabled="no")
    ET.SubElement(power, "suspend-to-disk", enabled="no")


def _add_drives(parts: ET.Element, spec: GuestSpec, qos: Qos) -> None:
    """Disks before CDs: an installed system boots though its medium is still in, an empty disk lets the medium boot."""
    order = 0
    for index, disk in enumerate(sorted(spec.disks, key=lambda disk: not disk.is_boot)):
        order += disk.is_boot
        parts.append(devices.disk(disk, devices.disk_name(index), qos, boot_order=order if disk.is_boot else None))
    for medium in sorted(spec.media, key=lambda medium: medium.slot):
        order += 1
        parts.append(devices.drive(medium, boot_order=order))
    if spec.seed_path is not None:
        parts.append(devices.seed_disk(spec.seed_path, devices.disk_name(len(spec.disks))))


def _add_qemu_devices(parts: ET.Element, spec: GuestSpec) -> None:
    has_seed = spec.seed_path is not None
    ports = DEVICES_ON_PORTS + len(spec.disks) + len(spec.nics) + has_seed + FREE_PORTS
    ET.SubElement(parts, "controller", type="pci", index="0", model="pcie-root")
    for index in range(1, ports + 1):
        ET.SubElement(parts, "controller", type="pci", index=str(index), model="pcie-root-port")
    ET.SubElement(parts, "controller", type="scsi", index="0", model="virtio-scsi")
    serial = ET.SubElement(parts, "serial", type="pty")
    ET.SubElement(serial, "target", type="isa-serial", port="0")
    console = ET.SubElement(parts, "console", type="pty")
    ET.SubElement(console, "target", type="serial", port="0")
    channel = ET.SubElement(parts, "channel", type="unix")
    ET.SubElement(channel, "target", type="virtio", name=devices.AGENT_CHANNEL)
    if spec.signal_path is not None:
        parts.append(devices.signal_channel(spec.signal_path))
    # The screen listens nowhere: viewers come in as descriptors that libvirt hands to QEMU.
    graphics = ET.SubElement(parts, "graphics", type="vnc")
    ET.SubElement(graphics, "listen", type="none")
    video = ET.SubElement(parts, "video")
    ET.SubElement(video, "model", type="vga")
    ET.SubElement(parts, "controller", type="usb", model="qemu-xhci")
    ET.SubElement(parts, "input", type="tablet", bus="usb")
    if spec.has_tpm:
        tpm = ET.SubElement(parts, "tpm", model="tpm-crb")
        ET.SubElement(tpm, "backend", type="emulator", version="2.0")
    generator = ET.SubElement(parts, "rng", model="virtio")
    text(generator, "backend", "/dev/urandom", model="random")
    balloon = ET.SubElement(parts, "memballoon", model="virtio")
    ET.SubElement(balloon, "stats", period=str(_BALLOON_PERIOD_SECONDS))
    ET.SubElement(parts, "panic", model="isa")


def _keep_places(parts: ET.Element, before: ET.Element | None) -> None:
    """Give disks and network cards that stay the PCI place that they had."""
    if before is None:
        return
    places = {
        alias.get("name"): place
        for element in before.findall("devices/*")
        if (alias := element.find("alias")) is not None and (place := element.find("address[@type='pci']")) is not None
    }
    farthest = 0
    for element in parts:
        alias = element.find("alias")
        place = places.get(alias.get("name")) if alias is not None else None
        if place is not None:
            element.append(place)
            farthest = max(farthest, int(place.get("bus", "0"), 16))
    last = len(parts.findall("controller[@model='pcie-root-port']"))
    for index in range(last + 1, farthest + 1):
        ET.SubElement(parts, "controller", type="pci", index=str(index), model="pcie-root-port")

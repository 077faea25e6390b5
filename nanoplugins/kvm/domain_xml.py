"""A guest's specification as libvirt's domain XML. Pure: builds a tree, holds no policy, asks nobody.

Built as a tree, never as text, so that no name or path can become markup.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from nanocore.capabilities.hypervisor import DiskSpec, GuestSpec, NicSpec
from nanocore.errors import ErrorCode, NanoError

METADATA_URI = "https://nano.example/xmlns/instance/1"
"""Marks a domain as ours; a name, not an address, that is never fetched."""
METADATA_PREFIX = "nano"
DISK_FORMATS = frozenset({"qcow2", "raw"})
SHORT_ID_LENGTH = 8

_BALLOON_PERIOD_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Platform:
    """What the guest is built for. ``domain_type``: ``kvm``, ``qemu`` (software emulation) or ``test``."""

    domain_type: str
    arch: str = "x86_64"

    @property
    def is_qemu(self) -> bool:
        """Whether a real QEMU runs the guest, with devices."""
        return self.domain_type in {"kvm", "qemu"}


@dataclass(frozen=True, slots=True)
class Mark:
    """What Nano wrote into a domain's metadata."""

    id: str
    name: str
    zone: str
    step_key: str


def domain_name(spec: GuestSpec) -> str:
    """Return libvirt's name for a new guest: readable, and unique also where others made a domain of that name."""
    return f"{spec.name}-{spec.id[:SHORT_ID_LENGTH]}"


def build(spec: GuestSpec, platform: Platform, *, zone: str, name: str | None = None) -> str:
    """Return the domain XML. ``name`` keeps the name of a domain that exists already.

    Raises ``invalid_argument`` for a relative disk path and ``unsupported`` for a disk format QEMU is not to open.
    """
    _check(spec)
    root = ET.Element("domain", type=platform.domain_type)
    _text(root, "name", name or domain_name(spec))
    _text(root, "uuid", spec.id)
    _text(root, "title", spec.name)
    root.append(_metadata(spec, zone))
    _text(root, "memory", str(spec.memory_bytes), unit="b")
    _text(root, "vcpu", str(spec.vcpus), placement="static")
    _add_machine(root, spec, platform)
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "preserve")):
        _text(root, f"on_{event}", action)
    devices = ET.SubElement(root, "devices")
    has_boot_disk = any(disk.is_boot for disk in spec.disks)
    for index, disk in enumerate(sorted(spec.disks, key=lambda disk: not disk.is_boot)):
        devices.append(_disk(disk, index, is_first=index == 0 and has_boot_disk))
    for nic in spec.nics:
        devices.append(_nic(nic))
    if platform.is_qemu:
        _add_qemu_devices(devices)
    return ET.tostring(root, encoding="unicode")


def read_mark(xml: str) -> Mark | None:
    """Return what Nano wrote into a domain, or ``None`` if it is not ours."""
    element = ET.fromstring(xml).find(f"metadata/{{{METADATA_URI}}}instance")  # noqa: S314  libvirtd's own output
    if element is None:
        return None
    values = [element.get(name, "") for name in ("id", "name", "zone", "step-key")]
    return Mark(*values)


def disk_name(index: int) -> str:
    """Return the guest's name for its disk number ``index``: vda … vdz, vdaa …."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return f"vd{letters}"


def _check(spec: GuestSpec) -> None:
    for disk in spec.disks:
        if not disk.path.startswith("/"):
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"volume {disk.volume_id}: its path must be absolute, got {disk.path!r}",
                field="disks",
            )
        if disk.format not in DISK_FORMATS:
            raise NanoError(
                ErrorCode.UNSUPPORTED,
                f"volume {disk.volume_id} has format {disk.format!r}; supported are {', '.join(sorted(DISK_FORMATS))}",
                reason="kvm.disk_format",
            )


def _metadata(spec: GuestSpec, zone: str) -> ET.Element:
    metadata = ET.Element("metadata")
    # Written with its prefix, as ElementTree keeps prefixes in a registry of the whole process.
    attributes = {"id": spec.id, "name": spec.name, "zone": zone, "step-key": spec.step_key}
    namespace = {f"xmlns:{METADATA_PREFIX}": METADATA_URI}
    ET.SubElement(metadata, f"{METADATA_PREFIX}:instance", {**namespace, **attributes})
    return metadata


def _add_machine(root: ET.Element, spec: GuestSpec, platform: Platform) -> None:
    system = ET.SubElement(root, "os")
    if not platform.is_qemu:
        _text(system, "type", "hvm")
        return
    _text(system, "type", "hvm", arch=platform.arch, machine="q35")
    features = ET.SubElement(root, "features")
    for feature in ("acpi", "apic"):
        ET.SubElement(features, feature)
    cpu = ET.SubElement(root, "cpu", mode="host-passthrough" if platform.domain_type == "kvm" else "maximum")
    # Follows the number of processors, or changing that number would contradict it.
    ET.SubElement(cpu, "topology", sockets="1", dies="1", cores=str(spec.vcpus), threads="1")
    clock = ET.SubElement(root, "clock", offset="utc")
    ET.SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
    ET.SubElement(clock, "timer", name="pit", tickpolicy="delay")
    ET.SubElement(clock, "timer", name="hpet", present="no")
    power = ET.SubElement(root, "pm")
    ET.SubElement(power, "suspend-to-mem", enabled="no")
    ET.SubElement(power, "suspend-to-disk", enabled="no")


def _disk(disk: DiskSpec, index: int, *, is_first: bool) -> ET.Element:
    element = ET.Element("disk", type="file", device="disk")
    # The format is explicit, always: QEMU would otherwise believe what the guest wrote into its first sector.
    ET.SubElement(element, "driver", name="qemu", type=disk.format, discard="unmap")
    ET.SubElement(element, "source", file=disk.path)
    ET.SubElement(element, "target", dev=disk_name(index), bus="virtio")
    _text(element, "serial", disk.volume_id.replace("-", "")[:20])
    if is_first:
        ET.SubElement(element, "boot", order="1")
    return element


def _nic(nic: NicSpec) -> ET.Element:
    element = ET.Element("interface", type="bridge")
    ET.SubElement(element, "mac", address=nic.mac)
    ET.SubElement(element, "source", bridge=nic.bridge)
    ET.SubElement(element, "model", type="virtio")
    return element


def _add_qemu_devices(devices: ET.Element) -> None:
    serial = ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(serial, "target", type="isa-serial", port="0")
    console = ET.SubElement(devices, "console", type="pty")
    ET.SubElement(console, "target", type="serial", port="0")
    # The screen listens nowhere: viewers come in as descriptors that libvirt hands to QEMU.
    graphics = ET.SubElement(devices, "graphics", type="vnc")
    ET.SubElement(graphics, "listen", type="none")
    video = ET.SubElement(devices, "video")
    ET.SubElement(video, "model", type="vga")
    ET.SubElement(devices, "controller", type="usb", model="qemu-xhci")
    ET.SubElement(devices, "input", type="tablet", bus="usb")
    generator = ET.SubElement(devices, "rng", model="virtio")
    _text(generator, "backend", "/dev/urandom", model="random")
    balloon = ET.SubElement(devices, "memballoon", model="virtio")
    ET.SubElement(balloon, "stats", period=str(_BALLOON_PERIOD_SECONDS))
    ET.SubElement(devices, "panic", model="isa")


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text

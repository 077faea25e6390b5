"""Devices of a guest as elements of libvirt's domain XML. Pure, like ``domain_xml``, which puts them together.

Every disk, network card and drive has an alias made from its id, so that it is found again in a definition, in what
runs and in QEMU itself, whatever libvirt calls it there.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from nanocore.capabilities.hypervisor import DiskSpec, MediaSpec, NicSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.model.instance import Qos

DISK_FORMATS = frozenset({"qcow2", "raw"})
DISK_ALIAS = "ua-disk-"
NIC_ALIAS = "ua-nic-"
MEDIA_ALIAS = "ua-media-"
SEED_ALIAS = "ua-seed"
"""libvirt keeps aliases that begin with ``ua-`` for its users."""
AGENT_CHANNEL = "org.qemu.guest_agent.0"
SIGNAL_CHANNEL = "org.nano.ready.0"

_SERIAL_LENGTH = 20
"""virtio's limit."""
_KIB = 1024


def check_disk(disk: DiskSpec) -> None:
    """Raise ``invalid_argument`` for a relative path, ``unsupported`` for a format that QEMU is not to open."""
    if not disk.path.startswith("/"):
        message = f"volume {disk.volume_id}: its path must be absolute, got {disk.path!r}"
        raise NanoError(ErrorCode.INVALID_ARGUMENT, message, field="disks")
    if disk.format not in DISK_FORMATS:
        message = f"volume {disk.volume_id} has format {disk.format!r}; supported are {', '.join(sorted(DISK_FORMATS))}"
        raise NanoError(ErrorCode.UNSUPPORTED, message, reason="kvm.disk_format")


def disk_name(index: int, prefix: str = "vd") -> str:
    """Return the name of disk number ``index``: vda … vdz, vdaa …."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return f"{prefix}{letters}"


def free_disk_name(taken: Iterable[str | None]) -> str:
    """Return the first name of a virtio disk that is not taken."""
    names = set(taken)
    return next(name for index in range(len(names) + 1) if (name := disk_name(index)) not in names)


def disk(spec: DiskSpec, name: str, qos: Qos, *, boot_order: int | None = None) -> ET.Element:
    """Return a virtio disk; throttling is QEMU's own, so it works on every cell."""
    element = ET.Element("disk", type="file", device="disk")
    # The format is explicit, always: QEMU would otherwise believe what the guest wrote into its first sector.
    ET.SubElement(element, "driver", name="qemu", type=spec.format, discard="unmap")
    ET.SubElement(element, "source", file=spec.path)
    ET.SubElement(element, "target", dev=name, bus="virtio")
    throttle = iotune(qos)
    if throttle is not None:
        element.append(throttle)
    text(element, "serial", spec.volume_id.replace("-", "")[:_SERIAL_LENGTH])
    if boot_order is not None:
        ET.SubElement(element, "boot", order=str(boot_order))
    ET.SubElement(element, "alias", name=f"{DISK_ALIAS}{spec.volume_id}")
    return element


def iotune(qos: Qos) -> ET.Element | None:
    """Return the limits of one disk, or ``None`` without any."""
    wanted = {"total_bytes_sec": qos.disk_bytes_per_second, "total_iops_sec": qos.disk_iops}
    if not any(wanted.values()):
        return None
    element = ET.Element("iotune")
    for tag, value in wanted.items():
        if value is not None:
            text(element, tag, str(value))
    return element


def nic(spec: NicSpec, qos: Qos) -> ET.Element:
    """Return a virtio network card on its bridge."""
    element = ET.Element("interface", type="bridge")
    ET.SubElement(element, "mac", address=spec.mac)
    ET.SubElement(element, "source", bridge=spec.bridge)
    if spec.device is not None:
        ET.SubElement(element, "target", dev=spec.device)
    ET.SubElement(element, "model", type="virtio")
    if spec.is_isolated:
        ET.SubElement(element, "port", isolated="yes")
    limits = bandwidth(qos)
    if limits is not None:
        element.append(limits)
    ET.SubElement(element, "alias", name=f"{NIC_ALIAS}{spec.id}")
    return element


def bandwidth(qos: Qos) -> ET.Element | None:
    """Return the limits of one network card, or ``None`` without any."""
    if qos.network_bytes_per_second is None:
        return None
    element = ET.Element("bandwidth")
    for way in ("inbound", "outbound"):
        ET.SubElement(element, way, average=str(bandwidth_kib(qos.network_bytes_per_second)))
    return element


def bandwidth_kib(bytes_per_second: int) -> int:
    """Return libvirt's unit of a network card's limit; never 0, which means none."""
    return max(1, bytes_per_second // _KIB)


def signal_channel(path: str) -> ET.Element:
    """Return the port by which a guest tells how its first boot goes; the socket is there as long as it runs."""
    element = ET.Element("channel", type="unix")
    ET.SubElement(element, "source", mode="bind", path=path)
    ET.SubElement(element, "target", type="virtio", name=SIGNAL_CHANNEL)
    return element


def drive(spec: MediaSpec, *, boot_order: int | None = None) -> ET.Element:
    """Return a CD drive on virtio-scsi.

    Both firmwares boot from it, and the kernels that distributions make for clouds, which know no SATA, see it.
    """
    element = ET.Element("disk", type="file", device="cdrom")
    ET.SubElement(element, "driver", name="qemu", type="raw")
    if spec.path is not None:
        ET.SubElement(element, "source", file=spec.path)
    ET.SubElement(element, "target", dev=disk_name(spec.slot, "sd"), bus="scsi")
    ET.SubElement(element, "readonly")
    if boot_order is not None:
        ET.SubElement(element, "boot", order=str(boot_order))
    ET.SubElement(element, "alias", name=f"{MEDIA_ALIAS}{spec.slot}")
    return element


def seed_disk(path: str, name: str) -> ET.Element:
    """Return the read-only disk with the cloud-init seed, which is found by its label; nobody boots from it."""
    element = ET.Element("disk", type="file", device="disk")
    ET.SubElement(element, "driver", name="qemu", type="raw")
    ET.SubElement(element, "source", file=path)
    ET.SubElement(element, "target", dev=name, bus="virtio")
    ET.SubElement(element, "readonly")
    text(element, "serial", "nano-seed")
    ET.SubElement(element, "alias", name=SEED_ALIAS)
    return element


def text(parent: ET.Element, tag: str, value: str, **attributes: str) -> ET.Element:
    """Append an element with text."""
    element = ET.SubElement(parent, tag, attributes)
    element.text = value
    return element

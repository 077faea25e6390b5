"""What this cell's libvirt, QEMU and kernel can: asked once, when the driver opens. Blocks."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import libvirt

from nanocore.capabilities.hypervisor import HypervisorInfo
from nanocore.model.instance import Qos
from nanoplugins.kvm import definition, probe
from nanoplugins.kvm.domain_xml import Platform

NAME = "kvm"
ARCH = "x86_64"
UNIFIED_CGROUPS = Path("/sys/fs/cgroup/cgroup.controllers")
OLD_FULL_SHARES = 1024

DEVICE_FACTS = (
    "has_screen",
    "has_serial",
    "has_statistics",
    "can_hotplug_disks",
    "can_hotplug_nics",
    "can_change_media",
    "can_resize_live",
    "can_grow_disks_live",
    "can_change_limits_live",
    "can_snapshot_live",
    "can_copy_live",
    "has_agent_channel",
    "has_uefi",
    "has_tpm",
)
"""What needs a real QEMU."""

_QDISC_SECONDS = 5
# What libvirt sets up for a limited card, tried in a network namespace that ends with the shell.
_QDISC_SCRIPT = """\
ip link add nano-probe type dummy 2>/dev/null || ip tuntap add nano-probe mode tap || exit 0
tc qdisc add dev nano-probe root handle 1: htb default 1 &&
tc class add dev nano-probe parent 1: classid 1:1 htb rate 1mbit &&
tc qdisc add dev nano-probe parent 1:1 handle 2: sfq perturb 10 &&
tc qdisc add dev nano-probe ingress
"""


def find(
    acceleration: str, probe_cache: Path | None, connection: libvirt.virConnect
) -> tuple[HypervisorInfo, Platform]:
    """Return what callers may branch on, and what guests are built for."""
    if connection.getType() == "TEST":
        return _test_driver()
    found = probe.probe(acceleration, probe_cache)
    if found.name == "kvm" and acceleration == "auto" and not _offers(connection, "kvm"):
        found = probe.Acceleration("tcg", "libvirt does not offer KVM here")
    domain_type = "kvm" if found.name == "kvm" else "qemu"
    limits = _missing_limits(connection)
    reasons = _missing_devices(connection, domain_type)
    info = HypervisorInfo(
        name=NAME,
        accelerator=found.name,
        accelerator_reason=found.reason,
        has_uefi="has_uefi" not in reasons,
        has_tpm="has_tpm" not in reasons,
        limits_unsupported=limits,
        reasons=reasons,
    )
    shares = 100 if UNIFIED_CGROUPS.exists() else OLD_FULL_SHARES
    return info, Platform(domain_type, ARCH, limits, shares)


def _test_driver() -> tuple[HypervisorInfo, Platform]:
    why = "libvirt's test driver runs nothing"
    limits = dict.fromkeys(Qos.__struct_fields__, why)
    info = HypervisorInfo(
        name=NAME,
        accelerator="test",
        accelerator_reason=why,
        limits_unsupported=limits,
        reasons=dict.fromkeys(DEVICE_FACTS, why),
        **dict.fromkeys(DEVICE_FACTS, False),
    )
    return info, Platform("test", limits_unsupported=limits)


def _offers(connection: libvirt.virConnect, kind: str) -> bool:
    try:
        connection.getDomainCapabilities(None, ARCH, "q35", kind)
    except libvirt.libvirtError:
        return False
    return True


def _missing_devices(connection: libvirt.virConnect, domain_type: str) -> Mapping[str, str]:
    offered = definition.parse(connection.getDomainCapabilities(None, ARCH, "q35", domain_type))

    def has(path: str, value: str) -> bool:
        return value in {element.text for element in offered.findall(path)}

    missing = {}
    if not has("os/enum[@name='firmware']/value", "efi"):
        missing["has_uefi"] = "no UEFI firmware is installed; install the package ovmf"
    if not has("devices/tpm/enum[@name='backendModel']/value", "emulator"):
        missing["has_tpm"] = "no TPM emulator is installed; install the packages swtpm and swtpm-tools"
    return missing


def _missing_limits(connection: libvirt.virConnect) -> Mapping[str, str]:
    missing = {}
    if not _has_cpu_control(connection):
        missing["cpu_weight"] = "libvirt has no control group for processors here"
    reason = _why_no_qdisc()
    if reason:
        missing["network_bytes_per_second"] = reason
    return missing


def _has_cpu_control(connection: libvirt.virConnect) -> bool:
    # There is no call that tells; libvirt's own setting and the kernel's controllers do, where they can be read.
    del connection
    try:
        return "cpu" in UNIFIED_CGROUPS.read_text(encoding="ascii").split()
    except OSError:
        return Path("/sys/fs/cgroup/cpu").exists()


def _why_no_qdisc() -> str:
    command = ["unshare", "--net", "sh", "-c", _QDISC_SCRIPT]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_QDISC_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # not known; a start that fails is tried without
    words = " ".join(done.stderr.split())
    return f"this kernel can't limit network cards: {words}" if done.returncode else ""

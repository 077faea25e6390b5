"""Settings of ``kvm``."""

from __future__ import annotations

from dataclasses import dataclass

from nanocore.config import setting


@dataclass(frozen=True)
class KvmConfig:
    """Table ``[kvm]``."""

    uri: str = setting("qemu:///system", "libvirt's address on this node")
    acceleration: str = setting(
        "auto",
        "how guests run: 'kvm' by the processor, 'tcg' by software emulation, 'auto' tries a test guest and decides",
        choices=("auto", "kvm", "tcg"),
    )
    reconnect_seconds: float = setting(
        0.5, "wait before libvirt is tried again after its connection broke; doubles up to 5 s", minimum=0.05
    )
    keepalive_seconds: int = setting(
        5, "libvirt counts as gone when it does not answer for three times this long", minimum=1
    )

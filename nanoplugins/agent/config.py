"""Settings of ``[agent]``."""

from __future__ import annotations

from dataclasses import dataclass

from nanocore.config import setting


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """Which drivers a cell uses."""

    hypervisor: str = setting("kvm", "Hypervisor driver of this cell")
    storage: str = setting("local", "Storage driver of this cell")
    network: str = setting("bridge", "Network driver of this cell")
    report_interval_seconds: float = setting(2.0, "How often the cell reports its use", minimum=0.1)
    reopen_seconds: float = setting(5.0, "Pause before a driver that can't be opened is tried again", minimum=0.1)

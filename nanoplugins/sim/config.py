"""Settings of ``sim``."""

from __future__ import annotations

from dataclasses import dataclass

from nanocore.config import setting
from nanocore.model.instance import GIB


@dataclass(frozen=True)
class SimConfig:
    """Table ``[sim]``: the machine that is simulated."""

    cores: int = setting(64, "processors that the simulated cell says it has", minimum=1)
    memory_bytes: int = setting(256 * GIB, "memory that the simulated cell says it has", minimum=1)
    storage_bytes: int = setting(1024 * GIB, "size of the simulated storage pool", minimum=1)
    start_seconds: float = setting(0.0, "how long starting a guest takes", minimum=0)
    shut_down_seconds: float = setting(0.2, "how long a guest needs to shut down when asked to", minimum=0)
    copy_seconds: float = setting(0.0, "how long copying the disks of a running guest takes", minimum=0)

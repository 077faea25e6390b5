"""Settings of ``[guest_tools]``."""

from __future__ import annotations

from dataclasses import dataclass

from nanocore.config import setting


@dataclass(frozen=True, kw_only=True)
class GuestToolsConfig:
    """How a cell asks its guests."""

    booting_poll_seconds: float = setting(5.0, "How often a guest that is not ready yet is asked", minimum=0.1)
    poll_seconds: float = setting(60.0, "How often a ready guest is asked again", minimum=1)
    polls_at_once: int = setting(4, "How many guests are asked at the same time", minimum=1)
    answer_seconds: float = setting(10.0, "How long a guest's agent may take to answer", minimum=1)
    patience_seconds: float = setting(
        600.0, "A stage of the first boot that goes on for longer is shown as such", minimum=1
    )

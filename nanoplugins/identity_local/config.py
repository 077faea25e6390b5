"""Settings of ``[identity_local]``."""

from __future__ import annotations

from dataclasses import dataclass

from nanocore.config import setting


@dataclass(frozen=True, kw_only=True)
class IdentityLocalConfig:
    """How long a login lasts and how hard guessing is."""

    administrator: str = setting("admin", "Name of the user made at the first start")
    session_idle_seconds: float = setting(8 * 3600.0, "A session without requests ends after this", minimum=60)
    session_seconds: float = setting(7 * 86400.0, "A session ends after this, however busy", minimum=60)
    login_attempts: int = setting(10, "Wrong passwords for one user from one address in a window", minimum=1)
    login_attempts_per_address: int = setting(50, "Wrong passwords from one address in a window", minimum=1)
    login_window_seconds: float = setting(300.0, "Length of the window that wrong passwords count in", minimum=1)
    parallel_hashes: int = setting(2, "Passwords checked at the same time; each takes 64 MiB", minimum=1)

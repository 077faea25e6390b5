"""Settings of table ``[network_bridge]``."""

from __future__ import annotations

from dataclasses import dataclass

from nanocore.config import setting


@dataclass(frozen=True)
class NetworkBridgeConfig:
    """How this cell serves the networks of its guests."""

    lease_seconds: int = setting(3600, "how long a guest may use its address before it asks again", minimum=120)
    name_servers: list[str] = setting(
        [], "DNS servers that guests' questions are passed on to; empty: those of this node's /etc/resolv.conf"
    )
    is_node_open: bool = setting(
        default=False, doc="let guests reach this node's own ports; DNS, DHCP and ping are always answered"
    )
    check_seconds: float = setting(
        10.0,
        "how often this node's rules are looked for; they are put back when another program has flushed them",
        minimum=0.1,
    )

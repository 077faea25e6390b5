"""Settings of table ``[network]``."""

from __future__ import annotations

from dataclasses import dataclass

from nanocore.config import setting
from nanoplugins.network.addresses import AUTOMATIC


@dataclass(frozen=True)
class NetworkConfig:
    """What the default network is made of, at the first start only."""

    default_cidr: str = setting(
        AUTOMATIC,
        "IPv4 range of the default network, made at the first start; auto: 10.127.0.0/20, or another private range if "
        "this node already has a route to that one",
    )
    domain: str = setting("nano.internal", "DNS domain of guests' names in the default network")

"""The names of everything that one network has on this node; pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from nanocore.ids import NetworkId, NodeId

BRIDGE_PREFIX = "nb"
DEVICE_PREFIX = "nt"
MAC_PREFIX = "02:6e"
"""Of the bridges' own addresses."""
TABLE_PREFIX = "nano_"
_OWN_DEVICE = re.compile(rf"{BRIDGE_PREFIX}[0-9a-f]{{8}}|{DEVICE_PREFIX}[0-9a-f]{{12}}")
IPV6_ROUTER = "fe80::1"
"""The bridge's own link-local address, the same everywhere, so that rules can name it."""


@dataclass(frozen=True, slots=True)
class NetworkNames:
    """Derived from node and network, so that two kernels on one machine never meet.

    An interface name has at most 15 characters, which is why an id can't be part of it.
    """

    digest: str

    @classmethod
    def of(cls, node_id: NodeId, network_id: NetworkId) -> NetworkNames:
        """Return the names for ``network_id`` on node ``node_id``."""
        return cls(hashlib.sha256(f"{node_id}{network_id}".encode()).hexdigest()[:8])

    @property
    def bridge(self) -> str:
        """The bridge, which guests' cards are plugged into."""
        return f"{BRIDGE_PREFIX}{self.digest}"

    @property
    def table(self) -> str:
        """The nftables tables, in the families ``inet`` and ``bridge``."""
        return f"{TABLE_PREFIX}{self.digest}"

    @property
    def mac(self) -> str:
        """The bridge's own address: fixed, as the kernel would change it with every card that comes and goes."""
        pairs = [self.digest[i : i + 2] for i in range(0, 8, 2)]
        return ":".join([MAC_PREFIX, *pairs])


def is_own(device: str) -> bool:
    """Return whether a device is a bridge or a guest's tap of this plugin, by its name."""
    return bool(_OWN_DEVICE.fullmatch(device))


def device_name(nic_id: str) -> str:
    """Return the name of a card's tap device: rules can name it before the guest starts and makes it."""
    return DEVICE_PREFIX + nic_id.replace("-", "")[:12]

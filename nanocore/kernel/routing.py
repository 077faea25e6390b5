"""Which way a message goes next. Pure: told of links, asked for next hops.

Cells and frontends know one way, their core. A core or relay knows its own links and, behind each relay, the nodes
whose messages came through it.
"""

from __future__ import annotations

from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import structs
from nanocore.wire.envelope import Header

HOP_MS = 1
"""Time a hop takes from a message's ``ttl_ms`` at least; forwarding is immediate."""


class Routes:
    """Next hops of one node; ``uplink`` is the way to everything that is not linked."""

    def __init__(self, uplink: str | None = None) -> None:
        self.uplink = uplink
        self._linked: set[str] = set()
        self._behind: dict[str, str] = {}

    def link_up(self, peer: str) -> None:
        """Note a link to ``peer``."""
        self._linked.add(peer)
        self._behind.pop(peer, None)

    def link_down(self, peer: str) -> bool:
        """Forget the link, and what was reached through it; return whether there was one."""
        was_linked = peer in self._linked
        self._linked.discard(peer)
        self._behind = {node: relay for node, relay in self._behind.items() if relay != peer}
        return was_linked

    def learn(self, node: str, relay: str) -> None:
        """Note that ``node`` sent something through ``relay``, so that answers find it there."""
        if node not in self._linked and relay != self.uplink:
            self._behind[node] = relay

    def next_hop(self, dst: str) -> str:
        """Return the peer to give a message for ``dst`` to; raise ``unavailable`` when no way is open."""
        if dst in self._linked:
            return dst
        hop = self._behind.get(dst, self.uplink)
        if hop is None or hop not in self._linked:
            where = (
                f"node {dst} is not connected" if hop in {None, dst} else f"no connection to {hop}, the way to {dst}"
            )
            raise NanoError(ErrorCode.UNAVAILABLE, f"{where}; try again when it is back", reason="routing.no_way")
        return hop


def forwarded(header: Header) -> Header:
    """Return ``header`` as the next hop gets it; raise ``unavailable`` in a loop, ``deadline_exceeded`` in time."""
    if header.hops <= 1:
        raise NanoError(ErrorCode.UNAVAILABLE, f"no hops left on the way to {header.dst}", reason="routing.loop")
    if header.ttl_ms <= HOP_MS:
        raise NanoError(ErrorCode.DEADLINE_EXCEEDED, f"no time left on the way to {header.dst}")
    return structs.replace(header, hops=header.hops - 1, ttl_ms=header.ttl_ms - HOP_MS)

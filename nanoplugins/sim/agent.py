"""The agent in a simulated guest: what a small Linux would answer. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import structs
from nanoplugins.sim.guests import SimGuest

NEVER_THAWED = 1e12


def answer(guest: SimGuest, execute: str, arguments: Mapping[str, Any], now: float) -> tuple[object, SimGuest]:
    """Return the answer to a command and what it makes of the guest."""
    if execute == "guest-fsfreeze-status":
        return "frozen" if guest.frozen_until > now else "thawed", guest
    if execute == "guest-fsfreeze-freeze":
        return len(guest.live.disks), structs.replace(guest, frozen_until=NEVER_THAWED)
    if execute == "guest-fsfreeze-thaw":
        return len(guest.live.disks), structs.replace(guest, frozen_until=0.0)
    reply = _REPLIES.get(execute)
    if reply is None:
        message = f"the agent of guest {guest.spec.name} does not know {execute}"
        raise NanoError(ErrorCode.UNSUPPORTED, message, reason="sim.agent_refused")
    return reply(guest, arguments), guest


def _interfaces(guest: SimGuest, _arguments: Mapping[str, Any]) -> object:
    return [
        {"name": f"eth{index}", "hardware-address": nic.mac, "ip-addresses": []}
        for index, nic in enumerate(guest.live.nics)
    ]


_REPLIES: dict[str, Callable[[SimGuest, Mapping[str, Any]], object]] = {
    "guest-ping": lambda _guest, _arguments: {},
    "guest-sync": lambda _guest, arguments: arguments.get("id"),
    "guest-info": lambda _guest, _arguments: {
        "version": "7.2.0",
        "supported_commands": [{"name": name, "enabled": True, "success-response": True} for name in sorted(_REPLIES)],
    },
    "guest-get-host-name": lambda guest, _arguments: {"host-name": guest.spec.name},
    "guest-get-osinfo": lambda _guest, _arguments: {"id": "sim", "pretty-name": "Simulated Linux", "machine": "x86_64"},
    "guest-network-get-interfaces": _interfaces,
    "guest-set-user-password": lambda _guest, _arguments: {},
}

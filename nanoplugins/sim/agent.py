"""The agent in a simulated guest: what a small Linux would answer. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import encode_json, structs
from nanoplugins.sim.guests import SimGuest

NEVER_THAWED = 1e12
_WORDS_WITH_NAME = 4
_STAGE_DONE = {"errors": [], "start": 1.0, "finished": 2.0}


def answer(guest: SimGuest, execute: str, arguments: Mapping[str, Any], now: float) -> tuple[object, SimGuest]:
    """Return the answer to a command and what it makes of the guest."""
    if execute == "guest-fsfreeze-status":
        return "frozen" if guest.frozen_until > now else "thawed", guest
    if execute == "guest-fsfreeze-freeze":
        return len(guest.live.disks), structs.replace(guest, frozen_until=NEVER_THAWED)
    if execute == "guest-fsfreeze-thaw":
        return len(guest.live.disks), structs.replace(guest, frozen_until=0.0)
    if execute == "guest-exec":
        return _execute(guest, arguments)
    reply = _REPLIES.get(execute)
    if reply is None:
        message = f"the agent of guest {guest.spec.name} does not know {execute}"
        raise NanoError(ErrorCode.UNSUPPORTED, message, reason="sim.agent_refused")
    return reply(guest, arguments), guest


def _execute(guest: SimGuest, arguments: Mapping[str, Any]) -> tuple[object, SimGuest]:
    """Pretend to run a program: one with an argument of its own sets the host name, as ``guest_tools`` has it."""
    words = arguments.get("arg")
    hostname = words[3] if isinstance(words, list) and len(words) == _WORDS_WITH_NAME else guest.hostname
    return {"pid": 1}, structs.replace(guest, hostname=hostname)


def _exec_state(guest: SimGuest, _arguments: Mapping[str, Any]) -> object:
    """Return what a Linux whose first boot went well prints of itself."""
    total = guest.live.memory_bytes // 1024
    v1 = dict.fromkeys(("init-local", "init", "modules-config", "modules-final"), _STAGE_DONE)
    status, result = (
        {"v1": v1 | {"stage": None, "datasource": "DataSourceNoCloud"}},
        {"v1": {"datasource": "DataSourceNoCloud", "errors": []}},
    )
    parts = {
        "cloud-init": "present",
        "status": encode_json(status).decode(),
        "result": encode_json(result).decode(),
        "memory": f"MemTotal: {total} kB\nMemAvailable: {total // 2} kB",
        "end": "",
    }
    text = "".join(f"== {name}\n{part}\n" for name, part in parts.items())
    return {"exited": True, "exitcode": 0, "out-data": base64.b64encode(text.encode()).decode()}


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
    "guest-get-host-name": lambda guest, _arguments: {"host-name": guest.hostname or guest.spec.name},
    "guest-exec-status": _exec_state,
    "guest-get-osinfo": lambda _guest, _arguments: {"id": "sim", "pretty-name": "Simulated Linux", "machine": "x86_64"},
    "guest-network-get-interfaces": _interfaces,
    "guest-set-user-password": lambda _guest, _arguments: {},
}

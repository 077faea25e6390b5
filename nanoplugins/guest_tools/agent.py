"""Asks the agent in one guest. Whatever it answers is typed and bounded here, before anybody sees it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from nanocore.capabilities.guest import FindAgentAnswer
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId
from nanocore.model.instance import GuestFacts
from nanocore.wire import structs
from nanoplugins.guest_tools.readiness import MAX_TEXT_BYTES, Probe, clean, parse
from nanoplugins.guest_tools.seed import PROBE

MAX_ADDRESSES = 32
EXEC_PAUSE_SECONDS = 0.3
_SET_HOSTNAME = 'hostnamectl set-hostname "$1" 2>/dev/null || { hostname "$1" && echo "$1" >/etc/hostname; }'
LOOPBACK = "lo"
_MISSING = frozenset({ErrorCode.UNSUPPORTED, ErrorCode.WRONG_STATE})
"""The agent is there, and does not know or may not run a command."""


class GuestAgent:
    """The agent in one guest; every call raises what ``HypervisorDriver.agent_command`` raises."""

    def __init__(self, context: PluginContext, id: InstanceId, *, seconds: float) -> None:
        self._context = context
        self._id = id
        self._seconds = seconds

    async def facts(self) -> GuestFacts:
        """Return what the guest says of itself; what its agent does not know stays empty."""
        await self._ask("guest-ping")
        named = _mapping(await self._try("guest-get-host-name"))
        system = _mapping(await self._try("guest-get-osinfo"))
        interfaces = await self._try("guest-network-get-interfaces")
        frozen = await self._try("guest-fsfreeze-status")
        return GuestFacts(
            has_agent=True,
            hostname=_word(named.get("host-name"), 253),
            system=_word(system.get("pretty-name") or system.get("name"), 100),
            addresses=addresses_of(interfaces),
            is_frozen=frozen == "frozen",
        )

    async def probe(self) -> Probe | None:
        """Return what the guest prints of its boot, ``None`` if its agent runs no programs."""
        try:
            text = await self._run(PROBE)
        except NanoError as error:
            if error.code in _MISSING:
                return None
            raise
        return parse(text)

    async def set_password(self, username: str, password_hash: str) -> None:
        """Set a user's password by its crypt(3) hash."""
        hidden = base64.b64encode(password_hash.encode()).decode()
        try:
            await self._ask("guest-set-user-password", {"username": username, "password": hidden, "crypted": True})
        except NanoError as error:
            if error.code is not ErrorCode.WRONG_STATE:
                raise
            text = f"the guest did not set the password of user {username}; is there such a user? {error.message}"
            raise NanoError(error.code, text, reason="guest_tools.password") from error

    async def set_hostname(self, hostname: str) -> None:
        """Set the host name, now and for later boots; ``wrong_state`` with the guest's words if it can't."""
        await self._run(_SET_HOSTNAME, hostname)

    async def _run(self, script: str, *arguments: str) -> str:
        answer = await self._ask(
            "guest-exec", {"path": "/bin/sh", "arg": ["-c", script, "nano", *arguments], "capture-output": True}
        )
        number = _mapping(answer).get("pid")
        if not isinstance(number, int):
            raise NanoError(ErrorCode.UNAVAILABLE, f"the agent of guest {self._id} answers guest-exec with nonsense")
        async with asyncio.timeout(self._seconds):
            while True:
                state = _mapping(await self._ask("guest-exec-status", {"pid": number}))
                if state.get("exited"):
                    break
                await asyncio.sleep(EXEC_PAUSE_SECONDS)
        if state.get("exitcode", 0) != 0:
            said = clean(_decoded(state.get("err-data")) or _decoded(state.get("out-data")))
            raise NanoError(ErrorCode.WRONG_STATE, f"guest {self._id} could not do it: {said or 'it does not say why'}")
        return _decoded(state.get("out-data"))

    async def _try(self, execute: str) -> object:
        try:
            return await self._ask(execute)
        except NanoError as error:
            if error.code in _MISSING:
                return None
            raise

    async def _ask(self, execute: str, arguments: Mapping[str, Any] | None = None) -> object:
        message = FindAgentAnswer(
            id=self._id, execute=execute, arguments=json.dumps(arguments or {}), seconds=self._seconds
        )
        answer = await self._context.call(message, dst=self._context.node.id)
        try:
            return json.loads(answer.text)
        except (ValueError, RecursionError) as error:
            text = f"the agent of guest {self._id} answers {execute} with nonsense"
            raise NanoError(ErrorCode.UNAVAILABLE, text) from error


def with_memory(facts: GuestFacts, probe: Probe | None) -> GuestFacts:
    """Return the facts with what the probe says of memory."""
    if probe is None:
        return facts
    return structs.replace(facts, memory_bytes=probe.memory_bytes, memory_available_bytes=probe.memory_available_bytes)


def addresses_of(interfaces: object) -> list[str]:
    """Return the addresses that reach the guest: no loopback, no link-local ones."""
    found: list[str] = []
    for interface in interfaces if isinstance(interfaces, list) else []:
        if _mapping(interface).get("name") == LOOPBACK:
            continue
        listed = _mapping(interface).get("ip-addresses")
        for entry in listed if isinstance(listed, list) else []:
            with suppress(ValueError):
                # Without its zone, which may be any text at all.
                address = ipaddress.ip_address(str(_mapping(entry).get("ip-address"))[:64].partition("%")[0])
                if not address.is_loopback and not address.is_link_local:
                    found.append(str(address))
    return list(dict.fromkeys(found))[:MAX_ADDRESSES]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: object, length: int) -> str | None:
    return (clean(value, length) or None) if isinstance(value, str) else None


def _decoded(value: object) -> str:
    if not isinstance(value, str):
        return ""
    try:
        return base64.b64decode(value[: 2 * MAX_TEXT_BYTES], validate=False)[:MAX_TEXT_BYTES].decode(errors="replace")
    except (ValueError, binascii.Error):
        return ""

"""What libvirt has no call for: snapshots inside disk files, asked of QEMU's monitor, and the guest's agent.

Everything here blocks and runs in the host's threads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import libvirt
import libvirt_qemu

from nanocore.capabilities.hypervisor import MAX_AGENT_REPLY_BYTES, NO_AGENT
from nanocore.errors import ErrorCode, NanoError
from nanoplugins.kvm import definition, devices

_SILENT = frozenset({libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED})
_UNKNOWN_COMMAND = ("CommandNotFound", "has not been found", "has been disabled", "is not supported", "unsupported")
_FROZEN = "frozen state"
"""While file systems are frozen the agent disables most of what it knows."""


def snapshot_disks(domain: libvirt.virDomain, name: str) -> None:
    """Take a snapshot in every disk at one moment; whole or not at all."""
    disks = _disks(domain)
    having = [node for node, snapshots in disks.items() if name in snapshots]
    if not disks or len(having) == len(disks):
        return
    for node in having:  # a snapshot of some disks only is of no use, and not of the same moment
        _delete(domain, node, name)
    kind = "blockdev-snapshot-internal-sync"
    actions = [{"type": kind, "data": {"device": node, "name": name}} for node in disks]
    _ask(domain, "transaction", {"actions": actions})


def delete_snapshot(domain: libvirt.virDomain, name: str) -> None:
    """Remove it from every disk that has it."""
    for node, snapshots in _disks(domain).items():
        if name in snapshots:
            _delete(domain, node, name)


def _delete(domain: libvirt.virDomain, node: str, name: str) -> None:
    _ask(domain, "blockdev-snapshot-delete-internal-sync", {"device": node, "name": name})


def _disks(domain: libvirt.virDomain) -> dict[str, set[str]]:
    """Return the block nodes of our disks, each with the names of its snapshots."""
    found = {}
    for block in _ask(domain, "query-block", {}):
        inserted = block.get("inserted")
        if inserted is not None and f"/{devices.DISK_ALIAS}" in block.get("qdev", ""):
            snapshots = inserted["image"].get("snapshots", [])
            found[inserted["node-name"]] = {snapshot["name"] for snapshot in snapshots}
    return found


def _ask(domain: libvirt.virDomain, execute: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401  QEMU's answer
    command = json.dumps({"execute": execute, "arguments": arguments})
    answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, command, 0))
    if "error" in answer:
        words = answer["error"].get("desc", answer["error"])
        code = ErrorCode.UNSUPPORTED if "does not support" in str(words) else ErrorCode.INTERNAL
        message = f"QEMU of guest {definition.guest_name(domain)} refuses {execute}: {words}"
        raise NanoError(code, message, reason="kvm.monitor")
    return answer["return"]


def agent_command(
    domain: libvirt.virDomain, execute: str, arguments: Mapping[str, Any], timeout_seconds: float
) -> object:
    """Ask the guest's agent; the answer is a stranger's."""
    command = json.dumps({"execute": execute, "arguments": arguments} if arguments else {"execute": execute})
    name = definition.guest_name(domain)
    try:
        text = libvirt_qemu.qemuAgentCommand(domain, command, max(1, round(timeout_seconds)), 0)
    except libvirt.libvirtError as error:
        raise _agent_error(error, name, execute) from error
    if len(text) > MAX_AGENT_REPLY_BYTES:
        message = f"the agent of guest {name} answers {execute} with {len(text)} bytes, more than is taken"
        raise NanoError(ErrorCode.UNAVAILABLE, message, reason="kvm.agent_reply")
    try:
        answer = json.loads(text)
    except ValueError as error:
        message = f"the agent of guest {name} does not answer {execute} with JSON"
        raise NanoError(ErrorCode.UNAVAILABLE, message, reason="kvm.agent_reply") from error
    return answer.get("return") if isinstance(answer, dict) else None


def _agent_error(error: libvirt.libvirtError, name: str, execute: str) -> NanoError:
    number, words = error.get_error_code(), str(error.get_error_message() or error)
    if number in _SILENT and "not connected" in words:
        message = f"no agent is connected in guest {name}; install and start qemu-guest-agent inside"
        return NanoError(ErrorCode.UNAVAILABLE, message, reason=NO_AGENT)
    if number in _SILENT:
        message = f"the agent of guest {name} does not answer {execute}: {words}"
        return NanoError(ErrorCode.DEADLINE_EXCEEDED, message, reason="kvm.agent_silent")
    if number == libvirt.VIR_ERR_OPERATION_INVALID:
        message = f"guest {name} does not run, so its agent can't be asked"
        return NanoError(ErrorCode.WRONG_STATE, message)
    said = words.partition(f"'{execute}': ")[2] or words
    is_unknown = any(part in said for part in _UNKNOWN_COMMAND) and _FROZEN not in said
    code = ErrorCode.UNSUPPORTED if is_unknown else ErrorCode.WRONG_STATE
    return NanoError(code, f"the agent of guest {name} refuses {execute}: {said}", reason="kvm.agent_refused")

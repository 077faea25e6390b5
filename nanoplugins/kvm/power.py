"""Power actions on one libvirt domain; each is idempotent. Run in the host's threads, never on the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import libvirt

from nanocore.errors import ErrorCode, NanoError
from nanocore.model.instance import ObservedState
from nanoplugins.kvm import definition, limits
from nanoplugins.kvm.domain_xml import Platform
from nanoplugins.kvm.states import observed_state

RUNNING, PAUSED, STOPPED = ObservedState.RUNNING, ObservedState.PAUSED, ObservedState.STOPPED
STOPPING, CRASHED = ObservedState.STOPPING, ObservedState.CRASHED
SUSPENDED = ObservedState.SUSPENDED

_TOO_LATE = frozenset({libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_INTERNAL_ERROR})
"""What libvirt's drivers say to a domain that is as wanted already."""


def start(domain: libvirt.virDomain, platform: Platform) -> Mapping[str, str]:
    """Start a stopped or crashed guest; return the limits that could not be put in force, each with the reason."""
    state = _state(domain)
    if state is RUNNING:
        return {}
    if state is CRASHED:
        _cut(domain)  # a guest that panicked is kept for a look at it, and is still there
    elif state is not STOPPED:
        remedy = "restore it" if state is SUSPENDED else "resume or stop it first"
        raise _wrong(domain, state, "started", remedy)
    with _already(domain, RUNNING):
        return limits.start(domain, platform)
    return {}


def shut_down(domain: libvirt.virDomain) -> None:
    """Press the power button."""
    state = _state(domain)
    if state in {STOPPED, STOPPING} or (state is CRASHED and not domain.isActive()):
        return
    if state is not RUNNING:
        raise _wrong(domain, state, "asked to shut down", "resume it first, or cut its power")
    with _already(domain, STOPPED):
        domain.shutdown()


def power_off(domain: libvirt.virDomain) -> None:
    """Cut the power."""
    _cut(domain)


def reboot(domain: libvirt.virDomain) -> None:
    """Ask the guest to reboot."""
    _need(domain, {RUNNING}, "rebooted")
    domain.reboot(0)


def reset(domain: libvirt.virDomain) -> None:
    """Press the reset button."""
    _need(domain, {RUNNING, PAUSED}, "reset")
    domain.reset(0)


def pause(domain: libvirt.virDomain) -> None:
    """Stop the processors."""
    if _state(domain) is PAUSED:
        return
    _need(domain, {RUNNING}, "paused")
    with _already(domain, PAUSED):
        domain.suspend()


def resume(domain: libvirt.virDomain) -> None:
    """Let the processors go on."""
    if _state(domain) is RUNNING:
        return
    _need(domain, {PAUSED}, "resumed")
    with _already(domain, RUNNING):
        domain.resume()


def suspend(domain: libvirt.virDomain) -> None:
    """Keep its memory on disk and stop it."""
    if _state(domain) is SUSPENDED:
        return
    _need(domain, {RUNNING}, "suspended")
    with _already(domain, SUSPENDED):
        domain.managedSave(0)


def restore(domain: libvirt.virDomain) -> None:
    """Let it go on from the memory that was kept."""
    if _state(domain) is RUNNING:
        return
    _need(domain, {SUSPENDED}, "restored")
    with _already(domain, RUNNING):
        domain.create()


def remove(domain: libvirt.virDomain, undefine_flags: int) -> None:
    """Cut the power and forget the domain; one that vanishes meanwhile is no error."""
    try:
        _cut(domain)
        domain.undefineFlags(undefine_flags)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise


Action = Callable[[libvirt.virDomain], None]


def _state(domain: libvirt.virDomain) -> ObservedState:
    return observed_state(*domain.state(), has_saved=bool(domain.hasManagedSaveImage()))[0]


def _cut(domain: libvirt.virDomain) -> None:
    if domain.isActive():
        with _already(domain, STOPPED, CRASHED):
            domain.destroy()
    if domain.hasManagedSaveImage():
        domain.managedSaveRemove()


def _need(domain: libvirt.virDomain, states: set[ObservedState], done: str) -> None:
    state = _state(domain)
    if state not in states:
        raise _wrong(domain, state, done, f"it must be {' or '.join(sorted(states))}")


def _wrong(domain: libvirt.virDomain, state: ObservedState, done: str, remedy: str) -> NanoError:
    message = f"guest {definition.guest_name(domain)} is {state} and can't be {done}; {remedy}"
    return NanoError(ErrorCode.WRONG_STATE, message, state=state.value)


@contextmanager
def _already(domain: libvirt.virDomain, *wanted: ObservedState) -> Iterator[None]:
    """Ignore that libvirt refuses because somebody else got the guest there first."""
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _TOO_LATE or _state(domain) not in wanted:
            raise

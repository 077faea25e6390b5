"""libvirt's states, reasons and lifecycle events in Nano's words: three tables, no decisions."""

from __future__ import annotations

import libvirt

from nanocore.model.instance import ObservedState

RUNNING, PAUSED, STOPPED = ObservedState.RUNNING, ObservedState.PAUSED, ObservedState.STOPPED
STOPPING, CRASHED = ObservedState.STOPPING, ObservedState.CRASHED
SUSPENDED = ObservedState.SUSPENDED

DISK_ERROR = "a disk failed or its storage is full; free space, then resume it"
PANICKED = "the guest's system crashed"
DIED = "its process ended unexpectedly"
NOT_STARTED = "it failed to start"
STARTING = "it is starting"
SAVING = "its memory is being kept on disk"

_STATES: dict[int, tuple[ObservedState, str | None]] = {
    libvirt.VIR_DOMAIN_NOSTATE: (ObservedState.UNKNOWN, None),
    libvirt.VIR_DOMAIN_RUNNING: (RUNNING, None),
    libvirt.VIR_DOMAIN_BLOCKED: (RUNNING, None),
    libvirt.VIR_DOMAIN_PAUSED: (PAUSED, None),
    libvirt.VIR_DOMAIN_SHUTDOWN: (STOPPING, None),
    libvirt.VIR_DOMAIN_SHUTOFF: (STOPPED, None),
    libvirt.VIR_DOMAIN_CRASHED: (CRASHED, PANICKED),
    libvirt.VIR_DOMAIN_PMSUSPENDED: (PAUSED, "the guest suspended itself"),
}

_REASONS: dict[tuple[int, int], tuple[ObservedState, str | None]] = {
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR): (PAUSED, DISK_ERROR),
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_CRASHED): (CRASHED, PANICKED),
    # libvirt starts every guest paused and lets it go some tenths of a second later.
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP): (RUNNING, STARTING),
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_SAVE): (RUNNING, SAVING),
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_SHUTTING_DOWN): (STOPPING, None),
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED): (CRASHED, DIED),
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_FAILED): (CRASHED, NOT_STARTED),
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DAEMON): (CRASHED, DIED),
}

_EVENTS: dict[int, tuple[ObservedState, str | None]] = {
    libvirt.VIR_DOMAIN_EVENT_STARTED: (RUNNING, None),
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: (PAUSED, None),
    libvirt.VIR_DOMAIN_EVENT_RESUMED: (RUNNING, None),
    libvirt.VIR_DOMAIN_EVENT_STOPPED: (STOPPED, None),
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN: (STOPPING, None),
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: (PAUSED, "the guest suspended itself"),
    libvirt.VIR_DOMAIN_EVENT_CRASHED: (CRASHED, PANICKED),
}

_EVENT_DETAILS: dict[tuple[int, int], tuple[ObservedState, str | None]] = {
    (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR): (PAUSED, DISK_ERROR),
    (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED): (SUSPENDED, None),
    (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED): (CRASHED, DIED),
    (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED): (CRASHED, DIED),
}


def observed_state(state: int, reason: int, *, has_saved: bool = False) -> tuple[ObservedState, str | None]:
    """Return the state and its reason for people; states that libvirt adds later are ``unknown``.

    ``has_saved``: whether its memory is kept on disk. The reason of a stopped domain tells that only until libvirtd
    starts anew.
    """
    default = (ObservedState.UNKNOWN, f"libvirt state {state}")
    found = _REASONS.get((state, reason)) or _STATES.get(state, default)
    return (SUSPENDED, None) if has_saved and found[0] in {STOPPED, CRASHED} else found


def state_after(event: int, detail: int) -> tuple[ObservedState, str | None] | None:
    """Return the state that a lifecycle event leads to; ``None`` where the guest must be looked at instead."""
    return _EVENT_DETAILS.get((event, detail)) or _EVENTS.get(event)

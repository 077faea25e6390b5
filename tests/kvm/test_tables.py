"""The three tables are complete: every state, event and error of the installed libvirt has its word."""

from __future__ import annotations

from collections import Counter

import libvirt
import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.model.instance import ObservedState
from nanoplugins.kvm import errors
from nanoplugins.kvm.states import observed_state, state_after

STATES = [
    libvirt.VIR_DOMAIN_NOSTATE,
    libvirt.VIR_DOMAIN_RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED,
    libvirt.VIR_DOMAIN_PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN,
    libvirt.VIR_DOMAIN_SHUTOFF,
    libvirt.VIR_DOMAIN_CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED,
]


def test_every_error_number_has_exactly_one_code() -> None:
    listed = Counter(name for names in errors.CODES.values() for name in names.split())
    assert {name: count for name, count in listed.items() if count > 1} == {}
    assert set(errors.number_names().values()) - set(listed) == set()
    # What the installed library does not know is of later releases, not misspelt.
    later = {"NO_NETWORK_METADATA", "AGENT_COMMAND_TIMEOUT", "AGENT_COMMAND_FAILED"}
    assert set(listed) - set(errors.number_names().values()) <= later


def test_an_error_keeps_libvirts_words_and_number() -> None:
    connection = libvirt.open("test:///default")
    try:
        with pytest.raises(NanoError) as caught, errors.translated("guest web-1 can't be started"):
            connection.lookupByName("nobody")
    finally:
        connection.close()
    assert caught.value.code is ErrorCode.NOT_FOUND
    assert caught.value.reason == "kvm.no_domain"
    assert caught.value.message == "guest web-1 can't be started: Domain not found"


def test_an_error_that_libvirt_adds_later_is_internal() -> None:
    error = libvirt.libvirtError("from the future")
    error.err = (9999, libvirt.VIR_FROM_QEMU, "from the future", 2, "", "", "", 0, 0)
    assert errors.translate(error, "it").code is ErrorCode.INTERNAL


def test_a_connection_that_breaks_in_use_is_unavailable() -> None:
    error = libvirt.libvirtError("broken")
    error.err = (libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_RPC, "client socket is closed", 2, "", "", "", 0, 0)
    assert errors.translate(error, "it").code is ErrorCode.UNAVAILABLE


def test_every_state_is_known() -> None:
    assert sorted(STATES) == list(range(libvirt.VIR_DOMAIN_PMSUSPENDED + 1))
    for state in STATES[1:]:
        assert observed_state(state, 0)[0] is not ObservedState.UNKNOWN
    assert observed_state(999, 0)[0] is ObservedState.UNKNOWN


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        ("RUNNING", "RUNNING_BOOTED", ObservedState.RUNNING),
        ("PAUSED", "PAUSED_USER", ObservedState.PAUSED),
        ("PAUSED", "PAUSED_IOERROR", ObservedState.PAUSED),
        ("PAUSED", "PAUSED_STARTING_UP", ObservedState.RUNNING),
        ("SHUTDOWN", "SHUTDOWN_USER", ObservedState.STOPPING),
        ("SHUTOFF", "SHUTOFF_DESTROYED", ObservedState.STOPPED),
        ("SHUTOFF", "SHUTOFF_CRASHED", ObservedState.CRASHED),
        ("CRASHED", "CRASHED_PANICKED", ObservedState.CRASHED),
    ],
)
def test_reasons_refine_states(state: str, reason: str, expected: ObservedState) -> None:
    numbers = [getattr(libvirt, f"VIR_DOMAIN_{name}") for name in (state, reason)]
    observed, why = observed_state(*numbers)
    assert observed is expected
    assert (why is None) == (observed in {ObservedState.RUNNING, ObservedState.STOPPED, ObservedState.STOPPING}) or (
        reason in {"PAUSED_USER", "PAUSED_STARTING_UP"}
    )


def test_every_lifecycle_event_leads_to_a_state_or_asks_to_look() -> None:
    looked_at = {libvirt.VIR_DOMAIN_EVENT_DEFINED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED}
    for event in range(libvirt.VIR_DOMAIN_EVENT_CRASHED + 1):
        assert (state_after(event, 0) is None) == (event in looked_at)
    event, detail = libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED
    told = state_after(event, detail)
    assert told is not None
    assert told[0] is ObservedState.CRASHED

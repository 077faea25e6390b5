"""Acceleration is decided by a guest that ran, and the decision is kept as long as it holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanoplugins.kvm import probe


@pytest.mark.needs("qemu")
def test_the_test_guest_ends_qemu_under_software_emulation() -> None:
    seconds = probe.boot_seconds("tcg")
    assert seconds is not None
    assert seconds < probe.PROBE_TIMEOUT_SECONDS


@pytest.mark.needs("qemu")
def test_a_guest_that_gets_nowhere_in_time_counts_as_not_running() -> None:
    assert probe.boot_seconds("tcg", timeout_seconds=0.001) is None
    assert probe.boot_seconds("no-such-accelerator") is None


def test_software_emulation_can_be_asked_for(tmp_path: Path) -> None:
    found = probe.probe("tcg", tmp_path / "cache")
    assert found.name == "tcg"
    assert "acceleration" in found.reason


def test_a_machine_without_the_device(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    with pytest.raises(NanoError, match=str(device)) as caught:
        probe.probe("kvm", device=device)
    assert caught.value.code is ErrorCode.UNAVAILABLE
    found = probe.probe("auto", device=device)
    assert (found.name, found.reason) == ("tcg", f"{device} does not exist")


@pytest.mark.needs("qemu")
@pytest.mark.timeout(120)
def test_the_decision_is_kept_until_the_machine_changes(tmp_path: Path) -> None:
    cache = tmp_path / "acceleration.json"
    first = probe.probe("auto", cache)
    assert first.name in {"kvm", "tcg"}
    assert (first.name == "kvm") == (first.reason == "")
    data = json.loads(cache.read_text())
    data["result"]["reason"] = "from the cache"
    cache.write_text(json.dumps(data))
    assert probe.probe("auto", cache).reason == "from the cache"
    data["key"] = ["another boot"]
    cache.write_text(json.dumps(data))
    assert probe.probe("auto", cache) == first
    cache.write_text("{")
    assert probe.probe("auto", cache) == first

"""libvirtd is started and stopped without a service manager, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.testing import tiny_guest
from nanoplugins.kvm.libvirtd import LibvirtDaemon, members

pytestmark = [pytest.mark.system, pytest.mark.needs("libvirt", "qemu", "root"), pytest.mark.timeout(120)]

GUEST = """
<domain type='qemu'>
  <name>transient</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices><disk type='file'><driver name='qemu' type='raw'/><source file='{disk}'/><target dev='vda'/></disk></devices>
</domain>
"""


@pytest.fixture
def daemon() -> Iterator[LibvirtDaemon]:
    with tempfile.TemporaryDirectory(prefix="nano-", dir="/tmp") as folder:
        daemon = LibvirtDaemon(Path(folder), is_private=True)
        yield daemon
        daemon.stop(power_off_guests=True)


def start_guest(daemon: LibvirtDaemon) -> None:
    disk = daemon.state_dir / "disk.raw"
    tiny_guest.write_disk(disk)
    connection = libvirt.open(daemon.uri)
    try:
        connection.createXML(GUEST.format(disk=disk))
    finally:
        connection.close()


def test_it_starts_once_answers_and_leaves_nothing(daemon: LibvirtDaemon) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    assert daemon.start()
    assert not daemon.start()
    running = daemon.running()
    assert running is not None
    connection = libvirt.open(daemon.uri)
    assert connection.getType() == "QEMU"
    connection.close()
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert daemon.stop()
    assert members(running.mount_namespace) == []
    with pytest.raises(libvirt.libvirtError):
        libvirt.open(daemon.uri)
    assert not daemon.stop()


def test_it_is_not_stopped_under_a_running_guest(daemon: LibvirtDaemon) -> None:
    daemon.start()
    start_guest(daemon)
    running = daemon.running()
    assert running is not None
    with pytest.raises(NanoError, match="still run") as caught:
        daemon.stop()
    assert caught.value.code is ErrorCode.WRONG_STATE
    assert len(daemon.guests()) == 1
    assert daemon.stop(power_off_guests=True)
    assert members(running.mount_namespace) == []


def test_it_comes_back_when_it_dies_and_guests_run_on(daemon: LibvirtDaemon) -> None:
    daemon.start()
    start_guest(daemon)
    guests = daemon.guests()
    daemon.restart_daemon()
    assert daemon.guests() == guests
    connection = libvirt.open(daemon.uri)
    assert [domain.name() for domain in connection.listAllDomains()] == ["transient"]
    connection.close()


def test_what_a_killed_supervisor_left_is_cleared(daemon: LibvirtDaemon) -> None:
    daemon.start()
    running = daemon.running()
    assert running is not None
    for member in members(running.mount_namespace):
        if member.name == "sh":
            os.kill(member.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(member.name == "sh" for member in members(running.mount_namespace)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert daemon.stop()
    assert members(running.mount_namespace) == []
    assert daemon.start()


def test_the_command_line_says_what_is_wrong(tmp_path: Path) -> None:
    state_dir = tmp_path / "absent"
    command = [
        sys.executable,
        "-m",
        "nanoplugins.kvm.libvirtd",
        "restart-daemon",
        "--private",
        "--state-dir",
        str(state_dir),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "does not run" in done.stderr

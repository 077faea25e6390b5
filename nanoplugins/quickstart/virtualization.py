"""Has a libvirtd answer on this machine: the distribution's service, or one of our own where no systemd runs."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from nanocore.errors import ErrorCode, NanoError
from nanoplugins.quickstart.layout import Layout
from nanoplugins.quickstart.supervision import has_systemd

METADATA_MARK = "https://nano.example/xmlns/instance/1"
"""How the driver marks its domains; named here as plugins do not import each other."""
SOCKETS = (Path("/run/libvirt/libvirt-sock"), Path("/run/libvirt/virtqemud-sock"))
TIMEOUT_SECONDS = 120
LOG_HEAD_BYTES = 64_000


def start_libvirt(layout: Layout) -> str:
    """Have libvirt answer; return how, for people. Raises ``unavailable``."""
    if has_systemd():
        for unit in ("libvirtd.service", "virtqemud.service"):
            if subprocess.run(["systemctl", "start", unit], capture_output=True, check=False).returncode == 0:
                return f"libvirt runs as the service {unit}"
        raise NanoError(ErrorCode.UNAVAILABLE, "libvirtd does not start; see `journalctl -u libvirtd`")
    found = _own(layout, "start")
    if not found["ours"]:
        return "libvirt runs already"
    return "libvirt runs, started by quickstart" + (" with the unusable /dev/kvm hidden" if found["hides_kvm"] else "")


def stop_libvirt(layout: Layout) -> None:
    """End the libvirtd that ``start_libvirt`` started, with guests that are left; somebody else's goes on."""
    if not has_systemd() and (layout.own / "libvirtd").exists():
        _own(layout, "stop", "--power-off-guests")


def delete_run_folders() -> None:
    """Remove the empty folders that a libvirtd of ours left in ``/run``; one that runs keeps its own."""
    if has_systemd() or any(path.exists() for path in SOCKETS):
        return
    for folder in sorted(Path("/run/libvirt").rglob("*"), reverse=True):
        with suppress(OSError):
            folder.rmdir()
    with suppress(OSError):
        Path("/run/libvirt").rmdir()


def delete_domains(layout: Layout) -> list[str]:
    """Delete the domains of this installation that are left; return their names. Foreign ones are not touched."""
    if not any(path.exists() for path in SOCKETS):
        return []
    deleted = []
    for name in _virsh("list", "--all", "--name").split():
        described = _virsh("dumpxml", name)
        if METADATA_MARK in described and f"{layout.state}/" in described:
            _virsh("destroy", name)
            _virsh("undefine", name, "--nvram", "--managed-save", "--snapshots-metadata")
            deleted.append(name)
    return deleted


def delete_logs(layout: Layout) -> None:
    """Remove what libvirt logged about our guests; a log begins with QEMU's arguments, which name our disks."""
    mark = f"{layout.state}/".encode()
    for log in Path("/var/log/libvirt/qemu").glob("*.log*"):
        with suppress(OSError):
            if mark in log.read_bytes()[:LOG_HEAD_BYTES]:
                log.unlink()


def _own(layout: Layout, *command: str) -> dict[str, bool]:
    done = subprocess.run(
        [sys.executable, "-m", "nanoplugins.kvm.libvirtd", *command, "--state-dir", str(layout.own / "libvirtd")],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise NanoError(ErrorCode.UNAVAILABLE, done.stderr.strip() or "libvirtd can't be started; no reason given")
    answer: dict[str, bool] = json.loads(done.stdout)
    return answer


def _virsh(*arguments: str) -> str:
    command = ["virsh", "-q", "-c", "qemu:///system", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False).stdout
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise NanoError(ErrorCode.UNAVAILABLE, f"virsh can't be used: {error}; install libvirt-clients") from error

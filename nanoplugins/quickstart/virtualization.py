"""Has a libvirtd answer on this machine: the distribution's service, or one of our own where no systemd runs."""

from __future__ import annotations

import json
import shutil
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
LIBVIRT_RUN = Path("/run/libvirt")
RUN_LEFTOVERS = frozenset({"autostarted", "nwfilter.leases", "system.token"})
"""What libvirtd leaves there when it ends; it makes them again."""


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


def stop_libvirt(layout: Layout) -> str | None:
    """End the libvirtd that ``start_libvirt`` started; somebody else's goes on.

    Returns why ours goes on as well: guests run in it that are not this installation's.
    """
    if has_systemd() or not (layout.own / "libvirtd").exists():
        return None
    try:
        _own(layout, "stop")
    except NanoError as error:
        return error.message
    return None


def delete_run_folders() -> None:
    """Remove what a libvirtd of ours left in ``/run``; nothing while one runs or keeps notes about a guest.

    A folder that is removed takes along what is mounted on it in other mount namespaces: a private libvirtd's own.
    """
    if has_systemd() or any(path.exists() for path in SOCKETS) or is_mounted_on(LIBVIRT_RUN):
        return
    files = [path for path in LIBVIRT_RUN.rglob("*") if not path.is_dir()]
    if any(path.name not in RUN_LEFTOVERS for path in files):
        return
    shutil.rmtree(LIBVIRT_RUN, ignore_errors=True)


def is_mounted_on(folder: Path) -> bool:
    """Return whether any process of this machine, in whichever mount namespace, has something mounted on ``folder``."""
    seen: set[int] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            namespace = (process / "ns" / "mnt").stat().st_ino
            if namespace in seen:
                continue
            seen.add(namespace)
            mounts = (process / "mountinfo").read_text(encoding="utf-8", errors="replace")
            if any(line.split()[4] == str(folder) for line in mounts.splitlines()):
                return True
    return False


def cut_power(layout: Layout) -> list[str]:
    """Cut the power of this installation's guests that still run; return their domains' names."""
    cut = [name for name in _domains(layout) if _virsh("domstate", name).strip() != "shut off"]
    for name in cut:
        _virsh("destroy", name)
    return cut


def instance_of(name: str) -> str:
    """Return the id of the instance that the domain ``name`` is; they are the same."""
    return _virsh("domuuid", name).strip()


def delete_domains(layout: Layout) -> list[str]:
    """Delete the domains of this installation that are left; return their names."""
    cut_power(layout)
    deleted = _domains(layout)
    for name in deleted:
        _virsh("undefine", name, "--nvram", "--managed-save", "--snapshots-metadata")
    return deleted


def _domains(layout: Layout) -> list[str]:
    """Return the domains that bear our mark and use our disks; others, also another Nano's, are not touched."""
    if not any(path.exists() for path in SOCKETS):
        return []
    described = {name: _virsh("dumpxml", name) for name in _virsh("list", "--all", "--name").split()}
    return [name for name, xml in described.items() if METADATA_MARK in xml and f"'{layout.state}/" in xml]


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

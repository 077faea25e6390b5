"""Starts and stops a libvirtd on machines where none runs and no service manager would start it.

``python -m nanoplugins.kvm.libvirtd start|stop|status --state-dir DIR [--private]``, run as root by ``quickstart``
and the tests; one JSON object on standard output, exit code 0 if all is as asked.

libvirtd runs below ``tini``, which reaps guests (the machine's first process may not), in a mount namespace of its own
that later mounts of the machine still reach. There an unusable ``/dev/kvm`` is hidden, as libvirt would probe QEMU
again for every call while it is there. A small loop starts libvirtd again if it dies; guests run on meanwhile.

The usual form serves ``qemu:///system`` for the whole machine. The private form also hides the machine's
own libvirt folders behind folders in the state directory, so that several can run side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import sys
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from nanocore.errors import ErrorCode, NanoError
from nanoplugins.kvm import probe

SYSTEM_SOCKETS = (Path("/run/libvirt/libvirt-sock"), Path("/run/libvirt/virtqemud-sock"))
START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 20.0

_POLL_SECONDS = 0.05
_PRIVATE_FOLDERS = ("/etc/libvirt", "/run/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt")
_QEMU_CONF = """\
namespaces = []
cgroup_controllers = []
security_driver = "none"
user = "root"
group = "root"
remember_owner = 0
stdio_handler = "file"
"""
_DAEMON_CONF = """\
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_ro_perms = "0700"
unix_sock_rw_perms = "0700"
unix_sock_admin_perms = "0700"
host_uuid = "{host_uuid}"
"""
# A private one may be in a network namespace of its own, whose links only a sysfs that was mounted there shows;
# in the machine's own network namespace that is there already, and mounting it again fails.
# The device is bound read-only: root may write to a plain file, so libvirt would take it for a usable device.
_SCRIPT = """\
set -u
dir=$1; shift
if [ "$1" = hide ]; then
  mount --bind "$dir/no-kvm" /dev/kvm && mount -o remount,bind,ro /dev/kvm || exit 1
fi
shift
if [ "$1" = private ]; then mount -t sysfs sysfs /sys 2>/dev/null; fi
shift
while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 1; shift 2; done
child=
trap 'trap "" TERM; [ -n "$child" ] && kill "$child"; wait; exit 0' TERM
while :; do
  libvirtd --config "$dir/libvirtd.conf" --pid-file "$dir/libvirtd.pid" </dev/null &
  child=$!
  wait "$child"
  sleep 0.2
done
"""


@dataclass(frozen=True, slots=True)
class Running:
    """A libvirtd that this module started, as its state file records it.

    The mount namespace names every process that belongs to it, also guests whose parent is gone.
    """

    boot_id: str
    supervisor_pid: int
    mount_namespace: int
    hides_kvm: bool
    uri: str


@dataclass(frozen=True, slots=True)
class Member:
    """A process in libvirtd's mount namespace."""

    pid: int
    name: str


class LibvirtDaemon:
    """One libvirtd and its state directory."""

    def __init__(self, state_dir: Path, *, is_private: bool = False) -> None:
        self.state_dir = state_dir.resolve()
        self.is_private = is_private

    @property
    def uri(self) -> str:
        """The libvirt URI under which this daemon answers."""
        if self.is_private:
            return f"qemu:///system?socket={self.socket}"
        return "qemu:///system"

    @property
    def socket(self) -> Path:
        """The daemon's socket, as other processes see it."""
        return self.state_dir / "run/libvirt/libvirt-sock" if self.is_private else SYSTEM_SOCKETS[0]

    def start(self) -> bool:
        """Start it unless one answers already; return whether this call started it. Raises ``unavailable``."""
        if self._answers():
            return False
        if os.geteuid() != 0:
            raise NanoError(ErrorCode.PERMISSION_DENIED, "libvirtd can only be started by root; use sudo")
        for program in ("tini", "unshare", "libvirtd", probe.QEMU):
            if shutil.which(program) is None:
                raise NanoError(ErrorCode.UNAVAILABLE, f"{program} is not installed; install it and try again")
        self._clear_leftovers()
        hides_kvm = probe.KVM_DEVICE.exists() and bool(probe.why_not_kvm())
        self._prepare()
        supervisor_pid = self._spawn(self._command(hides_kvm=hides_kvm))
        self._wait_until_up(supervisor_pid, hides_kvm=hides_kvm)
        return True

    def stop(self, *, power_off_guests: bool = False) -> bool:
        """End it and everything in its namespace; return whether it ran.

        Raises ``wrong_state`` and leaves all as it is while guests run, unless ``power_off_guests``.
        """
        running = self.running()
        if running is None:
            self._record.unlink(missing_ok=True)
            return False
        guests = self.guests()
        if guests and not power_off_guests:
            names = ", ".join(f"{guest.name} (pid {guest.pid})" for guest in guests)
            message = (
                f"{len(guests)} guests still run: {names}; stop them first, or cut their power (--power-off-guests)"
            )
            raise NanoError(ErrorCode.WRONG_STATE, message, reason="kvm.guests_run")
        for guest in guests:
            _signal(guest.pid, signal.SIGKILL)
        self._end_supervisor(running)
        self._record.unlink(missing_ok=True)
        return True

    def running(self) -> Running | None:
        """Return what runs, or ``None`` if nothing of it is left."""
        try:
            running = Running(**json.loads(self._record.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        if running.boot_id != _boot_id() or not members(running.mount_namespace):
            return None
        return running

    def guests(self) -> list[Member]:
        """Return the QEMU processes that this libvirtd started."""
        running = self.running()
        if running is None:
            return []
        return [member for member in members(running.mount_namespace) if member.name.startswith("qemu-system")]

    def restart_daemon(self) -> None:
        """Kill libvirtd itself, as a crash would, and wait until the next one answers; guests run on."""
        pid_file = self.state_dir / "libvirtd.pid"
        if self.running() is None or not pid_file.exists():
            raise NanoError(ErrorCode.WRONG_STATE, f"libvirtd of {self.state_dir} does not run; start it first")
        old = pid_file.read_text(encoding="ascii").strip()
        _signal(int(old), signal.SIGKILL)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if pid_file.exists() and pid_file.read_text(encoding="ascii").strip() != old and self._answers():
                return
            time.sleep(_POLL_SECONDS)
        raise NanoError(ErrorCode.UNAVAILABLE, f"libvirtd did not come back; see {self.state_dir / 'libvirtd.log'}")

    @property
    def _record(self) -> Path:
        return self.state_dir / "running.json"

    def _answers(self) -> bool:
        sockets = (self.socket,) if self.is_private else SYSTEM_SOCKETS
        return any(_accepts(path) for path in sockets)

    def _clear_leftovers(self) -> None:
        running = self.running()
        if running is not None:
            self._end_supervisor(running)
        self._record.unlink(missing_ok=True)

    def _prepare(self) -> None:
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.state_dir / "no-kvm").write_bytes(b"")
        (self.state_dir / "qemu.conf").write_text(_QEMU_CONF, encoding="utf-8")
        uuid_file = self.state_dir / "host-uuid"
        if not uuid_file.exists():
            uuid_file.write_text(str(uuid.uuid4()), encoding="ascii")
        text = _DAEMON_CONF.format(host_uuid=uuid_file.read_text(encoding="ascii").strip())
        (self.state_dir / "libvirtd.conf").write_text(text, encoding="utf-8")
        for folder in _PRIVATE_FOLDERS:
            Path(folder).mkdir(parents=True, exist_ok=True)
            if self.is_private:
                self._private(folder).mkdir(parents=True, exist_ok=True)
        Path("/etc/libvirt/qemu.conf").touch()
        if self.is_private:
            (self._private("/etc/libvirt") / "qemu.conf").write_text(_QEMU_CONF, encoding="utf-8")

    def _private(self, folder: str) -> Path:
        return self.state_dir / folder.removeprefix("/")

    def _command(self, *, hides_kvm: bool) -> list[str]:
        if self.is_private:
            binds = [part for folder in _PRIVATE_FOLDERS for part in (str(self._private(folder)), folder)]
        else:
            binds = [str(self.state_dir / "qemu.conf"), "/etc/libvirt/qemu.conf"]
        namespace = ["tini", "-s", "--", "unshare", "--mount", "--propagation", "slave", "--"]
        kind = "private" if self.is_private else "shared"
        arguments = [str(self.state_dir), "hide" if hides_kvm else "keep", kind, *binds, "--"]
        return [*namespace, "/bin/sh", "-c", _SCRIPT, "nano-libvirtd", *arguments]

    def _spawn(self, command: list[str]) -> int:
        """Start a process that is to outlive this one, in a session of its own; return its id."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        log = str(self.state_dir / "libvirtd.log")
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        program = shutil.which(command[0]) or command[0]
        return os.posix_spawn(program, command, os.environ, file_actions=files, setsid=True)

    def _wait_until_up(self, supervisor_pid: int, *, hides_kvm: bool) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        namespace = None
        while time.monotonic() < deadline and not _has_ended(supervisor_pid):
            namespace = _namespace_below(supervisor_pid)
            if namespace is not None and self._answers():
                record = Running(_boot_id(), supervisor_pid, namespace, hides_kvm, self.uri)
                self._record.write_text(json.dumps(asdict(record)), encoding="utf-8")
                return
            time.sleep(_POLL_SECONDS)
        if namespace is not None:
            self._end_supervisor(Running(_boot_id(), supervisor_pid, namespace, hides_kvm, self.uri))
        log = self.state_dir / "libvirtd.log"
        tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise NanoError(
            ErrorCode.UNAVAILABLE, f"libvirtd did not start within {START_TIMEOUT_SECONDS:g} s; {log} ends with: {tail}"
        )

    def _end_supervisor(self, running: Running) -> None:
        left = members(running.mount_namespace)
        # Without the loop, which would start libvirtd again, libvirtd itself is asked.
        asked = "sh" if any(member.name == "sh" for member in left) else "libvirtd"
        for member in left:
            if member.name == asked:
                _signal(member.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        killing_at = deadline - STOP_TIMEOUT_SECONDS / 2
        while left := members(running.mount_namespace):
            if time.monotonic() > deadline:
                pids = ", ".join(f"{member.name} (pid {member.pid})" for member in left)
                raise NanoError(ErrorCode.UNAVAILABLE, f"these processes of libvirtd did not end: {pids}")
            if time.monotonic() > killing_at or not any(member.name in {"sh", "libvirtd"} for member in left):
                for member in left:
                    _signal(member.pid, signal.SIGKILL)
            time.sleep(_POLL_SECONDS)
        while not _has_ended(running.supervisor_pid) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)


def members(mount_namespace: int) -> list[Member]:
    """Return the living processes of a mount namespace; none for our own, whatever its number."""
    if mount_namespace == Path("/proc/self/ns/mnt").stat().st_ino:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "ns/mnt").stat().st_ino == mount_namespace:
                found.append(Member(int(entry.name), (entry / "comm").read_text(encoding="utf-8").strip()))
        except OSError:
            continue  # it ended while we looked, or is a zombie, which has no namespace any more
    return found


def _namespace_below(supervisor_pid: int) -> int | None:
    """Return the mount namespace of the supervisor's child once it is not ours any more."""
    try:
        text = Path(f"/proc/{supervisor_pid}/task/{supervisor_pid}/children").read_text(encoding="ascii")
        inodes = [Path(f"/proc/{pid}/ns/mnt").stat().st_ino for pid in text.split()]
    except OSError:
        return None
    ours = Path("/proc/self/ns/mnt").stat().st_ino
    return next((inode for inode in inodes if inode != ours), None)


def _has_ended(pid: int) -> bool:
    """Whether a process is over; reaps it if it is our child."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        pass
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def main(arguments: list[str] | None = None) -> int:
    """Run one command of the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m nanoplugins.kvm.libvirtd", description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["start", "stop", "status", "restart-daemon"])
    parser.add_argument("--state-dir", type=Path, required=True, help="folder for its configuration, record and log")
    parser.add_argument("--private", action="store_true", help="hide the machine's own libvirt folders from it")
    parser.add_argument("--power-off-guests", action="store_true", help="stop: cut the power of guests that run")
    chosen = parser.parse_args(arguments)
    daemon = LibvirtDaemon(chosen.state_dir, is_private=chosen.private)
    is_changed = False
    try:
        if chosen.command == "start":
            is_changed = daemon.start()
        elif chosen.command == "stop":
            is_changed = daemon.stop(power_off_guests=chosen.power_off_guests)
        elif chosen.command == "restart-daemon":
            daemon.restart_daemon()
    except NanoError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stdout.write(json.dumps(describe(daemon) | {"changed": is_changed}) + "\n")
    return 0


def describe(daemon: LibvirtDaemon) -> dict[str, object]:
    """Return what ``status`` prints: whether a libvirtd answers, whether it is ours, and what runs in it."""
    running = daemon.running()
    return {
        "uri": daemon.uri,
        "answers": any(_accepts(path) for path in ((daemon.socket,) if daemon.is_private else SYSTEM_SOCKETS)),
        "ours": running is not None,
        "hides_kvm": running is not None and running.hides_kvm,
        "mount_namespace": running.mount_namespace if running else None,
        "guests": [asdict(guest) for guest in daemon.guests()],
    }


if __name__ == "__main__":
    raise SystemExit(main())

"""Keeps ``nano-kernel`` running: as a systemd service, or without one below a small keeper."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from nanocore.errors import ErrorCode, NanoError
from nanoplugins.quickstart.layout import Layout

UNITS = Path("/etc/systemd/system")
START_SECONDS = 5.0
STOP_SECONDS = 20.0
LOG_LINES = 15
LOG_BYTES = 50_000_000
"""A longer log is begun anew at the next start; the one before is kept."""

# Arguments: the keeper's name in the process list, its pid file (for tini, our parent, which passes signals on), the
# command. Exit code 0 is a kernel that was told to end, 2 a configuration that can't work, 75 asks for a restart.
KEEPER = """\
echo "$PPID" > "$2"
shift 2
export NANO_KEEPER=1
child=
trap 'trap "" TERM; [ -n "$child" ] && kill "$child"; wait; exit 0' TERM INT
pause=1
while :; do
  "$@" </dev/null &
  child=$!
  wait "$child"
  code=$?
  [ "$code" -eq 0 ] || [ "$code" -eq 2 ] && exit "$code"
  [ "$code" -eq 75 ] && pause=1 && continue
  sleep "$pause" &
  wait $!
  [ "$pause" -lt 30 ] && pause=$((pause * 2))
done
"""


class Supervision(Protocol):
    """How the kernel is kept running on this machine."""

    def start(self, *extra: str) -> bool:
        """Have it run, also after a crash; return whether it had to be started."""
        ...

    def stop(self) -> None:
        """End it; return when it has."""
        ...

    def is_running(self) -> bool:
        """Return whether it is meant to run and does."""
        ...

    def last_words(self) -> str:
        """Return the end of its log."""
        ...

    def remove(self) -> None:
        """Leave nothing of the supervision behind."""
        ...


def has_systemd() -> bool:
    """Return whether systemd runs this machine; an installed one may not, as in a container."""
    return Path("/run/systemd/system").is_dir()


def supervision(layout: Layout) -> Supervision:
    """Return what fits this machine."""
    return SystemdService(layout) if has_systemd() else Keeper(layout)


class SystemdService:
    """A unit in ``/etc/systemd/system``, enabled, so that Nano comes back with the machine."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._unit = layout.unit
        self._file = UNITS / self._unit

    def start(self, *extra: str) -> bool:
        """Write the unit if it is not as it should be, and start it."""
        if extra:
            self._join(*extra)
        text = unit_text(self._layout)
        was_running = self.is_running()
        if not self._file.exists() or self._file.read_text(encoding="utf-8") != text:
            self._file.write_text(text, encoding="utf-8")
            _systemctl("daemon-reload")
            _systemctl("enable", self._unit)
            _systemctl("restart", self._unit)
        elif not was_running:
            _systemctl("reset-failed", self._unit, may_fail=True)
            _systemctl("start", self._unit)
        return not was_running

    def stop(self) -> None:
        """Stop the unit; it stays installed."""
        if self._file.exists():
            _systemctl("stop", self._unit)
            _systemctl("disable", self._unit)

    def is_running(self) -> bool:
        """Ask systemd."""
        return _systemctl("is-active", "--quiet", self._unit, may_fail=True)

    def last_words(self) -> str:
        """Return the end of the journal."""
        command = ["journalctl", "-u", self._unit, "-n", str(LOG_LINES), "--no-pager", "-o", "cat"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def remove(self) -> None:
        """Remove the unit."""
        if self._file.exists():
            self._file.unlink()
            _systemctl("daemon-reload")
            _systemctl("reset-failed", self._unit, may_fail=True)

    def _join(self, *extra: str) -> None:
        keeper = Keeper(self._layout)
        keeper.start(*extra)
        try:
            keeper.wait_until_joined()
        finally:
            keeper.stop()
            keeper.remove()


class Keeper:
    """A shell loop below ``tini``, which reaps what the kernel starts and the machine's first process may not."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._name = f"nano-keeper:{layout.root}"
        self._pid_file = layout.own / "keeper.pid"
        self._log = layout.logs / "kernel.log"

    def start(self, *extra: str) -> bool:
        """Start the keeper in a session of its own."""
        if self.is_running():
            return False
        self._pid_file.unlink(missing_ok=True)
        if shutil.which("tini") is None:
            raise NanoError(ErrorCode.UNAVAILABLE, "program tini is missing; run `apt-get install tini`")
        for folder in (self._pid_file.parent, self._log.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._log.exists() and self._log.stat().st_size > LOG_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        kernel = [str(self._layout.program("nano-kernel")), "--root", str(self._layout.root), *extra]
        with self._log.open("ab") as log:
            keeper = ["tini", "-s", "--", "/bin/sh", "-c", KEEPER, self._name, self._name, str(self._pid_file)]
            subprocess.run(
                ["setsid", "--fork", *keeper, *kernel],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                check=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._pid_file.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return True

    def stop(self) -> None:
        """Ask it to end, then force it."""
        for sent in (signal.SIGTERM, signal.SIGKILL):
            pid = self._pid()
            if pid is None:
                break
            with suppress(ProcessLookupError):
                os.kill(pid, sent)
            deadline = time.monotonic() + STOP_SECONDS
            while self._pid() is not None and time.monotonic() < deadline:
                time.sleep(0.05)
        self._pid_file.unlink(missing_ok=True)

    def is_running(self) -> bool:
        """Return whether the keeper lives."""
        return self._pid() is not None

    def last_words(self) -> str:
        """Return the end of the log."""
        if not self._log.exists():
            return ""
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - 20_000))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-LOG_LINES:])

    def remove(self) -> None:
        """Nothing is left once it has stopped."""
        self._pid_file.unlink(missing_ok=True)

    def wait_until_joined(self) -> None:
        """Return when the kernel has become ready once; raise ``unavailable`` with its last words."""
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and self.is_running():
            if self._layout.ready.exists():
                return
            time.sleep(0.1)
        raise NanoError(ErrorCode.UNAVAILABLE, f"the node did not join; its last words:\n{self.last_words()}")

    def _pid(self) -> int | None:
        """Return the keeper's process id, if that is still the keeper."""
        with suppress(OSError, ValueError):
            pid = int(self._pid_file.read_text(encoding="ascii"))
            if self._name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
        return None


def unit_text(layout: Layout) -> str:
    """Return the systemd unit; pure. Guests and their DHCP outlive the kernel, hence ``KillMode=process``."""
    return f"""\
[Unit]
Description=Nano kernel ({layout.root})
Documentation=file://{layout.program("nano-kernel").parents[2]}/README.md
After=network-online.target libvirtd.service
Wants=network-online.target

[Service]
Type=exec
ExecStart={layout.program("nano-kernel")} --root {layout.root}
Restart=on-failure
RestartSec=1
RestartPreventExitStatus=2
KillMode=process
TimeoutStopSec=15
LimitNOFILE=1048576
Delegate=yes

[Install]
WantedBy=multi-user.target
"""


def _systemctl(*arguments: str, may_fail: bool = False) -> bool:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode and not may_fail:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        raise NanoError(ErrorCode.UNAVAILABLE, f"`systemctl {' '.join(arguments)}` failed: {said}")
    return done.returncode == 0

"""A libvirtd of a test's own, reachable from outside its mount namespace; what it leaves behind fails the test."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_MODULE = "nanoplugins.kvm.libvirtd"
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class PrivateLibvirtd:
    """A running one. Its path is short enough for sockets as long as ``state_dir``'s is under 80 characters."""

    state_dir: Path
    uri: str

    def guest_pids(self) -> list[int]:
        """Return the process ids of the guests it started."""
        guests = _run("status", self.state_dir)["guests"]
        assert isinstance(guests, list)  # noqa: S101  as that module prints
        return [guest["pid"] for guest in guests]

    def restart(self) -> None:
        """Kill libvirtd as a crash would and wait for the next one; guests run on."""
        _run("restart-daemon", self.state_dir)


@contextmanager
def private_libvirtd(state_dir: Path) -> Iterator[PrivateLibvirtd]:
    """Start one in ``state_dir`` and stop it with all its guests. Needs root, libvirtd, QEMU and tini.

    Raises ``AssertionError`` at the end if guests were left running: their test did not clean up.
    """
    started = _run("start", state_dir)
    daemon = PrivateLibvirtd(state_dir, str(started["uri"]))
    left: list[int] = []
    try:
        yield daemon
        left = daemon.guest_pids()
    finally:
        _run("stop", state_dir, "--power-off-guests")
    if left:
        raise AssertionError(f"these guests were left running: {left}")


def _run(command: str, state_dir: Path, *options: str) -> dict[str, object]:
    arguments = [sys.executable, "-m", _MODULE, command, "--private", "--state-dir", str(state_dir), *options]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"libvirtd could not {command}: {done.stderr}")
    answer: dict[str, object] = json.loads(done.stdout)
    return answer

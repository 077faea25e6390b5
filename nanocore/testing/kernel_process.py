"""A real ``nano-kernel`` as a child process, with its API, for tests that kill it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from nanocore.client import Client, Endpoint
from nanocore.errors import NanoError

T = TypeVar("T")
START_SECONDS = 30.0
STOP_SECONDS = 10.0

SIM_CONFIG = """
[kernel]
name = "{name}"
plugins = ["*", "-webportal"]
listen_address = "127.0.0.1"
advertise_address = "127.0.0.1"
message_port = 0
stream_port = 0
strict = true

[agent]
hypervisor = "sim"
storage = "sim"
network = "sim"
report_interval_seconds = 0.5

[restapi]
listen_address = "127.0.0.1"
port = 0
"""
"""An all-in-one node on loopback with simulated drivers."""


def wait_until(condition: Callable[[], T | None], *, seconds: float = 20.0, what: str = "the condition") -> T:
    """Return the first true value of ``condition``; raise ``TimeoutError`` naming ``what``."""
    ends = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > ends:
            raise TimeoutError(f"{what} did not come about within {seconds:g} s")
        time.sleep(0.02)


class KernelProcess:
    """One node. ``root`` survives kills, so that a restart finds what the last run left."""

    def __init__(self, root: Path, config: str = SIM_CONFIG, *, name: str = "core-1") -> None:
        self.root = root
        self.name = name
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None
        folder = root / "etc" / "nano"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nano.toml").write_text(config.format(name=name), encoding="utf-8")

    @property
    def log_file(self) -> Path:
        """Return the file with every run's log."""
        return self.root / "kernel.log"

    @property
    def pid(self) -> int:
        """Return the process id of the running kernel."""
        assert self._process is not None  # noqa: S101  a mistake of the test
        return self._process.pid

    @property
    def client(self) -> Client:
        """Return a client on the local socket."""
        if self._client is None:
            self._client = Client(Endpoint(socket=self.root / "run" / "nano" / "api.sock"))
        return self._client

    def start(self, *, environment: Mapping[str, str] | None = None, arguments: tuple[str, ...] = ()) -> None:
        """Start the process; does not wait for its API."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "nanocore", "--root", str(self.root), *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )

    def wait_ready(self) -> None:
        """Wait until the API answers and every service is up."""

        def is_ready() -> bool:
            self.check_alive()
            try:
                if not self._is_listening():
                    return False
                self.client.get("/nodes")
                return bool(self.client.get("/system"))
            except NanoError:
                return False

        wait_until(is_ready, seconds=START_SECONDS, what=f"{self.name}'s API")

    def _is_listening(self) -> bool:
        """Return whether the socket takes connections; httpx2 leaves a socket open after a refused one."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.root / "run" / "nano" / "api.sock"))
            except OSError:
                return False
        return True

    def check_alive(self) -> None:
        """Raise with the end of the log if the process has ended."""
        if self._process is not None and self._process.poll() is not None:
            tail = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-15:])
            raise AssertionError(f"{self.name} has ended with {self._process.returncode}:\n{tail}")

    def wait_ended(self, seconds: float = STOP_SECONDS) -> int:
        """Return the exit code once the process has ended."""
        assert self._process is not None  # noqa: S101  a mistake of the test
        code = self._process.wait(seconds)
        self._forget()
        return code

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self.wait_ended()

    def stop(self) -> int:
        """Ask it to end; return its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        return self.wait_ended()

    def _forget(self) -> None:
        self._process = None
        if self._client is not None:
            self._client.close()
            self._client = None

    def log_lines(self) -> Iterator[dict[str, Any]]:
        """Yield the log's JSON lines."""
        for line in self.log_file.read_text(errors="replace").splitlines():
            if line.startswith("{"):
                yield json.loads(line)

"""``nano-kernel`` as a user runs it: a process, its files, its output."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

CONFIG = """
[kernel]
name = "core-1"
listen_address = "127.0.0.1"
advertise_address = "127.0.0.1"
message_port = 0
stream_port = 0
plugins = [{plugins}]

[agent]
hypervisor = "sim"
storage = "sim"
network = "sim"

[restapi]
listen_address = "127.0.0.1"
port = 0
"""
SMALL = '"state_sqlite", "identity_local"'


def until(condition: Callable[[], T | None], what: str, seconds: float = 20) -> T:
    ends = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > ends:
            raise TimeoutError(f"{what} within {seconds} s")
        time.sleep(0.01)


class Kernel:
    def __init__(self, root: Path, *arguments: str, path: Path | None = None) -> None:
        self.root = root
        self.log = root / "kernel.log"
        environment = {**os.environ, "PYTHONPATH": str(path)} if path else dict(os.environ)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "nanocore", "--root", str(root), *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    @property
    def ready_file(self) -> Path:
        return self.root / "run" / "nano" / "ready"

    def ready(self) -> dict[str, Any]:
        def facts() -> dict[str, Any] | None:
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")
            with contextlib.suppress(OSError, ValueError):
                found: dict[str, Any] = json.loads(self.ready_file.read_text())
                if found["pid"] == self.process.pid:
                    return found
            return None

        return until(facts, "ready")

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def end(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Return exit code and the seconds it took."""
        before = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(15), time.monotonic() - before


@contextlib.contextmanager
def running(root: Path, *arguments: str, path: Path | None = None) -> Iterator[Kernel]:
    kernel = Kernel(root, *arguments, path=path)
    try:
        yield kernel
    finally:
        if kernel.process.poll() is None:
            kernel.process.kill()
            kernel.process.wait(5)


def configure(root: Path, plugins: str = SMALL, extra: str = "") -> Path:
    folder = root / "etc" / "nano"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nano.toml").write_text(CONFIG.format(plugins=plugins) + extra)
    return root


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nanocore", *arguments], capture_output=True, text=True, check=False, timeout=30
    )


def install(plugin: str, target: Path, *, name: str) -> Path:
    """Install one module ``<name>.py`` with ``plugin`` as its source the way pip would; return the folder."""
    target.mkdir(parents=True, exist_ok=True)
    (target / f"{name}_plugin.py").write_text(plugin)
    info = target / f"nano_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: nano-{name}\nVersion: 1.0\nSummary: {name}\n")
    (info / "entry_points.txt").write_text(f"[nano.plugins]\n{name} = {name}_plugin:Plugin\n")
    return target

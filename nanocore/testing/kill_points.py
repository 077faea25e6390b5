"""Kills a node at every fail point of a piece of work, and hands each case over for judgement."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from nanocore.errors import NanoError
from nanocore.testing.kernel_process import KernelProcess

DIE_SECONDS = 60.0


def record_points(kernel: KernelProcess, work: Callable[[KernelProcess], None]) -> list[str]:
    """Run ``work`` once without a kill and return the fail points it passed, each once, in order.

    The kernel must be stopped; it is stopped again afterwards.
    """
    record = kernel.root / "fail-points"
    record.unlink(missing_ok=True)
    kernel.start(environment={"NANO_FAIL_POINT_LOG": str(record)})
    try:
        kernel.wait_ready()
        record.unlink(missing_ok=True)
        work(kernel)
    finally:
        kernel.stop()
    return list(dict.fromkeys(_lines(record)))


def killed_at(kernel: KernelProcess, point: str, work: Callable[[KernelProcess], None]) -> bool:
    """Run ``work`` on a node that dies at ``point``; return whether it did. The kernel is stopped afterwards."""
    kernel.start(environment={"NANO_FAIL_POINT": point})
    kernel.wait_ready()
    with suppress(NanoError):
        work(kernel)
    try:
        return kernel.wait_ended(DIE_SECONDS) == -signal.SIGKILL
    except subprocess.TimeoutExpired:
        kernel.kill()
        return False


def _lines(file: Path) -> Iterator[str]:
    if file.exists():
        yield from file.read_text(encoding="utf-8").splitlines()

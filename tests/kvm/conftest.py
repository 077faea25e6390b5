"""Drivers on libvirt's test driver and on a libvirtd of the tests' own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from nanocore.clock import SystemClock
from nanocore.testing.libvirtd import PrivateLibvirtd, private_libvirtd
from nanoplugins.kvm.config import KvmConfig
from nanoplugins.kvm.driver import KvmDriver
from nanoplugins.kvm.events import shared_pump

MakeDriver = Callable[[str], KvmDriver]


@pytest.fixture
def make_kvm_driver() -> MakeDriver:
    def make(uri: str) -> KvmDriver:
        return KvmDriver(
            KvmConfig(uri=uri, acceleration="tcg", reconnect_seconds=0.05),
            zone="test-zone",
            clock=SystemClock(),
            log=structlog.stdlib.get_logger("tests"),
            pump=shared_pump(),
        )

    return make


@pytest.fixture(scope="module")
def libvirtd() -> Iterator[PrivateLibvirtd]:
    # Not tmp_path: a guest's sockets lie deep below, and a socket's path may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="nano-", dir="/tmp") as folder, private_libvirtd(Path(folder)) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def bridge() -> Iterator[str]:
    name = f"nt{os.getpid()}"
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True, timeout=60)
    yield name
    subprocess.run(["ip", "link", "delete", name], check=True, timeout=60)

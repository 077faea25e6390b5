"""A machine of a row's own: a network namespace, a private libvirtd, and an all-in-one node on them."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.figure import NotMeasuredError
from nanocore.testing.kernel_process import KernelProcess
from nanocore.testing.libvirtd import PrivateLibvirtd, private_libvirtd

CLONE_NEWNET = 0x40000000
PROGRAMS = ("libvirtd", "qemu-system-x86_64", "qemu-img", "tini", "dnsmasq", "nft", "ip")
REAL_CONFIG = """
[kernel]
name = "{{name}}"
listen_address = "127.0.0.1"
advertise_address = "127.0.0.1"
message_port = 0
stream_port = 0

[kvm]
uri = "{uri}"
acceleration = "tcg"

[restapi]
listen_address = "127.0.0.1"
port = 0
"""


@contextmanager
def machine() -> Iterator[tuple[Path, PrivateLibvirtd]]:
    """Give a folder and a libvirtd; from here on this process and its children have a network of their own."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        raise NotMeasuredError(f"needs root and {', '.join(missing) or 'nothing else'}")
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise NotMeasuredError(f"no network namespace can be made: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # Short, as a guest's sockets lie deep below and their paths may have 107 characters.
    with (
        tempfile.TemporaryDirectory(prefix="nano-", dir="/tmp") as folder,
        private_libvirtd(Path(folder) / "libvirt") as libvirtd,
    ):
        try:
            yield Path(folder), libvirtd
        finally:
            end_name_servers(Path(folder))


def end_name_servers(folder: Path) -> None:
    """End the dnsmasq of each network: a node leaves it running for its guests, of whom there are none any more."""
    for file in folder.rglob("dnsmasq.pid"):
        pid = int(file.read_text(encoding="ascii"))
        with suppress(OSError):
            if str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGTERM)


def real_node(folder: Path, libvirtd: PrivateLibvirtd) -> KernelProcess:
    """Return an all-in-one node with its real drivers, not started."""
    return KernelProcess(folder / "node", REAL_CONFIG.format(uri=libvirtd.uri))

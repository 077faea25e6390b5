"""A pretended machine: a network namespace with an outside world behind it and guests in namespaces of their own."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
import structlog

from nanocore.capabilities.network import NetworkSpec, PortSpec
from nanocore.ids import NodeId, new_id
from nanoplugins.network_bridge.config import NetworkBridgeConfig
from nanoplugins.network_bridge.driver import BridgeDriver
from nanoplugins.network_bridge.names import device_name

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
OUTSIDE = "198.51.100.1"
UPLINK = "198.51.100.2"
_numbers = itertools.count()

# What a guest does with its lease; busybox's udhcpc calls it with the answer in variables.
DHCP_SCRIPT = """#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr replace "$ip/$mask" dev "$interface"
ip route replace default via "$router"
echo "bound $ip/$mask router=$router dns=$dns hostname=$hostname domain=$domain"
"""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def until(is_true: Callable[[], bool], what: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


@dataclass
class Machine:
    """``name`` is its namespace. Everything that it leaves behind fails the test."""

    name: str
    folder: Path
    node_id: NodeId = field(default_factory=lambda: NodeId(new_id()))
    guests: list[str] = field(default_factory=list)

    def driver(self, settings: NetworkBridgeConfig | None = None) -> BridgeDriver:
        log = structlog.get_logger()
        return BridgeDriver(
            node_id=self.node_id, folder=self.folder, settings=settings or NetworkBridgeConfig(), log=log
        )

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work`` on a loop in a thread of the namespace; the loop's threads and programs are there too."""

        async def main() -> T:
            return await work()

        return self.within(self.name, lambda: asyncio.run(main()))

    def within(self, where: str, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread of the namespace ``where``; sockets that it makes stay there."""
        results: list[T] = []
        errors: list[BaseException] = []

        def thread() -> None:
            try:
                handle = os.open(f"/run/netns/{where}", os.O_RDONLY)
                try:
                    assert ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET) == 0
                finally:
                    os.close(handle)
                results.append(work())
            except BaseException as error:  # noqa: BLE001  raised again by the caller
                errors.append(error)

        runner = threading.Thread(target=thread)
        runner.start()
        runner.join()
        if errors:
            raise errors[0]
        return results[0]

    def add_device(self, name: str) -> str:
        """Add a second LAN: a device ``name`` of the machine, with a namespace behind it, which is returned."""
        where = f"{self.name}-lan{next(_numbers)}"
        ip("netns", "add", where)
        self.guests.append(where)
        ip("-n", self.name, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", where)
        ip("-n", where, "link", "set", "eth0", "up")
        return where

    def serve(self, *ports: PortSpec, network: NetworkSpec, settings: NetworkBridgeConfig | None = None) -> str:
        """Make or change ports as a kernel would, and let the kernel go; return the bridge's name."""

        async def work() -> str:
            driver = self.driver(settings)
            await driver.open()
            bridge = ""
            try:
                for port in ports:
                    bridge = await driver.ensure_port(network, port)
            finally:
                await driver.close()
            return bridge

        return self.run(work)

    def uninstall(self) -> None:
        """Take down everything."""

        async def work() -> None:
            driver = self.driver()
            await driver.open()
            await driver.remove_all()
            await driver.close()

        self.run(work)

    def set_address(self, guest: str, network: NetworkSpec, port: PortSpec) -> None:
        """Give a guest its addresses as DHCP would."""
        length = network.cidr.partition("/")[2]
        for address in port.addresses:
            is_ipv6 = ":" in address
            # Without the seconds in which a new IPv6 address can't be used yet.
            more = ["nodad"] if is_ipv6 else []
            ip("-n", guest, "addr", "add", f"{address}/{128 if is_ipv6 else length}", "dev", "eth0", *more)
        ip("-n", guest, "route", "add", "default", "via", network.gateway)

    def ping(self, guest: str, address: str, seconds: int = 5) -> bool:
        """Return whether ``address`` answers; one that should not is given less time."""
        command = ["busybox", "ping", "-c", "1", "-W", str(seconds), address]
        return self.sh(*command, where=guest).returncode == 0

    def sh(self, *command: str, where: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program in the machine, or in the guest ``where``."""
        full = ["ip", "netns", "exec", where or self.name, *command]
        return subprocess.run(full, capture_output=True, text=True, timeout=20, check=False)

    def plug_in(self, bridge: str, port: PortSpec | str, *, is_isolated: bool = True) -> str:
        """Plug a new guest into ``bridge`` as its hypervisor would; return its namespace.

        A bare MAC is a stranger's, or a guest's whose device was made before rules could name it.
        """
        guest = f"{self.name}-g{next(_numbers)}"
        ip("netns", "add", guest)
        self.guests.append(guest)
        mac = port if isinstance(port, str) else port.mac
        device = f"tap{next(_numbers)}" if isinstance(port, str) else device_name(port.nic_id)
        ip("-n", self.name, "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", guest)
        ip("-n", self.name, "link", "set", device, "master", bridge)
        if is_isolated and not isinstance(port, str):
            subprocess.run(["bridge", "-n", self.name, "link", "set", "dev", device, "isolated", "on"], check=True)
        ip("-n", self.name, "link", "set", device, "up")
        ip("-n", guest, "link", "set", "eth0", "address", mac, "up")
        ip("-n", guest, "link", "set", "lo", "up")
        return guest

    def ask_for_address(self, guest: str) -> str:
        """Run a DHCP client in ``guest`` as its system would; return what it said."""
        script = self.folder.parent / "dhcp.sh"
        script.write_text(DHCP_SCRIPT)
        script.chmod(0o755)
        command = ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "10", "-T", "1", "-s", str(script)]
        return self.sh(*command, where=guest).stdout

    def processes(self) -> list[int]:
        asked = subprocess.Popen(["ip", "netns", "pids", self.name], stdout=subprocess.PIPE, text=True)
        found, _ = asked.communicate()
        return [int(line) for line in found.split() if int(line) != asked.pid]  # it may run in there itself

    def leftovers(self) -> list[str]:
        links = self.sh("ip", "-br", "link").stdout
        bridges = [line.split()[0] for line in links.splitlines() if line.startswith("nb")]
        rules = self.sh("nft", "list", "tables").stdout.splitlines()
        files = [str(path) for path in self.folder.rglob("*") if path.is_file()]
        return [*bridges, *rules, *files, *(f"process {pid}" for pid in self.processes())]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    name = f"nt{os.getpid()}-{next(_numbers)}"
    folder = tmp_path / "state"
    folder.mkdir()
    machine = Machine(name, folder)
    outside = f"{name}-out"
    ip("netns", "add", name)
    ip("netns", "add", outside)
    try:
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", outside)
        for where, interface, address in ((name, "up0", UPLINK), (outside, "eth0", OUTSIDE)):
            ip("-n", where, "addr", "add", f"{address}/24", "dev", interface)
            ip("-n", where, "link", "set", interface, "up")
        ip("-n", name, "route", "add", "default", "via", OUTSIDE)
        # A new namespace inherits the real machine's setting, which another node may have changed.
        machine.sh("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
        yield machine
        leftovers = machine.leftovers()
        for pid in machine.processes():
            os.kill(pid, 9)
        assert not leftovers, f"left behind: {leftovers}"
    finally:
        for guest in (*machine.guests, outside, name):
            ip("netns", "del", guest)

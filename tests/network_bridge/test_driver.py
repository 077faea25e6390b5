"""The bridge driver as guests and a restarted kernel see it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from typing import Any

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.network_suite import network_spec, port_spec
from nanoplugins.network_bridge import programs
from nanoplugins.network_bridge.config import NetworkBridgeConfig
from nanoplugins.network_bridge.health import check_networks

pytestmark = [pytest.mark.system, pytest.mark.needs("namespaces")]

NETWORK = network_spec(5)
WEB = port_spec(NETWORK, 2)
DB = port_spec(NETWORK, 3)


def served(machine: Any, *ports: Any, network: Any = NETWORK, settings: NetworkBridgeConfig | None = None) -> str:
    """Make ports as a kernel would, and let the kernel go."""

    async def work() -> str:
        driver = machine.driver(settings)
        await driver.open()
        bridge = ""
        for port in ports:
            bridge = await driver.ensure_port(network, port)
        await driver.close()
        return bridge

    return machine.run(work)


def uninstall(machine: Any) -> None:
    async def work() -> None:
        driver = machine.driver()
        await driver.open()
        await driver.remove_all()
        await driver.close()

    machine.run(work)


def ping(machine: Any, guest: str, address: str) -> bool:
    return machine.sh("busybox", "ping", "-c", "1", "-W", "2", address, where=guest).returncode == 0


def look_up(machine: Any, guest: str, name: str) -> str:
    done = machine.sh("busybox", "nslookup", name, NETWORK.gateway, where=guest)
    return done.stdout + done.stderr


def test_guest_gets_its_address_by_dhcp_and_names_resolve(machine: Any) -> None:
    bridge = served(machine, WEB, DB)
    guest = machine.plug_in(bridge, WEB)
    said = machine.ask_for_address(guest)
    assert f"bound {WEB.addresses[0]}/28 router={NETWORK.gateway} dns={NETWORK.gateway}" in said
    assert f"hostname={WEB.hostname} domain=nano.internal" in said
    assert ping(machine, guest, NETWORK.gateway)
    assert DB.addresses[0] in look_up(machine, guest, f"{DB.hostname}.nano.internal")
    assert NETWORK.gateway in look_up(machine, guest, "gateway.nano.internal")
    assert "NXDOMAIN" in look_up(machine, guest, "nobody.nano.internal")
    # The node reaches its guest.
    assert machine.sh("busybox", "ping", "-c", "1", "-W", "2", WEB.addresses[0]).returncode == 0
    uninstall(machine)


def test_stranger_gets_no_address(machine: Any) -> None:
    bridge = served(machine, WEB)
    guest = machine.plug_in(bridge, "52:54:00:00:00:99")
    done = machine.sh(
        "busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "2", "-T", "1", "-s", "/bin/true", where=guest
    )
    assert done.returncode != 0
    uninstall(machine)


def test_traffic_outwards_is_translated_and_strangers_do_not_come_in(machine: Any) -> None:
    bridge = served(machine, WEB)
    guest = machine.plug_in(bridge, WEB)
    machine.ask_for_address(guest)
    # The outside has no route back to the guest's network: an answer proves the translation.
    assert ping(machine, guest, "198.51.100.1")
    outside = f"{machine.name}-out"
    machine.sh("ip", "route", "add", NETWORK.cidr, "via", "198.51.100.2", where=outside)
    assert not ping(machine, outside, WEB.addresses[0])
    uninstall(machine)


def test_guest_can_not_use_another_address(machine: Any) -> None:
    bridge = served(machine, WEB, DB)
    guest = machine.plug_in(bridge, WEB)
    machine.ask_for_address(guest)
    assert ping(machine, guest, "198.51.100.1")
    machine.sh("ip", "addr", "flush", "dev", "eth0", where=guest)
    machine.sh("ip", "addr", "add", f"{DB.addresses[0]}/28", "dev", "eth0", where=guest)
    machine.sh("ip", "route", "add", "default", "via", NETWORK.gateway, where=guest)
    assert not ping(machine, guest, NETWORK.gateway)
    assert not ping(machine, guest, "198.51.100.1")
    uninstall(machine)


@pytest.mark.parametrize("is_open", [False, True])
def test_guest_reaches_ports_of_the_node_only_if_told(machine: Any, is_open: bool) -> None:  # noqa: FBT001
    bridge = served(machine, WEB, settings=NetworkBridgeConfig(is_node_open=is_open))
    guest = machine.plug_in(bridge, WEB)
    machine.ask_for_address(guest)

    def listen() -> socket.socket:
        return socket.create_server((NETWORK.gateway, 5870))

    async def work() -> socket.socket:
        return listen()

    with machine.run(work):
        done = machine.sh("busybox", "nc", "-w", "2", NETWORK.gateway, "5870", "-e", "/bin/true", where=guest)
        assert (done.returncode == 0) is is_open, done.stderr
    uninstall(machine)


def test_restarted_kernel_adopts_without_interruption(machine: Any) -> None:
    served(machine, WEB)
    before = machine.processes()
    assert len(before) == 1

    async def work() -> None:
        driver = machine.driver()
        await driver.open()
        assert await driver.list_ports() == [WEB.nic_id]
        assert machine.processes() == before
        assert await driver.ensure_port(NETWORK, WEB) == (await driver.get_port(WEB.nic_id)).bridge
        assert machine.processes() == before
        await driver.remove_all()
        await driver.close()

    machine.run(work)


def test_everything_comes_back_after_a_reboot(machine: Any) -> None:
    """Records survive, bridge, rules and process do not."""
    bridge = served(machine, WEB)
    for pid in machine.processes():
        os.kill(pid, signal.SIGKILL)
    machine.sh("ip", "link", "del", bridge)
    machine.sh("nft", "flush", "ruleset")
    served(machine)
    guest = machine.plug_in(bridge, WEB)
    assert f"bound {WEB.addresses[0]}" in machine.ask_for_address(guest)
    assert ping(machine, guest, "198.51.100.1")
    uninstall(machine)


def test_killed_dnsmasq_is_started_again_also_an_adopted_one(machine: Any) -> None:
    served(machine, WEB)

    async def work() -> None:
        driver = machine.driver()
        await driver.open()
        for _ in range(2):
            (configuration,) = machine.folder.glob("networks/*/dnsmasq.conf")
            pid = programs.find_dnsmasq(configuration)
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(10):
                # A process has no event to wait for.
                while programs.find_dnsmasq(configuration) in (None, pid) or await check_networks(driver):
                    await asyncio.sleep(0.01)
        await driver.remove_all()
        await driver.close()

    machine.run(work)


def test_address_of_a_deleted_card_can_be_given_to_a_new_one(machine: Any) -> None:
    """The old lease would make dnsmasq keep the address for a card that is gone."""
    bridge = served(machine, WEB, DB)
    first = machine.plug_in(bridge, WEB)
    assert f"bound {WEB.addresses[0]}" in machine.ask_for_address(first)
    successor = port_spec(NETWORK, 9)
    successor = type(successor)(
        nic_id=successor.nic_id, mac=successor.mac, addresses=WEB.addresses, hostname=successor.hostname
    )

    async def work() -> None:
        driver = machine.driver()
        await driver.open()
        await driver.delete_port(WEB.nic_id)
        await driver.ensure_port(NETWORK, successor)
        await driver.close()

    machine.run(work)
    subprocess.run(["ip", "-n", first, "link", "set", "eth0", "down"], check=True)
    second = machine.plug_in(bridge, successor)
    said = machine.ask_for_address(second)
    assert f"bound {WEB.addresses[0]}" in said
    assert f"hostname={successor.hostname}" in said
    uninstall(machine)


def test_overlap_with_a_route_of_the_node_is_a_conflict(machine: Any) -> None:
    machine.sh("ip", "addr", "add", "10.213.5.9/24", "dev", "up0")

    async def work() -> None:
        driver = machine.driver()
        await driver.open()
        with pytest.raises(NanoError) as caught:
            await driver.ensure_port(NETWORK, WEB)
        assert caught.value.code is ErrorCode.CONFLICT
        assert "10.213.5.0/24 on interface up0" in caught.value.message
        assert await driver.list_ports() == []
        await driver.close()

    machine.run(work)


def test_two_kernels_on_one_machine_do_not_meet(machine: Any) -> None:
    """The second one is told whose the addresses are; the first one's network is left alone."""
    served(machine, WEB)
    other = type(machine)(machine.name, machine.folder.parent / "other")

    async def work() -> None:
        driver = other.driver()
        await driver.open()
        with pytest.raises(NanoError, match="of another Nano node on this machine"):
            await driver.ensure_port(NETWORK, DB)
        await driver.ensure_port(network_spec(6), port_spec(network_spec(6)))
        await driver.remove_all()
        await driver.close()

    before = machine.processes()
    machine.run(work)
    assert machine.processes() == before
    uninstall(machine)


def test_tables_of_others_are_left_alone(machine: Any) -> None:
    machine.sh("nft", "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; }")
    before = machine.sh("nft", "list", "table", "ip", "filter").stdout
    assert "FORWARD" in before
    served(machine, WEB)
    uninstall(machine)
    assert machine.sh("nft", "list", "table", "ip", "filter").stdout == before
    machine.sh("nft", "delete", "table", "ip", "filter")


def test_firewall_that_drops_forwarding_is_named(machine: Any) -> None:
    machine.sh(
        "nft", "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
    )

    async def work() -> None:
        driver = machine.driver()
        await driver.open()
        assert await check_networks(driver) is None
        await driver.ensure_port(NETWORK, WEB)
        said = await check_networks(driver)
        assert said is not None
        assert "table ip filter, chain FORWARD" in said
        await driver.remove_all()
        await driver.close()

    machine.run(work)
    machine.sh("nft", "delete", "table", "ip", "filter")


def test_forwarding_is_switched_back_at_uninstall(machine: Any) -> None:
    def forwarding() -> str:
        return machine.sh("cat", "/proc/sys/net/ipv4/ip_forward").stdout.strip()

    served(machine, WEB)
    assert forwarding() == "1"
    uninstall(machine)
    assert forwarding() == "0"


def test_port_that_can_not_be_made_leaves_nothing(machine: Any) -> None:
    """Something else has DNS's port on the gateway's address: dnsmasq refuses to start."""

    async def work() -> None:
        driver = machine.driver()
        await driver.open()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND: the address comes with the bridge
            taken.bind((NETWORK.gateway, 53))
            with pytest.raises(NanoError) as caught:
                await driver.ensure_port(NETWORK, WEB)
            assert caught.value.code is ErrorCode.UNAVAILABLE
            assert "Address already in use" in caught.value.message
            assert await driver.list_ports() == []
            assert [path.name for path in machine.folder.iterdir() if path.is_file()] == ["forwarding-enabled"]
            assert not list((machine.folder / "networks").iterdir())
            assert machine.processes() == []
        await driver.ensure_port(NETWORK, WEB)
        await driver.remove_all()
        await driver.close()

    machine.run(work)


def test_process_of_another_program_is_not_taken_for_dnsmasq(machine: Any) -> None:
    """A pid file that outlived its process may name anybody."""
    folder = machine.folder / "networks" / "0"
    folder.mkdir(parents=True)
    (folder / "dnsmasq.pid").write_text(str(os.getpid()))
    assert programs.find_dnsmasq(folder / "dnsmasq.conf") is None
    (folder / "dnsmasq.pid").unlink()

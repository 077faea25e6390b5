"""Networks of mode bridge: on the LAN, without cutting the node off."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from nanocore.capabilities.network import NetworkSpec, PortSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NetworkId, new_id
from nanocore.model.network import NetworkMode
from tests.network_bridge import frames
from tests.network_bridge.conftest import ip

pytestmark = [pytest.mark.system, pytest.mark.needs("namespaces")]

LAN = NetworkSpec(id=NetworkId(new_id()), name="lan", mode=NetworkMode.BRIDGE, interface="lan0")
FIRST = PortSpec(nic_id=new_id(), mac="52:54:00:00:00:02", addresses=[], hostname="guest-2")
SECOND = PortSpec(nic_id=new_id(), mac="52:54:00:00:00:03", addresses=[], hostname="guest-3")


def on(interface: str) -> NetworkSpec:
    return NetworkSpec(id=LAN.id, name="lan", mode=NetworkMode.BRIDGE, interface=interface)


def give(where: str, address: str) -> None:
    ip("-n", where, "addr", "add", f"{address}/24", "dev", "eth0")


def test_guests_are_on_the_lan_and_the_device_is_let_go_as_it_was(machine: Any) -> None:
    lan = machine.add_device("lan0")
    give(lan, "192.168.7.1")
    bridge = machine.serve(FIRST, SECOND, network=LAN)
    assert bridge.startswith("nb")
    guests = [machine.plug_in(bridge, port, is_isolated=False) for port in (FIRST, SECOND)]
    for last, guest in enumerate(guests, start=2):
        give(guest, f"192.168.7.{last}")
        assert machine.ping(guest, "192.168.7.1")
    assert machine.ping(lan, "192.168.7.2")
    assert machine.ping(guests[0], "192.168.7.3")
    assert machine.processes() == []  # addresses are the LAN's business
    machine.serve(FIRST, network=LAN)  # again, as after a restart
    assert machine.ping(lan, "192.168.7.3")
    machine.uninstall()
    shown = machine.sh("ip", "link", "show", "lan0").stdout
    assert "master" not in shown
    assert "lan0" in shown


def test_a_guest_on_the_lan_keeps_its_mac_and_plays_no_server(machine: Any) -> None:
    lan = machine.add_device("lan0")
    bridge = machine.serve(FIRST, network=LAN)
    guest = machine.plug_in(bridge, FIRST, is_isolated=False)
    forged = {
        "another's MAC": frames.ipv4(SECOND.mac, "192.168.7.2", "192.168.7.1", frames.udp(5, 5, b"x")),
        "ARP with another's MAC": frames.arp(FIRST.mac, SECOND.mac, "192.168.7.2", "192.168.7.1"),
        "a DHCP offer": frames.ipv4(FIRST.mac, "192.168.7.2", "255.255.255.255", frames.udp(67, 68, b"x")),
        "a router": frames.ipv6(FIRST.mac, "fe80::2", "ff02::1", frames.icmpv6(134)),
    }
    own = frames.ipv4(FIRST.mac, "192.168.7.2", "192.168.7.1", frames.udp(5, 5, b"y"))
    with ExitStack() as stack:
        listener = stack.enter_context(machine.within(lan, frames.open_raw("eth0")))
        sender = stack.enter_context(machine.within(guest, frames.open_raw("eth0")))
        for frame in (*forged.values(), own, frames.ipv4(FIRST.mac, "192.168.7.2", "192.168.7.1", b"the end")):
            sender.send(frame)
        seen = frames.catch(listener, b"the end")
    assert own in seen
    assert [what for what, frame in forged.items() if frame in seen] == []
    machine.uninstall()


def test_a_bridge_of_the_nodes_own_is_used_and_left_alone(machine: Any) -> None:
    ip("-n", machine.name, "link", "add", "br0", "type", "bridge")
    ip("-n", machine.name, "addr", "add", "192.168.8.1/24", "dev", "br0")
    ip("-n", machine.name, "link", "set", "br0", "up")
    network = on("br0")
    assert machine.serve(FIRST, network=network) == "br0"

    async def work() -> None:
        driver = machine.driver()
        await driver.open()
        info = await driver.get_port(FIRST.nic_id)
        assert (info.bridge, info.is_isolated) == ("br0", False)
        await driver.close()

    machine.run(work)
    guest = machine.plug_in("br0", FIRST, is_isolated=False)
    give(guest, "192.168.8.2")
    assert machine.ping(guest, "192.168.8.1")
    machine.uninstall()
    assert "192.168.8.1" in machine.sh("ip", "addr", "show", "br0").stdout


@pytest.mark.parametrize(
    ("interface", "code", "words"),
    [
        ("up0", ErrorCode.CONFLICT, "carries this node's address 198.51.100.2: the node would be cut off"),
        ("routed0", ErrorCode.CONFLICT, "is this node's way to 203.0.113.0/24"),
        ("taken0", ErrorCode.CONFLICT, "belongs to br1 already; name br1"),
        ("lo", ErrorCode.CONFLICT, "is no wired Ethernet device"),
        ("eth9", ErrorCode.UNSUPPORTED, "has no device eth9"),
    ],
)
def test_a_device_that_is_needed_is_refused(machine: Any, interface: str, code: ErrorCode, words: str) -> None:
    machine.add_device("routed0")
    machine.add_device("taken0")
    ip("-n", machine.name, "link", "add", "br1", "type", "bridge")
    ip("-n", machine.name, "link", "set", "taken0", "master", "br1")
    ip("-n", machine.name, "link", "set", "routed0", "up")
    ip("-n", machine.name, "route", "add", "203.0.113.0/24", "dev", "routed0")
    before = machine.sh("ip", "route").stdout
    with pytest.raises(NanoError) as caught:
        machine.serve(FIRST, network=on(interface))
    assert caught.value.code is code
    assert words in caught.value.message
    assert machine.sh("ip", "route").stdout == before

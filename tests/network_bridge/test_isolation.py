"""What guests can do to each other: nothing, with real frames."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from nanocore.testing.network_suite import network_spec, port_spec
from nanoplugins.network_bridge.config import NetworkBridgeConfig
from nanoplugins.network_bridge.names import device_name
from tests.network_bridge import frames

pytestmark = [pytest.mark.system, pytest.mark.needs("namespaces")]

NETWORK = network_spec(7, has_ipv6=True)
EVIL = port_spec(NETWORK, 2)
GOOD = port_spec(NETWORK, 3)
OWN, OTHERS = EVIL.addresses[0], GOOD.addresses[0]
OWN_IPV6, OTHERS_IPV6 = EVIL.addresses[1], GOOD.addresses[1]
LINK_LOCAL = "fe80::5054:ff:fe00:2"
SENTINEL = b"that was all of it"
MARK = b"here it comes"


@pytest.fixture
def world(machine: Any) -> Iterator[Any]:
    """Give the machine two guests with their addresses, ``evil`` and ``good``, on the bridge ``bridge``."""
    machine.bridge = machine.serve(EVIL, GOOD, network=NETWORK)
    machine.evil, machine.good = (machine.plug_in(machine.bridge, port) for port in (EVIL, GOOD))
    for guest, port in ((machine.evil, EVIL), (machine.good, GOOD)):
        machine.set_address(guest, NETWORK, port)
    yield machine
    machine.uninstall()


def caught(machine: Any, frame: bytes, *, where: str | None = None, device: str | None = None) -> list[bytes]:
    """Send ``frame`` from the evil guest; return what of it came to the node, or to ``where``."""
    legal = frames.ipv4(EVIL.mac, OWN, "255.255.255.255", frames.udp(9, 9, SENTINEL))
    with ExitStack() as stack:
        listen = frames.open_raw(device or machine.bridge)
        listener = stack.enter_context(machine.within(where or machine.name, listen))
        sender = stack.enter_context(machine.within(machine.evil, frames.open_raw("eth0")))
        sender.send(frame)
        sender.send(legal)
        # The kernel takes a tag off before a socket sees the frame.
        plain = frame[:12] + frame[16:] if frame[12:14] == frames.VLAN.to_bytes(2) else frame
        return [each for each in frames.catch(listener, SENTINEL) if each in (frame, plain)]


LEGAL = {
    "asks for a neighbour": frames.arp(EVIL.mac, EVIL.mac, OWN, NETWORK.gateway),
    "probes an address": frames.arp(EVIL.mac, EVIL.mac, "0.0.0.0", OWN),
    "asks for an address": frames.ipv4(EVIL.mac, "0.0.0.0", "255.255.255.255", frames.udp(68, 67, MARK)),
    "sends": frames.ipv4(EVIL.mac, OWN, NETWORK.gateway, frames.udp(5, 5, MARK)),
    "sends IPv6": frames.ipv6(EVIL.mac, OWN_IPV6, "ff02::1", frames.udp(5, 5, MARK), kind=frames.UDP),
    "asks for a router": frames.ipv6(EVIL.mac, LINK_LOCAL, "ff02::2", frames.icmpv6(133)),
    "joins a group": frames.ipv6(EVIL.mac, "::", "ff02::16", frames.icmpv6(143)),
}
ILLEGAL = {
    "another's MAC": frames.ipv4(GOOD.mac, OWN, NETWORK.gateway, frames.udp(5, 5, MARK)),
    "no guest's MAC": frames.ipv4("52:54:00:99:99:99", OWN, NETWORK.gateway, frames.udp(5, 5, MARK)),
    "another's address": frames.ipv4(EVIL.mac, OTHERS, NETWORK.gateway, frames.udp(5, 5, MARK)),
    "another's MAC and address": frames.ipv4(GOOD.mac, OTHERS, NETWORK.gateway, frames.udp(5, 5, MARK)),
    "the gateway's address": frames.ipv4(EVIL.mac, NETWORK.gateway, OTHERS, frames.udp(5, 5, MARK)),
    "a stranger's address": frames.ipv4(EVIL.mac, "192.0.2.1", OTHERS, frames.udp(5, 5, MARK)),
    "no address but for DHCP": frames.ipv4(EVIL.mac, "0.0.0.0", "255.255.255.255", frames.udp(5, 5, MARK)),
    "ARP for another's address": frames.arp(EVIL.mac, EVIL.mac, OTHERS, NETWORK.gateway, operation=2),
    "ARP for the gateway": frames.arp(EVIL.mac, EVIL.mac, NETWORK.gateway, OTHERS, operation=2),
    "ARP with another's MAC inside": frames.arp(EVIL.mac, GOOD.mac, OWN, NETWORK.gateway),
    "a probe with another's MAC inside": frames.arp(EVIL.mac, GOOD.mac, "0.0.0.0", OWN),
    "a DHCP offer": frames.ipv4(EVIL.mac, OWN, "255.255.255.255", frames.udp(67, 68, MARK)),
    "a DHCPv6 advertisement": frames.ipv6(EVIL.mac, LINK_LOCAL, "ff02::1", frames.udp(547, 546, MARK), kind=17),
    "a router advertisement": frames.ipv6(EVIL.mac, LINK_LOCAL, "ff02::1", frames.icmpv6(134)),
    "a router's redirect": frames.ipv6(EVIL.mac, LINK_LOCAL, "ff02::1", frames.icmpv6(137)),
    "the router's own address": frames.ipv6(EVIL.mac, "fe80::1", "ff02::1", frames.icmpv6(136)),
    "another's IPv6 address": frames.ipv6(EVIL.mac, OTHERS_IPV6, "ff02::1", frames.udp(5, 5, MARK), kind=17),
    "a stranger's IPv6 address": frames.ipv6(EVIL.mac, "2001:db8::1", "ff02::1", frames.udp(5, 5, MARK), kind=17),
    "a tagged frame": frames.ether(EVIL.mac, frames.VLAN, b"\0\5" + b"\x08\0" + MARK),
    "a spanning tree": frames.ether(EVIL.mac, 0x0026, MARK, "01:80:c2:00:00:00"),
}


def test_what_a_guest_may_send_arrives(world: Any) -> None:
    for what, frame in LEGAL.items():
        assert caught(world, frame), what


def test_what_a_guest_may_not_send_does_not_arrive(world: Any) -> None:
    for what, frame in ILLEGAL.items():
        assert not caught(world, frame), what


def test_frames_are_looked_at_before_they_are_routed(world: Any) -> None:
    """The bridge's table stops all of it alone; and without it all of it would arrive, so these tests can fail."""
    inet, bridge = (
        next(line for line in world.sh("nft", "list", "tables").stdout.splitlines() if f" {family} " in line)
        for family in ("inet", "bridge")
    )
    world.sh("nft", "delete", *inet.split())
    assert [what for what, frame in ILLEGAL.items() if caught(world, frame)] == []
    world.sh("nft", "delete", *bridge.split())
    assert [what for what, frame in ILLEGAL.items() if not caught(world, frame)] == []


@pytest.mark.parametrize("isolated", ["on", "off"])
def test_frames_do_not_reach_other_guests_by_themselves(world: Any, isolated: str) -> None:
    """Not even legal broadcasts: what the good guest sees is the node's alone, also if its port lost its mark."""
    for port in (EVIL, GOOD):
        world.sh("bridge", "link", "set", "dev", device_name(port.nic_id), "isolated", isolated)
    assert world.ping(world.evil, OTHERS)
    with ExitStack() as stack:
        listener = stack.enter_context(world.within(world.good, frames.open_raw("eth0")))
        sender = stack.enter_context(world.within(world.evil, frames.open_raw("eth0")))
        node = stack.enter_context(world.within(world.name, frames.open_raw(world.bridge)))
        at_node = stack.enter_context(world.within(world.name, frames.open_raw(world.bridge)))
        for frame in (*LEGAL.values(), *ILLEGAL.values()):
            sender.send(frame)
        sender.send(frames.ipv4(EVIL.mac, OWN, "255.255.255.255", frames.udp(9, 9, SENTINEL)))
        frames.catch(at_node, SENTINEL)  # the bridge is done with all of it
        node.send(frames.ipv4("02:00:00:00:00:01", NETWORK.gateway, "255.255.255.255", frames.udp(9, 9, b"the end")))
        seen = frames.catch(listener, b"the end")
    assert [frame for frame in seen if frame[6:12] == frames.mac(EVIL.mac)] == []


def test_a_flooded_frame_does_not_reach_other_guests(world: Any) -> None:
    """The bridge knows no port for this MAC and sends it to all: only its owner's gets it."""
    with ExitStack() as stack:
        evil, good = (
            stack.enter_context(world.within(guest, frames.open_raw("eth0"))) for guest in (world.evil, world.good)
        )
        node = stack.enter_context(world.within(world.name, frames.open_raw(world.bridge)))
        world.sh("bridge", "fdb", "flush", "dev", world.bridge)
        secret = frames.ipv4("02:00:00:00:00:01", NETWORK.gateway, OTHERS, frames.udp(5, 5, MARK), to=GOOD.mac)
        node.send(secret)
        node.send(frames.ipv4("02:00:00:00:00:01", NETWORK.gateway, "255.255.255.255", frames.udp(9, 9, SENTINEL)))
        assert secret in frames.catch(good, SENTINEL)
        assert secret not in frames.catch(evil, SENTINEL)


def test_claims_do_not_change_the_nodes_neighbours(world: Any) -> None:
    """A neighbour advertisement names its target inside, where rules don't look: the node's entries are fixed."""
    target = frames.ipaddress.IPv6Address(OTHERS_IPV6).packed
    claim = frames.icmpv6(136, b"\x60\0\0\0" + target + b"\2\1" + frames.mac(EVIL.mac))
    assert caught(world, frames.ipv6(EVIL.mac, LINK_LOCAL, "ff02::1", claim))
    shown = world.sh("ip", "neigh", "show", "dev", world.bridge).stdout
    for address, port in ((OTHERS, GOOD), (OTHERS_IPV6, GOOD), (OWN, EVIL)):
        assert f"{address} lladdr {port.mac} PERMANENT" in shown


def test_guests_reach_each_other_by_the_node_and_the_outside(world: Any) -> None:
    assert world.ping(world.evil, OTHERS)
    assert world.ping(world.good, OWN)
    assert world.ping(world.evil, "198.51.100.1")
    assert world.ping(world.evil, NETWORK.gateway)
    shown = world.sh("ip", "neigh", "show", OTHERS, where=world.evil).stdout
    assert GOOD.mac not in shown  # the node answered for it


def test_a_guest_with_a_device_from_before_keeps_its_network(world: Any) -> None:
    """Guests started by an older version have devices that no rule names, and ports that are not isolated."""
    old = port_spec(NETWORK, 4)
    world.serve(old, network=NETWORK)
    guest = world.plug_in(world.bridge, old.mac)
    world.set_address(guest, NETWORK, old)
    assert world.ping(guest, NETWORK.gateway)
    assert world.ping(guest, "198.51.100.1")
    assert world.ping(guest, OTHERS)


def test_rules_and_neighbours_go_with_the_port(world: Any) -> None:
    async def work() -> None:
        driver = world.driver()
        await driver.open()
        await driver.delete_port(EVIL.nic_id)
        await driver.close()

    world.run(work)
    assert EVIL.mac not in world.sh("nft", "list", "ruleset").stdout
    assert EVIL.mac not in world.sh("ip", "neigh").stdout
    assert world.ping(world.good, "198.51.100.1")
    assert not world.ping(world.evil, OTHERS, seconds=1)


def test_flushed_rules_are_put_back(world: Any) -> None:
    """A firewall that is started again flushes everybody's rules."""

    async def work() -> None:
        driver = world.driver(NetworkBridgeConfig(check_seconds=0.1))
        await driver.open()
        before = world.sh("nft", "list", "tables").stdout
        assert before.count("nano_") == 2
        world.sh("nft", "flush", "ruleset")
        async with asyncio.timeout(20):
            while world.sh("nft", "list", "tables").stdout != before:
                await asyncio.sleep(0.05)
        await driver.close()

    world.run(work)
    assert not caught(world, ILLEGAL["another's address"])
    assert world.ping(world.evil, "198.51.100.1")


def test_the_table_of_an_older_version_is_taken_away(world: Any) -> None:
    name = world.bridge.replace("nb", "nano_")
    world.sh(
        "nft", f"add table ip {name}; add chain ip {name} f {{ type filter hook forward priority 0; policy drop; }}"
    )
    assert not world.ping(world.evil, OTHERS, seconds=1)
    world.serve(EVIL, network=NETWORK)
    assert f"table ip {name}" not in world.sh("nft", "list", "tables").stdout
    assert world.ping(world.evil, OTHERS)

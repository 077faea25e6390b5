"""IPv6 as a guest gets it: router advertisements, DHCPv6, the way out."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.network_suite import network_spec, port_spec
from tests.network_bridge.conftest import ip, until

pytestmark = [pytest.mark.system, pytest.mark.needs("namespaces")]

NETWORK = network_spec(11, has_ipv6=True)
WEB, DB = port_spec(NETWORK, 2), port_spec(NETWORK, 10)
OUTSIDE = "2001:db8::1"
SERVERS = ("ff02::1:2", 547)
SOLICIT, ADVERTISE, REQUEST, REPLY = 1, 2, 3, 7
CLIENT_ID, SERVER_ID, IA_NA, IA_ADDRESS = 1, 2, 3, 5


@pytest.fixture
def world(machine: Any) -> Iterator[Any]:
    """Give the machine one guest, ``guest``, and an outside with IPv6."""
    machine.bridge = machine.serve(WEB, DB, network=NETWORK)
    for where, device, address in ((machine.name, "up0", "2001:db8::2"), (f"{machine.name}-out", "eth0", OUTSIDE)):
        ip("-n", where, "addr", "add", f"{address}/64", "dev", device, "nodad")
    machine.guest = machine.plug_in(machine.bridge, WEB)
    yield machine
    machine.uninstall()


def ask(world: Any, guest: str, mac: str, identity: int) -> list[str]:
    """Speak DHCPv6 as a guest does; return the addresses that it gets."""

    def talk() -> list[str]:
        index = socket.if_nametoindex("eth0")
        client = option(CLIENT_ID, struct.pack("!HH", 3, 1) + bytes.fromhex(mac.replace(":", "")))
        wanted = option(IA_NA, struct.pack("!III", identity, 0, 0))
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as made:
            made.settimeout(20)
            made.bind(("::", 546, 0, index))
            answer = exchange(made, index, SOLICIT, client + wanted)
            assert answer[0] == ADVERTISE
            server = option(SERVER_ID, options(answer[4:])[SERVER_ID])
            lease = option(IA_NA, options(answer[4:])[IA_NA])
            answer = exchange(made, index, REQUEST, client + server + lease)
            assert answer[0] == REPLY
            given = options(options(answer[4:])[IA_NA][12:])
            return [str(ipaddress.IPv6Address(given[IA_ADDRESS][:16]))] if IA_ADDRESS in given else []

    return world.within(guest, talk)  # type: ignore[no-any-return]


def exchange(made: socket.socket, index: int, kind: int, body: bytes) -> bytes:
    made.sendto(bytes([kind]) + os.urandom(3) + body, (*SERVERS, 0, index))
    return made.recv(2048)


def option(code: int, body: bytes) -> bytes:
    return struct.pack("!HH", code, len(body)) + body


def options(data: bytes) -> dict[int, bytes]:
    found = {}
    while data:
        code, length = struct.unpack("!HH", data[:4])
        found[code] = data[4 : 4 + length]
        data = data[4 + length :]
    return found


def has_router(world: Any, guest: str) -> bool:
    return "via fe80::1" in world.sh("ip", "-6", "route", "show", "default", where=guest).stdout


def is_usable(world: Any, guest: str) -> bool:
    return "fe80" in world.sh("ip", "-6", "addr", "show", "dev", "eth0", "-tentative", where=guest).stdout


def test_a_guest_finds_its_router_and_gets_its_address(world: Any) -> None:
    until(lambda: has_router(world, world.guest), "a router is advertised", seconds=30)
    until(lambda: is_usable(world, world.guest), "the link-local address can be used", seconds=30)
    assert ask(world, world.guest, WEB.mac, 7) == [WEB.addresses[1]]
    # No prefix on the link: everything goes by the node, other guests too.
    assert NETWORK.ipv6_cidr not in world.sh("ip", "-6", "route", where=world.guest).stdout
    ip("-n", world.guest, "addr", "add", f"{WEB.addresses[1]}/128", "dev", "eth0", "nodad")
    assert world.ping(world.guest, OUTSIDE)  # it has no route back: an answer proves the translation
    assert world.ping(world.guest, NETWORK.ipv6_gateway)
    other = world.plug_in(world.bridge, DB)
    world.set_address(other, NETWORK, DB)
    until(lambda: has_router(world, other), "a router is advertised", seconds=30)
    assert world.ping(world.guest, DB.addresses[1])
    said = world.sh("busybox", "nslookup", "guest-10.nano.internal", NETWORK.ipv6_gateway, where=world.guest)
    assert DB.addresses[1] in said.stdout


def test_guests_with_a_prefix_on_their_link_reach_each_other_too(world: Any) -> None:
    """As cloud-init sets addresses; each finds its own free, as nobody else can have it."""
    other = world.plug_in(world.bridge, DB)
    for guest, port in ((world.guest, WEB), (other, DB)):
        ip("-n", guest, "addr", "add", f"{port.addresses[1]}/64", "dev", "eth0")

    def usable(guest: str) -> bool:
        shown = world.sh("ip", "-6", "addr", "show", "dev", "eth0", where=guest).stdout
        assert "dadfailed" not in shown
        return "fd00:213:11:" in shown and "tentative" not in shown

    until(lambda: usable(world.guest) and usable(other), "the addresses can be used", seconds=30)
    assert world.ping(world.guest, DB.addresses[1])
    assert world.ping(other, WEB.addresses[1])
    assert world.ping(world.guest, NETWORK.ipv6_gateway)

    async def work() -> None:
        driver = world.driver()
        await driver.open()
        await driver.delete_port(DB.nic_id)
        await driver.close()

    assert DB.addresses[1] in world.sh("ip", "-6", "neigh", "show", "proxy").stdout
    world.run(work)
    assert DB.addresses[1] not in world.sh("ip", "-6", "neigh", "show", "proxy").stdout


def test_a_lease_outlives_changes_and_ends_with_its_card(world: Any) -> None:
    until(lambda: is_usable(world, world.guest), "the link-local address can be used", seconds=30)
    assert ask(world, world.guest, WEB.mac, 7) == [WEB.addresses[1]]
    (leases,) = world.folder.glob("networks/*/leases")
    until(lambda: WEB.addresses[1] in leases.read_text(), "the lease is written")
    world.serve(port_spec(NETWORK, 5), network=NETWORK)  # dnsmasq begins anew
    assert WEB.addresses[1] in leases.read_text()
    assert leases.read_text().count("duid ") == 1

    async def work() -> None:
        driver = world.driver()
        await driver.open()
        await driver.delete_port(WEB.nic_id)
        await driver.close()

    world.run(work)
    assert WEB.addresses[1] not in leases.read_text()


def test_forwarding_is_switched_back_and_routers_are_listened_to_all_the_time(world: Any) -> None:
    def setting(name: str) -> str:
        return world.sh("cat", f"/proc/sys/net/ipv6/conf/{name}").stdout.strip()  # type: ignore[no-any-return]

    assert (setting("all/forwarding"), setting("up0/accept_ra")) == ("1", "2")
    world.uninstall()
    assert (setting("all/forwarding"), setting("up0/accept_ra")) == ("0", "1")


def test_a_network_without_ipv6_has_none(machine: Any) -> None:
    plain = network_spec(12)
    port = port_spec(plain, 2)
    bridge = machine.serve(port, network=plain)
    assert "inet6" not in machine.sh("ip", "addr", "show", "dev", bridge).stdout
    assert machine.sh("cat", "/proc/sys/net/ipv6/conf/all/forwarding").stdout.strip() == "0"
    machine.uninstall()


def test_overlap_with_an_ipv6_route_is_a_conflict(machine: Any) -> None:
    ip("-n", machine.name, "addr", "add", "fd00:213:11::9/64", "dev", "up0", "nodad")
    with pytest.raises(NanoError) as caught:
        machine.serve(WEB, network=NETWORK)
    assert caught.value.code is ErrorCode.CONFLICT
    assert "fd00:213:11::/64 on interface up0" in caught.value.message

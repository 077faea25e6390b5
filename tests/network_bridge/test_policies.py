"""Security policies as real connections see them, and live changes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from nanocore.capabilities.network import PolicySpec, PortSpec
from nanocore.model.network import NetworkMode, PolicyAction, PolicyDirection, PolicyProtocol, PolicyRule
from nanocore.testing.network_suite import network_spec, policy_spec, port_spec
from nanocore.wire import structs
from nanoplugins.network_bridge import policies
from nanoplugins.network_bridge.nft import Table

NETWORK = network_spec(8, has_ipv6=True)
CLIENT, SERVER = port_spec(NETWORK, 2), port_spec(NETWORK, 3)
OUTSIDE = "198.51.100.1"


def rule(
    protocol: PolicyProtocol = PolicyProtocol.TCP,
    ports: str | None = None,
    *,
    direction: PolicyDirection = PolicyDirection.INBOUND,
    action: PolicyAction = PolicyAction.ACCEPT,
    remote: str | None = None,
) -> PolicyRule:
    return PolicyRule(direction=direction, action=action, protocol=protocol, ports=ports, remote=remote)


def with_policy(port: PortSpec, policy: PolicySpec | None) -> PortSpec:
    return structs.replace(port, policy=policy)


@pytest.fixture
def world(machine: Any) -> Iterator[Any]:
    """Give the machine two guests, ``client`` and ``server``, with their addresses and no policy."""
    machine.bridge = machine.serve(CLIENT, SERVER, network=NETWORK)
    machine.client, machine.server = (machine.plug_in(machine.bridge, port) for port in (CLIENT, SERVER))
    for guest, port in ((machine.client, CLIENT), (machine.server, SERVER)):
        machine.set_address(guest, NETWORK, port)
        machine.sh("ip", "route", "add", "default", "via", "fe80::1", "dev", "eth0", where=guest)
    yield machine
    machine.uninstall()


def listen(world: Any, where: str, port: int, address: str = "0.0.0.0") -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made: socket.socket = world.within(where, lambda: socket.create_server((address, port), family=family))
    made.settimeout(20)
    return made


def connect(world: Any, where: str, address: str, port: int, *, seconds: float = 20) -> socket.socket:
    made: socket.socket = world.within(where, lambda: socket.create_connection((address, port), seconds))
    return made


def is_refused(world: Any, where: str, address: str, port: int) -> bool:
    """Return whether a connection is dropped; what should go through is given more time."""
    try:
        connect(world, where, address, port, seconds=1).close()
    except OSError:
        return True
    return False


def passes(first: socket.socket, second: socket.socket, *, seconds: float = 20) -> bool:
    second.settimeout(seconds)
    try:
        first.sendall(b"x")
        return second.recv(1) == b"x"
    except TimeoutError:
        return False


@pytest.mark.system
@pytest.mark.needs("namespaces")
def test_what_a_policy_lets_in(world: Any) -> None:
    allowed = policy_spec(rule(ports="8080,9000-9002"))
    world.serve(with_policy(SERVER, allowed), network=NETWORK)
    with ExitStack() as stack:
        for port in (22, 8080, 9001):
            stack.enter_context(listen(world, world.server, port))
        for port in (8080, 9001):
            stack.enter_context(connect(world, world.client, SERVER.addresses[0], port))
        assert is_refused(world, world.client, SERVER.addresses[0], 22)
        # The node is as any other; so is the outside, which does not come in at all.
        stack.enter_context(connect(world, world.name, SERVER.addresses[0], 8080))
        assert is_refused(world, world.name, SERVER.addresses[0], 22)
    assert not world.ping(world.client, SERVER.addresses[0], seconds=1)
    # What it asks for itself is answered.
    assert world.ping(world.server, CLIENT.addresses[0])
    assert world.ping(world.server, OUTSIDE)
    assert world.ping(world.server, NETWORK.gateway)


@pytest.mark.system
@pytest.mark.needs("namespaces")
def test_the_first_rule_that_matches_decides(world: Any) -> None:
    client = CLIENT.addresses[0]
    ordered = policy_spec(
        rule(ports="22", action=PolicyAction.DROP, remote=f"{client}/32"),
        rule(ports="22-80"),
        rule(PolicyProtocol.ICMP),
    )
    world.serve(with_policy(SERVER, ordered), network=NETWORK)
    with listen(world, world.server, 22), listen(world, world.server, 80):
        assert is_refused(world, world.client, SERVER.addresses[0], 22)
        connect(world, world.name, SERVER.addresses[0], 22).close()
        connect(world, world.client, SERVER.addresses[0], 80).close()
    assert world.ping(world.client, SERVER.addresses[0])


@pytest.mark.system
@pytest.mark.needs("namespaces")
def test_what_a_policy_lets_out(world: Any) -> None:
    closed = structs.replace(
        policy_spec(
            rule(PolicyProtocol.ICMP, direction=PolicyDirection.OUTBOUND, remote=f"{OUTSIDE}/32"),
            inbound=PolicyAction.ACCEPT,
        ),
        default_outbound=PolicyAction.DROP,
    )
    world.serve(with_policy(CLIENT, closed), network=NETWORK)
    assert world.ping(world.client, OUTSIDE)
    assert not world.ping(world.client, SERVER.addresses[0], seconds=1)
    assert world.ping(world.server, CLIENT.addresses[0])
    # Its own node's DNS and DHCP are no connections to others.
    assert world.ping(world.client, NETWORK.gateway)


@pytest.mark.system
@pytest.mark.needs("namespaces")
def test_policies_are_for_ipv6_too(world: Any) -> None:
    world.serve(with_policy(SERVER, policy_spec(rule(ports="8080"))), network=NETWORK)
    address = SERVER.addresses[1]
    with listen(world, world.server, 8080, "::"), listen(world, world.server, 22, "::"):
        connect(world, world.client, address, 8080).close()
        assert is_refused(world, world.client, address, 22)
    world.serve(
        with_policy(SERVER, policy_spec(rule(remote="fd00:99::/64"), rule(remote="0.0.0.0/0"))), network=NETWORK
    )
    with listen(world, world.server, 8080, "::"), listen(world, world.server, 8080):
        assert is_refused(world, world.client, address, 8080)
        connect(world, world.client, SERVER.addresses[0], 8080).close()


@pytest.mark.system
@pytest.mark.needs("namespaces")
def test_a_live_change_keeps_what_is_still_allowed_and_ends_the_rest(world: Any) -> None:
    address = SERVER.addresses[0]
    with ExitStack() as stack:
        pairs = {}
        for port in (8080, 22):
            listener = stack.enter_context(listen(world, world.server, port))
            near = stack.enter_context(connect(world, world.client, address, port))
            pairs[port] = near, stack.enter_context(listener.accept()[0])
        outside = stack.enter_context(listen(world, f"{world.name}-out", 443))
        away = stack.enter_context(connect(world, world.server, OUTSIDE, 443))
        beyond = stack.enter_context(outside.accept()[0])
        world.serve(with_policy(SERVER, policy_spec(rule(ports="8080"))), network=NETWORK)
        for first, second in (pairs[8080], (away, beyond)):
            assert passes(first, second)
            assert passes(second, first)
        assert not passes(*pairs[22], seconds=1)
        assert is_refused(world, world.client, address, 22)
        # Opened again, it goes on: nothing was forgotten.
        world.serve(with_policy(SERVER, policy_spec(rule(ports="22,8080"))), network=NETWORK)
        assert passes(*pairs[22])
        world.serve(SERVER, network=NETWORK)
        for first, second in (*pairs.values(), (away, beyond)):
            assert passes(second, first)


@pytest.mark.system
@pytest.mark.needs("namespaces")
def test_a_live_change_leaves_leases_and_dhcp_alone(world: Any) -> None:
    said = world.ask_for_address(world.server)
    assert f"bound {SERVER.addresses[0]}" in said
    before = world.processes()
    world.serve(with_policy(SERVER, policy_spec()), network=NETWORK)
    assert world.processes() == before
    (leases,) = world.folder.glob("networks/*/leases")
    assert SERVER.addresses[0] in leases.read_text()
    # A guest that nobody may connect to still renews.
    assert f"bound {SERVER.addresses[0]}" in world.ask_for_address(world.server)


@pytest.mark.system
@pytest.mark.needs("namespaces")
def test_an_isolated_network_has_no_way_out(machine: Any) -> None:
    network = network_spec(9, mode=NetworkMode.ISOLATED)
    ports = [port_spec(network, last) for last in (2, 3)]
    bridge = machine.serve(*ports, network=network)
    first, second = (machine.plug_in(bridge, port) for port in ports)
    said = machine.ask_for_address(first)
    assert f"bound {ports[0].addresses[0]}/28 router= " in said
    machine.set_address(second, network, ports[1])
    assert machine.ping(first, ports[1].addresses[0])
    assert machine.ping(first, network.gateway)
    machine.sh("ip", "route", "replace", "default", "via", network.gateway, where=first)
    assert not machine.ping(first, OUTSIDE, seconds=1)
    assert "guest-3" in machine.sh("busybox", "nslookup", "guest-3.nano.internal", network.gateway, where=first).stdout
    assert machine.sh("busybox", "nslookup", "example.org", network.gateway, where=first).returncode != 0
    machine.uninstall()


def test_compiled_rules_are_plain_data() -> None:
    policy = policy_spec(rule(ports="22,80-90", remote="10.0.0.0/8"), rule(PolicyProtocol.ICMP, remote="::/0"))
    port = with_policy(SERVER, policy)
    name = policies.chain_name(policy)
    commands = policies.chains(Table("inet", "t"), [port, with_policy(CLIENT, policy)])
    chains = [command["add"]["chain"]["name"] for command in commands if "chain" in command["add"]]
    assert chains == [f"inbound_{name}", f"outbound_{name}"]  # one pair for both ports
    rules = [command["add"]["rule"] for command in commands if "rule" in command["add"]]
    assert [json.dumps(each["expr"][-1]) for each in rules] == [
        '{"return": null}',
        '{"return": null}',
        '{"drop": null}',
        '{"return": null}',
    ]
    assert rules[0]["expr"][:2] == [
        {
            "match": {
                "op": "==",
                "left": {"payload": {"protocol": "ip", "field": "saddr"}},
                "right": {"prefix": {"addr": "10.0.0.0", "len": 8}},
            }
        },
        {
            "match": {
                "op": "==",
                "left": {"payload": {"protocol": "tcp", "field": "dport"}},
                "right": {"set": [22, {"range": [80, 90]}]},
            }
        },
    ]
    assert policies.verdicts([port], PolicyDirection.INBOUND, 6) == [
        (SERVER.addresses[1], {"jump": {"target": f"inbound_{name}"}})
    ]

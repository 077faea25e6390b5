"""Nothing with a line feed or an unknown name gets into dnsmasq's configuration or a rule, whoever sends it."""

from __future__ import annotations

import pytest

from nanocore.capabilities.network import NetworkSpec, PortSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NetworkId, NodeId, new_id
from nanocore.model.network import NetworkMode, PolicyAction, PolicyDirection, PolicyRule
from nanocore.testing.network_suite import network_spec, policy_spec, port_spec
from nanocore.wire import structs
from nanoplugins.network_bridge import checks
from nanoplugins.network_bridge.names import NetworkNames, device_name

NETWORK = network_spec(8, has_ipv6=True)
PORT = port_spec(NETWORK, 2)
ZONE = "%\nlog-queries"
POLICY = policy_spec(
    PolicyRule(direction=PolicyDirection.INBOUND, action=PolicyAction.ACCEPT, remote=f"fd00::5{ZONE}"),
)


def zoned(cidr: str) -> str:
    address, _, length = cidr.partition("/")
    return f"{address}{ZONE}/{length}"


@pytest.mark.parametrize(
    ("network", "port", "field"),
    [
        (structs.replace(NETWORK, ipv6_cidr=zoned(NETWORK.ipv6_cidr)), PORT, "network.ipv6_cidr"),
        (structs.replace(NETWORK, ipv6_gateway=NETWORK.ipv6_gateway + ZONE), PORT, "network.ipv6_gateway"),
        (NETWORK, structs.replace(PORT, addresses=[*PORT.addresses, PORT.addresses[-1] + ZONE]), "port.addresses"),
        (NETWORK, structs.replace(PORT, policy=POLICY), "port.policy.rules[0]"),
    ],
)
def test_a_zone_of_an_ipv6_address_is_refused(network: NetworkSpec, port: PortSpec, field: str) -> None:
    checks.check(NETWORK, PORT)
    assert ":" in PORT.addresses[-1]
    with pytest.raises(NanoError) as caught:
        checks.check(network, port)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.details["field"] == field


NAMES = NetworkNames.of(NodeId(new_id()), NetworkId(new_id()))


def test_a_card_with_a_bridges_own_address_is_refused() -> None:
    with pytest.raises(NanoError, match="as those of the bridges do") as caught:
        checks.check(NETWORK, structs.replace(PORT, mac=NAMES.mac))
    assert (caught.value.code, caught.value.details["field"]) == (ErrorCode.INVALID_ARGUMENT, "port.mac")


@pytest.mark.parametrize("device", [NAMES.bridge, device_name(PORT.nic_id)])
def test_a_lan_is_no_device_of_another_network(device: str) -> None:
    lan = NetworkSpec(id=NETWORK.id, name="lan", mode=NetworkMode.BRIDGE, cidr="", gateway="", interface="br-lan")
    port = structs.replace(PORT, addresses=[])
    checks.check(lan, port)
    with pytest.raises(NanoError, match="not one that Nano made") as caught:
        checks.check(structs.replace(lan, interface=device), port)
    assert (caught.value.code, caught.value.details["field"]) == (ErrorCode.INVALID_ARGUMENT, "network.interface")

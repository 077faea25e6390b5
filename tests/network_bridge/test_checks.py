"""Nothing with a line feed or an unknown name gets into dnsmasq's configuration or a rule, whoever sends it."""

from __future__ import annotations

import pytest

from nanocore.capabilities.network import NetworkSpec, PortSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.model.network import PolicyAction, PolicyDirection, PolicyRule
from nanocore.testing.network_suite import network_spec, policy_spec, port_spec
from nanocore.wire import structs
from nanoplugins.network_bridge import checks

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

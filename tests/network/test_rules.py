from __future__ import annotations

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.model.network import PolicyAction, PolicyDirection, PolicyProtocol, PolicyRule
from nanoplugins.network.rules import parse_rules


def rule(protocol: PolicyProtocol = PolicyProtocol.TCP, **changes: str) -> PolicyRule:
    return PolicyRule(direction=PolicyDirection.INBOUND, action=PolicyAction.ACCEPT, protocol=protocol, **changes)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("22", "22"), (" 443, 80-90 ", "80-90,443"), ("80-90,85-100,101", "80-101"), ("1-65535", "1-65535")],
)
def test_ports_become_ranges_in_order_without_overlap(given: str, kept: str) -> None:
    assert parse_rules([rule(ports=given)])[0].ports == kept


@pytest.mark.parametrize("ports", ["0", "65536", "90-80", "ssh", "1,,2", "1-", "-", "\u0661", "22;23"])
def test_ports_that_are_none_name_the_rule(ports: str) -> None:
    with pytest.raises(NanoError) as caught:
        parse_rules([rule(), rule(ports=ports)])
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.details["field"] == "rules[1].ports"


def test_ports_need_a_protocol_that_has_them() -> None:
    for protocol in (PolicyProtocol.ANY, PolicyProtocol.ICMP):
        with pytest.raises(NanoError, match="tcp or udp"):
            parse_rules([rule(protocol, ports="22")])


def test_remotes_are_networks_of_either_version() -> None:
    assert [each.remote for each in parse_rules([rule(remote="10.0.0.0/8"), rule(remote="FD00::/8"), rule()])] == [
        "10.0.0.0/8",
        "fd00::/8",
        None,
    ]
    for text in ("10.0.0.1/8", "example.org", "10.0.0.0/33", "fe80::1%eth0", "fd00::%\n;/64"):
        with pytest.raises(NanoError) as caught:
            parse_rules([rule(remote=text)])
        assert caught.value.details["field"] == "rules[0].remote"

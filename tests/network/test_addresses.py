from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanocore.errors import ErrorCode, NanoError
from nanocore.model.network import AddressRange
from nanoplugins.network import addresses

SMALL = IPv4Network("10.9.0.0/29")


def test_lowest_free_address_after_the_gateway() -> None:
    assert addresses.gateway(SMALL) == "10.9.0.1"
    assert addresses.find_free(addresses.whole(SMALL), set()) == "10.9.0.2"
    assert addresses.find_free(addresses.whole(SMALL), {"10.9.0.2", "10.9.0.4"}) == "10.9.0.3"
    assert addresses.find_free([(addresses.number("10.9.0.4"), addresses.number("10.9.0.4"))], {"10.9.0.4"}) is None


@given(st.integers(min_value=addresses.LARGEST_PREFIX - 6, max_value=addresses.LARGEST_PREFIX))
def test_capacity_is_what_can_be_given(prefix_length: int) -> None:
    network = IPv4Network(f"10.9.0.0/{prefix_length}")
    given: set[str] = set()
    while (address := addresses.find_free(addresses.whole(network), given)) is not None:
        assert address not in given
        assert address != addresses.gateway(network)
        given.add(address)
    assert len(given) == addresses.size(addresses.whole(network))
    assert str(network.broadcast_address) not in given


@pytest.mark.parametrize("text", ["10.0.0.0/8", "10.0.0.0/31", "10.0.0.1/24", "fd00::/64", "127.0.0.0/16", "x", ""])
def test_ranges_that_are_refused_name_the_field(text: str) -> None:
    with pytest.raises(NanoError) as caught:
        addresses.parse_cidr(text, field="default_cidr")
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert "default_cidr" in caught.value.message


def test_range_moves_away_from_routes_but_not_from_the_default_route() -> None:
    default = IPv4Network("0.0.0.0/0")
    assert str(addresses.choose_range([default])) == "10.127.0.0/20"
    assert str(addresses.choose_range([default, IPv4Network("10.0.0.0/8")])) == "172.29.0.0/20"
    everything = [IPv4Network(text) for text in addresses.CANDIDATES]
    with pytest.raises(NanoError, match="default_cidr"):
        addresses.choose_range(everything)


def test_routes_of_proc_are_read() -> None:
    text = (
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "nb1\t00007F0A\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0\n"
    )
    assert [str(route) for route in addresses.parse_routes(text)] == ["0.0.0.0/0", "10.127.0.0/20"]


def test_ipv6_twin_has_the_same_host_number() -> None:
    assert addresses.ipv6_twin("10.9.0.5", "10.9.0.0/29", "fd00:1::/64") == "fd00:1::5"
    assert addresses.ipv6_twin("10.9.1.5", "10.9.0.0/16", "fd00:1::/112") == "fd00:1::105"


def test_automatic_ipv6_is_unique_local_and_new() -> None:
    first, second = (addresses.parse_ipv6_cidr("auto", field="ipv6_cidr") for _ in range(2))
    assert first != second
    assert IPv6Network(first).subnet_of(IPv6Network("fd00::/8"))
    assert IPv6Network(first).prefixlen == 64
    assert addresses.parse_ipv6_cidr("", field="ipv6_cidr") == ""


@pytest.mark.parametrize(
    "text",
    [
        "fd00::/48",
        "fd00::/120",
        "fe80::/64",
        "ff02::/64",
        "::/64x",
        "10.0.0.0/24",
        "fd00::1/64",
        "fd00::%eth0/64",
        "fd00::%\nlog-queries\n#/64",
    ],
)
def test_ipv6_networks_that_are_refused(text: str) -> None:
    with pytest.raises(NanoError) as caught:
        addresses.parse_ipv6_cidr(text, field="ipv6_cidr")
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.details["field"] == "ipv6_cidr"


@pytest.mark.parametrize(
    ("ranges", "field"),
    [
        ([], "ranges"),
        ([("10.9.0.1", "10.9.0.3")], "ranges[0].first"),
        ([("10.9.0.2", "10.9.0.7")], "ranges[0].last"),
        ([("10.9.0.4", "10.9.0.3")], "ranges[0]"),
        ([("10.9.0.2", "10.9.0.4"), ("10.9.0.4", "10.9.0.5")], "ranges"),
        ([("10.9.0.2", "x")], "ranges[0].last"),
    ],
)
def test_ranges_of_address_pools_that_are_refused(ranges: list[tuple[str, str]], field: str) -> None:
    with pytest.raises(NanoError) as caught:
        addresses.parse_ranges([AddressRange(first=first, last=last) for first, last in ranges], SMALL)
    assert caught.value.details["field"] == field

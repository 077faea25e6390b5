"""``nano network``, ``nano address-pool`` and ``nano policy``, against a node with simulated drivers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanocore.cli.network import parse_rule, show_rule
from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.kernel_process import KernelProcess
from tests.cli.test_nano import nano
from tests.system.acts import create, upload

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, small_image: Path) -> Iterator[Path]:
    """A running node's root, with the running instance web-1."""
    process = KernelProcess(tmp_path_factory.mktemp("node"))
    process.start()
    try:
        process.wait_ready()
        process.client.wait(create(process, "web-1", upload(process, small_image)))
        yield process.root
    finally:
        process.stop()


def well(root: Path, *arguments: str) -> str:
    done = nano(root, "--wait", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(root: Path, *arguments: str) -> Any:
    return json.loads(well(root, "-o", "json", *arguments))


def test_a_network_with_its_address_pool(root: Path) -> None:
    made = read(root, "network", "create", "lab", "--cidr", "10.20.0.0/24", "--ipv6-cidr", "fd00:20::/64")
    assert (made["mode"], made["gateway"], made["ipv6_gateway"]) == ("nat", "10.20.0.1", "fd00:20::1")
    assert nano(root, "network", "create", "lab").returncode == 5
    assert nano(root, "network", "update", "lab").returncode == 2
    assert read(root, "network", "update", "lab", "--description", "trial")["description"] == "trial"
    pool = ("address-pool", "create", "low", "--network", "lab", "--range", "10.20.0.10-10.20.0.12")
    assert read(root, *pool, "--range", "10.20.0.20")["addresses_total"] == 4
    assert read(root, "address-pool", "reserve", "low")["ipv6_address"] == "fd00:20::a"
    well(root, "address-pool", "reserve", "low", "10.20.0.20", "--description", "printer")
    assert "printer" in well(root, "address-pool", "reservations", "low")
    assert nano(root, "address-pool", "delete", "-y", "low").returncode == 5
    for address in ("10.20.0.10", "10.20.0.20"):
        well(root, "address-pool", "release", "low", address)
    assert nano(root, "address-pool", "release", "low", "10.20.0.20").returncode == 3
    assert read(root, "address-pool", "update", "low", "--range", "10.20.0.5-10.20.0.6")["addresses_total"] == 2
    well(root, "network", "create", "dark", "--mode", "isolated")
    assert "isolated" in well(root, "network", "list")
    assert nano(root, "network", "delete", "-y", "lab").returncode == 5
    well(root, "address-pool", "delete", "-y", "low")
    well(root, "network", "delete", "-y", "lab", "dark")
    told = nano(root, "network", "delete", "-y", "default")
    assert (told.returncode, "make another network the default first" in told.stderr) == (5, True)


def test_a_policy_from_rules_to_a_running_instance(root: Path) -> None:
    made = read(root, "policy", "create", "web", "--rule", "inbound accept icmp", "--rule", "inbound accept tcp 443,80")
    assert [rule["ports"] for rule in made["rules"]] == [None, "80,443"]
    well(
        root, "policy", "add-rule", "web", "outbound drop udp to 10.0.0.0/8", "--before", "1", "--description", "quiet"
    )
    shown = well(root, "policy", "rules", "web").splitlines()
    assert shown[1].split() == ["1", "outbound", "drop", "udp", "to", "10.0.0.0/8", "quiet"]
    assert len(read(root, "policy", "remove-rule", "web", "2")["rules"]) == 2
    assert nano(root, "policy", "remove-rule", "web", "3").returncode == 2
    assert read(root, "policy", "update", "web", "--inbound", "accept")["default_inbound"] == "accept"
    well(root, "policy", "assign", "web", "web-1")
    (nic,) = read(root, "instance", "get", "web-1")["nics"]
    assert nic["security_policy_id"] == made["id"]
    told = nano(root, "policy", "delete", "-y", "web")
    assert (told.returncode, "web-1" in told.stderr) == (5, True)
    assert nano(root, "policy", "assign", "web", "web-1", "--nic", "nonsense").returncode == 3
    well(root, "policy", "unassign", "web-1", "--nic", nic["mac"])
    well(root, "policy", "delete", "-y", "web")


@pytest.mark.parametrize(
    "text",
    [
        "inbound accept",
        "outbound drop any to fd00::/8",
        "inbound accept tcp 22,80-90 from 10.0.0.0/8",
        "inbound drop udp",
    ],
)
def test_rules_are_shown_as_they_are_written(text: str) -> None:
    rule = {"protocol": "", "ports": None, "remote": None} | parse_rule(text)
    assert show_rule(rule) == text


@pytest.mark.parametrize("text", ["", "inbound", "in accept", "inbound allow", "inbound accept tcp 22 80", "to x"])
def test_rules_that_are_none_say_why(text: str) -> None:
    with pytest.raises(NanoError) as caught:
        parse_rule(text)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT

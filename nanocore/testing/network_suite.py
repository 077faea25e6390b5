"""What every network driver promises. A plugin's test subclasses ``NetworkSuite`` and says how to make its driver."""

# ruff: noqa: S101  a suite is a test module: it asserts

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from nanocore.capabilities.network import NetworkDriver, NetworkSpec, PolicySpec, PortSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NetworkId, SecurityPolicyId, new_id
from nanocore.model.network import NetworkMode, PolicyAction, PolicyDirection, PolicyProtocol, PolicyRule
from nanocore.wire import structs

T = TypeVar("T")


def network_spec(
    third: int = 77, *, id: str | None = None, mode: NetworkMode = NetworkMode.NAT, has_ipv6: bool = False
) -> NetworkSpec:
    """Return a small network, ``10.213.<third>.0/28``, and ``fd00:213:<third>::/64`` if it has IPv6."""
    return NetworkSpec(
        id=NetworkId(id or new_id()),
        name=f"net-{third}",
        mode=mode,
        cidr=f"10.213.{third}.0/28",
        gateway=f"10.213.{third}.1",
        domain="nano.internal",
        ipv6_cidr=f"fd00:213:{third}::/64" if has_ipv6 else "",
        ipv6_gateway=f"fd00:213:{third}::1" if has_ipv6 else "",
    )


def port_spec(network: NetworkSpec, last: int = 2, *, nic_id: str | None = None) -> PortSpec:
    """Return the port of a card with the ``last``-th address of ``network``."""
    addresses = [network.gateway.rsplit(".", 1)[0] + f".{last}"]
    if network.ipv6_cidr:
        addresses.append(f"{network.ipv6_gateway[:-1]}{last:x}")
    return PortSpec(
        nic_id=nic_id or new_id(),
        mac=f"52:54:00:00:00:{last:02x}",
        addresses=addresses,
        hostname=f"guest-{last}",
    )


def policy_spec(*rules: PolicyRule, inbound: PolicyAction = PolicyAction.DROP) -> PolicySpec:
    """Return a policy that lets everything out, and in what ``rules`` say."""
    return PolicySpec(
        id=SecurityPolicyId(new_id()),
        name="policy",
        default_inbound=inbound,
        default_outbound=PolicyAction.ACCEPT,
        rules=list(rules),
    )


def _rule(*, ports: str | None = None, remote: str | None = None) -> PolicyRule:
    return PolicyRule(
        direction=PolicyDirection.INBOUND,
        action=PolicyAction.ACCEPT,
        protocol=PolicyProtocol.TCP,
        ports=ports,
        remote=remote,
    )


class NetworkSuite:
    """Each test gets a driver that is not open, and one that stands for the restarted kernel's."""

    def make_driver(self) -> NetworkDriver:
        """Return a new driver over the same state, not opened; called again for a restart."""
        raise NotImplementedError

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work`` on a loop; a driver that changes the machine's network runs it in a namespace."""

        async def main() -> T:
            return await work()

        return asyncio.run(main())

    def with_driver(self, work: Callable[[NetworkDriver], Awaitable[T]]) -> T:
        """Open a driver, run ``work``, take everything down, close."""

        async def main() -> T:
            driver = self.make_driver()
            await driver.open()
            try:
                return await work(driver)
            finally:
                await driver.remove_all()
                assert await driver.list_ports() == []
                await driver.close()

        return self.run(main)

    def test_a_port_has_a_bridge_and_is_listed(self) -> None:
        """The name fits an interface, is the same for both ports of a network, and differs between networks."""

        async def work(driver: NetworkDriver) -> None:
            first, second = network_spec(77), network_spec(78)
            one, two, other = port_spec(first, 2), port_spec(first, 3), port_spec(second, 2)
            bridge = await driver.ensure_port(first, one)
            assert 0 < len(bridge) <= 15  # noqa: PLR2004  IFNAMSIZ - 1
            assert await driver.ensure_port(first, two) == bridge
            assert await driver.ensure_port(second, other) != bridge
            assert (await driver.get_port(one.nic_id)).bridge == bridge
            assert sorted(await driver.list_ports()) == sorted([one.nic_id, two.nic_id, other.nic_id])

        self.with_driver(work)

    def test_ensure_and_delete_are_idempotent(self) -> None:
        """Repeats and absent ports are no errors."""

        async def work(driver: NetworkDriver) -> None:
            network = network_spec()
            port = port_spec(network)
            assert await driver.ensure_port(network, port) == await driver.ensure_port(network, port)
            assert await driver.list_ports() == [port.nic_id]
            for _ in range(2):
                await driver.delete_port(port.nic_id)
            await driver.delete_port(new_id())
            assert await driver.list_ports() == []
            with pytest.raises(NanoError) as caught:
                await driver.get_port(port.nic_id)
            assert caught.value.code is ErrorCode.NOT_FOUND

        self.with_driver(work)

    def test_a_network_comes_back_with_its_next_port(self) -> None:
        """The last port takes the network down; nothing of it hinders the next one, with the same address."""

        async def work(driver: NetworkDriver) -> None:
            network = network_spec()
            for _ in range(2):
                port = port_spec(network)
                await driver.ensure_port(network, port)
                await driver.delete_port(port.nic_id)
            assert await driver.list_ports() == []

        self.with_driver(work)

    def test_ports_outlive_the_driver(self) -> None:
        """A driver that was not even closed (kill -9) leaves ports that the next one knows."""

        async def work() -> None:
            network = network_spec()
            port = port_spec(network)
            before = self.make_driver()
            await before.open()
            bridge = await before.ensure_port(network, port)
            after = self.make_driver()
            await after.open()
            try:
                assert await after.list_ports() == [port.nic_id]
                assert (await after.get_port(port.nic_id)).bridge == bridge
            finally:
                await before.close()
                await after.remove_all()
                await after.close()

        self.run(work)

    def test_many_at_once(self) -> None:
        """Changes of one network that arrive together all hold."""

        async def work(driver: NetworkDriver) -> None:
            network = network_spec()
            ports = [port_spec(network, last) for last in range(2, 14)]
            bridges = await asyncio.gather(*(driver.ensure_port(network, port) for port in ports))
            assert len(set(bridges)) == 1
            await asyncio.gather(*(driver.delete_port(port.nic_id) for port in ports[:6]))
            assert sorted(await driver.list_ports()) == sorted(port.nic_id for port in ports[6:])

        self.with_driver(work)

    def test_what_is_not_valid_is_refused_and_leaves_nothing(self) -> None:
        """Ids, names and addresses end up in file names and configuration files."""

        async def work(driver: NetworkDriver) -> None:
            network = network_spec()
            good = port_spec(network)
            bad = [
                PortSpec(nic_id="../../etc/passwd", mac=good.mac, addresses=good.addresses, hostname="a"),
                PortSpec(nic_id=good.nic_id, mac=good.mac, addresses=good.addresses, hostname="a\naddress=/#/6.6.6.6"),
                PortSpec(nic_id=good.nic_id, mac=good.mac, addresses=["192.0.2.1"], hostname="a"),
                PortSpec(nic_id=good.nic_id, mac=good.mac, addresses=[network.gateway], hostname="a"),
                PortSpec(nic_id=good.nic_id, mac=good.mac, addresses=["1.2.3"], hostname="a"),
                PortSpec(nic_id=good.nic_id, mac=good.mac, addresses=[], hostname="a"),
                structs.replace(good, policy=policy_spec(_rule(ports="22;"))),
                structs.replace(good, policy=policy_spec(_rule(remote="10.0.0.1/8"))),
            ]
            for port in bad:
                with pytest.raises(NanoError) as caught:
                    await driver.ensure_port(network, port)
                assert caught.value.code is ErrorCode.INVALID_ARGUMENT
                assert caught.value.details["field"]
            assert await driver.list_ports() == []

        self.with_driver(work)

    def test_two_cards_never_share_an_address(self) -> None:
        """A second card with the MAC or the address of a first is refused; the first one keeps its port."""

        async def work(driver: NetworkDriver) -> None:
            network = network_spec()
            first = port_spec(network)
            await driver.ensure_port(network, first)
            with pytest.raises(NanoError) as caught:
                await driver.ensure_port(network, port_spec(network))
            assert caught.value.code is ErrorCode.CONFLICT
            assert await driver.list_ports() == [first.nic_id]

        self.with_driver(work)

    def test_a_port_says_how_a_guest_joins_it(self) -> None:
        """Device names fit an interface, differ, and are the same after a restart; a routed network isolates."""

        async def work(driver: NetworkDriver) -> None:
            network = network_spec()
            ports = [port_spec(network, last) for last in (2, 3)]
            for port in ports:
                await driver.ensure_port(network, port)
            infos = [await driver.get_port(port.nic_id) for port in ports]
            assert all(info.is_isolated for info in infos)
            devices = {info.device for info in infos}
            assert len(devices) == len(ports)
            assert all(device is not None and 0 < len(device) <= 15 for device in devices)  # noqa: PLR2004  IFNAMSIZ - 1

        self.with_driver(work)

    def test_update_changes_a_port_that_is_there_and_makes_none(self) -> None:
        """A changed policy, name or network is taken over; an absent port stays absent."""

        async def work(driver: NetworkDriver) -> None:
            network = network_spec()
            port = port_spec(network)
            assert not await driver.update_port(network, port)
            assert await driver.list_ports() == []
            bridge = await driver.ensure_port(network, port)
            rules = [
                PolicyRule(
                    direction=direction, action=PolicyAction.ACCEPT, protocol=protocol, ports=ports, remote=remote
                )
                for direction in PolicyDirection
                for protocol, ports in (
                    (PolicyProtocol.ANY, None),
                    (PolicyProtocol.ICMP, None),
                    (PolicyProtocol.TCP, "22,80-90"),
                    (PolicyProtocol.UDP, None),
                )
                for remote in (None, "10.0.0.0/8", "0.0.0.0/0", "10.1.2.3/32", "fd00::/8", "::/0")
            ]
            for changed in (
                structs.replace(port, policy=policy_spec(*rules)),
                structs.replace(port, policy=policy_spec(inbound=PolicyAction.ACCEPT), hostname="renamed"),
                port,
            ):
                assert await driver.update_port(network, changed)
            renamed = structs.replace(network, name="other", domain="lab.internal")
            assert await driver.update_port(renamed, port)
            assert (await driver.get_port(port.nic_id)).bridge == bridge
            assert await driver.list_ports() == [port.nic_id]

        self.with_driver(work)

    def test_other_modes_and_ipv6(self) -> None:
        """What the driver's ``info`` names works; the rest is ``unsupported``."""

        async def work(driver: NetworkDriver) -> None:
            isolated = network_spec(78, mode=NetworkMode.ISOLATED)
            dual = network_spec(79, has_ipv6=True)
            for network, is_supported in (
                (isolated, NetworkMode.ISOLATED in driver.info.modes),
                (dual, driver.info.has_ipv6),
            ):
                port = port_spec(network)
                if is_supported:
                    await driver.ensure_port(network, port)
                    assert port.nic_id in await driver.list_ports()
                else:
                    with pytest.raises(NanoError) as caught:
                        await driver.ensure_port(network, port)
                    assert caught.value.code is ErrorCode.UNSUPPORTED

        self.with_driver(work)

    def test_a_bridge_to_the_lan_takes_no_addresses_and_no_policy(self) -> None:
        """The LAN gives the former, and nobody could enforce the latter."""

        async def work(driver: NetworkDriver) -> None:
            lan = NetworkSpec(id=NetworkId(new_id()), name="lan", mode=NetworkMode.BRIDGE, interface="lan0")
            plain = PortSpec(nic_id=new_id(), mac="52:54:00:00:00:02", addresses=[], hostname="guest-2")
            for port, code in (
                (structs.replace(plain, addresses=["10.0.0.2"]), ErrorCode.INVALID_ARGUMENT),
                (structs.replace(plain, policy=policy_spec()), ErrorCode.UNSUPPORTED),
            ):
                with pytest.raises(NanoError) as caught:
                    await driver.ensure_port(lan, port)
                assert caught.value.code is code
            assert await driver.list_ports() == []

        self.with_driver(work)

"""The network service over a real SQLite store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
import structlog

from nanocore.capabilities import network_api as api
from nanocore.capabilities.hypervisor import AgentReady
from nanocore.capabilities.network import (
    AllocateAddress,
    Allocation,
    GetNetwork,
    ListAllocations,
    ListNetworks,
    ReleaseAddress,
    UpdatePorts,
)
from nanocore.clock import SystemClock
from nanocore.contracts.handler import Call, Reply
from nanocore.contracts.listing import PageInfo, ResourceChanged
from nanocore.contracts.node import NodeInfo
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import AddressPoolId, InstanceId, NetworkId, NodeId, SecurityPolicyId, new_id
from nanocore.model.network import (
    AddressRange,
    AllocationRecord,
    NetworkMode,
    NetworkRecord,
    PolicyAction,
    PolicyDirection,
    PolicyRule,
)
from nanocore.wire import decode_json, encode_json
from nanoplugins.network.config import NetworkConfig
from nanoplugins.network.records import ALLOCATIONS, COLLECTIONS, NETWORKS
from nanoplugins.network.service import NetworkService
from nanoplugins.state_sqlite.store import SqliteStateStore

T = TypeVar("T")
CALL = cast("Call", None)


class Context:
    """As much of a node as the service uses."""

    def __init__(self, store: SqliteStateStore, config: NetworkConfig) -> None:
        self.clock = SystemClock()
        self.log = structlog.get_logger()
        self.events: list[ResourceChanged] = []
        self._store = store
        self._config = config
        self._tasks: set[asyncio.Task[None]] = set()
        self.cells: dict[InstanceId, NodeId] = {}
        self.away: set[NodeId] = set()
        self.told: list[tuple[NodeId, UpdatePorts]] = []

    async def call(self, message: UpdatePorts, *, dst: NodeId) -> None:
        if dst in self.away:
            raise NanoError(ErrorCode.UNAVAILABLE, "it is away")
        self.told.append((dst, message))

    async def call_reply(self, message: Any) -> Reply[PageInfo]:
        """Answer as ``compute`` does for one instance, or for those of a node."""
        wanted = {id: node for id, node in self.cells.items() if node == getattr(message, "filter", {}).get("node_id")}
        if hasattr(message, "id"):
            wanted = {message.id: self.cells[message.id]}
        blobs = [encode_json({"id": id, "node_id": node, "nics": [{"id": id}]}) for id, node in wanted.items()]
        return Reply(PageInfo(total=len(blobs), revision=1), blobs)

    def config(self, _kind: type[Any]) -> NetworkConfig:
        return self._config

    def chosen(self, _kind: type[Any]) -> SqliteStateStore:
        return self._store

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)

    async def publish(self, event: ResourceChanged) -> None:
        self.events.append(event)

    async def settle(self) -> None:
        while tasks := [task for task in self._tasks if not task.done()]:
            await asyncio.gather(*tasks)


def with_service(
    path: Path, work: Callable[[NetworkService, Context], Awaitable[T]], config: NetworkConfig | None = None
) -> T:
    async def main() -> T:
        store = SqliteStateStore(path / "nano.db", structlog.get_logger())
        await store.open(COLLECTIONS)
        context = Context(store, config or NetworkConfig(default_cidr="10.9.0.0/29"))
        service = NetworkService(cast("PluginContext", context))
        try:
            await service.start()
            return await work(service, context)
        finally:
            await service.stop()
            await context.settle()
            await store.close()

    return asyncio.run(main())


def wish(**changes: Any) -> AllocateAddress:
    facts = {"nic_id": new_id(), "mac": "52:54:00:00:00:01", "instance_id": InstanceId(new_id()), "name": "web-1"}
    return AllocateAddress(**(facts | changes))


def test_default_network_is_made_once_and_listed(tmp_path: Path) -> None:
    async def work(service: NetworkService, _context: Context) -> tuple[str, bytes]:
        page = await service.networks.list(ListNetworks(), CALL)
        assert page.body.total == 1
        network = await service.networks.get(GetNetwork(id=NetworkId("")), CALL)
        assert (network.name, network.gateway, network.is_default) == ("default", "10.9.0.1", True)
        assert (network.addresses_total, network.addresses_allocated) == (5, 0)
        return network.id, bytes(page.blobs[0])

    first, blob = with_service(tmp_path, work)
    assert decode_json(blob, dict)["cidr"] == "10.9.0.0/29"
    # The range counts at the first start only.
    again, _ = with_service(tmp_path, work, NetworkConfig(default_cidr="10.8.0.0/24"))
    assert again == first


def test_same_card_gets_the_same_answer_also_after_a_restart(tmp_path: Path) -> None:
    command = wish()

    async def work(service: NetworkService, _context: Context) -> Allocation:
        return await service.allocator.allocate(command, CALL)

    first = with_service(tmp_path, work)
    assert first.addresses == ["10.9.0.2"]
    assert first.network.gateway == "10.9.0.1"
    assert with_service(tmp_path, work) == first


def test_full_network_is_no_capacity_until_an_address_is_released(tmp_path: Path) -> None:
    async def work(service: NetworkService, context: Context) -> None:
        commands = [wish() for _ in range(5)]
        got = await asyncio.gather(*(service.allocator.allocate(command, CALL) for command in commands))
        assert sorted(each.addresses[0] for each in got) == [f"10.9.0.{number}" for number in range(2, 7)]
        with pytest.raises(NanoError) as caught:
            await service.allocator.allocate(wish(), CALL)
        assert caught.value.code is ErrorCode.NO_CAPACITY
        assert "default (10.9.0.0/29)" in caught.value.message
        nics = (await service.allocator.list_allocations(ListAllocations(), CALL)).nics
        assert nics == {command.nic_id: command.instance_id for command in commands}
        for _ in range(2):
            await service.allocator.release(ReleaseAddress(nic_id=commands[2].nic_id), CALL)
        assert (await service.allocator.allocate(wish(), CALL)).addresses == got[2].addresses
        network = await service.networks.get(GetNetwork(id=NetworkId("")), CALL)
        assert network.addresses_allocated == 5
        await context.settle()
        assert {event.noun for event in context.events} == {"networks"}
        assert len(context.events) == 1 + 5 + 1 + 1

    with_service(tmp_path, work)


def test_unknown_network_and_bad_id_are_told(tmp_path: Path) -> None:
    async def work(service: NetworkService, _context: Context) -> None:
        for command, code in (
            (wish(network_id=NetworkId(new_id())), ErrorCode.NOT_FOUND),
            (wish(nic_id="../x"), ErrorCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(NanoError) as caught:
                await service.allocator.allocate(command, CALL)
            assert caught.value.code is code
        with pytest.raises(NanoError) as caught:
            await service.networks.get(GetNetwork(id=NetworkId(new_id())), CALL)
        assert caught.value.code is ErrorCode.NOT_FOUND

    with_service(tmp_path, work)


def test_bad_range_in_the_configuration_names_table_and_key(tmp_path: Path) -> None:
    async def work(_service: NetworkService, _context: Context) -> None:
        pytest.fail("started")

    with pytest.raises(NanoError, match=r"\[network\]: default_cidr"):
        with_service(tmp_path, work, NetworkConfig(default_cidr="10.0.0.0/4"))


async def send(service: NetworkService, message: Any) -> Any:
    """Give ``message`` to its handler."""
    call = next(handler.call for handler in service.handlers() if handler.message is type(message))
    return await call(message, CALL)


def refused(code: ErrorCode) -> Any:
    return pytest.raises(NanoError, check=lambda error: error.code is code)


async def lab(service: NetworkService, **changes: Any) -> Any:
    return await send(service, api.CreateNetwork(**({"name": "lab", "cidr": "10.8.0.0/28"} | changes)))


def ranges(*pairs: tuple[int, int]) -> list[AddressRange]:
    return [AddressRange(first=f"10.8.0.{first}", last=f"10.8.0.{last}") for first, last in pairs]


def test_networks_are_made_changed_and_deleted(tmp_path: Path) -> None:
    async def work(service: NetworkService, _context: Context) -> None:
        made = await lab(service, ipv6_cidr="auto", description="trial")
        assert (made.gateway, made.mode, made.is_default) == ("10.8.0.1", NetworkMode.NAT, False)
        assert made.ipv6_gateway == made.ipv6_cidr.removesuffix("/64") + "1"
        with refused(ErrorCode.ALREADY_EXISTS):
            await lab(service, cidr="10.7.0.0/28")
        changed = await send(service, api.UpdateNetwork(id=made.id, name="attic", cidr="10.7.0.0/24"))
        assert (changed.name, changed.cidr, changed.ipv6_cidr) == ("attic", "10.7.0.0/24", made.ipv6_cidr)
        again = await lab(service)  # the old name is free
        await send(service, api.DeleteNetwork(id=made.id))
        page = await service.networks.list(ListNetworks(), CALL)
        assert sorted(decode_json(bytes(blob), dict)["name"] for blob in page.blobs) == ["default", "lab"]
        assert (await service.networks.get(GetNetwork(id=again.id), CALL)).name == "lab"

    with_service(tmp_path, work)


def test_a_network_without_a_range_gets_a_free_one(tmp_path: Path) -> None:
    async def work(service: NetworkService, _context: Context) -> None:
        made = [await lab(service, name=f"lab-{number}", cidr=None) for number in range(7)]
        assert len({each.cidr for each in made}) == 7

    with_service(tmp_path, work)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"cidr": "10.9.0.0/24"}, "cidr"),  # the default network's
        ({"cidr": "10.0.0.0/8"}, "cidr"),
        ({"ipv6_cidr": "fd00::/32"}, "ipv6_cidr"),
        ({"interface": "eth1"}, "interface"),
        ({"domain": "a..b"}, "domain"),
        ({"mode": NetworkMode.BRIDGE}, "cidr"),
        ({"mode": NetworkMode.BRIDGE, "cidr": None}, "interface"),
        ({"mode": NetworkMode.BRIDGE, "cidr": None, "interface": "lo"}, "interface"),
    ],
)
def test_networks_that_are_refused_name_the_field(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    async def work(service: NetworkService, _context: Context) -> None:
        with pytest.raises(NanoError) as caught:
            await lab(service, **changes)
        assert (caught.value.code, caught.value.details["field"]) == (ErrorCode.INVALID_ARGUMENT, field)

    with_service(tmp_path, work)


def test_default_network_and_networks_in_use_are_protected(tmp_path: Path) -> None:
    async def work(service: NetworkService, _context: Context) -> None:
        default = await service.networks.get(GetNetwork(id=NetworkId("")), CALL)
        made = await lab(service)
        with refused(ErrorCode.WRONG_STATE):
            await send(service, api.DeleteNetwork(id=default.id))
        with refused(ErrorCode.WRONG_STATE):
            await send(service, api.UpdateNetwork(id=default.id, is_default=False))
        command = wish(network_id=made.id)
        await service.allocator.allocate(command, CALL)
        with pytest.raises(NanoError, match="web-1") as caught:
            await send(service, api.DeleteNetwork(id=made.id))
        assert caught.value.code is ErrorCode.WRONG_STATE
        with refused(ErrorCode.WRONG_STATE):
            await send(service, api.UpdateNetwork(id=made.id, cidr="10.7.0.0/24"))
        await service.allocator.release(ReleaseAddress(nic_id=command.nic_id), CALL)
        # Moving the mark frees the old default.
        assert (await send(service, api.UpdateNetwork(id=made.id, is_default=True))).is_default
        await send(service, api.DeleteNetwork(id=default.id))
        with refused(ErrorCode.WRONG_STATE):
            await send(service, api.DeleteNetwork(id=made.id))

    with_service(tmp_path, work)


def test_address_pools_decide_what_new_cards_get(tmp_path: Path) -> None:
    async def work(service: NetworkService, _context: Context) -> None:
        made = await lab(service, ipv6_cidr="fd00:8::/64")
        pool = await send(service, api.CreateAddressPool(name="low", network_id=made.id, ranges=ranges((4, 4), (6, 7))))
        other = await send(service, api.CreateAddressPool(name="high", network_id=made.id, ranges=ranges((10, 10))))
        assert (pool.addresses_total, pool.network) == (3, "lab")
        first = await service.allocator.allocate(wish(network_id=made.id), CALL)
        assert first.addresses == first.port.addresses == ["10.8.0.4", "fd00:8::4"]
        chosen = wish(network_id=made.id, address_pool_ids=[other.id])
        assert (await service.allocator.allocate(chosen, CALL)).addresses[0] == "10.8.0.10"
        with pytest.raises(NanoError, match="high") as caught:
            await service.allocator.allocate(wish(network_id=made.id, address_pool_ids=[other.id]), CALL)
        assert caught.value.code is ErrorCode.NO_CAPACITY
        with refused(ErrorCode.INVALID_ARGUMENT):
            await service.allocator.allocate(wish(network_id=made.id, address="10.8.0.5"), CALL)
        with refused(ErrorCode.WRONG_STATE):
            await send(service, api.DeleteNetwork(id=made.id))
        seen = await send(service, api.GetAddressPool(id=pool.id))
        assert (seen.addresses_allocated, seen.addresses_reserved) == (1, 0)
        await send(service, api.UpdateAddressPool(id=pool.id, name="lower", ranges=ranges((4, 5))))
        assert (await service.allocator.allocate(wish(network_id=made.id), CALL)).addresses[0] == "10.8.0.5"
        with refused(ErrorCode.INVALID_ARGUMENT):
            await send(service, api.UpdateAddressPool(id=pool.id, ranges=ranges((4, 10))))
        await send(service, api.DeleteAddressPool(id=pool.id))
        assert (await send(service, api.ListAddressPools())).body.total == 1

    with_service(tmp_path, work)


def test_reserved_addresses_are_for_who_names_them(tmp_path: Path) -> None:
    async def work(service: NetworkService, _context: Context) -> None:
        made = await lab(service)
        pool = await send(service, api.CreateAddressPool(name="p", network_id=made.id, ranges=ranges((4, 6))))
        reserved = await send(service, api.ReserveAddress(id=pool.id, description="printer"))
        assert (reserved.address, reserved.description, reserved.nic_id) == ("10.8.0.4", "printer", None)
        with refused(ErrorCode.ALREADY_EXISTS):
            await send(service, api.ReserveAddress(id=pool.id, address="10.8.0.4"))
        with refused(ErrorCode.INVALID_ARGUMENT):
            await send(service, api.ReserveAddress(id=pool.id, address="10.8.0.7"))
        assert (await service.allocator.allocate(wish(network_id=made.id), CALL)).addresses == ["10.8.0.5"]
        named = wish(network_id=made.id, address="10.8.0.4")
        assert (await service.allocator.allocate(named, CALL)).addresses == ["10.8.0.4"]
        with pytest.raises(NanoError) as caught:
            await service.allocator.allocate(wish(network_id=made.id, address="10.8.0.4"), CALL)
        assert (caught.value.code, caught.value.reason) == (ErrorCode.CONFLICT, "network.address_taken")
        page = await send(service, api.ListReservations(id=pool.id))
        assert [decode_json(bytes(blob), dict)["nic_id"] for blob in page.blobs] == [named.nic_id]
        with refused(ErrorCode.WRONG_STATE):
            await send(service, api.DeleteAddressPool(id=pool.id))
        with refused(ErrorCode.WRONG_STATE):
            await send(service, api.UpdateAddressPool(id=pool.id, ranges=ranges((5, 6))))
        await service.allocator.release(ReleaseAddress(nic_id=named.nic_id), CALL)
        assert (await send(service, api.ReserveAddress(id=pool.id))).address == "10.8.0.6"
        with refused(ErrorCode.NO_CAPACITY):
            await send(service, api.ReserveAddress(id=pool.id))
        await send(service, api.DeleteReservation(id=pool.id, address="10.8.0.4"))
        with refused(ErrorCode.NOT_FOUND):
            await send(service, api.DeleteReservation(id=pool.id, address="10.8.0.4"))
        assert (await service.allocator.allocate(wish(network_id=made.id), CALL)).addresses == ["10.8.0.4"]

    with_service(tmp_path, work)


def test_a_bridge_has_cards_without_addresses(tmp_path: Path) -> None:
    async def work(service: NetworkService, _context: Context) -> None:
        made = await lab(service, mode=NetworkMode.BRIDGE, cidr=None, interface="eth1")
        policy = await send(service, api.CreateSecurityPolicy(name="web"))
        got = await service.allocator.allocate(wish(network_id=made.id), CALL)
        assert (got.addresses, got.network.interface) == ([], "eth1")
        for changes in ({"address": "10.8.0.2"}, {"security_policy_id": policy.id}):
            with refused(ErrorCode.UNSUPPORTED):
                await service.allocator.allocate(wish(network_id=made.id, **changes), CALL)
        with refused(ErrorCode.UNSUPPORTED):
            await send(service, api.CreateAddressPool(name="p", network_id=made.id, ranges=ranges((4, 6))))
        assert (await service.networks.get(GetNetwork(id=made.id), CALL)).nics_attached == 1
        with refused(ErrorCode.WRONG_STATE):
            await send(service, api.DeleteNetwork(id=made.id))

    with_service(tmp_path, work)


def test_a_changed_policy_reaches_the_cells_that_use_it(tmp_path: Path) -> None:
    async def work(service: NetworkService, context: Context) -> None:
        ssh = PolicyRule(direction=PolicyDirection.INBOUND, action=PolicyAction.ACCEPT)
        policy = await send(service, api.CreateSecurityPolicy(name="web"))
        instances = [InstanceId(new_id()) for _ in range(3)]
        nodes = [NodeId(new_id()) for _ in range(2)]
        context.cells = dict(zip(instances, (nodes[0], nodes[1], nodes[0]), strict=True))
        for index, id in enumerate(instances):
            chosen = policy.id if index < 2 else None
            await service.allocator.allocate(wish(nic_id=id, instance_id=id, security_policy_id=chosen), CALL)
        assert (await send(service, api.GetSecurityPolicy(id=policy.id))).nics_attached == 2
        await send(service, api.UpdateSecurityPolicy(id=policy.id, rules=[ssh]))
        told = {node: [each.port for each in message.ports] for node, message in context.told}
        assert [port.nic_id for port in told[nodes[0]]] == [instances[0]]
        assert [port.nic_id for port in told[nodes[1]]] == [instances[1]]
        assert told[nodes[0]][0].policy is not None
        assert told[nodes[0]][0].policy.rules == [ssh]
        with pytest.raises(NanoError, match="web-1") as caught:
            await send(service, api.DeleteSecurityPolicy(id=policy.id))
        assert caught.value.code is ErrorCode.WRONG_STATE
        with refused(ErrorCode.NOT_FOUND):
            await service.allocator.allocate(wish(security_policy_id=SecurityPolicyId(new_id())), CALL)
        # The same card takes another policy; then nobody needs this one.
        for id in instances[:2]:
            got = await service.allocator.allocate(wish(nic_id=id, instance_id=id), CALL)
            assert got.port.policy is None
        await send(service, api.DeleteSecurityPolicy(id=policy.id))

    with_service(tmp_path, work)


def test_a_cell_that_comes_back_is_told_everything(tmp_path: Path) -> None:
    async def work(service: NetworkService, context: Context) -> None:
        policy = await send(service, api.CreateSecurityPolicy(name="web"))
        id, node = InstanceId(new_id()), NodeId(new_id())
        context.cells = {id: node}
        context.away = {node}
        await service.allocator.allocate(wish(nic_id=id, instance_id=id, security_policy_id=policy.id), CALL)
        await send(service, api.UpdateSecurityPolicy(id=policy.id, default_inbound=PolicyAction.ACCEPT))
        assert context.told == []
        context.away = set()
        await service.updates.on_agent_ready(AgentReady(node_id=node), cast("NodeInfo", None))
        await service.updates.settle()
        (told,) = context.told
        assert told[1].ports[0].port.policy is not None
        assert told[1].ports[0].port.policy.default_inbound is PolicyAction.ACCEPT

    with_service(tmp_path, work)


def test_a_renamed_domain_reaches_the_cells(tmp_path: Path) -> None:
    async def work(service: NetworkService, context: Context) -> None:
        id = InstanceId(new_id())
        context.cells = {id: NodeId(new_id())}
        got = await service.allocator.allocate(wish(nic_id=id, instance_id=id), CALL)
        await send(service, api.UpdateNetwork(id=got.network.id, domain="lab.example"))
        assert [message.networks[0].domain for _, message in context.told] == ["lab.example"]

    with_service(tmp_path, work)


def test_a_store_of_an_older_version_is_completed(tmp_path: Path) -> None:
    nic_id = new_id()

    async def old(service: NetworkService, context: Context) -> None:
        store = context.chosen(NetworkService)
        default = await service.networks.get(GetNetwork(id=NetworkId("")), CALL)
        record = AllocationRecord(
            network_id=default.id,
            address="10.9.0.2",
            mac="52:54:00:00:00:01",
            nic_id=nic_id,
            instance_id=InstanceId(new_id()),
            name="web-1",
        )
        plain = NetworkRecord(id=NetworkId(new_id()), name="plain", cidr="10.1.0.0/24", created_at=context.clock.now())
        await store.commit(
            Put(ALLOCATIONS, f"{default.id}/10.9.0.2", record, expect=0), Put(NETWORKS, plain.id, plain, expect=0)
        )

    async def work(service: NetworkService, _context: Context) -> None:
        assert list((await service.allocator.list_allocations(ListAllocations(), CALL)).nics) == [nic_id]
        with refused(ErrorCode.ALREADY_EXISTS):
            await lab(service, name="plain")

    with_service(tmp_path, old)
    with_service(tmp_path, work)


def test_unknown_things_are_not_found(tmp_path: Path) -> None:
    async def work(service: NetworkService, _context: Context) -> None:
        pool, policy = AddressPoolId(new_id()), SecurityPolicyId(new_id())
        for message in (
            api.UpdateNetwork(id=NetworkId(new_id()), name="x"),
            api.DeleteNetwork(id=NetworkId(new_id())),
            api.GetAddressPool(id=pool),
            api.UpdateAddressPool(id=pool, name="x"),
            api.DeleteAddressPool(id=pool),
            api.ListReservations(id=pool),
            api.ReserveAddress(id=pool),
            api.DeleteReservation(id=pool, address="10.8.0.4"),
            api.CreateAddressPool(name="p", network_id=NetworkId(new_id()), ranges=ranges((4, 6))),
            api.GetSecurityPolicy(id=policy),
            api.UpdateSecurityPolicy(id=policy, name="x"),
            api.DeleteSecurityPolicy(id=policy),
        ):
            with refused(ErrorCode.NOT_FOUND):
                await send(service, message)

    with_service(tmp_path, work)

"""The network service over a real SQLite store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
import structlog

from nanocore.capabilities.network import (
    AllocateAddress,
    Allocation,
    GetNetwork,
    ListAllocations,
    ListNetworks,
    ReleaseAddress,
)
from nanocore.clock import SystemClock
from nanocore.contracts.handler import Call
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, NetworkId, new_id
from nanocore.wire import decode_json
from nanoplugins.network.config import NetworkConfig
from nanoplugins.network.service import COLLECTIONS, NetworkService
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
        await asyncio.gather(*self._tasks)


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
        page = await service.list(ListNetworks(), CALL)
        assert page.body.total == 1
        network = await service.get(GetNetwork(id=NetworkId("")), CALL)
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
        return await service.allocate(command, CALL)

    first = with_service(tmp_path, work)
    assert first.addresses == ["10.9.0.2"]
    assert first.network.gateway == "10.9.0.1"
    assert with_service(tmp_path, work) == first


def test_full_network_is_no_capacity_until_an_address_is_released(tmp_path: Path) -> None:
    async def work(service: NetworkService, context: Context) -> None:
        commands = [wish() for _ in range(5)]
        got = await asyncio.gather(*(service.allocate(command, CALL) for command in commands))
        assert sorted(each.addresses[0] for each in got) == [f"10.9.0.{number}" for number in range(2, 7)]
        with pytest.raises(NanoError) as caught:
            await service.allocate(wish(), CALL)
        assert caught.value.code is ErrorCode.NO_CAPACITY
        assert "default (10.9.0.0/29)" in caught.value.message
        nics = (await service.list_allocations(ListAllocations(), CALL)).nics
        assert nics == {command.nic_id: command.instance_id for command in commands}
        for _ in range(2):
            await service.release(ReleaseAddress(nic_id=commands[2].nic_id), CALL)
        assert (await service.allocate(wish(), CALL)).addresses == got[2].addresses
        network = await service.get(GetNetwork(id=NetworkId("")), CALL)
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
                await service.allocate(command, CALL)
            assert caught.value.code is code
        with pytest.raises(NanoError) as caught:
            await service.get(GetNetwork(id=NetworkId(new_id())), CALL)
        assert caught.value.code is ErrorCode.NOT_FOUND

    with_service(tmp_path, work)


def test_bad_range_in_the_configuration_names_table_and_key(tmp_path: Path) -> None:
    async def work(_service: NetworkService, _context: Context) -> None:
        pytest.fail("started")

    with pytest.raises(NanoError, match=r"\[network\]: default_cidr"):
        with_service(tmp_path, work, NetworkConfig(default_cidr="10.0.0.0/4"))

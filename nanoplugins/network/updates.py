"""Brings changes of networks and security policies to the cells whose guests use them.

The store is the truth: a change is committed first, then told. A cell that can't be reached is told everything about
its guests' cards when it comes back (``AgentReady``), which is also what mends a core that died between the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from nanocore.capabilities.compute import GetInstance, ListInstances
from nanocore.capabilities.hypervisor import AgentReady
from nanocore.capabilities.network import NetworkPort, NetworkSpec, PortSpec, UpdatePorts
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.node import NodeInfo
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.failpoints import fail_point
from nanocore.ids import InstanceId, NetworkId, NodeId
from nanocore.wire import Request, Struct, decode_json

PAGE = 1000
SETTLE_SECONDS = 5.0
"""How long a user's call waits for the cells."""
RETRY_SECONDS = 2.0
AWAY = frozenset({ErrorCode.UNAVAILABLE, ErrorCode.DEADLINE_EXCEEDED, ErrorCode.UNKNOWN_OUTCOME})


class _Nic(Struct, frozen=True):
    id: str


class _Placed(Struct, frozen=True):
    """As much of an instance as is needed here."""

    id: InstanceId
    node_id: NodeId | None = None
    nics: Sequence[_Nic] = ()


class CellUpdates:
    """``describe`` gives a card's network and port; ``instance_of`` its instance, ``None`` once it is gone."""

    def __init__(
        self,
        context: PluginContext,
        describe: Callable[[str], tuple[NetworkSpec, PortSpec]],
        instance_of: Callable[[str], InstanceId | None],
    ) -> None:
        self._context = context
        self._describe = describe
        self._instance_of = instance_of
        self._cards: dict[str, None] = {}
        self._nodes: dict[NodeId, None] = {}
        self._is_running = False
        self._idle = asyncio.Event()
        self._idle.set()

    def schedule(self, nic_ids: Iterable[str]) -> None:
        """Tell the cells about these cards soon."""
        fail_point("core/network.update_ports/committed")
        self._cards |= dict.fromkeys(nic_ids)
        self._wake()

    async def on_agent_ready(self, event: AgentReady, _source: NodeInfo) -> None:
        """Tell a cell that came (back) about all cards of its guests."""
        self._nodes[event.node_id] = None
        self._wake()

    async def settle(self) -> None:
        """Wait until everything was told, at most ``SETTLE_SECONDS``; the rest follows by itself."""
        try:
            await asyncio.wait_for(self._idle.wait(), SETTLE_SECONDS)
        except TimeoutError:
            self._context.log.info("network.cells_not_told_yet", cards=len(self._cards), nodes=len(self._nodes))

    def _wake(self) -> None:
        if (self._cards or self._nodes) and not self._is_running:
            self._is_running = True
            self._idle.clear()
            self._context.spawn(self._run(), name="network: tell cells")

    async def _run(self) -> None:
        try:
            while self._cards or self._nodes:
                cards, self._cards = list(self._cards), {}
                nodes, self._nodes = list(self._nodes), {}
                try:
                    wanted = await self._by_node(cards, nodes)
                except NanoError as error:
                    self._context.log.info("network.cells_not_told_yet", error=str(error))
                    self._cards |= dict.fromkeys(cards)
                    self._nodes |= dict.fromkeys(nodes)
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                failed = [node for node, mine in wanted.items() if not await self._tell(node, mine)]
                if cards:
                    fail_point("core/network.update_ports/told")
                if failed:
                    self._nodes |= dict.fromkeys(failed)
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._is_running = False
            self._idle.set()

    async def _by_node(self, cards: list[str], nodes: list[NodeId]) -> dict[NodeId, list[str]]:
        """Return the cards that each node is to be told about."""
        wanted: dict[NodeId, dict[str, None]] = {}
        for node_id in nodes:
            for instance in await self._instances_on(node_id):
                wanted.setdefault(node_id, {}).update(dict.fromkeys(nic.id for nic in instance.nics))
        where: dict[InstanceId, NodeId | None] = {}
        for nic_id in cards:
            id = self._instance_of(nic_id)
            if id is None:
                continue
            if id not in where:
                where[id] = await self._node_of(id)
            node = where[id]
            if node is not None:
                wanted.setdefault(node, {})[nic_id] = None
        return {node_id: list(mine) for node_id, mine in wanted.items() if mine}

    async def _node_of(self, id: InstanceId) -> NodeId | None:
        try:
            found = await self._pages(GetInstance(id=id))
        except NanoError as error:
            if error.code is ErrorCode.NOT_FOUND:
                return None
            raise
        return found[1][0].node_id if found[1] else None

    async def _instances_on(self, node_id: NodeId) -> list[_Placed]:
        instances: list[_Placed] = []
        cursor = ""
        while True:
            info, page = await self._pages(ListInstances(filter={"node_id": node_id}, limit=PAGE, cursor=cursor))
            instances += page
            if not info.next_cursor:
                return instances
            cursor = info.next_cursor

    async def _pages(self, message: Request[PageInfo]) -> tuple[PageInfo, list[_Placed]]:
        reply = await self._context.call_reply(message)
        return reply.body, [decode_json(bytes(blob), _Placed) for blob in reply.blobs]

    async def _tell(self, node_id: NodeId, nic_ids: list[str]) -> bool:
        """Return whether the cell knows now, or will be told when it comes back."""
        networks: dict[NetworkId, NetworkSpec] = {}
        ports: list[NetworkPort] = []
        for nic_id in nic_ids:
            try:
                network, port = self._describe(nic_id)
            except NanoError:
                continue  # released meanwhile
            networks[network.id] = network
            ports.append(NetworkPort(network_id=network.id, port=port))
        if not ports:
            return True
        try:
            await self._context.call(UpdatePorts(networks=list(networks.values()), ports=ports), dst=node_id)
        except NanoError as error:
            self._context.log.warning("network.cell_not_told", node=node_id, error=str(error))
            return error.code in AWAY
        return True

"""What users ask about nodes, and the zone at a glance."""

from __future__ import annotations

import nanocore
from nanocore.capabilities.compute import (
    ActOnNode,
    DeleteNode,
    GetNode,
    GetSystemOverview,
    ListNodes,
    Problem,
    SystemOverview,
)
from nanocore.capabilities.images import ListDiskImages
from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.node import NodeRole, RevokeNode
from nanocore.contracts.plugin import PluginContext, PluginState
from nanocore.contracts.state_store import Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NodeId
from nanocore.model.instance import DesiredState, ObservedState
from nanocore.model.node import Node, NodeState
from nanocore.wire import structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.cells import Cell
from nanoplugins.compute.records import COMPUTE_POOLS, INSTANCES, NODE_SETTINGS, NodeSettings
from nanoplugins.compute.views import sum_usage

MAX_PROBLEMS = 100


class Nodes:
    """Handlers of ``compute.*_node`` and of the overview."""

    def __init__(self, context: PluginContext, board: Board) -> None:
        self._context = context
        self._board = board

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        return [
            Handler(ListNodes, self._list),
            Handler(GetNode, self._get),
            Handler(ActOnNode, self._act),
            Handler(DeleteNode, self._delete),
            Handler(GetSystemOverview, self._overview),
        ]

    async def _list(self, message: ListNodes, _call: Call) -> Reply[PageInfo]:
        self._board.refresh_sums_now()
        return self._board.nodes.page(message)

    async def _get(self, message: GetNode, _call: Call) -> Node:
        return self._view(message.id)

    def _view(self, id: NodeId) -> Node:
        self._board.refresh_sums_now()
        return self._board.nodes.get(id)

    async def _act(self, message: ActOnNode, _call: Call) -> Node:
        if message.action not in ("enable", "disable"):
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"action must be enable or disable, got {message.action[:80]!r}",
                field="action",
            )
        node = self._view(message.id)
        settings = NodeSettings(id=node.id, is_enabled=message.action == "enable")
        await self._board.store.commit(Put(NODE_SETTINGS, node.id, settings))
        self._board.refresh_node(node.id)
        return self._view(node.id)

    async def _delete(self, message: DeleteNode, _call: Call) -> None:
        node = self._view(message.id)
        if node.is_self:
            raise NanoError(ErrorCode.WRONG_STATE, f"{node.name} is the core itself and can't be removed")
        living = self._board.store.list(INSTANCES, index="node", value=node.id)
        if living:
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"{len(living)} instances live on node {node.name}, such as {living[0].value.name}; delete them first",
            )
        for entry in self._board.store.list(COMPUTE_POOLS):
            if node.id in entry.value.cells:
                cells = [id for id in entry.value.cells if id != node.id]
                changed = structs.replace(entry.value, cells=cells)
                await self._board.store.commit(Put(COMPUTE_POOLS, entry.key, changed, expect=entry.revision))
        await self._context.call(RevokeNode(id=node.id))
        self._board.cells.remove(node.id)
        self._board.refresh_sums_now()

    async def _overview(self, _message: GetSystemOverview, _call: Call) -> SystemOverview:
        self._board.refresh_sums_now()
        nodes = list(self._board.nodes.views())
        images = await self._context.call(ListDiskImages(limit=1))
        return SystemOverview(
            name="Nano",
            version=nanocore.__version__,
            zone=self._context.node.zone,
            features=self._context.node.features,
            usage=sum_usage([node.usage for node in nodes]),
            instances=len(self._board.instances),
            instances_running=sum(node.instances_running for node in nodes),
            nodes=len(nodes),
            nodes_online=sum(node.state is NodeState.ONLINE for node in nodes),
            images=images.total,
            problems=self._problems(nodes)[:MAX_PROBLEMS],
        )

    def _problems(self, nodes: list[Node]) -> list[Problem]:
        problems = [
            Problem(kind="node", id=node.id, text=f"node {node.name} is unreachable")
            for node in nodes
            if node.state is NodeState.UNREACHABLE
        ]
        problems += [
            Problem(kind="node", id=node.id, text=f"cell {node.name} is in no compute pool; nothing is placed on it")
            for node in nodes
            if node.compute_pool_id is None and NodeRole.CELL in node.roles and node.state is NodeState.ONLINE
        ]
        for instance in self._board.instances.views():
            observed = instance.state.observed
            is_wanted = instance.state.desired is DesiredState.RUNNING
            if observed in (ObservedState.CRASHED, ObservedState.MISSING) and is_wanted:
                text = f"instance {instance.name} should run and is {observed.value}"
                problems.append(Problem(kind="instance", id=instance.id, text=text))
        for cell in self._board.cells.all():
            problems += _findings(cell)
        problems += [
            Problem(kind="plugin", id=status.name, text=f"plugin {status.name} has failed: {status.reason}")
            for status in self._context.plugin_statuses()
            if status.state is PluginState.FAILED
        ]
        return problems


def _findings(cell: Cell) -> list[Problem]:
    return [Problem(kind="node", id=cell.info.id, text=text) for text in cell.findings.values()]

"""What users ask about nodes, and the zone at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import nanocore
from nanocore.capabilities.compute import (
    ActOnNode,
    DeleteNode,
    GetNode,
    GetSystemOverview,
    GetZoneUsage,
    ListNodePlugins,
    ListNodes,
    PoolUsage,
    Problem,
    StopNode,
    SystemOverview,
    ZoneUsage,
)
from nanocore.capabilities.images import ListDiskImages
from nanocore.contracts.handler import CORE_ONLY, Call, Handler, Reply
from nanocore.contracts.health import GetHealth, PluginHealth
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.node import NodeRole, RevokeNode, StopKernel
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
from nanoplugins.compute.storage.drain import forget_paths
from nanoplugins.compute.storage.records import VOLUMES
from nanoplugins.compute.views import HOW_TO_START, sum_usage

MAX_PROBLEMS = 100
NAMED = 10
"""So many instances are named in a refusal; more are counted."""
HEALTH_SECONDS = 5.0
KEEPS = (NodeRole.CORE, NodeRole.FRONTEND)
"""Node roles without which nobody could bring the zone back through its API."""


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
            Handler(StopNode, self._stop),
            Handler(DeleteNode, self._delete),
            Handler(ListNodePlugins, self._list_plugins),
            Handler(GetSystemOverview, self._overview),
            Handler(GetZoneUsage, self._zone_usage, allow=CORE_ONLY),
        ]

    async def _list(self, message: ListNodes, _call: Call) -> Reply[PageInfo]:
        self._board.refresh_sums_now()
        return await self._board.nodes.answer(message)

    async def _get(self, message: GetNode, _call: Call) -> Node:
        return self._view(message.id)

    def _view(self, id: NodeId) -> Node:
        self._board.refresh_sums_now()
        return self._board.nodes.get(id)

    async def _act(self, message: ActOnNode, _call: Call) -> Node:
        node = self._view(message.id)
        if message.action not in ("enable", "disable"):
            text = f"action must be enable or disable, got {message.action[:80]!r}"
            raise NanoError(ErrorCode.INVALID_ARGUMENT, text, field="action")
        await self._set_enabled(node, is_enabled=message.action == "enable")
        return self._view(node.id)

    async def _set_enabled(self, node: Node, *, is_enabled: bool) -> None:
        if not is_enabled:
            self._refuse_last_cell(node)
        entry = self._board.store.get(NODE_SETTINGS, node.id)
        before = NodeSettings(id=node.id) if entry is None else entry.value
        await self._board.store.commit(Put(NODE_SETTINGS, node.id, structs.replace(before, is_enabled=is_enabled)))
        self._board.refresh_node(node.id)

    async def _stop(self, message: StopNode, _call: Call) -> Node:
        node = self._view(message.id)
        if node.state is not NodeState.ONLINE:
            raise NanoError(ErrorCode.WRONG_STATE, f"node {node.name} does not answer; {HOW_TO_START}")
        if not message.is_restart:
            self._refuse_last_role(node, "stopped")
        await self._context.call(StopKernel(is_restart=message.is_restart), dst=node.id)
        return self._view(node.id)

    async def _list_plugins(self, message: ListNodePlugins, _call: Call) -> list[PluginHealth]:
        node = self._view(message.id)
        if node.state is not NodeState.ONLINE:
            raise NanoError(ErrorCode.UNAVAILABLE, f"node {node.name} does not answer: {node.reason}")
        return await self._context.call(GetHealth(), dst=node.id, timeout_seconds=HEALTH_SECONDS)

    async def _delete(self, message: DeleteNode, _call: Call) -> None:
        node = self._view(message.id)
        if node.is_self:
            raise NanoError(ErrorCode.WRONG_STATE, f"{node.name} is the core itself and can't be removed")
        self._refuse_last_role(node, "removed")
        living = [entry.value.name for entry in self._board.store.list(INSTANCES, index="node", value=node.id)]
        if living:
            text = f"{living_there(living, f'on node {node.name}')}; delete them first, or move them away"
            raise NanoError(ErrorCode.WRONG_STATE, text, reason="compute.node_in_use")
        free = self._board.store.list(VOLUMES, index="node", value=node.id)
        if free:
            text = f"{len(free)} volumes lie on node {node.name}, such as {free[0].value.name}; delete them first"
            raise NanoError(ErrorCode.WRONG_STATE, text, reason="compute.node_in_use")
        await forget_paths(self._board, node.id)
        for entry in self._board.store.list(COMPUTE_POOLS):
            if node.id in entry.value.cells:
                cells = [id for id in entry.value.cells if id != node.id]
                changed = structs.replace(entry.value, cells=cells)
                await self._board.store.commit(Put(COMPUTE_POOLS, entry.key, changed, expect=entry.revision))
        await self._context.call(RevokeNode(id=node.id))
        self._board.cells.remove(node.id)
        self._board.refresh_sums_now()

    # -- what is protected

    def _refuse_last_role(self, node: Node, done: str) -> None:
        for role in KEEPS:
            others = [
                other
                for other in self._board.nodes.views()
                if other.id != node.id and role in other.roles and other.state is NodeState.ONLINE
            ]
            if role in node.roles and not others:
                text = (
                    f"{node.name} is the last node that answers as {role.value} and can't be {done} from here; on its "
                    "own host ./quickstart --stop or systemctl stop nano-kernel does it"
                )
                raise NanoError(ErrorCode.WRONG_STATE, text, reason="compute.last_of_its_kind")

    def _refuse_last_cell(self, node: Node) -> None:
        """Refuse to close the last open cell of a compute pool with instances: close the pool, which says so."""
        pool = self._board.pool_of(node.id)
        if pool is None or not node.is_enabled:
            return
        if any(id != node.id and self._board.is_enabled(id) for id in pool.cells):
            return
        living = self._board.store.list(INSTANCES, index="compute_pool", value=pool.id)
        if living:
            text = (
                f"{node.name} is the last enabled cell of compute pool {pool.name}, which has {len(living)} instances; "
                "enable another cell first, or disable the compute pool"
            )
            raise NanoError(ErrorCode.WRONG_STATE, text, reason="compute.last_of_its_kind")

    # -- the zone

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
            instances_unknown=sum(node.instances_unknown for node in nodes),
            nodes=len(nodes),
            nodes_online=sum(node.state is NodeState.ONLINE for node in nodes),
            images=images.total,
            problems=self._problems(nodes)[:MAX_PROBLEMS],
        )

    async def _zone_usage(self, _message: GetZoneUsage, _call: Call) -> ZoneUsage:
        self._board.refresh_sums_now()
        nodes = list(self._board.nodes.views())
        running = sum(node.instances_running for node in nodes)
        pools = self._board.pools.views()
        return ZoneUsage(
            zone=PoolUsage(usage=sum_usage([node.usage for node in nodes]), instances_running=running),
            compute_pools={
                pool.id: PoolUsage(usage=pool.usage, instances_running=pool.instances_running) for pool in pools
            },
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


def living_there(names: Sequence[str], where: str) -> str:
    """Return what a refusal says of the instances in the way, by name: ``2 instances live on node x (a, b)``."""
    shown = ", ".join(sorted(names)[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} instances live {where} ({shown}{more})"


def _findings(cell: Cell) -> list[Problem]:
    return [Problem(kind="node", id=cell.info.id, text=text) for text in cell.findings.values()]

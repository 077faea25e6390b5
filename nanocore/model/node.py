"""Nodes as the API shows them: registry, liveness, and what a cell reported."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from nanocore.contracts.node import NodeRole
from nanocore.ids import ComputePoolId, NodeId
from nanocore.model.compute_pool import Usage
from nanocore.wire import Result, field


class NodeState(StrEnum):
    """Whether a node answers."""

    ONLINE = "online"
    UNREACHABLE = "unreachable"
    REVOKED = "revoked"


class Node(Result, frozen=True, kw_only=True):
    """A registered node."""

    id: NodeId
    name: str
    roles: list[NodeRole]
    zone: str
    version: str
    state: NodeState
    reason: str | None = None
    since: datetime | None = None
    compute_pool_id: ComputePoolId | None = None
    compute_pool: str | None = None
    is_enabled: bool = True
    accelerator: str | None = None
    """``kvm``, ``tcg`` or ``sim``; ``None`` for a node that is no cell."""
    accelerator_reason: str | None = None
    lacks: dict[str, str] = field(default_factory=dict)
    """What a cell can't do for its instances (``has_uefi``, ``has_tpm``, a limit's name, …), each with the reason."""
    instances: int = 0
    instances_running: int = 0
    instances_unknown: int = 0
    """Those whose state nobody knows while the node does not answer."""
    usage: Usage = field(default_factory=Usage)
    is_self: bool = False
    """Whether it is the core that answers."""

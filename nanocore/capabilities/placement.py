"""Choosing a cell: candidates in, one choice with its reasons out. All of it is pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from nanocore.ids import InstanceId, NodeId
from nanocore.model.compute_pool import Usage
from nanocore.wire import Result, Struct, field


class Candidate(Struct, frozen=True, kw_only=True):
    """A cell of the wanted compute pool, with what is known of it now."""

    node_id: NodeId
    name: str
    zone: str
    is_reachable: bool
    is_enabled: bool
    instances: int
    usage: Usage
    cached_images: list[str] = field(default_factory=list)
    cpu_overcommit: float | None = None
    """The compute pool's own limit; ``None`` leaves it to the filter's settings."""
    memory_overcommit: float | None = None
    storage_pool_ids: list[str] | None = None
    """Storage pools with a path there that takes new volumes; ``None`` where its storage has no paths."""
    lacks: dict[str, str] = field(default_factory=dict)
    """Abilities that are missing there, each with the reason."""


class PlacementRequest(Struct, frozen=True, kw_only=True):
    """What is to be placed."""

    instance_id: InstanceId
    vcpus: int
    memory_bytes: int
    disk_bytes: int
    image_id: str | None = None
    node_id: NodeId | None = None
    """The cell that the user asked for."""
    storage_pools: dict[str, str] = field(default_factory=dict)
    """Storage pools that its new disks go to: id to name."""
    needs: list[str] = field(default_factory=list)
    """Abilities that the cell must have (facts of ``HypervisorInfo``)."""


class Refusal(Result, frozen=True, kw_only=True):
    """Why a candidate is out."""

    node_id: NodeId
    name: str
    filter: str
    reason: str


class Score(Result, frozen=True, kw_only=True):
    """A remaining candidate's points, in all and by weigher."""

    node_id: NodeId
    name: str
    total: float
    by_weigher: dict[str, float] = field(default_factory=dict)


class Decision(Result, frozen=True, kw_only=True):
    """The choice and everything that led to it; ``node_id`` is ``None`` when nobody was left."""

    node_id: NodeId | None
    reason: str
    scores: list[Score] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PlacementFilter:
    """``refuse`` returns why a candidate can't take the request, or ``None``."""

    name: str
    refuse: Callable[[PlacementRequest, Candidate], str | None]


@dataclass(frozen=True, slots=True)
class PlacementWeigher:
    """``weigh`` returns 0 (bad) to 1 (good), times ``weight``."""

    name: str
    weigh: Callable[[PlacementRequest, Candidate], float]
    weight: float = 1.0


class Placer(Protocol):
    """Chosen by ``[compute] placer``: declared by ``nano_placers``."""

    name: str

    def decide(self, request: PlacementRequest, candidates: list[Candidate]) -> Decision:
        """Choose; pure, deterministic for equal input."""
        ...

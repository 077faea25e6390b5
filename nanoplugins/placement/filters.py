"""Reasons to refuse a cell. Each function is pure: request and candidate in, sentence or ``None`` out."""

from __future__ import annotations

from nanocore.capabilities.placement import Candidate, PlacementFilter, PlacementRequest
from nanoplugins.placement.config import PlacementConfig

MIB = 1024**2


def refuse_unreachable(_request: PlacementRequest, candidate: Candidate) -> str | None:
    """Refuse a cell that does not answer, or has not said yet what it has."""
    if not candidate.is_reachable:
        return "the cell is unreachable"
    if candidate.usage.cores == 0:
        return "the cell has not reported its capacity yet"
    return None


def refuse_disabled(_request: PlacementRequest, candidate: Candidate) -> str | None:
    """Refuse a cell that an administrator has closed for new instances."""
    return None if candidate.is_enabled else "the cell is disabled for new instances"


def refuse_other_than_wanted(request: PlacementRequest, candidate: Candidate) -> str | None:
    """Refuse every cell but the one the user named."""
    if request.node_id is not None and request.node_id != candidate.node_id:
        return "another cell was asked for"
    return None


def refuse_without_paths(request: PlacementRequest, candidate: Candidate) -> str | None:
    """Refuse a cell where a wanted storage pool has no room of its own."""
    if candidate.storage_pool_ids is None:
        return None
    lacking = [name for id, name in request.storage_pools.items() if id not in candidate.storage_pool_ids]
    return f"storage pool {lacking[0]} has no path there that takes new volumes" if lacking else None


def refuse_unable(request: PlacementRequest, candidate: Candidate) -> str | None:
    """Refuse a cell that lacks what the instance is made with."""
    for ability in request.needs:
        if ability in candidate.lacks:
            return f"the cell lacks {ability}: {candidate.lacks[ability]}"
    return None


def _ratio(of_pool: float | None, configured: float, setting: str) -> tuple[float, str]:
    """Return the limit that counts, and whose it is."""
    if of_pool is not None:
        return of_pool, f"the compute pool's overcommit {of_pool:g}"
    return configured, f"[placement] {setting} {configured:g}"


def capacity_filters(config: PlacementConfig) -> list[PlacementFilter]:
    """Return the filters whose limits are settings."""

    def refuse_full_cpu(request: PlacementRequest, candidate: Candidate) -> str | None:
        ratio, of = _ratio(candidate.cpu_overcommit, config.vcpus_per_core, "vcpus_per_core")
        limit = int(candidate.usage.cores * ratio)
        wanted = candidate.usage.vcpus_allocated + request.vcpus
        if request.vcpus > candidate.usage.cores * max(1.0, ratio):
            return f"{request.vcpus} vCPUs are more than the cell's {candidate.usage.cores} cores can carry"
        if wanted > limit:
            return f"{wanted} vCPUs would be promised, the limit is {limit} ({candidate.usage.cores} cores, {of})"
        return None

    def refuse_full_memory(request: PlacementRequest, candidate: Candidate) -> str | None:
        ratio, of = _ratio(candidate.memory_overcommit, config.memory_ratio, "memory_ratio")
        limit = int(candidate.usage.memory_bytes * ratio)
        wanted = candidate.usage.memory_allocated_bytes + request.memory_bytes
        if wanted > limit:
            return f"{wanted // MIB} MiB of memory would be promised, the limit is {limit // MIB} MiB ({of})"
        return None

    def refuse_full_disk(_request: PlacementRequest, candidate: Candidate) -> str | None:
        free = candidate.usage.disk_bytes - candidate.usage.disk_used_bytes
        if free < config.free_disk_bytes:
            return f"{free // MIB} MiB of disk are free, {config.free_disk_bytes // MIB} MiB must stay free"
        return None

    return [
        PlacementFilter("cpu", refuse_full_cpu),
        PlacementFilter("memory", refuse_full_memory),
        PlacementFilter("disk", refuse_full_disk),
    ]


def all_filters(config: PlacementConfig) -> list[PlacementFilter]:
    """Return every filter, the plainest reason first."""
    return [
        PlacementFilter("wanted", refuse_other_than_wanted),
        PlacementFilter("reachable", refuse_unreachable),
        PlacementFilter("enabled", refuse_disabled),
        PlacementFilter("storage", refuse_without_paths),
        PlacementFilter("abilities", refuse_unable),
        *capacity_filters(config),
    ]

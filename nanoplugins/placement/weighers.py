"""Ways to rate a cell, 0 (bad) to 1 (good). All pure."""

from __future__ import annotations

from nanocore.capabilities.placement import Candidate, PlacementRequest, PlacementWeigher


def free_memory(request: PlacementRequest, candidate: Candidate) -> float:
    """Rate by the part of memory that nobody was promised, the new instance counted in."""
    total = candidate.usage.memory_bytes
    taken = candidate.usage.memory_allocated_bytes + request.memory_bytes
    return max(0.0, 1 - taken / total) if total else 0.0


def idle_cpu(_request: PlacementRequest, candidate: Candidate) -> float:
    """Rate by how idle the cores are now."""
    return max(0.0, 1 - candidate.usage.cpu_percent / 100)


def free_vcpus(request: PlacementRequest, candidate: Candidate) -> float:
    """Rate by promised vCPUs for each core: 1 for none, half at one for one."""
    cores = candidate.usage.cores
    return cores / (cores + candidate.usage.vcpus_allocated + request.vcpus) if cores else 0.0


def has_image(request: PlacementRequest, candidate: Candidate) -> float:
    """Prefer a cell that need not fetch the image first."""
    return 1.0 if request.image_id is None or request.image_id in candidate.cached_images else 0.0


def all_weighers() -> list[PlacementWeigher]:
    """Return every weigher with its weight."""
    return [
        PlacementWeigher("free_memory", free_memory, 1.0),
        PlacementWeigher("idle_cpu", idle_cpu, 0.5),
        PlacementWeigher("free_vcpus", free_vcpus, 1.0),
        PlacementWeigher("has_image", has_image, 0.25),
    ]

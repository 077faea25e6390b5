"""Rates from libvirt's counters. Pure, apart from the names of its fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import libvirt

from nanocore.model.instance import InstanceUsage

GROUPS = (
    libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_BLOCK
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
)

KIB = 1024
NANOSECONDS = 1e9


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters of one guest at one moment (``at``: monotonic seconds)."""

    at: float
    cpu_seconds: float
    vcpus: int
    memory_bytes: int
    disk_read_bytes: int
    disk_write_bytes: int
    received_bytes: int
    transmitted_bytes: int


def read_sample(stats: Mapping[str, object], at: float) -> Sample:
    """Return the counters out of libvirt's flat record; what is missing counts as 0."""

    def number(key: str) -> int:
        value = stats.get(key, 0)
        return value if isinstance(value, int) else 0

    def total(group: str, field: str) -> int:
        return sum(number(f"{group}.{index}.{field}") for index in range(number(f"{group}.count")))

    return Sample(
        at=at,
        cpu_seconds=number("cpu.time") / NANOSECONDS,
        vcpus=max(1, number("vcpu.current")),
        memory_bytes=_memory_used_kib(number) * KIB,
        disk_read_bytes=total("block", "rd.bytes"),
        disk_write_bytes=total("block", "wr.bytes"),
        received_bytes=total("net", "rx.bytes"),
        transmitted_bytes=total("net", "tx.bytes"),
    )


def usage_between(before: Sample | None, after: Sample, now: datetime) -> InstanceUsage:
    """Return the use between two samples; without an earlier one, or across a restart, rates are 0."""
    elapsed = after.at - before.at if before else 0.0
    if before is None or elapsed <= 0 or after.cpu_seconds < before.cpu_seconds:
        return InstanceUsage(memory_bytes=after.memory_bytes, at=now)

    def rate(later: float, earlier: float) -> float:
        return max(0.0, later - earlier) / elapsed

    busy = rate(after.cpu_seconds, before.cpu_seconds) / after.vcpus * 100
    return InstanceUsage(
        cpu_percent=min(100.0, busy),
        memory_bytes=after.memory_bytes,
        disk_read_bytes_per_second=rate(after.disk_read_bytes, before.disk_read_bytes),
        disk_write_bytes_per_second=rate(after.disk_write_bytes, before.disk_write_bytes),
        network_receive_bytes_per_second=rate(after.received_bytes, before.received_bytes),
        network_transmit_bytes_per_second=rate(after.transmitted_bytes, before.transmitted_bytes),
        at=now,
    )


def _memory_used_kib(number: Callable[[str], int]) -> int:
    """Prefer what the guest says it uses; else what its process holds, never more than its memory."""
    available = number("balloon.available")
    free = number("balloon.usable") or number("balloon.unused")
    if available and free:
        return max(0, available - free)
    held, most = number("balloon.rss"), number("balloon.current")
    return min(held, most) if held and most else held or most


SHORTEST_WINDOW_SECONDS = 1.0


def later(before: Sample | None, after: Sample) -> Sample:
    """Return the sample to measure from next time; windows too short to mean anything are not begun anew."""
    if before is None or after.at - before.at >= SHORTEST_WINDOW_SECONDS or after.cpu_seconds < before.cpu_seconds:
        return after
    return before

"""Rates come from two samples, and never from one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from nanoplugins.kvm.statistics import Sample, later, read_sample, usage_between

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = Sample(10.0, 5.0, 2, 1024, 100, 200, 300, 400)
STATS: dict[str, object] = {
    "cpu.time": 7_500_000_000,
    "vcpu.current": 2,
    "balloon.current": 262144,
    "balloon.rss": 100000,
    "block.count": 2,
    "block.0.rd.bytes": 1,
    "block.1.rd.bytes": 2,
    "block.0.wr.bytes": 10,
    "net.count": 1,
    "net.0.rx.bytes": 5,
    "net.0.tx.bytes": 6,
}


def test_counters_of_all_disks_and_cards_add_up() -> None:
    sample = read_sample(STATS, at=3.0)
    assert sample == Sample(3.0, 7.5, 2, 100000 * 1024, 3, 10, 5, 6)


@pytest.mark.parametrize(
    ("more", "kib"),
    [
        ({}, 100000),
        ({"balloon.rss": 300000}, 262144),  # a process holds more than its guest's memory
        ({"balloon.available": 200000, "balloon.usable": 150000}, 50000),
        ({"balloon.available": 200000, "balloon.unused": 120000}, 80000),
    ],
)
def test_memory_is_what_the_guest_says_or_its_process_holds(more: dict[str, object], kib: int) -> None:
    assert read_sample(STATS | more, at=0).memory_bytes == kib * 1024


def test_a_guest_that_reports_nothing_counts_as_nothing() -> None:
    assert read_sample({}, at=1.0) == Sample(1.0, 0, 1, 0, 0, 0, 0, 0)


def test_rates_are_per_second_and_of_all_processors_together() -> None:
    second = Sample(12.0, 7.0, 2, 2048, 300, 200, 1300, 2400)
    usage = usage_between(FIRST, second, NOW)
    assert usage.cpu_percent == 50  # 2 s of 2 processors' 4 s
    assert usage.memory_bytes == 2048
    assert usage.disk_read_bytes_per_second == 100
    assert usage.disk_write_bytes_per_second == 0
    assert usage.network_receive_bytes_per_second == 500
    assert usage.network_transmit_bytes_per_second == 1000
    assert usage.at == NOW


def test_no_rate_without_an_earlier_sample_or_across_a_restart() -> None:
    restarted = replace(FIRST, at=12.0, cpu_seconds=0.1)
    for before, after in ((None, FIRST), (FIRST, restarted), (FIRST, FIRST)):
        usage = usage_between(before, after, NOW)
        assert usage.cpu_percent == usage.disk_read_bytes_per_second == 0
        assert usage.memory_bytes == after.memory_bytes


def test_windows_too_short_to_mean_anything_go_on() -> None:
    soon, afterwards = replace(FIRST, at=10.1), replace(FIRST, at=11.5)
    assert later(None, FIRST) is FIRST
    assert later(FIRST, soon) is FIRST
    assert later(FIRST, afterwards) is afterwards

"""Fixed-size time series."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nanoplugins.metrics.rings import History, Ring


def test_a_slot_holds_the_mean_of_its_samples() -> None:
    ring = Ring(10.0, 5, 2)
    for at, value in ((100.0, 2.0), (104.0, 4.0), (109.9, 6.0), (110.0, 7.0)):
        ring.add(at, (value, value * 10))
    assert ring.read(0, 1000) == ([100.0, 110.0], [[4.0, 7.0], [40.0, 70.0]])


def test_gaps_are_none() -> None:
    ring = Ring(1.0, 10, 1)
    ring.add(100.0, (1.0,))
    ring.add(103.0, (2.0,))
    assert ring.read(0, 1000) == ([100.0, 101.0, 102.0, 103.0], [[1.0, None, None, 2.0]])


def test_a_gap_longer_than_the_ring_leaves_nothing_old() -> None:
    ring = Ring(1.0, 4, 1)
    for at in range(100, 110):
        ring.add(float(at), (float(at),))
    ring.add(1000.0, (5.0,))
    assert ring.read(0, 2000) == ([997.0, 998.0, 999.0, 1000.0], [[None, None, None, 5.0]])


def test_a_late_sample_is_counted_where_it_belongs_or_dropped() -> None:
    ring = Ring(1.0, 3, 1)
    for at in (10.0, 12.0, 11.0, 1.0):
        ring.add(at, (at,))
    assert ring.read(0, 100) == ([10.0, 11.0, 12.0], [[10.0, 11.0, 12.0]])


def test_an_empty_ring_reads_empty() -> None:
    assert Ring(1.0, 3, 2).read(0, 100) == ([], [[], []])


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(-1000, 1000)), max_size=200),
    st.integers(1, 20),
    st.integers(1, 7),
)
def test_a_ring_is_what_a_dictionary_of_the_last_slots_would_be(
    samples: list[tuple[int, int]], length: int, step: int
) -> None:
    ring = Ring(float(step), length, 1)
    model: dict[int, list[int]] = {}
    first = last = -1
    for at, value in samples:
        slot = at // step
        first = slot if last < 0 else first
        if last < 0 or slot > last:
            last = slot
        if slot >= max(first, last - length + 1):
            model.setdefault(slot, []).append(value)
        ring.add(float(at), (float(value),))
    times, (values,) = ring.read(0, 10_000)
    oldest = max(first, last - length + 1)
    assert times == ([float(slot * step) for slot in range(oldest, last + 1)] if samples else [])
    for time, value_read in zip(times, values, strict=True):
        wanted = model.get(int(time) // step)
        if wanted is None:
            assert value_read is None
        else:
            assert value_read is not None
            assert abs(value_read - sum(wanted) / len(wanted)) < 0.01
    assert ring.used_bytes <= length * (4 + 2)


def test_the_finest_ring_that_reaches_back_and_is_coarse_enough_answers() -> None:
    history = History(("x",), ((1.0, 10), (5.0, 10), (50.0, 10)))
    for at in range(1000):
        history.add(float(at), (float(at),))
    assert history.read(995, 999, None, 999)[0] == 1.0
    assert history.read(960, 999, None, 999)[0] == 5.0
    assert history.read(995, 999, 5, 999)[0] == 5.0
    assert history.read(995, 999, 7, 999)[0] == 50.0
    assert history.read(600, 999, 1, 999)[0] == 50.0
    assert history.read(0, 999, None, 999)[0] == 50.0
    assert history.read(0, 999, 1e9, 999)[0] == 50.0
    step, times, series = history.read(995, 999, None, 999)
    assert (step, times, series) == (
        1.0,
        [995.0, 996.0, 997.0, 998.0, 999.0],
        {"x": [995.0, 996.0, 997.0, 998.0, 999.0]},
    )

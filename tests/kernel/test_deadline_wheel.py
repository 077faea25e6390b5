"""Deadlines on one wheel, against a plain dictionary."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from nanocore.deadline_wheel import DeadlineWheel

ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 5), st.floats(0, 100)),
        st.tuples(st.just("discard"), st.integers(0, 5), st.just(0.0)),
        st.tuples(st.just("expire"), st.just(0), st.floats(0, 120)),
    ),
    max_size=60,
)


@given(ACTS)
def test_nothing_expires_early_late_or_twice(acts: list[tuple[str, int, float]]) -> None:
    wheel: DeadlineWheel[int] = DeadlineWheel(0.5)
    model: dict[int, float] = {}
    for act, thing, at in acts:
        if act == "add":
            wheel.add(thing, at)
            model[thing] = at
        elif act == "discard":
            wheel.discard(thing)
            model.pop(thing, None)
        else:
            expired = wheel.expire(at)
            due = {name for name, when in model.items() if math.ceil(when / 0.5) <= math.floor(at / 0.5)}
            assert len(expired) == len(set(expired))
            assert set(expired) == due
            assert all(model[name] <= at for name in due)
            assert not any(when + 0.5 <= at - 0.5 for name, when in model.items() if name not in due)
            for name in due:
                del model[name]
        assert len(wheel) == len(model)
        assert all(wheel.has(name) == (name in model) for name in range(6))

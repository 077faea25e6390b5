"""The state machine of an operation: examples, and Hypothesis driving it through crashes, failures and cancels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nanocore.contracts.operation import OperationState, Step
from nanocore.errors import ErrorCode
from nanocore.ids import OperationId
from nanocore.operations.journal import (
    UNDO_PATIENCE_SECONDS,
    CancelAsked,
    Completed,
    Decision,
    Do,
    End,
    Failed,
    Interrupt,
    OperationRecord,
    Repeat,
    Resumed,
    StepState,
    Undo,
    decide,
    delay_after,
    fits,
    refusal_to_cancel,
    view,
)
from nanocore.wire import decode, encode
from nanocore.wire.envelope import ErrorBody

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def _nothing(context: object) -> None:
    del context


def plan_of(*kinds: str) -> list[Step]:
    """Make steps of letters: ``u`` has an undo, ``n`` none, ``c`` is the final commit (with an undo)."""
    return [
        Step(f"s{index}", _nothing, None if kind == "n" else _nothing, is_final_commit=kind == "c")
        for index, kind in enumerate(kinds)
    ]


def new_record() -> OperationRecord:
    return OperationRecord(id=OperationId("op"), kind="toy", input=b"", resources=[], created_at=NOW)


def error(code: ErrorCode = ErrorCode.NO_CAPACITY, message: str = "full") -> ErrorBody:
    return ErrorBody(code=code, message=message)


def step_states(record: OperationRecord) -> str:
    return " ".join(step.state.value for step in record.steps)


class Machine:
    """Feeds events and keeps the record as a journal would: through the codec."""

    def __init__(self, *kinds: str) -> None:
        self.plan = plan_of(*kinds)
        self.record = new_record()
        self.decision: Decision = End()

    def feed(self, event: Any) -> Decision:
        record, self.decision = decide(self.record, self.plan, event, NOW)
        self.record = decode(encode(record), OperationRecord)
        return self.decision

    def fail(self, code: ErrorCode = ErrorCode.NO_CAPACITY, elapsed: float = 0.0, attempts: int = 1) -> Decision:
        return self.feed(Failed(error(code), elapsed, attempts))


def test_all_steps_in_order() -> None:
    machine = Machine("u", "u")
    assert machine.feed(Resumed()) == Do(0)
    assert machine.record.state is OperationState.PENDING
    assert machine.feed(Completed({"x": 1})) == Do(1)
    assert (machine.record.state, step_states(machine.record)) == (OperationState.RUNNING, "done intended")
    assert machine.feed(Completed(None)) == End()
    assert machine.record.state is OperationState.SUCCEEDED
    assert machine.record.ended_at == NOW
    assert machine.record.outcomes() == {"s0": {"x": 1}, "s1": None}


def test_no_steps_at_all() -> None:
    machine = Machine()
    assert machine.feed(Resumed()) == End()
    assert machine.record.state is OperationState.SUCCEEDED


def test_a_failure_undoes_in_reverse_with_the_failed_step_first() -> None:
    machine = Machine("u", "n", "u")
    machine.feed(Resumed())
    machine.feed(Completed("a"))
    machine.feed(Completed("b"))
    assert machine.fail() == Undo(2)
    assert machine.record.outcomes() == {"s0": "a", "s1": "b"}
    assert machine.feed(Completed()) == Undo(0)
    assert step_states(machine.record) == "undoing undone undone"
    assert machine.feed(Completed()) == End()
    assert machine.record.state is OperationState.FAILED
    assert machine.record.error == error()


def test_what_may_pass_is_repeated_while_the_steps_time_lasts() -> None:
    machine = Machine("u")
    machine.feed(Resumed())
    for code in (ErrorCode.UNAVAILABLE, ErrorCode.UNKNOWN_OUTCOME):
        assert machine.fail(code, elapsed=1, attempts=3) == Repeat(delay_after(3))
    assert machine.fail(ErrorCode.UNAVAILABLE, elapsed=59.9, attempts=1) == Undo(0)


def test_a_cancel_turns_round_whatever_the_step_then_says() -> None:
    for end in (
        Completed("late"),
        Failed(error(ErrorCode.CANCELLED), 0, 1),
        Failed(error(ErrorCode.UNAVAILABLE), 0, 1),
    ):
        machine = Machine("u", "u")
        machine.feed(Resumed())
        machine.feed(Completed())
        assert machine.feed(CancelAsked()) == Interrupt()
        assert machine.feed(end) == Undo(1)
        machine.feed(Completed())
        assert machine.feed(Completed()) == End()
        assert machine.record.state is OperationState.CANCELLED
        assert machine.record.error is not None
        assert machine.record.error.code is ErrorCode.CANCELLED


def test_a_cancel_survives_a_crash() -> None:
    machine = Machine("u", "u")
    machine.feed(Resumed())
    machine.feed(CancelAsked())
    assert machine.feed(Resumed()) == Undo(0)


def test_past_the_final_commit_there_is_only_forward() -> None:
    machine = Machine("u", "c", "u", "u")
    machine.feed(Resumed())
    assert refusal_to_cancel(machine.record, machine.plan) is None
    machine.feed(Completed())
    assert refusal_to_cancel(machine.record, machine.plan) is not None
    machine.feed(Completed())
    assert machine.fail(ErrorCode.DEADLINE_EXCEEDED, elapsed=1) == Repeat(delay_after(1))
    assert machine.fail(ErrorCode.INTERNAL) == Do(3)
    assert machine.feed(Completed()) == End()
    assert (machine.record.state, machine.record.is_unsettled) == (OperationState.FAILED, True)
    assert machine.record.left_error is not None
    assert "s2" in machine.record.left_error.message
    assert machine.feed(Resumed()) == Do(2)
    assert machine.feed(Completed()) == End()
    assert (machine.record.state, machine.record.is_unsettled) == (OperationState.FAILED, False)
    assert step_states(machine.record) == "done done done done"


def test_a_commit_step_that_fails_is_undone() -> None:
    machine = Machine("u", "c", "u")
    machine.feed(Resumed())
    machine.feed(Completed())
    assert machine.fail() == Undo(1)


def test_an_undo_is_repeated_for_a_while_and_then_left_for_the_next_start() -> None:
    machine = Machine("u", "u", "u")
    machine.feed(Resumed())
    machine.feed(Completed())
    machine.feed(Completed())
    machine.fail()
    machine.feed(Completed())
    assert machine.fail(ErrorCode.UNAVAILABLE, elapsed=UNDO_PATIENCE_SECONDS - 1, attempts=9) == Repeat(delay_after(9))
    assert machine.fail(ErrorCode.UNAVAILABLE, elapsed=UNDO_PATIENCE_SECONDS, attempts=10) == End()
    assert (machine.record.state, machine.record.is_unsettled) == (OperationState.FAILED, True)
    shown = view(machine.record, 3).error
    assert shown is not None
    assert shown.code is ErrorCode.NO_CAPACITY
    assert "s1 could not be undone (nor, after it, s0)" in shown.message
    assert machine.feed(Resumed()) == Undo(1)
    assert machine.feed(Completed()) == Undo(0)
    assert machine.feed(Completed()) == End()
    assert (machine.record.state, machine.record.is_unsettled) == (OperationState.FAILED, False)
    assert view(machine.record, 3).error == error()


def test_a_changed_workflow_is_noticed() -> None:
    machine = Machine("u", "u")
    machine.feed(Resumed())
    assert fits(machine.record, plan_of("u"))
    assert not fits(machine.record, [])
    assert not fits(machine.record, [Step("other", _nothing)])


def test_delays_grow_up_to_a_bound() -> None:
    delays = [delay_after(attempts) for attempts in range(1, 2000)]
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (0.2, 10.0)


class World:
    """What the steps of a workflow did to the world, as a reader of the journal must be able to tell."""

    def __init__(self, plan: Sequence[Step]) -> None:
        self.plan = plan
        self.standing: set[str] = set()

    def check(self, record: OperationRecord) -> None:
        known = {step.name for step in record.steps if step.state is not StepState.UNDONE}
        undoable = {step.name for step in self.plan if step.undo is not None}
        assert self.standing & undoable <= known, "something stands that the journal doesn't know of"
        done = {step.name for step in record.steps if step.state is StepState.DONE}
        assert done <= self.standing, "the journal says done and it isn't"


CODES = st.sampled_from([ErrorCode.NO_CAPACITY, ErrorCode.UNAVAILABLE, ErrorCode.INTERNAL, ErrorCode.DEADLINE_EXCEEDED])
FATES = st.lists(
    st.one_of(
        st.just(("ok",)),
        st.tuples(st.just("fail"), CODES, st.booleans(), st.sampled_from([0.0, 50.0, 70.0, 130.0])),
        st.tuples(st.just("crash"), st.booleans()),
        st.just(("cancel",)),
    ),
    max_size=40,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from("unc"), max_size=5), FATES)
def test_it_always_ends_and_the_journal_always_knows(kinds: list[str], fates: list[tuple[Any, ...]]) -> None:
    """Whatever happens at each act: afterwards all stands, or nothing does, or what is left is said."""
    machine = Machine(*kinds)
    world = World(machine.plan)
    decision = machine.feed(Resumed())
    pending = list(fates)
    for _ in range(300):
        world.check(machine.record)
        if isinstance(decision, End):
            break
        if isinstance(decision, Repeat):
            decision = (
                Undo(_index(machine, StepState.UNDOING))
                if machine.record.is_backward
                else Do(_index(machine, StepState.INTENDED))
            )
        assert isinstance(decision, Do | Undo)
        decision = _live(machine, world, decision, pending.pop(0) if pending else ("ok",))
    else:
        raise AssertionError("it never ends")
    _check_end(machine, world)


def _index(machine: Machine, state: StepState) -> int:
    return next(index for index, step in enumerate(machine.record.steps) if step.state is state)


def _live(machine: Machine, world: World, act: Do | Undo, fate: tuple[Any, ...]) -> Decision:
    step = machine.plan[act.index]
    is_begun = fate[0] in ("ok", "cancel") or (fate[0] == "crash" and fate[1]) or (fate[0] == "fail" and fate[2])
    if is_begun and isinstance(act, Do):
        world.standing.add(step.name)
    elif is_begun and fate[0] != "fail":
        world.standing.discard(step.name)
    match fate:
        case ("crash", _):
            return machine.feed(Resumed())
        case ("fail", code, _, elapsed):
            return machine.fail(code, elapsed)
        case ("cancel",) if refusal_to_cancel(machine.record, machine.plan) is None:
            machine.feed(CancelAsked())
    return machine.feed(Completed())


def _check_end(machine: Machine, world: World) -> None:
    record = machine.record
    names = {step.name for step in machine.plan}
    undoable = {step.name for step in machine.plan if step.undo is not None}
    assert record.state.is_final
    assert (record.error is None and record.left_error is None) == (record.state is OperationState.SUCCEEDED)
    if record.state is OperationState.SUCCEEDED:
        assert world.standing == names
    elif record.is_unsettled:
        assert record.left_error is not None
        assert "tried again when the core starts" in record.left_error.message
        # And at the next start, in a world that works, everything is put right.
        decision = machine.feed(Resumed())
        while not isinstance(decision, End):
            assert isinstance(decision, Do | Undo)
            decision = _live(machine, world, decision, ("ok",))
        assert not machine.record.is_unsettled
        assert machine.record.state is record.state
        assert world.standing == names if not record.is_backward else not world.standing & undoable
    else:
        assert not world.standing & undoable

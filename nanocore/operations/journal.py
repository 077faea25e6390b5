"""The state machine of one operation: its record, what may happen to it, and what has to be done next.

Pure: ``decide`` takes the record and an event and returns the next record and a decision; it reads no clock and
does no I/O. The engine makes a changed record durable *before* it acts on the decision, so that at any moment the
record tells what may have been begun::

    forward:   INTENDED -> DONE -> next step INTENDED ... -> SUCCEEDED
    backward:  INTENDED | DONE -> UNDOING -> UNDONE -> step before UNDOING ... -> FAILED | CANCELLED

The outcome of one step and the intent of the next share one write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.operation import Operation, OperationState, Progress, Step
from nanocore.contracts.state_store import Collection
from nanocore.errors import ErrorCode
from nanocore.ids import OperationId
from nanocore.wire import Struct, structs
from nanocore.wire.envelope import ErrorBody

UNDO_PATIENCE_SECONDS = 120.0
"""How long an undo, or a step after the final commit, is repeated before it is left for the next start."""
FIRST_DELAY_SECONDS = 0.2
LAST_DELAY_SECONDS = 10.0

_REPEAT_DO = frozenset({ErrorCode.UNAVAILABLE, ErrorCode.UNKNOWN_OUTCOME})
_REPEAT_LATE = _REPEAT_DO | {ErrorCode.DEADLINE_EXCEEDED, ErrorCode.BUSY}


class StepState(StrEnum):
    """Where one step is."""

    INTENDED = "intended"
    """``do`` may have begun."""
    DONE = "done"
    UNDOING = "undoing"
    """``undo`` may have begun."""
    UNDONE = "undone"
    LEFT = "left"
    """After the final commit: ``do`` did not succeed; it is tried again at the next start."""


class StepRecord(Struct, frozen=True, kw_only=True):
    """The journal of one step that was begun."""

    name: str
    state: StepState
    is_done: bool = False
    """Whether ``do`` returned; then ``outcome`` is what it returned, also while the step is undone."""
    outcome: Any = None


class OperationRecord(Struct, frozen=True, kw_only=True):
    """The journal of one operation. ``error`` is why it goes backward, later also what could not be undone."""

    id: OperationId
    kind: str
    input: bytes
    """The workflow's input as MessagePack."""
    state: OperationState = OperationState.PENDING
    steps: tuple[StepRecord, ...] = ()
    is_backward: bool = False
    is_cancelling: bool = False
    is_unsettled: bool = False
    """It has ended, but something of it is left to undo or to finish at the next start."""
    error: ErrorBody | None = None
    left_error: ErrorBody | None = None
    result: dict[str, Any] | None = None
    resources: list[ResourceRef]
    requested_by: str = ""
    children: tuple[OperationId, ...] = ()
    idempotency_key: str | None = None
    """Kind, requester and the client's key."""
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None

    def outcomes(self) -> dict[str, Any]:
        """Return what finished steps returned, by step name."""
        return {step.name: step.outcome for step in self.steps if step.is_done}


OPERATIONS: Collection[OperationRecord] = Collection("operations", OperationRecord)


# -- events


@dataclass(frozen=True, slots=True)
class Resumed:
    """The process started and found the record as it is; also the first event of a new operation."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The act under way returned ``outcome``; that of an undo is ignored."""

    outcome: Any = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The act under way failed; ``elapsed_seconds`` since its first attempt, of which there were ``attempts``."""

    error: ErrorBody
    elapsed_seconds: float
    attempts: int


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Somebody wants it undone. Only sent if ``refusal_to_cancel`` is ``None``."""


Event = Resumed | Completed | Failed | CancelAsked


# -- decisions


@dataclass(frozen=True, slots=True)
class Do:
    """Run ``do`` of the step at ``index``."""

    index: int


@dataclass(frozen=True, slots=True)
class Undo:
    """Run ``undo`` of the step at ``index``."""

    index: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """Run the act under way again after ``delay_seconds``."""

    delay_seconds: float


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Stop the ``do`` under way; its end comes back as ``Completed`` or ``Failed``."""


@dataclass(frozen=True, slots=True)
class End:
    """Nothing is left to do now; the record says how it ended."""


Decision = Do | Undo | Repeat | Interrupt | End


def decide(
    record: OperationRecord, plan: Sequence[Step], event: Event, now: datetime
) -> tuple[OperationRecord, Decision]:
    """Return what the record becomes by ``event``, and what to do once that is durable."""
    if isinstance(event, Resumed):
        return _resume(record, plan, now)
    if isinstance(event, CancelAsked):
        return structs.replace(record, is_cancelling=True), Interrupt()
    return (
        _decide_backward(record, plan, event, now) if record.is_backward else _decide_forward(record, plan, event, now)
    )


def refusal_to_cancel(record: OperationRecord, plan: Sequence[Step]) -> str | None:
    """Return why the operation can't be cancelled any more, ``None`` if it can."""
    if record.state.is_final:
        return f"it has already ended ({record.state.value})"
    if record.is_backward:
        return "it is already being undone"
    if _has_begun_commit(record, plan):
        return "it is past the point where it can be undone, and will be carried to its end"
    return None


def is_committed(record: OperationRecord, plan: Sequence[Step]) -> bool:
    """Return whether the final commit has been made, so that only the way forward is left."""
    for done, step in zip(record.steps, plan, strict=False):
        if step.is_final_commit and done.state is StepState.DONE:
            return True
    return False


def delay_after(attempts: int) -> float:
    """Return the seconds to wait after that many attempts: doubled each time, up to a bound."""
    return float(min(LAST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(attempts - 1, 16)))


def fits(record: OperationRecord, plan: Sequence[Step]) -> bool:
    """Return whether the journalled steps are those that the workflow has now."""
    return len(record.steps) <= len(plan) and all(
        done.name == step.name for done, step in zip(record.steps, plan, strict=False)
    )


def view(record: OperationRecord, total: int, progress: Progress | None = None) -> Operation:
    """Return the operation as the API shows it; ``total`` is the number of its steps."""
    return Operation(
        id=record.id,
        kind=record.kind,
        state=record.state,
        progress=progress or _progress(record, total),
        resources=record.resources,
        result=record.result,
        error=record.left_error or record.error,
        requested_by=record.requested_by,
        created_at=record.created_at,
        started_at=record.started_at,
        ended_at=record.ended_at,
        children=list(record.children),
    )


def _progress(record: OperationRecord, total: int) -> Progress:
    if record.is_backward:
        left = [step for step in record.steps if step.state is not StepState.UNDONE]
        name = f"undo {left[-1].name}" if left else ""
        return Progress(step=name, done=len(record.steps) - len(left), total=len(record.steps))
    done = sum(step.is_done for step in record.steps)
    current = record.steps[-1].name if record.steps and done < len(record.steps) else ""
    return Progress(step=current, done=done, total=max(total, len(record.steps)))


# -- forward


def _resume(record: OperationRecord, plan: Sequence[Step], now: datetime) -> tuple[OperationRecord, Decision]:
    if record.is_backward:
        return _go_back(record, plan, now)
    if record.is_cancelling and not _has_begun_commit(record, plan):
        return _turn_back(record, plan, _cancelled(), now)
    for index, step in enumerate(record.steps):
        if step.state is StepState.LEFT:
            record = _mark(record, index, StepState.INTENDED)
    return _go_on(record, plan, now)


def _go_on(record: OperationRecord, plan: Sequence[Step], now: datetime) -> tuple[OperationRecord, Decision]:
    for index, step in enumerate(record.steps):
        if step.state is StepState.INTENDED:
            return record, Do(index)
    index = len(record.steps)
    if index < len(plan):
        intent = StepRecord(name=plan[index].name, state=StepState.INTENDED)
        state = OperationState.PENDING if index == 0 else OperationState.RUNNING
        started_at = record.started_at or now
        return structs.replace(record, steps=(*record.steps, intent), state=state, started_at=started_at), Do(index)
    if any(step.state is StepState.LEFT for step in record.steps):
        return _ended(record, OperationState.FAILED, now, is_unsettled=True), End()
    if record.state.is_final and record.left_error is not None:
        message = "some steps failed at first and were finished when the core started again; nothing is left to do"
        record = structs.replace(record, left_error=structs.replace(record.left_error, message=message))
        return _ended(record, OperationState.FAILED, now), End()
    record = structs.replace(record, left_error=None)
    return _ended(record, OperationState.SUCCEEDED, now), End()


def _decide_forward(
    record: OperationRecord, plan: Sequence[Step], event: Completed | Failed, now: datetime
) -> tuple[OperationRecord, Decision]:
    index = _index(record, StepState.INTENDED)
    if isinstance(event, Completed):
        done = _complete(record, index, event.outcome)
        return _turn_back(done, plan, _cancelled(), now) if record.is_cancelling else _go_on(done, plan, now)
    error, delay = event.error, delay_after(event.attempts)
    if is_committed(record, plan):
        if _can_repeat_late(event):
            return record, Repeat(delay)
        return _go_on(_leave(record, index, error), plan, now)
    if record.is_cancelling:
        return _turn_back(record, plan, _cancelled(), now)
    if error.code in _REPEAT_DO and event.elapsed_seconds + delay < plan[index].timeout_seconds:
        return record, Repeat(delay)
    return _turn_back(record, plan, error, now)


def _can_repeat_late(event: Failed) -> bool:
    return event.error.code in _REPEAT_LATE and event.elapsed_seconds < UNDO_PATIENCE_SECONDS


def _leave(record: OperationRecord, index: int, error: ErrorBody) -> OperationRecord:
    name = record.steps[index].name
    first = record.left_error or ErrorBody(
        code=error.code, message="the change was made, but not all of its steps", reason="operations.left"
    )
    message = f"{first.message}; step {name} failed: {error.message}; it is tried again when the core starts"
    return structs.replace(_mark(record, index, StepState.LEFT), left_error=structs.replace(first, message=message))


# -- backward


def _decide_backward(
    record: OperationRecord, plan: Sequence[Step], event: Completed | Failed, now: datetime
) -> tuple[OperationRecord, Decision]:
    if isinstance(event, Completed):
        return _go_back(_mark(record, _index(record, StepState.UNDOING), StepState.UNDONE), plan, now)
    if _can_repeat_late(event):
        return record, Repeat(delay_after(event.attempts))
    return _give_up_undo(record, event.error, now)


def _turn_back(
    record: OperationRecord, plan: Sequence[Step], error: ErrorBody, now: datetime
) -> tuple[OperationRecord, Decision]:
    return _go_back(structs.replace(record, is_backward=True, error=error), plan, now)


def _go_back(record: OperationRecord, plan: Sequence[Step], now: datetime) -> tuple[OperationRecord, Decision]:
    for index in reversed(range(len(record.steps))):
        if record.steps[index].state is StepState.UNDONE:
            continue
        if plan[index].undo is None:
            record = _mark(record, index, StepState.UNDONE)
            continue
        return _mark(record, index, StepState.UNDOING), Undo(index)
    state = OperationState.CANCELLED if record.is_cancelling else OperationState.FAILED
    return _ended(structs.replace(record, left_error=None), state, now), End()


def _give_up_undo(record: OperationRecord, error: ErrorBody, now: datetime) -> tuple[OperationRecord, Decision]:
    """End without the rest: undoing earlier steps under a later one that still stands would orphan it."""
    names = [step.name for step in reversed(record.steps) if step.state is not StepState.UNDONE]
    cause = record.error or error
    also = f" (nor, after it, {', '.join(names[1:])})" if names[1:] else ""
    message = (
        f"{cause.message}; step {names[0]} could not be undone{also}: {error.message}; "
        "this is tried again when the core starts"
    )
    left = structs.replace(cause, message=message)
    state = OperationState.FAILED
    return _ended(structs.replace(record, left_error=left), state, now, is_unsettled=True), End()


# -- parts


def _mark(record: OperationRecord, index: int, state: StepState) -> OperationRecord:
    step = record.steps[index]
    return record if step.state is state else _with_step(record, index, structs.replace(step, state=state))


def _complete(record: OperationRecord, index: int, outcome: Any) -> OperationRecord:  # noqa: ANN401  JSON
    name = record.steps[index].name
    return _with_step(record, index, StepRecord(name=name, state=StepState.DONE, is_done=True, outcome=outcome))


def _with_step(record: OperationRecord, index: int, step: StepRecord) -> OperationRecord:
    return structs.replace(record, steps=(*record.steps[:index], step, *record.steps[index + 1 :]))


def _ended(
    record: OperationRecord, state: OperationState, now: datetime, *, is_unsettled: bool = False
) -> OperationRecord:
    if record.state.is_final:
        # It is a later attempt at what was left: how the operation ended was told already, and stays.
        return structs.replace(record, is_unsettled=is_unsettled)
    return structs.replace(record, state=state, ended_at=now, is_unsettled=is_unsettled)


def _index(record: OperationRecord, state: StepState) -> int:
    for index, step in enumerate(record.steps):
        if step.state is state:
            return index
    message = f"operation {record.id} has no step {state.value}"
    raise LookupError(message)


def _has_begun_commit(record: OperationRecord, plan: Sequence[Step]) -> bool:
    return any(step.is_final_commit for _, step in zip(record.steps, plan, strict=False))


def _cancelled() -> ErrorBody:
    return ErrorBody(code=ErrorCode.CANCELLED, message="the operation was cancelled", reason="operations.cancelled")

"""One operation that runs in this process: what the engine keeps of it beside its record."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from nanocore.contracts.operation import Operation, OperationState, Progress, Step, Workflow
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import OperationId, StepKey
from nanocore.operations.journal import OperationRecord, is_committed, view
from nanocore.wire import Struct, encode, structs, to_builtins
from nanocore.wire.envelope import ErrorBody

MAX_OUTCOME_BYTES = 256 * 1024
MAX_ERROR_BYTES = 16 * 1024


class Run:
    """State in memory of one unfinished operation. ``task`` is the ``do`` or ``undo`` under way."""

    __slots__ = (
        "attempts",
        "begun",
        "first_attempt_at",
        "input",
        "is_timed_out",
        "plan",
        "progress",
        "record",
        "step",
        "task",
        "waiters",
        "workflow",
    )

    def __init__(
        self, record: OperationRecord, workflow: Workflow[Any] | None, input: Struct | None, plan: Sequence[Step]
    ) -> None:
        self.record = record
        self.workflow = workflow
        """``None`` if no plugin offers its kind now: it is kept as it is, and its resources stay locked."""
        self.input = input
        self.plan = plan
        self.step: Step | None = None
        self.task: asyncio.Task[Any] | None = None
        self.is_timed_out = False
        self.attempts = 0
        self.first_attempt_at = 0.0
        self.progress: Progress | None = None
        self.begun: asyncio.Future[None] | None = None
        self.waiters: list[asyncio.Future[None]] = []

    def view(self) -> Operation:
        """Return the operation as the API shows it now."""
        return view(self.record, len(self.plan), self.progress)

    def set_running(self) -> None:
        """Show it as running; journalled with the next change."""
        if self.record.state is OperationState.PENDING:
            self.record = structs.replace(self.record, state=OperationState.RUNNING)

    def deadline_seconds(self, now: float) -> float:
        """Return how long the attempt that begins ``now`` may take.

        Attempts at a ``do`` that may still fail share the step's time; what must succeed gets all of it each time.
        """
        step = self.step
        assert step is not None  # noqa: S101  only called with an act under way
        if self.record.is_backward or is_committed(self.record, self.plan):
            return step.timeout_seconds
        return max(0.0, step.timeout_seconds - (now - self.first_attempt_at))

    def result(self) -> dict[str, Any] | None:
        """Return what the workflow says after success; raises whatever the workflow raises."""
        if self.workflow is None or self.input is None:
            return None
        result: dict[str, Any] | None = to_builtins(self.workflow.result(self.input, self.record.outcomes()))
        return result


class Context:
    """The ``StepContext`` of one attempt."""

    __slots__ = ("_on_progress", "_run", "key", "operation_id", "outcomes", "requested_by")

    def __init__(self, run: Run, step: Step, on_progress: Callable[[Run], None]) -> None:
        self._run = run
        self._on_progress = on_progress
        self.operation_id: OperationId = run.record.id
        self.key = StepKey(f"{run.record.id}/{step.name}")
        self.outcomes: Mapping[str, Any] = run.record.outcomes()
        self.requested_by = run.record.requested_by

    def progress(self, done: int, total: int, unit: str) -> None:
        """Tell how far this step is; cheap, not durable. After the step's end it is ignored."""
        step = self._run.step
        if step is not None and self.key.endswith(f"/{step.name}"):
            self._run.progress = Progress(step=step.name, done=done, total=total, unit=unit)
            self._on_progress(self._run)

    def add_child(self, id: OperationId) -> None:
        """Show an operation that this step began; after the step's end it is ignored."""
        run = self._run
        if run.step is not None and self.key.endswith(f"/{run.step.name}") and id not in run.record.children:
            run.record = structs.replace(run.record, children=(*run.record.children, id))
            self._on_progress(run)


def storable_outcome(outcome: Any) -> Any:  # noqa: ANN401  JSON
    """Return ``outcome`` as it will be after a restart; raise ``internal`` if it can't be journalled."""
    if outcome is None or outcome is True or outcome is False:
        return outcome
    try:
        plain = to_builtins(outcome)
        size = len(encode(plain))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        message = f"a step returned what can't be journalled ({error}); it must return JSON-compatible data"
        raise NanoError(ErrorCode.INTERNAL, message, reason="operations.outcome") from error
    if size > MAX_OUTCOME_BYTES:
        message = f"a step returned {size} bytes; at most {MAX_OUTCOME_BYTES} can be journalled"
        raise NanoError(ErrorCode.INTERNAL, message, reason="operations.outcome")
    return plain


def error_body(error: BaseException, log: structlog.stdlib.BoundLogger, run: Run) -> ErrorBody:
    """Return ``error`` as it is journalled and shown; the traceback of a mistake goes to the log only."""
    if isinstance(error, NanoError):
        body = ErrorBody.from_error(error)
        try:
            if len(encode(body)) <= MAX_ERROR_BYTES:
                return structs.replace(body, details=to_builtins(body.details))
        except (TypeError, ValueError, OverflowError, RecursionError):
            log.exception("error details can't be journalled", operation=run.record.id)
        return structs.replace(body, message=body.message[:2000], details={})
    incident = uuid.uuid4().hex[:12]
    name = run.step.name if run.step is not None else ""
    log.error(
        "step failed", operation=run.record.id, kind=run.record.kind, step=name, incident=incident, exc_info=error
    )
    message = f"step {name} of {run.record.kind} failed inside (incident {incident} in the core's log)"
    return ErrorBody(code=ErrorCode.INTERNAL, message=message, details={"incident": incident})

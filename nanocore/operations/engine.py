"""Runs operations: feeds events to the journal's state machine, makes its records durable, and acts on its decisions.

Everything happens by callback on the loop: a running operation holds one task (the step under way), one entry in the
deadline wheel, and nothing else, so that tens of thousands can be in flight.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import structlog

from nanocore.clock import Clock
from nanocore.contracts.authorizer import Principal, ResourceRef
from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.operation import (
    CancelOperation,
    GetOperation,
    ListOperations,
    Operation,
    OperationState,
    Workflow,
)
from nanocore.contracts.state_store import Collection, Delete, StateStore
from nanocore.deadline_wheel import DeadlineWheel
from nanocore.errors import ErrorCode, NanoError
from nanocore.failpoints import fail_point
from nanocore.ids import OperationId, new_id
from nanocore.operations.board import IdempotencyKeys, OperationBoard, Publish, scoped_key
from nanocore.operations.journal import (
    OPERATIONS,
    CancelAsked,
    Completed,
    Decision,
    Do,
    End,
    Event,
    Failed,
    Interrupt,
    OperationRecord,
    Repeat,
    Resumed,
    Undo,
    decide,
    fits,
    refusal_to_cancel,
    view,
)
from nanocore.operations.run import Context, Run, error_body, storable_outcome
from nanocore.operations.writer import JournalWriter
from nanocore.wire import Struct, decode, encode, structs
from nanocore.wire.envelope import ErrorBody

MAX_RUNNING = 50_000
"""Beyond that many at once a new operation is ``busy``."""
TICK_SECONDS = 0.1
SHOW_TICKS = 3
"""Progress in the list is brought up to date at every such tick."""
INTERRUPT_GRACE_SECONDS = 5.0
"""How long a step may take to end once it was cancelled; then it is left behind."""
STOP_SECONDS = 0.75
DELETE_BATCH = 500


class OperationEngine:
    """The core's ``Operations``; composed by the node, which opens ``store`` before ``start``."""

    def __init__(self, store: StateStore, clock: Clock, log: structlog.stdlib.BoundLogger, publish: Publish) -> None:
        self._store = store
        self._clock = clock
        self._log = log
        self._workflows: dict[str, Workflow[Any]] = {}
        self._runs: dict[OperationId, Run] = {}
        self._locks: dict[tuple[str, str], Run] = {}
        self._keys = IdempotencyKeys()
        self._board = OperationBoard(clock, log, publish)
        self._table = self._board.table
        self._writer = JournalWriter(store, log)
        self._wheel: DeadlineWheel[Run] = DeadlineWheel(TICK_SECONDS)
        self._dirty: dict[Run, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0
        self._unwritten: set[asyncio.Future[None]] = set()
        """Callers who wait for their journal line; a stop answers them."""
        self._context = contextvars.Context()
        self._is_started = False
        self._is_held = False
        self._waiting: list[Run] = []
        # Looked up once: reading the environment at four points of every step costs more than the step.
        is_armed = "NANO_FAIL_POINT" in os.environ or "NANO_FAIL_POINT_LOG" in os.environ
        self._fail_point: Callable[[str, str], None] | None = _reach if is_armed else None

    # -- composition, for the node

    def collections(self) -> Sequence[Collection[Any]]:
        """Return the record collections to open the store with."""
        return [OPERATIONS]

    def handlers(self) -> Sequence[Handler]:
        """Return the handlers of the operations capability."""
        return [
            Handler(ListOperations, self._list_operations),
            Handler(GetOperation, self._get_operation, resource=_resource),
            Handler(CancelOperation, self._cancel_operation, resource=_resource),
        ]

    def register(self, workflows: Iterable[Workflow[Any]]) -> None:
        """Make kinds of operation known; before ``start``."""
        self._workflows.update({workflow.kind: workflow for workflow in workflows})

    async def start(self, *, is_held: bool = False) -> None:
        """Load the journal, and carry on or undo what is unfinished; returns while that goes on.

        With ``is_held`` what is unfinished is locked and waits for ``release``: its steps need the plugins' services.
        """
        # A context of our own: steps must not inherit the deadline or the trace of whoever asked.
        self._context = contextvars.copy_context()
        self._board.start(self._context)
        self._is_started = True
        self._is_held = is_held
        records = sorted((entry.value for entry in self._store.list(OPERATIONS)), key=lambda record: record.created_at)
        latest = {(ref.kind, ref.id): record.id for record in records for ref in record.resources}
        for record in records:
            self._keys.remember(record.idempotency_key, record.id, record.created_at, self._clock.now())
            # A later operation on the same object has overtaken whatever this one left.
            is_latest = all(latest[ref.kind, ref.id] == record.id for ref in record.resources)
            if not record.state.is_final or (record.is_unsettled and is_latest):
                self._resume(record)
            else:
                self._table.put(view(record, len(record.steps)))

    def release(self) -> None:
        """Let what was unfinished at the start go on."""
        self._is_held = False
        waiting, self._waiting = self._waiting, []
        for run in waiting:
            record = run.record
            self._log.info("operation goes on", operation=record.id, kind=record.kind, is_backward=record.is_backward)
            self._feed(run, Resumed())

    async def stop(self) -> None:
        """Stop every step where it is; what is unfinished goes on at the next start."""
        self._is_started = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
        await self._writer.stop(STOP_SECONDS)
        await self._board.stop()
        for future in tuple(self._unwritten):
            message = "the core stopped before it was recorded; look at the operation once the core runs again"
            future.set_exception(NanoError(ErrorCode.UNKNOWN_OUTCOME, message))
        for run in self._runs.values():
            _wake(run)

    # -- Operations

    async def run(
        self,
        kind: str,
        input: Struct,
        *,
        requested_by: Principal | None = None,
        idempotency_key: str | None = None,
    ) -> Operation:
        """Journal the intent of a new operation, start it, and return it as pending; see ``Operations``."""
        workflow = self._workflows.get(kind)
        if workflow is None:
            known = ", ".join(sorted(self._workflows)) or "none"
            raise NanoError(
                ErrorCode.UNIMPLEMENTED, f"no plugin offers operations of kind {kind!r}; there are: {known}"
            )
        if not self._is_started:
            raise NanoError(ErrorCode.UNAVAILABLE, "the core is starting or stopping; try again in a moment")
        key = scoped_key(kind, requested_by, idempotency_key)
        first = self._find_by_key(key)
        if first is not None:
            return await self._repeated(first)
        run = self._new_run(workflow, input, requested_by, key)
        return await self._begin(run)

    async def wait(self, id: OperationId, timeout_seconds: float) -> Operation:
        """Return the operation when it has ended, or as it is after ``timeout_seconds``; raise ``not_found``."""
        run = self._runs.get(id)
        if run is not None and timeout_seconds > 0 and self._is_started:
            waiter = asyncio.get_running_loop().create_future()
            run.waiters.append(waiter)
            try:
                await asyncio.wait({waiter}, timeout=timeout_seconds)
            finally:
                if waiter in run.waiters:
                    run.waiters.remove(waiter)
        return self.get(id)

    def get(self, id: OperationId) -> Operation:
        """Return the operation as it is now; raise ``not_found``."""
        run = self._runs.get(id)
        # An end is told once it is durable and the resources are free; until then the table's last view counts.
        return self._table.get(id) if run is None or run.record.state.is_final else run.view()

    def find_running(self, resource: ResourceRef) -> Operation | None:
        """Return the operation that is changing ``resource`` now."""
        run = self._locks.get((resource.kind, resource.id))
        return None if run is None else run.view()

    def find_repeated(
        self, kind: str, *, requested_by: Principal | None = None, idempotency_key: str | None = None
    ) -> Operation | None:
        """Return the operation that an earlier request with this key began; see ``Operations``."""
        id = self._find_by_key(scoped_key(kind, requested_by, idempotency_key))
        return None if id is None else self.get(id)

    async def delete_ended(self, before: datetime) -> int:
        """Delete what ended before ``before``, except where something is left to do; return the number."""
        ended = [
            entry.key
            for entry in self._store.list(OPERATIONS)
            if entry.value.ended_at is not None
            and entry.value.ended_at < before
            and not entry.value.is_unsettled
            and entry.key not in self._runs
        ]
        for first in range(0, len(ended), DELETE_BATCH):
            batch = ended[first : first + DELETE_BATCH]
            await self._store.commit(*[Delete(OPERATIONS, key) for key in batch])
            for key in batch:
                self._table.delete(key)
        return len(ended)

    async def cancel(self, id: OperationId) -> Operation:
        """Turn the operation round: return once that is durable. Raises ``not_found`` and ``wrong_state``."""
        run = self._runs.get(id)
        record = None if run is None else run.record
        if run is None or record is None or record.state.is_final:
            ended = self.get(id)
            if ended.state is OperationState.CANCELLED:
                return ended
            raise _too_late(id, f"it has already ended ({ended.state.value})")
        if record.is_cancelling:
            return run.view()
        if run in self._waiting:
            raise NanoError(ErrorCode.BUSY, "the core is starting; cancel it in a moment", retry_after_seconds=1)
        if run.workflow is None:
            raise _too_late(id, f"no plugin that is enabled knows how to undo {record.kind}")
        refusal = refusal_to_cancel(record, run.plan)
        if refusal is not None:
            raise _too_late(id, refusal)
        durable = self._unwritten_future()
        self._feed(run, CancelAsked(), durable)
        await asyncio.shield(durable)
        return run.view()

    # -- handlers

    async def _list_operations(self, query: ListOperations, call: Call) -> Reply[PageInfo]:
        del call
        return await self._table.answer(query if query.sort else structs.replace(query, sort="-created_at"))

    async def _get_operation(self, query: GetOperation, call: Call) -> Operation:
        # A second before the caller gives up, so that it gets an answer instead of an error.
        return await self.wait(query.id, min(query.wait_seconds, call.deadline.remaining(self._clock) - 1.0))

    async def _cancel_operation(self, command: CancelOperation, call: Call) -> Operation:
        del call
        return await self.cancel(command.id)

    # -- beginning

    def _new_run(self, workflow: Workflow[Any], input: Struct, requested_by: Principal | None, key: str | None) -> Run:
        resources = workflow.resources(input)
        self._check_free(workflow.kind, resources)
        if len(self._runs) >= MAX_RUNNING:
            message = f"{len(self._runs)} operations are running, which is the most at once; try again soon"
            raise NanoError(ErrorCode.BUSY, message, retry_after_seconds=5)
        record = OperationRecord(
            id=OperationId(new_id()),
            kind=workflow.kind,
            input=encode(input),
            resources=resources,
            requested_by="system" if requested_by is None else requested_by.username,
            idempotency_key=key,
            created_at=self._clock.now(),
        )
        return Run(record, workflow, input, workflow.steps(input))

    def _check_free(self, kind: str, resources: Sequence[ResourceRef]) -> None:
        for ref in resources:
            holder = self._locks.get((ref.kind, ref.id))
            if holder is not None:
                id = holder.record.id
                message = (
                    f"{ref.kind} {ref.id} is being changed by operation {id} ({holder.record.kind}); "
                    f"wait for it or cancel it, then try {kind} again"
                )
                raise NanoError(ErrorCode.BUSY, message, operation_id=id, retry_after_seconds=1)

    async def _begin(self, run: Run) -> Operation:
        begun = run.begun = self._unwritten_future()
        self._hold(run)
        self._keys.remember(run.record.idempotency_key, run.record.id, run.record.created_at, run.record.created_at)
        run.record, decision = decide(run.record, run.plan, Resumed(), self._clock.now())
        if isinstance(decision, End):
            self._set_result(run)
        pending = run.view()
        self._writer.write(run.record, partial(self._begun, run, decision), partial(self._not_begun, run))
        await asyncio.shield(begun)
        return pending

    def _begun(self, run: Run, decision: Decision) -> None:
        if self._fail_point:
            self._fail_point(run.record.kind, "begin")
        self._table.put(run.view())
        if run.begun is not None and not run.begun.done():
            run.begun.set_result(None)
        self._act(run, decision)

    def _not_begun(self, run: Run, error: NanoError) -> None:
        self._release(run)
        self._keys.forget(run.record.idempotency_key)
        if run.begun is not None and not run.begun.done():
            run.begun.set_exception(error)

    async def _repeated(self, id: OperationId) -> Operation:
        run = self._runs.get(id)
        if run is not None and run.begun is not None:
            await asyncio.shield(run.begun)
        return self.get(id)

    def _resume(self, record: OperationRecord) -> None:
        try:
            run = self._old_run(record)
        except Exception as error:  # noqa: BLE001  one operation that can't go on must not stop the start
            self._suspend(record, error)
            return
        self._hold(run)
        self._table.put(run.view())
        self._waiting.append(run)
        if not self._is_held:
            self.release()

    def _old_run(self, record: OperationRecord) -> Run:
        workflow = self._workflows.get(record.kind)
        if workflow is None:
            message = f"no plugin that is enabled offers {record.kind}; enable it and start the core again"
            raise NanoError(ErrorCode.UNIMPLEMENTED, message)
        input = decode(record.input, workflow.input)
        run = Run(record, workflow, input, workflow.steps(input))
        if not fits(record, run.plan):
            message = f"the steps of {record.kind} have changed; start the release that began this operation"
            raise NanoError(ErrorCode.UNSUPPORTED, message)
        return run

    def _suspend(self, record: OperationRecord, error: Exception) -> None:
        """Keep it, unfinished, with the reason; its resources stay locked, as they are half-way changed."""
        run = Run(record, None, None, ())
        body = error_body(error, self._log, run)
        run.record = structs.replace(record, left_error=structs.replace(body, message=f"suspended: {body.message}"))
        self._hold(run)
        self._table.put(run.view())
        self._log.error("operation suspended", operation=record.id, kind=record.kind, error=str(error))

    # -- going on

    def _feed(self, run: Run, event: Event, durable: asyncio.Future[None] | None = None) -> None:
        record, decision = decide(run.record, run.plan, event, self._clock.now())
        if record is run.record:
            self._act(run, decision)
            return
        run.record = record
        if isinstance(decision, End):
            self._set_result(run)
        self._writer.write(run.record, partial(self._written, run, decision, durable))

    def _written(self, run: Run, decision: Decision, durable: asyncio.Future[None] | None) -> None:
        if durable is not None and not durable.done():
            durable.set_result(None)
        self._act(run, decision)

    def _act(self, run: Run, decision: Decision) -> None:
        if not self._is_started:
            return
        match decision:
            case Do(index) if run.record.is_cancelling and not run.record.is_backward:
                run.step = run.plan[index]
                self._failed(run, ErrorBody(code=ErrorCode.CANCELLED, message="cancelled before the step began"))
            case Do(index) | Undo(index):
                run.step = run.plan[index]
                run.attempts = 0
                run.first_attempt_at = self._clock.monotonic()
                run.progress = None
                run.set_running()
                self._touch(run)
                self._attempt(run)
            case Repeat(delay):
                self._wait_until(run, self._clock.monotonic() + delay)
            case Interrupt():
                self._interrupt(run)
            case End():
                self._finish(run)

    def _attempt(self, run: Run) -> None:
        step = run.step
        assert step is not None  # noqa: S101  set with the decision that led here
        run.attempts += 1
        run.is_timed_out = False
        name = "undoing" if run.record.is_backward else "intended"
        if self._fail_point:
            self._fail_point(run.record.kind, f"{step.name}/{name}")
        act = step.undo if run.record.is_backward and step.undo is not None else step.do
        work = _bound(act, Context(run, step, self._touch), run.record.id, step.name)
        task = asyncio.get_running_loop().create_task(work, context=self._context.copy())
        run.task = task
        task.add_done_callback(partial(self._ended, run))
        now = self._clock.monotonic()
        self._wait_until(run, now + run.deadline_seconds(now))

    def _ended(self, run: Run, task: asyncio.Task[Any]) -> None:
        """Take the end of an act, unless it was left behind or the engine stops."""
        error = None if task.cancelled() else task.exception()
        if run.task is not task or not self._is_started:
            return
        run.task = None
        self._wheel.discard(run)
        if error is None and not task.cancelled():
            self._completed(run, task.result())
        elif run.is_timed_out:
            self._failed(run, _timed_out(run))
        elif error is not None:
            self._failed(run, error_body(error, self._log, run))
        else:
            self._failed(run, ErrorBody(code=ErrorCode.CANCELLED, message="the step was cancelled"))

    def _completed(self, run: Run, outcome: Any) -> None:  # noqa: ANN401  JSON
        step = run.step
        assert step is not None  # noqa: S101  an act was under way
        if self._fail_point:
            self._fail_point(run.record.kind, f"{step.name}/{'undone' if run.record.is_backward else 'done'}")
        try:
            event: Event = Completed(storable_outcome(outcome))
        except NanoError as error:
            self._failed(run, error_body(error, self._log, run))
            return
        self._feed(run, event)

    def _failed(self, run: Run, error: ErrorBody) -> None:
        elapsed = self._clock.monotonic() - run.first_attempt_at
        self._log.info(
            "step not done",
            operation=run.record.id,
            kind=run.record.kind,
            step=run.step.name if run.step else "",
            is_undo=run.record.is_backward,
            attempt=run.attempts,
            error=f"{error.code.value}: {error.message}",
        )
        self._feed(run, Failed(error, elapsed, max(1, run.attempts)))

    def _interrupt(self, run: Run) -> None:
        if run.record.is_backward:
            return
        if run.task is not None:
            run.task.cancel()
            self._wait_until(run, self._clock.monotonic() + INTERRUPT_GRACE_SECONDS)
        elif self._wheel.has(run):
            self._wheel.discard(run)
            self._failed(run, ErrorBody(code=ErrorCode.CANCELLED, message="cancelled between two attempts"))

    def _finish(self, run: Run) -> None:
        if self._fail_point:
            self._fail_point(run.record.kind, "end")
        run.progress = None
        self._release(run)
        self._table.put(run.view())
        level = "info" if run.record.state is OperationState.SUCCEEDED else "warning"
        error = run.record.left_error or run.record.error
        getattr(self._log, level)(
            "operation ended",
            operation=run.record.id,
            kind=run.record.kind,
            state=run.record.state.value,
            error=None if error is None else error.message,
        )
        _wake(run)

    def _set_result(self, run: Run) -> None:
        if run.record.state is not OperationState.SUCCEEDED:
            return
        try:
            run.record = structs.replace(run.record, result=storable_outcome(run.result()))
        except Exception:  # noqa: BLE001  a plugin's code; the change itself is made
            self._log.exception("operation has no result", operation=run.record.id, kind=run.record.kind)

    # -- time

    def _wait_until(self, run: Run, at: float) -> None:
        self._wheel.add(run, at)
        self._set_timer()

    def _touch(self, run: Run) -> None:
        self._dirty[run] = None
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is None and self._is_started:
            self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        for run in self._wheel.expire(self._clock.monotonic()):
            self._expired(run)
        self._ticks += 1
        if self._ticks % SHOW_TICKS == 0:
            dirty, self._dirty = self._dirty, {}
            for run in dirty:
                if run.record.id in self._runs:
                    self._table.put(run.view())
        if len(self._wheel) or self._dirty:
            self._set_timer()

    def _expired(self, run: Run) -> None:
        task = run.task
        if task is None:
            self._attempt(run)
        elif not run.is_timed_out and not task.cancelling():
            run.is_timed_out = True
            task.cancel()
            self._wait_until(run, self._clock.monotonic() + INTERRUPT_GRACE_SECONDS)
        else:
            run.task = None
            name = run.step.name if run.step else ""
            self._log.error("step ignores its cancellation and is left behind", operation=run.record.id, step=name)
            self._failed(run, _timed_out(run))

    # -- what is known

    def _hold(self, run: Run) -> None:
        self._runs[run.record.id] = run
        for ref in run.record.resources:
            self._locks.setdefault((ref.kind, ref.id), run)

    def _release(self, run: Run) -> None:
        self._runs.pop(run.record.id, None)
        for ref in run.record.resources:
            if self._locks.get((ref.kind, ref.id)) is run:
                del self._locks[ref.kind, ref.id]

    def _find_by_key(self, key: str | None) -> OperationId | None:
        id = self._keys.find(key, self._clock.now())
        return id if id is not None and (id in self._runs or self._table.find(id) is not None) else None

    def _unwritten_future(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unwritten.add(future)
        future.add_done_callback(self._seen)
        return future

    def _seen(self, future: asyncio.Future[None]) -> None:
        self._unwritten.discard(future)
        if not future.cancelled():
            # Marks an exception as seen: whoever asked may have gone.
            future.exception()


def _reach(kind: str, name: str) -> None:
    fail_point(f"{kind}/{name}")


async def _bound(act: Callable[[Context], Awaitable[Any]], context: Context, id: OperationId, step: str) -> Any:  # noqa: ANN401
    """Run ``act`` in a task of its own, whose log lines name operation and step."""
    structlog.contextvars.bind_contextvars(operation=id, step=step)
    return await act(context)


def _timed_out(run: Run) -> ErrorBody:
    step = run.step
    assert step is not None  # noqa: S101  an act was under way
    what = "undo of step" if run.record.is_backward else "step"
    message = f"{what} {step.name} of {run.record.kind} took longer than {step.timeout_seconds:g} s"
    return ErrorBody(code=ErrorCode.DEADLINE_EXCEEDED, message=message, reason="operations.step_timeout")


def _too_late(id: OperationId, why: str) -> NanoError:
    return NanoError(ErrorCode.WRONG_STATE, f"operation {id} can't be cancelled: {why}")


def _resource(message: GetOperation | CancelOperation) -> ResourceRef:
    return ResourceRef(kind="operation", id=message.id)


def _wake(run: Run) -> None:
    waiters, run.waiters = run.waiters, []
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)

"""Long-running work: journalled steps with undo, and what clients see of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from nanocore.contracts.authorizer import Principal, ResourceRef
from nanocore.contracts.listing import ListQuery, PageInfo
from nanocore.ids import OperationId, StepKey
from nanocore.wire import Command, Query, Result, Struct, field
from nanocore.wire.envelope import ErrorBody

I = TypeVar("I", bound=Struct)  # noqa: E741  the input


class OperationState(StrEnum):
    """Where an operation is; the last three are final."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self in (OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED)


class Progress(Result, frozen=True, kw_only=True):
    """How far; ``done`` of ``total`` in ``unit`` (steps, bytes)."""

    step: str = ""
    done: int = 0
    total: int = 0
    unit: str = "steps"


class Operation(Result, frozen=True, kw_only=True):
    """Tracked long-running work, as the API shows it."""

    id: OperationId
    kind: str
    state: OperationState
    progress: Progress = field(default_factory=Progress)
    resources: list[ResourceRef] = field(default_factory=list)
    result: dict[str, Any] | None = None
    error: ErrorBody | None = None
    requested_by: str = ""
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    children: list[OperationId] = field(default_factory=list)


class StepContext(Protocol):
    """What one step of a running operation is given.

    ``key`` is the same at every attempt: commands to cells carry it, so that a repeat does nothing twice.
    ``outcomes`` holds what earlier steps returned, by step name, also after a restart.
    """

    operation_id: OperationId
    key: StepKey
    outcomes: Mapping[str, Any]
    requested_by: str

    def progress(self, done: int, total: int, unit: str) -> None:
        """Tell how far this step is; cheap, not durable."""
        ...

    def add_child(self, id: OperationId) -> None:
        """Show an operation that this step began as one of ``Operation.children``; again is fine.

        Durable with the step's outcome: a step that is repeated after a crash adds its children again.
        """
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One journalled act and its undo.

    ``do`` returns JSON-compatible data that is journalled as the outcome. It must be repeatable under its key: after a
    crash it is run again. ``undo`` must also work when ``do`` never began or stopped half-way. A step without
    ``undo`` changes nothing that needs undoing. ``is_final_commit``: once this step's ``do`` succeeded the
    operation is carried on to the end, whatever fails later, and can't be cancelled.
    """

    name: str
    do: Callable[[StepContext], Awaitable[Any]]
    undo: Callable[[StepContext], Awaitable[None]] | None = None
    timeout_seconds: float = 60.0
    is_final_commit: bool = False


class Workflow(Protocol, Generic[I]):
    """A kind of operation. Declared by ``nano_workflows``, so that unfinished ones are carried on after a restart."""

    kind: str
    input: type[I]

    def steps(self, input: I) -> Sequence[Step]:
        """Return the steps for ``input``; the same names in the same order every time."""
        ...

    def resources(self, input: I) -> list[ResourceRef]:
        """Return the objects it changes: each has one running change at a time, a second one is ``busy``."""
        ...

    def result(self, input: I, outcomes: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what ``Operation.result`` says after success."""
        ...


class Operations(Protocol):
    """Runs workflows; offered by the kernel of a core."""

    async def run(
        self,
        kind: str,
        input: Struct,
        *,
        requested_by: Principal | None = None,
        idempotency_key: str | None = None,
    ) -> Operation:
        """Journal the intent of a new operation, start it, and return it as pending.

        The same ``idempotency_key`` within 24 h returns the first operation. Raises ``busy`` when one of its
        resources is being changed and ``unimplemented`` for an unknown ``kind``.
        """
        ...

    async def wait(self, id: OperationId, timeout_seconds: float) -> Operation:
        """Return the operation when it has ended, or as it is after ``timeout_seconds``."""
        ...

    def find_running(self, resource: ResourceRef) -> Operation | None:
        """Return the operation that is changing ``resource`` now."""
        ...

    def find_repeated(
        self, kind: str, *, requested_by: Principal | None = None, idempotency_key: str | None = None
    ) -> Operation | None:
        """Return the operation that an earlier ``run`` with this key began, ``None`` without a key or a match.

        For handlers to ask before their checks, which would refuse a repeat ("the name is taken").
        """
        ...

    async def delete_ended(self, before: datetime) -> int:
        """Delete operations that ended before ``before``; return their number."""
        ...


class ListOperations(ListQuery, Query[PageInfo], frozen=True, kw_only=True):
    """A page of operations, newest first."""

    op: ClassVar[str] = "operations.list_operations"
    permission: ClassVar[str | None] = "operation.read"


class GetOperation(Query[Operation], frozen=True, kw_only=True):
    """One operation; with ``wait_seconds`` the reply comes when it has ended or after that time."""

    op: ClassVar[str] = "operations.get_operation"
    permission: ClassVar[str | None] = "operation.read"
    timeout_seconds: ClassVar[float] = 70.0

    id: OperationId
    wait_seconds: float = 0


class CancelOperation(Command[Operation], frozen=True, kw_only=True):
    """Stop an operation and undo what it did; ``wrong_state`` once that is too late."""

    op: ClassVar[str] = "operations.cancel_operation"
    permission: ClassVar[str | None] = "operation.cancel"
    is_idempotent: ClassVar[bool] = True

    id: OperationId

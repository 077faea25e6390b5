"""Whether something may be done to an instance now."""

from __future__ import annotations

from typing import Protocol

from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import Call
from nanocore.contracts.operation import Operation
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId
from nanocore.model.instance import InstanceAction, InstanceRecord, ObservedState
from nanoplugins.compute.board import Board
from nanoplugins.compute.records import get_instance
from nanoplugins.compute.views import observe, refuse

SECTOR_BYTES = 512


class Keyed(Protocol):
    """A request that its sender may repeat."""

    @property
    def idempotency_key(self) -> str | None:
        """The same at every repeat."""
        ...


def find_repeated(context: PluginContext, kind: str, message: Keyed, call: Call) -> Operation | None:
    """Return the operation that ``message`` began when it came first; to be asked before anything is refused."""
    return context.operations.find_repeated(kind, requested_by=call.actor, idempotency_key=message.idempotency_key)


def check_permitted(
    context: PluginContext, board: Board, action: InstanceAction, id: InstanceId
) -> tuple[InstanceRecord, ObservedState]:
    """Return the instance and its state; raise ``busy``, ``unavailable`` or ``wrong_state`` with the reason."""
    record = get_instance(board.store, id)
    running = context.operations.find_running(ResourceRef(kind="instance", id=id))
    if running is not None:
        raise NanoError(
            ErrorCode.BUSY,
            f"instance {record.name}: {running.kind} is running; wait for operation {running.id} or cancel it",
            operation_id=running.id,
            retry_after_seconds=1,
        )
    observed, reason = observe(record, board.cells.find(record.node_id))
    why_not = refuse(action, record, observed, reason, None)
    if why_not is not None:
        code = ErrorCode.UNAVAILABLE if observed is ObservedState.UNKNOWN else ErrorCode.WRONG_STATE
        raise NanoError(code, f"instance {record.name} can't {action.value.replace('_', ' ')}: {why_not}")
    return record, observed


def check_devices_free(record: InstanceRecord, observed: ObservedState) -> None:
    """Raise ``wrong_state`` where disks can't be changed: the memory of a suspended guest fits its devices only."""
    if observed is ObservedState.SUSPENDED:
        raise NanoError(ErrorCode.WRONG_STATE, f"instance {record.name} is suspended; restore it or power it off first")


def check_size(size_bytes: int) -> None:
    """Raise ``invalid_argument`` for a size that no disk has."""
    if size_bytes % SECTOR_BYTES:
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT,
            f"size_bytes must be a multiple of {SECTOR_BYTES}, got {size_bytes}",
            field="size_bytes",
        )


def check_new_size(before: int, after: int, *, is_confirmed: bool) -> None:
    """Raise ``invalid_argument`` for a smaller size that nobody confirmed."""
    check_size(after)
    if after < before and not is_confirmed:
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT,
            f"it has {before} bytes: shrinking it to {after} loses what lies beyond; if the file system inside was "
            "made smaller before, confirm with is_shrink_confirmed (--shrink in nano)",
            field="size_bytes",
        )

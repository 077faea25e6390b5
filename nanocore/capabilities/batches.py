"""Batches: many instances made, or acted upon, by one request."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from nanocore.capabilities.compute import InstanceValues
from nanocore.contracts.operation import Operation
from nanocore.ids import InstanceId, OperationId, TemplateId
from nanocore.wire import Command, Meta, Result

MAX_BATCH = 500


class BatchAction(StrEnum):
    """What can be done to many instances at once."""

    START = "start"
    STOP = "stop"
    POWER_OFF = "power_off"
    REBOOT = "reboot"
    RESET = "reset"
    PAUSE = "pause"
    RESUME = "resume"
    SUSPEND = "suspend"
    RESTORE = "restore"
    DELETE = "delete"


class NewBatch(InstanceValues, frozen=True, kw_only=True):
    """What is common to the new instances, and how they are called."""

    name_pattern: Annotated[
        str,
        Meta(
            description="Their names: `{n}` is the number, `{n:03}` the number with zeros before it",
            max_length=80,
            examples=["web-{n}"],
        ),
    ]
    count: Annotated[int, Meta(description="How many", ge=1, le=MAX_BATCH)]
    first: Annotated[int, Meta(description="Number of the first", ge=0, le=1_000_000)] = 1
    template_id: Annotated[
        TemplateId | None, Meta(description="Template to take from what this request does not say")
    ] = None


class ItemState(StrEnum):
    """What became of one item."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class BatchItem(Result, frozen=True, kw_only=True):
    """One item of a batch's result."""

    id: InstanceId | None = None
    name: str
    state: ItemState
    operation_id: OperationId | None = None
    error: dict[str, Any] | None = None
    """Code and message, as an operation's ``error``."""


class CreateInstanceBatch(Command[Operation], frozen=True, kw_only=True):
    """Make many instances, or do one thing to many; each item succeeds or fails by itself.

    Exactly one of ``create`` and ``action`` is given. An empty ``instance_ids`` does nothing. The operation's
    ``result.items`` says what became of each; ``children`` are the items' own operations.
    """

    op: ClassVar[str] = "batches.create_instance_batch"
    permission: ClassVar[str | None] = "instance.batch"

    create: Annotated[NewBatch | None, Meta(description="Instances to make")] = None
    action: Annotated[BatchAction | None, Meta(description="What to do to `instance_ids`")] = None
    instance_ids: Annotated[
        Annotated[list[InstanceId], Meta(max_length=MAX_BATCH)] | None,
        Meta(description="Instances to act upon; an empty list does nothing"),
    ] = None
    grace_seconds: Annotated[
        float, Meta(description="For `stop`: how long a guest may take before its power is cut", ge=0, le=3600)
    ] = 60
    idempotency_key: Annotated[str | None, Meta(description="Set from the Idempotency-Key header")] = None

"""Makes operation records durable, in order, many in one commit, and goes on when the disk does."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from nanocore.contracts.state_store import Put, StateStore
from nanocore.errors import ErrorCode, NanoError
from nanocore.operations.journal import OPERATIONS, OperationRecord

MAX_BATCH = 500
_FIRST_PAUSE_SECONDS = 0.25
_LAST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Line:
    record: OperationRecord
    done: Callable[[], None]
    failed: Callable[[NanoError], None] | None


class JournalWriter:
    """Owned by the engine; one task while there is something to write."""

    def __init__(self, store: StateStore, log: structlog.stdlib.BoundLogger) -> None:
        self._store = store
        self._log = log
        self._lines: deque[_Line] = deque()
        self._task: asyncio.Task[None] | None = None

    def write(
        self,
        record: OperationRecord,
        done: Callable[[], None],
        failed: Callable[[NanoError], None] | None = None,
    ) -> None:
        """Call ``done`` once ``record`` is durable.

        If the store refuses: with ``failed``, call that; without it, try again until the store takes it, because
        an operation under way must not go on without its journal.
        """
        self._lines.append(_Line(record, done, failed))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="operation-journal")

    async def stop(self, timeout_seconds: float) -> None:
        """Write what waits, at most that long; the rest is repeated from the last durable record at the next start."""
        task = self._task
        if task is not None:
            await asyncio.wait({task}, timeout=timeout_seconds)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        try:
            while self._lines:
                batch = [self._lines.popleft() for _ in range(min(MAX_BATCH, len(self._lines)))]
                kept = await self._write(batch)
                if not kept:
                    pause = _FIRST_PAUSE_SECONDS
                    continue
                self._lines.extendleft(reversed(kept))
                await asyncio.sleep(pause)
                pause = min(_LAST_PAUSE_SECONDS, pause * 2)
        finally:
            self._task = None

    async def _write(self, batch: Sequence[_Line]) -> list[_Line]:
        """Return the lines that have to be written again."""
        try:
            await self._store.commit(*[Put(OPERATIONS, line.record.id, line.record) for line in batch])
        except Exception as cause:  # noqa: BLE001  any failure must end in an answer or in another try
            return await self._refused(batch, cause)
        for line in batch:
            self._tell(line.done)
        return []

    async def _refused(self, batch: Sequence[_Line], cause: Exception) -> list[_Line]:
        error = cause if isinstance(cause, NanoError) else self._internal(cause)
        if error.code is not ErrorCode.UNAVAILABLE and len(batch) > 1:
            # One record may be the culprit: each by itself, in order.
            return [kept for line in batch for kept in await self._write([line])]
        kept = []
        for line in batch:
            if line.failed is None:
                kept.append(line)
            else:
                failed = line.failed
                self._tell(lambda failed=failed: failed(error))  # type: ignore[misc]
        if kept:
            self._log.error("operation journal not written; operations pause", waiting=len(kept), error=str(error))
        return kept

    def _internal(self, cause: Exception) -> NanoError:
        incident = uuid.uuid4().hex[:12]
        self._log.error("operation journal failed", incident=incident, exc_info=cause)
        message = f"the operation could not be recorded (incident {incident} in the log)"
        return NanoError(ErrorCode.INTERNAL, message, incident=incident)

    def _tell(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:  # noqa: BLE001  one operation's mistake must not stop the others' journal
            self._log.exception("operation could not go on after its journal was written")

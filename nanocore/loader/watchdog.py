"""Runs a plugin's code so that a hang or an exit in it ends neither the start nor the process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


class HookTimeoutError(Exception):
    """The code did not return in time; its thread was abandoned."""


@dataclass(slots=True)
class _Job:
    function: Callable[[], Any]
    is_done: threading.Event = field(default_factory=threading.Event)
    value: Any = None
    error: BaseException | None = None


async def contain_exit(work: Awaitable[T]) -> T:
    """Return what ``work`` returns; a ``SystemExit`` or ``KeyboardInterrupt`` of it becomes ``RuntimeError``.

    In a task either would end the whole event loop.
    """
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"tried to end the process: {error!r}") from error


class Watchdog:
    """One worker thread, replaced whenever it hangs.

    A hung thread can't be ended; it is a daemon, so the process can still exit.
    """

    def __init__(self, limit_seconds: float) -> None:
        self.limit_seconds = limit_seconds
        self._jobs: queue.SimpleQueue[_Job | None] | None = None

    def run(self, function: Callable[[], Any]) -> Any:  # noqa: ANN401  what ``function`` returns
        """Return ``function()``; raise what it raised, or ``HookTimeoutError``.

        ``SystemExit`` and the like come back as ``RuntimeError``: a plugin does not end the node.
        """
        job = _Job(function)
        if self._jobs is None:
            self._jobs = queue.SimpleQueue()
            threading.Thread(target=_work, args=(self._jobs,), name="nano-hooks", daemon=True).start()
        self._jobs.put(job)
        if not job.is_done.wait(self.limit_seconds):
            self.close()
            raise HookTimeoutError(f"did not return within {self.limit_seconds:g} s")
        if job.error is not None and not isinstance(job.error, Exception):
            raise RuntimeError(f"tried to end the process: {job.error!r}") from job.error
        if job.error is not None:
            raise job.error
        return job.value

    def close(self) -> None:
        """Let the worker thread end after what it does now."""
        if self._jobs is not None:
            self._jobs.put(None)
            self._jobs = None


def _work(jobs: queue.SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        try:
            job.value = job.function()
        except BaseException as error:  # noqa: BLE001  the caller judges it
            job.error = error
        job.is_done.set()

"""A bounded pool of threads for calls that block, and may block for ever."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class ThreadPool:
    """Runs calls for one event loop.

    Not the standard library's pool: that one waits for its threads when the process ends, and a libvirt call that waits
    for a stuck QEMU would keep the whole node from ending.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._open_jobs = 0

    async def run(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns in a thread. Cancelling stops the waiting; a call that began goes on."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._open_jobs += 1
        if self._threads < min(self._size, self._open_jobs):
            self._threads += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()
        self._jobs.put((loop, done, call))
        return await done

    def close(self) -> None:
        """Let every thread end after what it does now."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, done, call = job
            result, error = None, None
            if not done.cancelled():
                try:
                    result = call()
                except BaseException as raised:  # noqa: BLE001  whoever waits gets it
                    error = raised
            with suppress(RuntimeError):  # the loop ended meanwhile, so nobody waits
                loop.call_soon_threadsafe(self._finish, done, result, error)
            # Nothing may keep a connection alive while the thread waits for its next job.
            del job, done, call, result, error

    def _finish(self, done: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
        self._open_jobs -= 1
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

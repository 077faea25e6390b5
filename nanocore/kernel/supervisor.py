"""Starts services in the order of ``after``, stops them in reverse, and owns every task of the node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import structlog

from nanocore.contracts.service import Service
from nanocore.loader.watchdog import contain_exit
from nanocore.logs import log_context

START_SECONDS = 60.0
STOP_SECONDS = 2.0
STOP_ALL_SECONDS = 2.5
"""All services together; with what the kernel itself needs a node stops within 5 s."""
CANCEL_SECONDS = 0.2
"""How long a task may take to end once it is cancelled; then it is abandoned, and named."""


class ServiceState(StrEnum):
    """Where a service is."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(slots=True)
class Supervised:
    """A service, the plugin that declared it, and how it is."""

    service: Service
    plugin: str
    state: ServiceState = ServiceState.WAITING
    reason: str | None = None
    since: float = 0.0

    @property
    def name(self) -> str:
        """Return the service's name."""
        return self.service.name


def cycles(services: Iterable[Service]) -> dict[str, str]:
    """Return the services that wait for each other, each with the loop it is in; they can't be started. Pure."""
    after = {service.name: tuple(service.after) for service in services}
    found: dict[str, str] = {}
    for name in after:
        path = [name]
        if _walk(name, name, after, path, set()):
            found[name] = " after ".join(path)
    return found


def _walk(goal: str, at: str, after: dict[str, tuple[str, ...]], path: list[str], seen: set[str]) -> bool:
    for name in after.get(at, ()):
        path.append(name)
        if name == goal or (name not in seen and not seen.add(name) and _walk(goal, name, after, path, seen)):  # type: ignore[func-returns-value]
            return True
        path.pop()
    return False


class Supervisor:
    """``on_service_failed`` is told plugin and reason, ``on_task_failed`` the plugin of a task that raised."""

    def __init__(
        self,
        *,
        log: structlog.stdlib.BoundLogger,
        on_service_failed: Callable[[str, str], None],
        on_task_failed: Callable[[str], None],
        start_seconds: float = START_SECONDS,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._log = log
        self._on_service_failed = on_service_failed
        self._on_task_failed = on_task_failed
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._services: dict[str, Supervised] = {}
        self._settled: dict[str, asyncio.Event] = {}
        self._starting: set[asyncio.Task[None]] = set()
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._is_stopping = False

    @property
    def services(self) -> Sequence[Supervised]:
        """Return every service."""
        return list(self._services.values())

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str, plugin: str) -> None:
        """Run ``work`` as a task that is logged if it fails and cancelled when the node stops."""
        if self._is_stopping:
            work.close()
            return
        with log_context(plugin=plugin):
            task = _task(work, name)
        self._tasks[task] = plugin
        task.add_done_callback(self._task_ended)

    async def start(self, services: Sequence[tuple[str, Service]]) -> None:
        """Start all services, given with their plugins' names; return when each one runs or has failed.

        A service waits for those in its ``after`` only, so one that hangs does not hold up the others.
        """
        looped = cycles([service for _, service in services])
        for plugin, service in services:
            self._services[service.name] = Supervised(service, plugin)
            self._settled[service.name] = asyncio.Event()
        for supervised in self._services.values():
            if supervised.name in looped:
                self._failed(supervised, f"services wait for each other: {looped[supervised.name]}")
                self._settled[supervised.name].set()
            else:
                with log_context(plugin=supervised.plugin):
                    self._starting.add(asyncio.create_task(self._start(supervised), name=f"start:{supervised.name}"))
        if self._starting:
            await asyncio.wait(self._starting)

    async def stop(self) -> None:
        """Stop what was started, in reverse, then cancel what is left; never raises, never hangs."""
        self._is_stopping = True
        deadline = time.monotonic() + STOP_ALL_SECONDS
        await self._end([task for task in self._starting if not task.done()])
        looped = cycles([item.service for item in self._services.values()])
        waits = {name: asyncio.Event() for name in self._services if name not in looped}
        stops = [asyncio.create_task(self._stop(self._services[name], waits, deadline)) for name in waits]
        if stops:
            await asyncio.wait(stops)
        await self._end(list(self._tasks))

    # -- one service

    async def _start(self, supervised: Supervised) -> None:
        try:
            for name in supervised.service.after:
                if name in self._settled:
                    await self._settled[name].wait()
            supervised.state, supervised.since = ServiceState.STARTING, time.monotonic()
            problem = await self._limited(supervised.service.start(), self._start_seconds, f"start {supervised.name}")
            if problem is None:
                supervised.state = ServiceState.RUNNING
            else:
                self._failed(supervised, f"service {supervised.name} did not start: {problem}")
        except Exception as error:  # noqa: BLE001  `start` may be no coroutine function at all
            self._failed(supervised, f"service {supervised.name} did not start: {_text(error)}", error)
        finally:
            self._settled[supervised.name].set()

    async def _stop(self, supervised: Supervised, waits: dict[str, asyncio.Event], deadline: float) -> None:
        try:
            for name, is_stopped in waits.items():
                if supervised.name in self._services[name].service.after:
                    await is_stopped.wait()
            if supervised.state is ServiceState.WAITING:
                return
            limit = max(0.05, min(self._stop_seconds, deadline - time.monotonic()))
            with log_context(plugin=supervised.plugin):
                problem = await self._limited(supervised.service.stop(), limit, f"stop {supervised.name}")
            if problem is not None:
                self._log.error(
                    "service did not stop", service=supervised.name, plugin=supervised.plugin, reason=problem
                )
        except Exception as error:  # noqa: BLE001  one service must not keep others from stopping
            self._log.error("service did not stop", service=supervised.name, plugin=supervised.plugin, exc_info=error)
        finally:
            supervised.state = ServiceState.STOPPED
            waits[supervised.name].set()

    async def _limited(self, work: Coroutine[Any, Any, None], limit: float, name: str) -> str | None:
        """Return what went wrong. Unlike ``asyncio.timeout``, this also returns when ``work`` ignores its end."""
        task = _task(work, name)
        try:
            await asyncio.wait({task}, timeout=limit)
        except asyncio.CancelledError:
            await self._end([task])
            raise
        if not task.done():
            await self._end([task])
            return f"it took longer than {limit:g} s"
        if task.cancelled():
            return "it was cancelled"
        error = task.exception()
        if error is None:
            return None
        self._log.error("service raised", task=name, exc_info=error)
        return _text(error)

    def _failed(self, supervised: Supervised, reason: str, error: BaseException | None = None) -> None:
        supervised.state, supervised.reason = ServiceState.FAILED, reason
        self._log.error(
            "service failed", service=supervised.name, plugin=supervised.plugin, reason=reason, exc_info=error
        )
        self._on_service_failed(supervised.plugin, reason)

    # -- tasks

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        plugin = self._tasks.pop(task, "")
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("task failed", task=task.get_name(), plugin=plugin, exc_info=error)
            self._on_task_failed(plugin)

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        if not tasks:
            return
        _, left = await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
        for task in left:
            self._log.error("task does not end", task=task.get_name())


def _task(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    task = asyncio.create_task(contain_exit(work), name=name)
    # One cancelled before its first step never awaited `work`, of which Python would complain.
    task.add_done_callback(lambda _: work.close())
    return task


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"

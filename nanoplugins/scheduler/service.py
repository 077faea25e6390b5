"""The running schedule. The home of APScheduler."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from nanocore.capabilities.schedule import ScheduledJob
from nanocore.clock import Clock

MAX_FIRST_DELAY_SECONDS = 60.0
MIN_INTERVAL_SECONDS = 0.05
STOP_SECONDS = 1.0


class Schedule:
    """A service: runs every job that plugins declared, each at its interval and never twice at once."""

    name = "schedule"
    after: tuple[str, ...] = ()

    def __init__(
        self, jobs: Callable[[], Mapping[str, ScheduledJob]], clock: Clock, log: structlog.stdlib.BoundLogger
    ) -> None:
        self._jobs = jobs
        self._clock = clock
        self._log = log
        self._scheduler: AsyncIOScheduler | None = None
        self._running: set[asyncio.Task[None]] = set()
        self.runs: dict[str, int] = {}
        """Runs that ended well, by job."""
        self.failures: dict[str, int] = {}
        """Runs that raised, by job."""

    async def start(self) -> None:
        """Begin; the first run of a job comes within its interval, at most a minute from now."""
        self._scheduler = AsyncIOScheduler(timezone="UTC", job_defaults={"max_instances": 1, "coalesce": True})
        for job in self._jobs().values():
            interval = max(job.interval_seconds, MIN_INTERVAL_SECONDS)
            # Spread, so that the jobs of many cores, and of one core, don't all begin together.
            delay = min(interval, MAX_FIRST_DELAY_SECONDS) * random.uniform(0.5, 1.0)  # noqa: S311
            self.runs[job.name] = self.failures[job.name] = 0
            self._scheduler.add_job(
                self._run,
                IntervalTrigger(seconds=interval, timezone="UTC"),
                (job,),
                id=job.name,
                name=job.name,
                next_run_time=self._clock.now() + timedelta(seconds=delay),
                misfire_grace_time=None,
            )
        self._scheduler.start()

    async def stop(self) -> None:
        """Begin no more runs, and cancel those under way."""
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            scheduler.shutdown(wait=False)
        running = tuple(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=STOP_SECONDS)

    async def _run(self, job: ScheduledJob) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine runs in a task
        self._running.add(task)
        try:
            await job.run()
        except Exception:  # noqa: BLE001  the job is somebody else's code; its next run comes all the same
            self.failures[job.name] += 1
            self._log.exception("scheduled job failed", job=job.name, failures=self.failures[job.name])
        else:
            self.runs[job.name] += 1
        finally:
            self._running.discard(task)

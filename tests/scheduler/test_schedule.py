"""The running schedule, with real APScheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from structlog.testing import capture_logs

from nanocore.capabilities.schedule import ScheduledJob
from nanocore.clock import SystemClock
from nanoplugins.scheduler.retention import OperationRetention
from nanoplugins.scheduler.service import Schedule


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def make(*jobs: ScheduledJob) -> Schedule:
    return Schedule(lambda: {job.name: job for job in jobs}, SystemClock(), structlog.stdlib.get_logger())


def test_jobs_run_again_and_again_and_a_failing_one_harms_nobody() -> None:
    async def main() -> None:
        async def good() -> None:
            await asyncio.sleep(0)

        async def bad() -> None:
            raise RuntimeError("no")

        schedule = make(ScheduledJob("good", 0.05, good), ScheduledJob("bad", 0.05, bad))
        with capture_logs() as logs:
            await schedule.start()
            await until(lambda: schedule.runs["good"] >= 3 and schedule.failures["bad"] >= 3)
            await schedule.stop()
        assert schedule.runs["bad"] == schedule.failures["good"] == 0
        assert {line["job"] for line in logs if line["event"] == "scheduled job failed"} == {"bad"}

    asyncio.run(main())


def test_a_slow_job_never_runs_twice_at_once_and_is_cancelled_at_the_stop() -> None:
    async def main() -> None:
        running = 0
        most = 0
        turns = 0
        ended: list[str] = []

        async def slow() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            finally:
                running -= 1

        async def quick() -> None:
            nonlocal turns
            turns += 1

        schedule = make(ScheduledJob("slow", 0.05, slow), ScheduledJob("quick", 0.05, quick))
        await schedule.start()
        await until(lambda: running == 1)
        before = turns
        await until(lambda: turns >= before + 5)
        await schedule.stop()
        assert most == 1
        assert ended == ["cancelled"]
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert left == []

    asyncio.run(main())


def test_stop_without_start_and_twice() -> None:
    async def main() -> None:
        schedule = make()
        await schedule.stop()
        await schedule.start()
        await schedule.stop()
        await schedule.stop()

    asyncio.run(main())


def test_retention_deletes_what_ended_before_the_days_kept() -> None:
    asked: list[datetime] = []

    class Operations:
        async def delete_ended(self, before: datetime) -> int:
            asked.append(before)
            return 3

    operations: Any = Operations()
    clock = SystemClock()
    with capture_logs() as logs:
        asyncio.run(OperationRetention(lambda: operations, 7, clock, structlog.stdlib.get_logger()).run())
    assert abs(datetime.now(UTC) - timedelta(days=7) - asked[0]) < timedelta(minutes=1)
    assert [(line["event"], line["count"]) for line in logs] == [("old operations deleted", 3)]

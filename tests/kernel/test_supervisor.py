"""Services: order, limits, failures, and that nothing is left."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from nanocore.kernel import supervisor as module
from nanocore.kernel.supervisor import ServiceState, Supervisor, cycles
from nanocore.logs import make_logger


class Noted:
    """Notes what happens to it; fails as told."""

    def __init__(self, name: str, after: tuple[str, ...], notes: list[str], *, start: str = "", stop: str = "") -> None:
        self.name = name
        self.after = after
        self._notes = notes
        self._start = start
        self._stop = stop

    async def start(self) -> None:
        self._notes.append(f"start {self.name}")
        await fail(self._start)
        self._notes.append(f"started {self.name}")

    async def stop(self) -> None:
        self._notes.append(f"stop {self.name}")
        await fail(self._stop)


async def fail(way: str) -> None:
    if way == "raise":
        raise ZeroDivisionError("boom")
    if way == "exit":
        raise SystemExit(3)
    if way == "hang":
        await asyncio.Event().wait()
    if way == "deaf":
        ends = asyncio.get_running_loop().time() + 1.5
        while asyncio.get_running_loop().time() < ends:
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue
    await asyncio.sleep(0)


class Case:
    def __init__(self, **limits: float) -> None:
        self.notes: list[str] = []
        self.failed: dict[str, str] = {}
        self.tasks: list[str] = []
        self.supervisor = Supervisor(
            log=make_logger(io.StringIO()),
            on_service_failed=self.failed.__setitem__,
            on_task_failed=self.tasks.append,
            **limits,
        )

    def service(self, name: str, *after: str, **ways: str) -> tuple[str, Noted]:
        return (f"plugin-{name}", Noted(name, after, self.notes, **ways))

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run(main())


def test_order_and_reverse() -> None:
    case = Case()

    async def main() -> None:
        services = [case.service("c", "b", "absent"), case.service("b", "a"), case.service("a")]
        await case.supervisor.start(services)
        await case.supervisor.stop()

    case.run(main)
    assert case.notes == [
        *("start a", "started a", "start b", "started b", "start c", "started c"),
        *("stop c", "stop b", "stop a"),
    ]
    assert not case.failed


@pytest.mark.parametrize(
    ("way", "reason"),
    [("raise", "ZeroDivisionError: boom"), ("exit", "end the process"), ("hang", "it took longer than 0.1 s")],
)
def test_a_service_that_does_not_start_is_named_and_later_ones_go_on(way: str, reason: str) -> None:
    case = Case(start_seconds=0.1)

    async def main() -> None:
        await case.supervisor.start([case.service("bad", start=way), case.service("later", "bad"), case.service("x")])
        states = {item.name: item.state for item in case.supervisor.services}
        assert states == {"bad": ServiceState.FAILED, "later": ServiceState.RUNNING, "x": ServiceState.RUNNING}
        await case.supervisor.stop()

    case.run(main)
    assert list(case.failed) == ["plugin-bad"]
    assert reason in case.failed["plugin-bad"]
    assert "stop bad" in case.notes


def test_a_hanging_service_does_not_hold_up_others() -> None:
    case = Case()

    async def main() -> None:
        services = [case.service("slow", start="hang"), case.service("quick")]
        starting = asyncio.create_task(case.supervisor.start(services))
        while "started quick" not in case.notes:
            await asyncio.sleep(0)
        await case.supervisor.stop()
        await starting

    case.run(main)
    assert case.notes.count("stop slow") == 1


@pytest.mark.parametrize("way", ["raise", "exit", "hang", "deaf"])
def test_a_service_that_does_not_stop_keeps_nobody_from_stopping(way: str) -> None:
    case = Case(stop_seconds=0.1)

    async def main() -> None:
        await case.supervisor.start([case.service("base"), case.service("bad", "base", stop=way)])
        before = time.monotonic()
        await case.supervisor.stop()
        assert time.monotonic() - before < module.STOP_ALL_SECONDS

    case.run(main)
    assert case.notes[-2:] == ["stop bad", "stop base"]


def test_services_that_wait_for_each_other_are_named_and_the_others_run() -> None:
    case = Case()

    async def main() -> None:
        await case.supervisor.start([case.service("a", "b"), case.service("b", "a"), case.service("c", "a")])
        await case.supervisor.stop()

    case.run(main)
    assert case.failed["plugin-a"] == "services wait for each other: a after b after a"
    assert set(case.failed) == {"plugin-a", "plugin-b"}
    assert case.notes == ["start c", "started c", "stop c"]


def test_cycles_are_found_and_nothing_else() -> None:
    case = Case()
    services = [service for _, service in (case.service("a", "a"), case.service("b", "a"), case.service("c", "x"))]
    assert cycles(services) == {"a": "a after a"}


def test_tasks_are_named_when_they_fail_and_cancelled_at_the_end() -> None:
    case = Case()
    ended: list[str] = []

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("long")

    async def main() -> None:
        case.supervisor.spawn(fail("raise"), name="bad", plugin="toy")
        case.supervisor.spawn(fail("exit"), name="worse", plugin="toy")
        case.supervisor.spawn(long(), name="long", plugin="toy")
        while len(case.tasks) < 2:
            await asyncio.sleep(0)
        await case.supervisor.stop()
        case.supervisor.spawn(long(), name="late", plugin="toy")
        assert len(asyncio.all_tasks()) == 1

    case.run(main)
    assert ended == ["long"]
    assert case.tasks == ["toy", "toy"]

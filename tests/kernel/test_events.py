from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from nanocore.contracts.handler import Subscription
from nanocore.contracts.node import NodeInfo
from nanocore.ids import NodeId
from nanocore.kernel import events
from nanocore.kernel.events import EventBus
from nanocore.testing.cluster import recording_log, wait_for
from nanocore.wire import Event

NODE = NodeInfo(id=NodeId("n"), name="n", roles=[])


class Ticked(Event, frozen=True, kw_only=True):
    op: ClassVar[str] = "test.ticked"

    number: int


class Catcher:
    def __init__(self, name: str, *, fails: bool = False, hangs: bool = False) -> None:
        self.name = name
        self.fails = fails
        self.hangs = hangs
        self.numbers: list[int] = []

    async def __call__(self, event: Ticked, source: NodeInfo) -> None:
        assert source == NODE
        self.numbers.append(event.number)
        if self.fails:
            raise RuntimeError("as the test asked")
        if self.hangs:
            await asyncio.Event().wait()

    def subscription(self) -> Subscription:
        return Subscription(Ticked, self, self.name)


def test_every_subscriber_hears_everything_in_order_whatever_others_do() -> None:
    async def main() -> None:
        log: list[dict[str, Any]] = []
        bus = EventBus(recording_log(log), timeout_seconds=0.05)
        good, failing, hanging = Catcher("good"), Catcher("failing", fails=True), Catcher("hanging", hangs=True)
        for catcher in (hanging, failing, good):
            bus.subscribe(catcher.subscription())
        for number in range(3):
            bus.deliver(Ticked(number=number), NODE)
        await wait_for(lambda: hanging.numbers == [0, 1, 2], "the hanging one is cut each time")
        assert good.numbers == failing.numbers == [0, 1, 2]
        await bus.stop()
        named = {line["subscriber"] for line in log}
        assert named == {"test.ticked:failing", "test.ticked:hanging"}

    asyncio.run(main())


def test_publishing_does_not_wait_for_subscribers() -> None:
    async def main() -> None:
        bus = EventBus(recording_log([]))
        hanging = Catcher("hanging", hangs=True)
        bus.subscribe(hanging.subscription())
        bus.deliver(Ticked(number=1), NODE)
        assert hanging.numbers == []
        await wait_for(lambda: hanging.numbers, "delivery")
        await bus.stop()

    asyncio.run(main())


def test_a_queue_is_bounded_and_the_newest_events_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "QUEUE_LENGTH", 3)

    async def main() -> None:
        log: list[dict[str, Any]] = []
        bus = EventBus(recording_log(log))
        slow = Catcher("slow")
        bus.subscribe(slow.subscription())
        for number in range(10):
            bus.deliver(Ticked(number=number), NODE)
        await wait_for(lambda: len(slow.numbers) == 3, "delivery")
        assert slow.numbers == [7, 8, 9]
        assert len(log) == 1
        await bus.stop()

    asyncio.run(main())


def test_a_subscription_ends() -> None:
    async def main() -> None:
        bus = EventBus(recording_log([]))
        first, second = Catcher("first"), Catcher("second")
        end = bus.subscribe(first.subscription())
        bus.subscribe(second.subscription())
        end()
        end()
        bus.deliver(Ticked(number=1), NODE)
        await wait_for(lambda: second.numbers, "delivery")
        assert first.numbers == []
        assert bus.type_of(Ticked.op) is Ticked
        assert bus.type_of("test.unknown") is None
        await bus.stop()

    asyncio.run(main())

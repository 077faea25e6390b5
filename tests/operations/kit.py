"""A toy workflow whose steps make files, and an engine on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from nanocore.clock import Clock, SystemClock
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.operation import Step, StepContext
from nanocore.operations.engine import OperationEngine
from nanocore.wire import Event, Struct
from nanoplugins.state_sqlite.store import SqliteStateStore

Behaviour = Callable[[StepContext], Awaitable[Any]]


class ToyInput(Struct, frozen=True, kw_only=True):
    id: str
    note: str = ""


@dataclass
class Toy:
    """Steps one, two, three; ``do`` and ``undo`` note their key and run what the test put in their place."""

    kind: str = "toy.make"
    input: type[ToyInput] = ToyInput
    names: tuple[str, ...] = ("one", "two", "three")
    do: dict[str, Behaviour] = field(default_factory=dict)
    undo: dict[str, Behaviour] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    final: str = ""
    calls: list[str] = field(default_factory=list)
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)

    def steps(self, input: ToyInput) -> Sequence[Step]:
        del input
        return [
            Step(name, self._act(name, "do"), self._act(name, "undo"), self.seconds.get(name, 60), name == self.final)
            for name in self.names
        ]

    def resources(self, input: ToyInput) -> list[ResourceRef]:
        return [ResourceRef(kind="toy", id=input.id)]

    def result(self, input: ToyInput, outcomes: Mapping[str, Any]) -> dict[str, Any] | None:
        return {"id": input.id, "outcomes": dict(outcomes)}

    def _act(self, name: str, which: str) -> Behaviour:
        async def act(context: StepContext) -> Any:
            self.calls.append(f"{which} {name}")
            self.seen[f"{which} {name}"] = dict(context.outcomes)
            behaviour = (self.do if which == "do" else self.undo).get(name)
            return f"{name} done" if behaviour is None else await behaviour(context)

        return act


@dataclass
class Bench:
    """An engine with its store; ``events`` are those it published."""

    engine: OperationEngine
    store: SqliteStateStore
    events: list[Any]


@asynccontextmanager
async def engine_on(path: Path, *toys: Any, clock: Clock | None = None) -> AsyncIterator[Bench]:
    """Give a started engine on the SQLite file ``path``; stopped and closed afterwards, and nothing may be left."""
    log = structlog.stdlib.get_logger()
    store = SqliteStateStore(path, log)
    events: list[Any] = []

    async def publish(event: Event) -> None:
        events.append(event)

    engine = OperationEngine(store, clock or SystemClock(), log, publish)
    await store.open(engine.collections())
    engine.register(toys)
    await engine.start()
    try:
        yield Bench(engine, store, events)
    finally:
        await engine.stop()
        await store.close()
    left = [
        task for task in asyncio.all_tasks() if task is not asyncio.current_task() and "left" not in task.get_name()
    ]
    assert not left, left


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)

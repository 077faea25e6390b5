"""Durable operation steps beside bare SQLite group commit, and many operations in flight beside bare coroutines."""

from __future__ import annotations

import asyncio
import heapq
import queue
import sqlite3
import tempfile
import threading
import time
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from bench.figure import Figure, Size, compare
from nanocore.clock import SystemClock
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.operation import Step, StepContext
from nanocore.contracts.state_store import Collection, Put
from nanocore.operations.engine import OperationEngine
from nanocore.wire import Event, Struct
from nanoplugins.state_sqlite.store import SqliteStateStore

PRODUCERS = 1000


class Record(Struct, frozen=True):
    value: bytes


RECORDS = Collection("records", Record)
VALUE = b"x" * 300
"""As long as an operation's record."""


class BareGroupCommit:
    """What Nano is measured against: sqlite3, one thread, one queue, one future a record."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.SimpleQueue[tuple[str, bytes, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def put(self, key: str, value: bytes) -> asyncio.Future[None]:
        future = self._loop.create_future()
        self._queue.put((key, value, future))
        return future

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _write(self) -> None:
        connection = bare_connection(self._path)
        while (first := self._queue.get()) is not None:
            batch = [first]
            while not self._queue.empty() and (item := self._queue.get()) is not None:
                batch.append(item)
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR REPLACE INTO t VALUES (?, ?)", [item[:2] for item in batch])
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(self._tell, batch)
        connection.close()

    @staticmethod
    def _tell(batch: list[tuple[str, bytes, asyncio.Future[None]]]) -> None:
        for _, _, future in batch:
            future.set_result(None)


def bare_connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE t (key TEXT PRIMARY KEY, value BLOB NOT NULL)")
    return connection


async def bare_records_a_second(each: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        bare = BareGroupCommit(Path(folder) / "db")

        async def produce() -> None:
            key = str(uuid.uuid4())
            for _ in range(each):
                await bare.put(key, VALUE)

        begun = time.perf_counter()
        await asyncio.gather(*(produce() for _ in range(PRODUCERS)))
        seconds = time.perf_counter() - begun
        bare.close()
    return PRODUCERS * each / seconds


async def bare_commit_ms(turns: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        connection = bare_connection(Path(folder) / "db")
        begun = time.perf_counter()
        for turn in range(turns):
            connection.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", (str(turn % 10), VALUE))
        seconds = time.perf_counter() - begun
        connection.close()
    return seconds / turns * 1000


@asynccontextmanager
async def opened(*collections: Any) -> AsyncIterator[SqliteStateStore]:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStateStore(Path(folder) / "nano.db", quiet())
        await store.open(collections)
        try:
            yield store
        finally:
            await store.close()


async def store_records_a_second(each: int) -> float:
    async with opened(RECORDS) as store:
        record = Record(VALUE)

        async def produce() -> None:
            key = str(uuid.uuid4())
            for _ in range(each):
                await store.commit(Put(RECORDS, key, record))

        begun = time.perf_counter()
        await asyncio.gather(*(produce() for _ in range(PRODUCERS)))
        return PRODUCERS * each / (time.perf_counter() - begun)


async def store_commit_ms(turns: int) -> float:
    async with opened(RECORDS) as store:
        record = Record(VALUE)
        begun = time.perf_counter()
        for turn in range(turns):
            await store.commit(Put(RECORDS, str(turn % 10), record))
        return (time.perf_counter() - begun) / turns * 1000


class BenchInput(Struct, frozen=True, kw_only=True):
    id: str
    steps: int


class BenchWorkflow:
    kind = "bench.steps"
    input = BenchInput

    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self._gate = gate

    def steps(self, input: BenchInput) -> Sequence[Step]:
        return [Step(f"step-{number}", self._do, self._do) for number in range(input.steps)]

    def resources(self, input: BenchInput) -> list[ResourceRef]:
        return [ResourceRef(kind="bench", id=input.id)]

    def result(self, input: BenchInput, outcomes: Mapping[str, Any]) -> dict[str, Any] | None:
        del input, outcomes
        return None

    async def _do(self, context: StepContext) -> Any:
        del context
        if self._gate is not None:
            await self._gate.wait()


@asynccontextmanager
async def engine(gate: asyncio.Event | None = None) -> AsyncIterator[OperationEngine]:
    async def publish(event: Event) -> None:
        del event

    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStateStore(Path(folder) / "nano.db", quiet())
        made = OperationEngine(store, SystemClock(), quiet(), publish)
        await store.open(made.collections())
        made.register([BenchWorkflow(gate)])
        await made.start()
        try:
            yield made
        finally:
            await made.stop()
            await store.close()


async def engine_steps_a_second(operations: int, steps: int) -> float:
    async with engine() as made:

        async def one(number: int) -> None:
            operation = await made.run("bench.steps", BenchInput(id=str(number), steps=steps))
            await made.wait(operation.id, 120)

        begun = time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(operations)))
        return operations * steps / (time.perf_counter() - begun)


async def lone_step_ms(turns: int) -> float:
    async with engine() as made:
        begun = time.perf_counter()
        for turn in range(turns):
            operation = await made.run("bench.steps", BenchInput(id=str(turn), steps=5))
            await made.wait(operation.id, 120)
        return (time.perf_counter() - begun) / turns / 5 * 1000


async def flight_cpu_us(count: int) -> float:
    """CPU a step of ``count`` operations that are all in flight with a deadline: do, outcome and end."""
    gate = asyncio.Event()
    async with engine(gate) as made:
        begun = [await made.run("bench.steps", BenchInput(id=str(number), steps=1)) for number in range(10)]
        begun += await asyncio.gather(
            *(made.run("bench.steps", BenchInput(id=str(number), steps=1)) for number in range(10, count))
        )
        await asyncio.sleep(0.2)
        cpu = time.process_time()
        gate.set()
        await made.wait(begun[-1].id, 120)
        for operation in begun:
            await made.wait(operation.id, 120)
        return (time.process_time() - cpu) / count * 1e6


async def bare_flight_cpu_us(count: int) -> float:
    """The same without Nano: a coroutine each that waits for a gate, and one heap with every deadline."""
    gate = asyncio.Event()
    wheel: list[tuple[float, int]] = []

    async def one(number: int) -> None:
        heapq.heappush(wheel, (time.monotonic() + 60, number))
        await gate.wait()

    tasks = [asyncio.ensure_future(one(number)) for number in range(count)]
    cpu = time.process_time()
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)
    return (time.process_time() - cpu) / count * 1e6


async def flight_bytes(count: int) -> float:
    gate = asyncio.Event()
    async with engine(gate) as made:
        tracemalloc.start()
        begun = await asyncio.gather(
            *(made.run("bench.steps", BenchInput(id=str(number), steps=1)) for number in range(count))
        )
        await asyncio.sleep(0.3)
        ids = [operation.id for operation in begun]
        del begun
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        gate.set()
        for id in ids:
            await made.wait(id, 120)
    return size / count


def quiet() -> Any:
    return structlog.wrap_logger(structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger(50))


async def measure(size: Size) -> list[Figure]:
    each, turns, count = size.of((1, 25, 200), (5, 150, 3000), (20, 500, 50_000))
    operations, steps = size.of((50, 5), (1000, 5), (5000, 5))
    return [
        await compare(
            "state store: durable records, 1,000 writers",
            "1/s",
            lambda: store_records_a_second(each),
            lambda: bare_records_a_second(each),
            goal=">= 0.6",
            n=PRODUCERS * each,
            why="entries, revisions, indexes and the change feed of each record are kept on the loop, in Python",
        ),
        await compare(
            "state store: one lone durable record",
            "ms",
            lambda: store_commit_ms(turns // 5),
            lambda: bare_commit_ms(turns // 5),
            goal="<= 2",
            n=turns,
            rounds=9,
        ),
        await compare(
            "operations: durable steps",
            "1/s",
            lambda: engine_steps_a_second(operations, steps),
            lambda: bare_records_a_second(each),
            goal=">= 0.6",
            n=operations * steps,
            why="a step is a task of its own, the state machine, a journal record, its index and its view in the list",
        ),
        await compare(
            "operations: one lone durable step",
            "ms",
            lambda: lone_step_ms(turns // 25),
            lambda: bare_commit_ms(turns // 5),
            goal="<= 2",
            n=turns,
            rounds=9,
            why="six commits for five steps, each by way of the writer's thread and back (see the lone record), "
            "and a task for each step",
        ),
        await compare(
            "operations: CPU a step, all in flight with deadlines",
            "us",
            lambda: flight_cpu_us(count),
            lambda: bare_flight_cpu_us(count),
            goal="<= 2",
            n=count,
            why="the bare coroutine writes no journal; record, commit and the view in the list are the rest",
        ),
        Figure(
            "operations: memory of one in flight",
            await flight_bytes(count),
            "B",
            2560,
            "<= 1",
            count,
            why="a task with its frames, the state machine, the record in the store and its view as JSON in the list",
        ),
    ]

"""Pages of the in-memory table beside encoding the same objects on each request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from bench.figure import Figure, Size, compare
from nanocore.clock import SystemClock
from nanocore.contracts.listing import ListQuery
from nanocore.contracts.table import Table
from nanocore.ids import ComputePoolId, InstanceId
from nanocore.model.instance import DesiredState, Instance, InstanceState, ObservedState
from nanocore.wire import encode_json, structs

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def instance(number: int) -> Instance:
    return Instance(
        id=InstanceId(f"{number:08d}-0000-4000-8000-000000000000"),
        name=f"web-{(number * 7919) % 100_003}",
        description="a guest that serves pages",
        state=InstanceState(desired=DesiredState.RUNNING, observed=ObservedState.RUNNING, since=NOW),
        compute_pool_id=ComputePoolId("pool-1"),
        compute_pool="default",
        vcpus=2,
        memory_bytes=2**31,
        tags=["web", f"rack-{number % 40}"],
        created_at=NOW,
    )


def fill(count: int) -> tuple[Table[Instance], list[Instance]]:
    table: Table[Instance] = Table("instances", SystemClock(), lambda _: None)
    instances = [instance(number) for number in range(count)]
    for one in instances:
        table.put(one)
    return table, instances


def best_ms(act: Callable[[], object], turns: int) -> float:
    act()
    times = []
    for _ in range(turns):
        begun = time.perf_counter()
        act()
        times.append(time.perf_counter() - begun)
    return sorted(times)[len(times) // 2] * 1000


async def longest_hold_ms(table: Table[Instance], query: ListQuery, turns: int) -> float:
    """Return how long ``answer`` holds the loop at most, in processor time: a busy machine's pauses are not ours."""
    worst: list[float] = []
    for _ in range(turns):
        asked = asyncio.create_task(table.answer(query))
        longest, last = 0.0, time.thread_time()
        while not asked.done():
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now
        worst.append(longest * 1000)
    return sorted(worst)[len(worst) // 2]


async def measure(size: Size) -> list[Figure]:  # noqa: C901  one small function a figure
    count, turns = size.of((2000, 3), (10_000, 20), (100_000, 50))
    table, instances = fill(count)
    page = instances[:1000]

    async def encode() -> float:
        return best_ms(lambda: encode_json(page), turns)

    def ask(query: ListQuery) -> Callable[[], object]:
        return lambda: b",".join(table.page(query).blobs)

    async def first() -> float:
        return best_ms(ask(ListQuery(limit=1000)), turns)

    async def by_name() -> float:
        return best_ms(ask(ListQuery(limit=1000, sort="name")), turns)

    async def filtered() -> float:
        return best_ms(ask(ListQuery(limit=1000, filter={"tags": "rack-7"})), turns)

    async def words() -> float:
        return best_ms(ask(ListQuery(limit=1000, q="web-77")), turns)

    async def changed() -> float:
        since = table.revision
        for one in page[:10]:
            table.put(structs.replace(one, description=f"changed at {time.perf_counter()}"))
        return best_ms(ask(ListQuery(limit=1000, since_revision=since)), turns)

    async def put() -> float:
        fresh = [structs.replace(one, description=f"put at {time.perf_counter()}") for one in page]
        begun = time.perf_counter()
        for one in fresh:
            table.put(one)
        return (time.perf_counter() - begun) * 1000

    async def encode_each() -> float:
        return best_ms(lambda: [encode_json(one) for one in page], turns)

    async def hold(query: ListQuery) -> float:
        return await longest_hold_ms(table, query, turns)

    of = f"of {count:,}"
    holds = {
        "sorted by name": ListQuery(limit=1000, sort="name"),
        "filtered by tag": ListQuery(limit=1000, filter={"tags": "rack-7"}),
        "free text, best first": ListQuery(limit=50, q="web-77", sort="relevance"),
        "filtered, sorted the other way": ListQuery(
            limit=1000, filter={"state.observed": "running"}, sort="-created_at"
        ),
    }
    return [
        *[
            await compare(
                f"list: the loop held {of}, {name}",
                "ms",
                lambda query=query: hold(query),  # type: ignore[misc]
                encode,
                goal="<= 5 ms",
                n=turns,
            )
            for name, query in holds.items()
        ],
        await compare(f"list: page of 1,000 {of}", "ms", first, encode, goal="<= 0.5", n=turns),
        await compare(f"list: page of 1,000 {of}, sorted by name", "ms", by_name, encode, n=turns),
        await compare(f"list: filtered by tag {of}", "ms", filtered, encode, n=turns),
        await compare(f"list: free text {of}", "ms", words, encode, n=turns),
        await compare(f"list: 10 changes since a revision {of}", "ms", changed, encode, goal="<= 0.1", n=turns),
        await compare("list: take 1,000 changed objects", "ms", put, encode_each, n=1000),
    ]

"""Request and reply of 4 KB over CURVE: the kernel beside a bare echo on the same kind of socket.

First the answering side alone (typed decode, dispatch, reply), driven by one bare client for both; then the kernel
on both ends, ``call_reply`` to handler and back.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import zmq

from bench import bare, nodes
from bench.child import Child, child, cpu_seconds
from bench.figure import Figure, Size, of_rounds
from nanocore.ids import new_id
from nanocore.testing.cluster import wait_for
from nanocore.transport.curve import KeyPair
from nanocore.wire import encode
from nanocore.wire.envelope import Kind, pack, unpack

IN_FLIGHT = 64
WHY = (
    "of about 36 us more than the echo, 25 are the kernel's own Python without a peak: a task for the handler with its "
    "context 4, future and keys in submit 3, decoding header and body 4, objects for call and request 2.5, settling "
    "and deadline 3, encoding the reply 2; the rest is pyzmq: frames with User-Id instead of bytes, EVENTS after sends"
)
WHY_ENDS = f"both ends pay; the asking one has its future, its deadline and its header too; {WHY}"

Ask = Callable[[int], Awaitable[None]]
"""Sends the request of one of the slots and returns when its reply is there."""


@dataclass
class Round:
    """What one round measured: median of lone requests, rate of many, CPU of the answering process (us each)."""

    p50_us: float
    rate: float
    cpu_us: float
    own_cpu_us: float


class BareClient:
    """A DEALER on the loop; one future a request that waits, as any asyncio program has."""

    def __init__(self, node: dict[str, str], core_id: str, core_key: str, port: int) -> None:
        self._context: zmq.Context[bare.Socket] = zmq.Context()
        self._socket = bare.dealer(self._context, node["secret"], core_key)
        self._socket.connect(f"tcp://127.0.0.1:{port}")
        self._slots = {new_id(): asyncio.get_running_loop().create_future() for _ in range(IN_FLIGHT)}
        self._ids = list(self._slots)
        headers = [nodes.request_header(node, core_id, id) for id in self._ids]
        body = encode(nodes.four_kilobytes(headers[0]))
        self._frames = [pack(header, body) for header in headers]
        assert {len(frame) for frame in self._frames} == {nodes.FRAME_BYTES}
        self._drain = bare.Drain(self._socket, self._receive)

    def _receive(self) -> None:
        header, _ = unpack(self._socket.recv(zmq.NOBLOCK))
        assert header.kind is not Kind.ERROR
        self._slots[header.id].set_result(None)

    async def ask(self, slot: int) -> None:
        future = self._slots[self._ids[slot]] = asyncio.get_running_loop().create_future()
        self._socket.send(self._frames[slot], zmq.NOBLOCK)
        self._drain.kick()
        await future

    def close(self) -> None:
        self._drain.close()
        self._socket.close(0)
        self._context.term()


async def measure_round(ask: Ask, pid: int, lone: int, many: int) -> Round:
    for _ in range(lone // 5):
        await ask(0)
    times = []
    for _ in range(lone):
        begun = time.perf_counter()
        await ask(0)
        times.append(time.perf_counter() - begun)

    async def worker(slot: int) -> None:
        for _ in range(many // IN_FLIGHT):
            await ask(slot)

    await asyncio.gather(*(worker(slot) for slot in range(IN_FLIGHT)))
    count = many // IN_FLIGHT * IN_FLIGHT
    cpu, own, begun = cpu_seconds(pid), time.process_time(), time.perf_counter()
    await asyncio.gather(*(worker(slot) for slot in range(IN_FLIGHT)))
    seconds = time.perf_counter() - begun
    cpu, own = cpu_seconds(pid) - cpu, time.process_time() - own
    return Round(statistics.median(times) * 1e6, count / seconds, cpu / count * 1e6, own / count * 1e6)


@asynccontextmanager
async def answering() -> AsyncIterator[tuple[Child, Child, Callable[[Child], BareClient], Callable[[], Ask]]]:
    """Give the core, the bare echo, a maker of bare clients for either, and the kernel's own ``ask``."""
    keys, id = KeyPair.generate(), new_id()
    plain, own = nodes.fresh_nodes(2)
    async with child(nodes.core, id=id, secret=keys.secret) as core, child(bare.router, secret=keys.secret) as echo:
        ports = {
            core: await core.ask("open", nodes=[plain, own]),
            echo: await echo.ask("open", keys=[plain["public"]]),
        }
        cell = nodes.cell(own, id, keys.public, ports[core])
        await cell.start()
        try:
            await wait_for(lambda: cell.is_reachable(id), "the core answers the cell's hello")
            message = nodes.four_kilobytes(nodes.request_header(own, id, new_id()))

            async def call(_: int) -> None:
                await cell.call_reply(message)

            yield core, echo, lambda to: BareClient(plain, id, keys.public, ports[to]), lambda: call
        finally:
            await cell.stop()


async def measure(size: Size) -> list[Figure]:
    lone, many, rounds = size.of((20, 192, 1), (400, 5_000, 5), (2000, 40_000, 7))
    one_side: list[tuple[Round, Round]] = []
    both: list[tuple[Round, Round]] = []
    async with answering() as (core, echo, client, call):
        for _ in range(rounds):
            found = []
            for to in (echo, core):
                asking = client(to)
                found.append(await measure_round(asking.ask, to.pid, lone, many))
                asking.close()
            one_side.append((found[1], found[0]))
            both.append((await measure_round(call(), core.pid, lone, many), found[0]))
    answered, ends = "request 4 KB, answered by the kernel", "request 4 KB, kernel on both ends"

    def figures(name: str, pairs: list[tuple[Round, Round]], why: str) -> list[Figure]:
        p50 = [(ours.p50_us, limit.p50_us) for ours, limit in pairs]
        rate = [(ours.rate, limit.rate) for ours, limit in pairs]
        return [
            of_rounds(f"{name}: p50", "us", p50, goal="<= 1.3", n=lone, why=why),
            of_rounds(f"{name}: rate", "1/s", rate, goal=">= 0.6", n=many, why=why),
        ]

    cpu = [(ours.cpu_us, limit.cpu_us) for ours, limit in one_side]
    cpu_ends = [(ours.cpu_us + ours.own_cpu_us, limit.cpu_us + limit.own_cpu_us) for ours, limit in both]
    return [
        *figures(answered, one_side, WHY),
        of_rounds(f"{answered}: CPU", "us", cpu, goal="<= 1.6", n=many, why=WHY),
        *figures(ends, both, WHY_ENDS),
        of_rounds(f"{ends}: CPU of both", "us", cpu_ends, goal="<= 1.6", n=many, why=WHY_ENDS),
    ]

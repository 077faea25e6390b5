"""Many nodes that connect, register and beat: the kernel beside a bare ROUTER with ZAP, driven by the same nodes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import zmq

from bench import bare, nodes
from bench.child import Child, child, cpu_seconds, resident_bytes
from bench.figure import Figure, Size, of_rounds
from nanocore.ids import new_id
from nanocore.kernel.membership import BEAT_SECONDS, STRETCH, STRETCH_ABOVE
from nanocore.transport.curve import KeyPair

TICK_SECONDS = 0.005
STORM_SECONDS = 110.0
Node = dict[str, str]
WHY_HANDSHAKE = (
    "beside CURVE itself (0.55 ms in libzmq's thread): hello is a whole request (decode, dispatch, a task, a reply, "
    "about 60 us), one log line for who joined (40 us), and the event and the task that tell the plugins"
)
WHY_BEAT = (
    "beside the received frame: its User-Id, the header's decoding, the registry's and the routes' look-up, and the "
    "check every 0.2 s; at this rate a wake-up costs more than all of them"
)


class Fleet:
    """The nodes' side: bare DEALERs, the same for both."""

    def __init__(self, fleet: list[Node], core_id: str, core_key: str, port: int) -> None:
        bare.raise_open_files()
        self._context: zmq.Context[bare.Socket] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 65_535)
        self._port = port
        self._dealers = [bare.dealer(self._context, node["secret"], core_key) for node in fleet]
        self._hellos = [nodes.hello_frame(node, core_id) for node in fleet]
        self._beats = [nodes.beat_frame(node, core_id) for node in fleet]
        self._drains: list[bare.Drain] = []
        self._answered = 0
        self._done = asyncio.Event()

    async def connect(self) -> float:
        """Connect all at once; return the seconds until the last hello was answered."""
        begun = time.perf_counter()
        for dealer, hello in zip(self._dealers, self._hellos, strict=True):
            dealer.connect(f"tcp://127.0.0.1:{self._port}")
            dealer.send(hello, zmq.NOBLOCK)
            self._drains.append(bare.Drain(dealer, self._receiver(dealer)))
        await asyncio.wait_for(self._done.wait(), STORM_SECONDS)
        return time.perf_counter() - begun

    def _receiver(self, dealer: bare.Socket) -> Callable[[], None]:
        is_answered = False

        def receive() -> None:
            nonlocal is_answered
            dealer.recv(zmq.NOBLOCK)
            if not is_answered:
                is_answered = True
                self._answered += 1
                if self._answered == len(self._dealers):
                    self._done.set()

        return receive

    async def beat(self, seconds: float, interval: float) -> int:
        """Let every node beat at its interval, evenly spread; return how many beats were sent."""
        begun, sent = time.perf_counter(), 0
        while (passed := time.perf_counter() - begun) < seconds:
            due = int(passed / interval * len(self._dealers))
            while sent < due:
                self._dealers[sent % len(self._dealers)].send(self._beats[sent % len(self._beats)], zmq.NOBLOCK)
                sent += 1
            await asyncio.sleep(TICK_SECONDS)
        return sent

    def close(self) -> None:
        for drain in self._drains:
            drain.close()
        for dealer in self._dealers:
            dealer.close(0)
        self._context.term()


@asynccontextmanager
async def fleet(core_id: str, core_key: str) -> AsyncIterator[dict[str, Callable[..., Awaitable[Any]]]]:
    """A child: ``open`` with nodes and port, then ``connect`` and ``beat``."""
    made: list[Fleet] = []

    async def open(nodes: list[Node], port: int) -> None:
        made.append(Fleet(nodes, core_id, core_key, port))

    async def connect() -> float:
        return await made[0].connect()

    async def beat(seconds: float, interval: float) -> int:
        return await made[0].beat(seconds, interval)

    try:
        yield {"open": open, "connect": connect, "beat": beat}
    finally:
        for one in made:
            one.close()


@dataclass
class Storm:
    """What one round measured on the answering side, a node each but for ``seconds``."""

    seconds: float
    handshake_ms: float
    connection_kb: float
    beat_us: float


async def measure_storm(
    server: Child, open: Awaitable[int], keys: KeyPair, id: str, many: list[Node], *, size: Size
) -> Storm:
    count = len(many)
    memory = resident_bytes(server.pid)
    port = await open
    async with child(fleet, core_id=id, core_key=keys.public) as clients:
        await clients.ask("open", nodes=many, port=port)
        cpu = cpu_seconds(server.pid)
        seconds = await clients.ask("connect")
        cpu = cpu_seconds(server.pid) - cpu
        await asyncio.sleep(0.5)
        memory = resident_bytes(server.pid) - memory
        interval = BEAT_SECONDS * (STRETCH if count > STRETCH_ABOVE else 1)
        await clients.ask("beat", seconds=1.0, interval=interval)
        before = cpu_seconds(server.pid)
        beats = await clients.ask("beat", seconds=size.of(0.5, 3.0, 20.0), interval=interval)
        beat_cpu = cpu_seconds(server.pid) - before
    return Storm(seconds, cpu / count * 1e3, memory / count / 1000, beat_cpu / beats * 1e6)


async def measure(size: Size) -> list[Figure]:
    count, rounds = size.of((40, 1), (1000, 3), (10_000, 3))
    pairs: list[tuple[Storm, Storm]] = []
    many = nodes.fresh_nodes(count)
    for _ in range(rounds):
        keys, id = KeyPair.generate(), new_id()
        async with child(bare.router, secret=keys.secret) as router:
            opened = router.ask("open", keys=[node["public"] for node in many])
            limit = await measure_storm(router, opened, keys, id, many, size=size)
        async with child(nodes.core, id=id, secret=keys.secret) as core:
            ours = await measure_storm(core, core.ask("open", nodes=many), keys, id, many, size=size)
            assert await core.ask("reachable") == count
        pairs.append((ours, limit))
    of = f"{count:,} nodes"

    def figure(name: str, unit: str, read: Callable[[Storm], float], goal: str, why: str = "") -> Figure:
        both = [(read(ours), read(limit)) for ours, limit in pairs]
        return of_rounds(f"{of}{name}", unit, both, goal=goal, n=count, why=why)

    return [
        figure(" connect and register", "s", lambda storm: storm.seconds, "<= 1.3"),
        figure(": CPU a handshake", "ms", lambda storm: storm.handshake_ms, "<= 1.15", WHY_HANDSHAKE),
        figure(": memory of one", "kB", lambda storm: storm.connection_kb, "<= 1.6"),
        figure(": CPU a beat", "us", lambda storm: storm.beat_us, "<= 1.5", WHY_BEAT),
    ]

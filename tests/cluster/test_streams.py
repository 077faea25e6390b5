"""Events and streams between nodes, and bad networks; over memory and over CURVE on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from nanocore.contracts.handler import Subscription
from nanocore.contracts.node import (
    NodeInfo,
    NodeRole,
)
from nanocore.contracts.stream import MAX_CHUNK_BYTES, Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.kernel.messenger import MessengerSettings
from nanocore.kernel.streams import HELD_FRAMES
from nanocore.testing.cluster import QUICK, Cluster, cluster, wait_for
from nanocore.testing.faults import TcpProxy
from nanocore.wire.envelope import Header, Kind, pack
from tests.cluster.cast import Change, Echo, Pipe, Plugin, Ticked, Whispered, crash, refusal

pytestmark = pytest.mark.cluster

# -- events


def test_events_of_a_cell_reach_the_core_in_order(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        here: list[tuple[int, str]] = []
        there: list[tuple[int, str]] = []
        whispers: list[str] = []

        def hearing(sink: list[tuple[int, str]]) -> Subscription:
            async def hear(event: Ticked, source: NodeInfo) -> None:
                sink.append((event.number, source.name))

            return Subscription(Ticked, hear, "test")

        async def overhear(_event: Whispered, source: NodeInfo) -> None:
            whispers.append(source.name)

        cell = nodes.cells[0]
        cell.subscribe(hearing(here))
        nodes.core.subscribe(hearing(there))
        nodes.core.subscribe(Subscription(Whispered, overhear, "test"))
        await cell.publish(Whispered())
        for number in range(50):
            await cell.publish(Ticked(number=number))
        await wait_for(lambda: len(there) == 50, "all on the core")
        assert there == here == [(number, "cell-1") for number in range(50)]
        assert whispers == []
        await nodes.core.publish(Ticked(number=99))
        await wait_for(lambda: there[-1] == (99, "core"), "the core's own")
        assert len(here) == 50

    play(body)


def test_a_core_tells_its_frontends(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        frontend = await nodes.join("front", NodeRole.FRONTEND)
        heard: list[int] = []

        async def hear(event: Ticked, _source: NodeInfo) -> None:
            heard.append(event.number)

        frontend.subscribe(Subscription(Ticked, hear, "test"))
        await nodes.core.publish(Ticked(number=5))
        await wait_for(lambda: heard == [5], "the event")

    play(body, cells=0)


# -- streams


async def copy(stream: Stream, chunks: int) -> str:
    """Send ``chunks`` through an echoing stream and return the digest of what came back."""

    async def feed() -> None:
        for number in range(chunks):
            await stream.send(bytes([number % 251]) * MAX_CHUNK_BYTES)
        await stream.end()

    feeding = asyncio.create_task(feed())
    digest = hashlib.sha256()
    while (chunk := await stream.receive()) is not None:
        digest.update(chunk)
    await feeding
    return digest.hexdigest()


def test_streams_carry_bytes_in_every_direction(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        first, second = nodes.cells
        Plugin(nodes.core)
        Plugin(second)
        expected = hashlib.sha256(b"".join(bytes([n % 251]) * MAX_CHUNK_BYTES for n in range(24))).hexdigest()
        for source, target in (
            (first, nodes.core),
            (nodes.core, second),
            (first, second),
            (nodes.core, nodes.core),
        ):
            stream = await source.open_stream(Pipe(), dst=target.info.id)
            assert await copy(stream, 24) == expected
            await stream.close()
        for node in (nodes.core, first, second):
            await wait_for(lambda node=node: not node._streams._entries, "nothing is left")  # type: ignore[misc]

    play(body, cells=2)


def test_what_a_quick_handler_gives_arrives_though_it_is_over_before_it_was_taken(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        Plugin(nodes.core)
        for _ in range(20):
            stream = await nodes.cells[0].open_stream(Pipe(mode="give"))
            received = b""
            while (chunk := await stream.receive()) is not None:
                received += chunk
            assert received == b"all of it"
            await stream.close()

    play(body)


class Clogged:
    """A transport over which one peer takes nothing while ``is_clogged``."""

    def __init__(self, real: Any, peer: str) -> None:
        self._real = real
        self._peer = peer
        self.is_clogged = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def send(self, peer: str, frames: list[Any]) -> None:
        if self.is_clogged and peer == self._peer:
            raise NanoError(ErrorCode.BUSY, "the queue is full")
        self._real.send(peer, frames)


def test_frames_that_wait_on_their_way_keep_their_order(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        first, second = nodes.cells
        Plugin(second)
        stream = await first.open_stream(Pipe(), dst=second.info.id)
        clog: Any = Clogged(nodes.core._streams._transport, second.info.id)
        nodes.core._streams._transport = clog
        clog.is_clogged = True
        words = [b"%d," % number for number in range(100)]
        for word in words[:50]:
            await stream.send(word)
        passing = next(iter(nodes.core._streams._passing.values()))
        await wait_for(lambda: any(held.frames for held in passing.held.values()), "frames that wait")
        clog.is_clogged = False
        for word in words[50:]:
            await stream.send(word)
        await stream.end()
        received = b""
        while (chunk := await stream.receive()) is not None:
            received += chunk
        assert received == b"".join(words)
        assert not passing.held
        await stream.close()

    play(body, cells=2)


@pytest.mark.parametrize("size", [1, MAX_CHUNK_BYTES])
def test_a_cell_that_floods_a_stream_passed_on_is_cut_short(play: Callable[..., None], size: int) -> None:
    async def body(nodes: Cluster) -> None:
        mallory, second = nodes.cells
        Plugin(second)
        stream = await mallory.open_stream(Pipe(), dst=second.info.id)
        core = nodes.core._streams
        clog: Any = Clogged(core._transport, second.info.id)
        core._transport = clog
        clog.is_clogged = True
        id = next(iter(core._passing))
        header = Header(kind=Kind.STREAM, id=id, op="data", src=mallory.info.id, dst=second.info.id)
        most = 0
        async with asyncio.timeout(20):
            while stream.error is None:
                with contextlib.suppress(NanoError):
                    mallory._streams._transport.send(nodes.core.info.id, [pack(header), b"x" * size])
                for passing in core._passing.values():
                    most = max(most, sum(len(held.frames) for held in passing.held.values()))
                await asyncio.sleep(0)
        assert not core._passing
        assert most <= HELD_FRAMES
        assert (await refusal(stream.receive())).code is ErrorCode.BUSY
        clog.is_clogged = False

    play(body, cells=2)


def test_many_streams_share_a_link(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        Plugin(nodes.core)
        streams = [await nodes.cells[0].open_stream(Pipe()) for _ in range(10)]
        digests = await asyncio.gather(*(copy(stream, 6) for stream in streams))
        assert len(set(digests)) == 1

    play(body)


@pytest.mark.parametrize("is_local", [True, False])
def test_a_handler_that_refuses_a_stream_is_heard_by_the_opener(play: Callable[..., None], *, is_local: bool) -> None:
    async def body(nodes: Cluster) -> None:
        Plugin(nodes.core)
        node = nodes.core if is_local else nodes.cells[0]
        error = await refusal(node.open_stream(Pipe(mode="refuse")))
        assert (error.code, error.message) == (ErrorCode.NOT_FOUND, "no such image")
        assert (await refusal(node.open_stream(Echo()))).code is ErrorCode.INVALID_ARGUMENT
        error = await refusal(node.open_stream(Pipe(mode="hang"), timeout_seconds=0.2))
        assert error.code in {ErrorCode.DEADLINE_EXCEEDED, ErrorCode.UNKNOWN_OUTCOME}
        assert not node._streams._entries

    play(body)


@pytest.mark.parametrize("is_local", [True, False])
@pytest.mark.parametrize(("mode", "code"), [("fail", ErrorCode.NO_CAPACITY), ("crash", ErrorCode.INTERNAL)])
def test_a_handler_that_fails_midway_is_heard_by_both_calls(
    play: Callable[..., None], mode: str, code: ErrorCode, *, is_local: bool
) -> None:
    async def body(nodes: Cluster) -> None:
        Plugin(nodes.core)
        stream = await (nodes.core if is_local else nodes.cells[0]).open_stream(Pipe(mode=mode))
        await stream.send(b"first")
        error = await refusal(stream.receive())
        assert error.code is code
        assert "hunter2" not in str(error)
        assert (await refusal(stream.send(b"more"))).code is code

    play(body)


@pytest.mark.parametrize("dies", ["cell", "core"])
def test_a_lost_node_wakes_the_other_end_of_its_stream(play: Callable[..., None], dies: str) -> None:
    async def body(nodes: Cluster) -> None:
        plugin = Plugin(nodes.core)
        stream = await nodes.cells[0].open_stream(Pipe())
        await stream.send(b"x")
        assert await stream.receive() == b"x"
        left, dead = (plugin.streams[0], nodes.cells[0]) if dies == "cell" else (stream, nodes.core)
        waiting = asyncio.create_task(stream.receive()) if dies == "core" else None
        await crash(dead)
        living = nodes.core if dies == "cell" else nodes.cells[0]
        await wait_for(lambda: not living._streams._entries, "the living end is over")
        for work in (waiting, left.receive(), left.send(b"y")):
            if work is not None:
                assert (await refusal(work)).code is ErrorCode.UNAVAILABLE

    play(body)


def test_a_lost_link_wakes_both_ends_of_a_stream_that_was_passed_on(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        first, second = nodes.cells
        Plugin(second)
        stream = await first.open_stream(Pipe(), dst=second.info.id)
        await stream.send(b"x")
        assert await stream.receive() == b"x"
        waiting = asyncio.create_task(stream.receive())
        await crash(second)
        async with asyncio.timeout(3):
            error = await refusal(waiting)
        assert error.code is ErrorCode.UNAVAILABLE
        assert not nodes.core._streams._passing

    play(body, cells=2)


def test_an_upload_delays_no_request(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        Plugin(nodes.core)
        cell = nodes.cells[0]
        upload = asyncio.create_task(copy(await cell.open_stream(Pipe()), 100))
        answered = 0
        while not upload.done():
            assert (await cell.call_reply(Echo(text="quick"), timeout_seconds=2)).body == "quick"
            answered += 1
        await upload
        assert answered > 5
        assert cell.is_reachable(nodes.core.info.id)
        assert nodes.lost == []

    play(body)


# -- bad networks


def test_doubled_and_late_messages_change_nothing() -> None:
    async def main() -> None:
        async with asyncio.timeout(30), cluster(1, over="memory") as nodes:
            plugin = Plugin(nodes.core)
            nodes.network.faults.double = 0.5
            nodes.network.faults.jitter_seconds = 0.02
            replies = await asyncio.gather(*(nodes.cells[0].call_reply(Change()) for _ in range(100)))
            assert sorted(reply.body for reply in replies) == list(range(1, 101))
            assert plugin.total == 100
            nodes.network.faults.double = nodes.network.faults.jitter_seconds = 0.0

    asyncio.run(main())


def test_lost_messages_end_in_time_and_a_repeat_counts_once() -> None:
    async def main() -> None:
        async with asyncio.timeout(30), cluster(1, over="memory") as nodes:
            plugin = Plugin(nodes.core)
            nodes.network.faults.drop = 0.3

            async def change(number: int) -> int:
                for _ in range(50):
                    try:
                        reply = await nodes.cells[0].call_reply(Change(), request_id=f"c-{number}", timeout_seconds=0.2)
                    except NanoError as error:
                        if error.code is not ErrorCode.UNKNOWN_OUTCOME:
                            raise
                    else:
                        return reply.body
                raise AssertionError(number)

            results = await asyncio.gather(*(change(number) for number in range(30)))
            nodes.network.faults.drop = 0.0
            assert plugin.total == 30
            assert sorted(results) == list(range(1, 31))

    asyncio.run(main())


def test_a_silent_network_is_seen_on_both_sides_and_heals() -> None:
    async def main() -> None:
        settings = MessengerSettings(bind_host="127.0.0.1", is_strict=True, limits=QUICK)
        async with asyncio.timeout(40), cluster(0, over="curve", settings=settings) as nodes:
            Plugin(nodes.core)
            async with TcpProxy("127.0.0.1", nodes.core.message_port or 0) as proxy:
                cell = await nodes.join("far", address=f"127.0.0.1:{proxy.port}")
                await wait_for(lambda: proxy.passed > 12, "beats and heartbeats pass")
                proxy.stall()
                await wait_for(lambda: not nodes.core.is_reachable(cell.info.id), "core", seconds=2.0)
                await wait_for(lambda: not cell.is_reachable(nodes.core.info.id), "cell", seconds=2.0)
                proxy.reset()
                proxy.flow()
                await wait_for(lambda: nodes.core.is_reachable(cell.info.id), "back")
                await wait_for(lambda: cell.is_reachable(nodes.core.info.id), "back")
                assert (await cell.call_reply(Echo(text="again"))).body == "again"

    asyncio.run(main())


def test_beats_stretch_with_the_number_of_nodes() -> None:
    async def main() -> None:
        async with asyncio.timeout(30), cluster(2, over="memory") as nodes:
            nodes.core._presence.membership._stretch_above = 1
            await wait_for(lambda: all(cell._presence._beat_seconds == 2.25 for cell in nodes.cells), "told")
            third = await nodes.join("cell-3")
            await wait_for(lambda: third._presence._beat_seconds == 2.25, "a newcomer is told too")
            nodes.core._presence.membership._stretch_above = 100
            await wait_for(lambda: all(cell._presence._beat_seconds == 0.75 for cell in nodes.cells), "told back")
            assert nodes.lost == []

    asyncio.run(main())

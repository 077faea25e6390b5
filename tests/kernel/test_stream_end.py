from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanocore.contracts.stream import MAX_CHUNK_BYTES
from nanocore.errors import ErrorCode, NanoError
from nanocore.kernel.exchange import encode_error
from nanocore.kernel.stream_end import WINDOW_BYTES, StreamEnd, lost_link


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            await body()

    asyncio.run(main())


class Wire:
    """One end whose other side is the test."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.ended = 0
        self.busy = 0
        self.end = StreamEnd(self._emit, self._on_end)

    def _emit(self, op: str, frames: Any) -> None:
        if op == "data" and self.busy:
            self.busy -= 1
            raise NanoError(ErrorCode.BUSY, "full")
        self.sent.append((op, bytes(frames[0]) if frames else b""))

    def _on_end(self) -> None:
        self.ended += 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, MAX_CHUNK_BYTES), max_size=20), st.lists(st.integers(1, MAX_CHUNK_BYTES), max_size=20))
def test_bytes_pass_both_ways_at_once(here: list[int], there: list[int]) -> None:
    async def pump(stream: StreamEnd, sizes: list[int]) -> None:
        for number, size in enumerate(sizes):
            await stream.send(bytes([number]) * size)
        await stream.end()

    async def drain(stream: StreamEnd) -> list[int]:
        sizes = []
        while (chunk := await stream.receive()) is not None:
            assert set(chunk) == {len(sizes)}
            sizes.append(len(chunk))
        return sizes

    async def body() -> None:
        left, right = StreamEnd.pair()
        results = await asyncio.gather(pump(left, here), pump(right, there), drain(right), drain(left))
        assert results[2:] == [here, there]

    run(body)


def test_a_sender_waits_for_credit() -> None:
    async def body() -> None:
        wire = Wire()
        for _ in range(WINDOW_BYTES // MAX_CHUNK_BYTES):
            await wire.end.send(b"x" * MAX_CHUNK_BYTES)
        waiting = asyncio.create_task(wire.end.send(b"y"))
        done, _ = await asyncio.wait({waiting}, timeout=0.05)
        assert not done
        wire.end.feed("credit", (1).to_bytes(4, "big"))
        await waiting
        assert wire.sent[-1] == ("data", b"y")

    run(body)


def test_credit_is_given_back_as_the_reader_consumes() -> None:
    async def body() -> None:
        wire = Wire()
        for _ in range(4):
            wire.end.feed("data", b"x" * MAX_CHUNK_BYTES)
        assert wire.sent == []
        await wire.end.receive()
        assert wire.sent == []
        await wire.end.receive()
        assert wire.sent == [("credit", (2 * MAX_CHUNK_BYTES).to_bytes(4, "big"))]
        wire.end.feed("data", b"x" * MAX_CHUNK_BYTES)

    run(body)


def test_more_than_the_credit_ends_the_stream() -> None:
    async def body() -> None:
        wire = Wire()
        for _ in range(5):
            wire.end.feed("data", b"x" * MAX_CHUNK_BYTES)
        assert [op for op, _ in wire.sent] == ["close"]
        for _ in range(4):
            await wire.end.receive()
        with pytest.raises(NanoError) as caught:
            await wire.end.receive()
        assert caught.value.reason == "stream.no_credit"
        assert wire.ended == 1

    run(body)


def test_credit_beyond_the_window_is_worth_nothing() -> None:
    async def body() -> None:
        wire = Wire()
        wire.end.feed("credit", b"\xff\xff\xff\xff")
        for _ in range(WINDOW_BYTES // MAX_CHUNK_BYTES):
            await wire.end.send(b"x" * MAX_CHUNK_BYTES)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await wire.end.send(b"y")

    run(body)


def test_a_chunk_has_a_largest_size() -> None:
    async def body() -> None:
        with pytest.raises(NanoError, match="at most") as caught:
            await Wire().end.send(b"x" * (MAX_CHUNK_BYTES + 1))
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT

    run(body)


def test_after_our_end_we_still_receive_and_no_longer_send() -> None:
    async def body() -> None:
        left, right = StreamEnd.pair()
        await left.end()
        assert await right.receive() is None
        await right.send(b"late")
        assert await left.receive() == b"late"
        with pytest.raises(NanoError) as caught:
            await left.send(b"x")
        assert caught.value.code is ErrorCode.WRONG_STATE

    run(body)


def test_an_error_reaches_the_other_side_after_what_was_sent() -> None:
    async def body() -> None:
        left, right = StreamEnd.pair()
        await left.send(b"first")
        await left.close(NanoError(ErrorCode.NO_CAPACITY, "the pool is full", reason="test.full"))
        assert await right.receive() == b"first"
        for _ in range(2):
            with pytest.raises(NanoError, match="the pool is full") as caught:
                await right.receive()
            assert (caught.value.code, caught.value.reason) == (ErrorCode.NO_CAPACITY, "test.full")
        with pytest.raises(NanoError, match="the pool is full"):
            await right.send(b"x")

    run(body)


def test_what_is_no_nano_error_stays_at_home() -> None:
    async def body() -> None:
        left, right = StreamEnd.pair()
        await left.close(RuntimeError("password hunter2"))
        with pytest.raises(NanoError) as caught:
            await right.receive()
        assert caught.value.code is ErrorCode.INTERNAL
        assert "hunter2" not in str(caught.value)

    run(body)


def test_closing_without_error_ends_the_readers_data_and_the_writers_work() -> None:
    async def body() -> None:
        left, right = StreamEnd.pair()
        await left.send(b"all there is")
        await left.close()
        await left.close()
        assert await right.receive() == b"all there is"
        assert await right.receive() is None
        with pytest.raises(NanoError) as caught:
            await right.send(b"x")
        assert caught.value.code is ErrorCode.CANCELLED

    run(body)


@pytest.mark.parametrize("what", ["send", "receive"])
def test_a_lost_link_wakes_who_waits(what: str) -> None:
    async def body() -> None:
        wire = Wire()
        if what == "send":
            for _ in range(4):
                await wire.end.send(b"x" * MAX_CHUNK_BYTES)
        waiting = asyncio.create_task(wire.end.send(b"y") if what == "send" else wire.end.receive())  # type: ignore[arg-type]
        await asyncio.sleep(0)
        wire.end.fail(lost_link("core"))
        with pytest.raises(NanoError) as caught:
            await waiting
        assert caught.value.code is ErrorCode.UNAVAILABLE
        assert wire.ended == 1

    run(body)


def test_a_full_queue_is_waited_for() -> None:
    async def body() -> None:
        wire = Wire()
        wire.busy = 2
        await wire.end.send(b"x")
        assert wire.sent == [("data", b"x")]

    run(body)


@pytest.mark.parametrize("use", ["send", "receive", "end"])
def test_the_first_use_is_told_once(use: str) -> None:
    async def body() -> None:
        wire = Wire()
        used: list[int] = []
        wire.end.on_use(lambda: used.append(1))
        wire.end.feed("data", b"x")
        assert used == []
        for _ in range(2):
            if use == "send":
                await wire.end.send(b"y")
            elif use == "receive":
                wire.end.feed("data", b"x")
                await wire.end.receive()
            else:
                await wire.end.end()
        assert used == [1]

    run(body)


@given(st.lists(st.tuples(st.sampled_from(["data", "credit", "end", "close", "nonsense"]), st.binary(max_size=20))))
def test_no_frame_of_the_other_side_breaks_an_end(frames: list[tuple[str, bytes]]) -> None:
    async def body() -> None:
        wire = Wire()
        for op, payload in frames:
            wire.end.feed(op, payload)
        await wire.end.close(None)
        assert wire.ended >= 1

    run(body)


def test_a_closed_error_is_readable() -> None:
    async def body() -> None:
        wire = Wire()
        wire.end.feed("close", encode_error(NanoError(ErrorCode.NOT_FOUND, "no such image")))
        with pytest.raises(NanoError, match="no such image"):
            await wire.end.receive()

    run(body)

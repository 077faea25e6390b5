"""One end of a stream: a bounded inbox, credit for what may be sent, and every way to end. No transport in it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from nanocore.contracts.stream import MAX_CHUNK_BYTES
from nanocore.errors import ErrorCode, NanoError
from nanocore.kernel.exchange import decode_error, encode_error
from nanocore.transport.base import Frame

WINDOW_BYTES = 4 * MAX_CHUNK_BYTES
BUSY_RETRY_SECONDS = 0.02

Frames = tuple[Frame, ...]
Emit = Callable[[str, Frames], None]
"""Sends ``data``, ``credit``, ``end`` or ``close`` to the other end; ``busy`` for data means: later."""


def lost_link(peer: str, reason: str = "the connection ended") -> NanoError:
    """Return what both calls raise on both sides when the way between them is gone."""
    return NanoError(ErrorCode.UNAVAILABLE, f"the stream over node {peer} was lost: {reason}", reason="stream.lost")


class StreamEnd:
    """A ``contracts.Stream``. One task sends and one receives at a time."""

    def __init__(self, emit: Emit, on_end: Callable[[], None]) -> None:
        self._emit = emit
        self._on_end = on_end
        self._on_use: Callable[[], object] | None = None
        self._inbox: deque[bytes] = deque()
        self._credit = WINDOW_BYTES
        self._room = WINDOW_BYTES
        self._consumed = 0
        self._has_ended = False
        self._has_other_ended = False
        self._error: NanoError | None = None
        self._changed = asyncio.Event()

    @classmethod
    def pair(cls) -> tuple[StreamEnd, StreamEnd]:
        """Return two ends that feed each other."""
        ends: list[StreamEnd] = []
        for other in (1, 0):
            ends.append(cls(lambda op, frames, other=other: ends[other].feed(op, *frames), lambda: None))  # type: ignore[misc]
        return ends[0], ends[1]

    @property
    def error(self) -> NanoError | None:
        """What ended the stream before both directions had ended."""
        return self._error

    def on_use(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` at the first use."""
        self._on_use = callback

    def _use(self) -> None:
        callback, self._on_use = self._on_use, None
        if callback is not None:
            callback()

    # -- ``contracts.Stream``

    async def send(self, chunk: bytes | memoryview) -> None:
        """Send one chunk as soon as there is credit for it."""
        self._use()
        size = len(chunk)
        if size > MAX_CHUNK_BYTES:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"a chunk has at most {MAX_CHUNK_BYTES} bytes, not {size}")
        while True:
            if self._error is not None:
                raise self._error
            if self._has_ended:
                raise NanoError(ErrorCode.WRONG_STATE, "this direction of the stream was ended already")
            if size <= self._credit:
                try:
                    self._emit("data", (bytes(chunk),))
                except NanoError as error:
                    if error.code is not ErrorCode.BUSY:
                        raise
                    await asyncio.sleep(BUSY_RETRY_SECONDS)
                    continue
                self._credit -= size
                return
            await self._wait()

    async def receive(self) -> bytes | None:
        """Return what has arrived, in order; what came before an error is still given out."""
        self._use()
        while not self._inbox:
            if self._has_other_ended:
                return None
            if self._error is not None:
                raise self._error
            await self._wait()
        chunk = self._inbox.popleft()
        self._consumed += len(chunk)
        if self._consumed >= WINDOW_BYTES // 2 and self._error is None and not self._has_other_ended:
            self._room += self._consumed
            self._emit("credit", (self._consumed.to_bytes(4, "big"),))
            self._consumed = 0
        return chunk

    async def end(self) -> None:
        """End our direction."""
        self._use()
        if self._has_ended or self._error is not None:
            return
        self._has_ended = True
        self._emit("end", ())
        self._maybe_over()

    async def close(self, error: Exception | None = None) -> None:
        """End both directions."""
        if self._error is not None:
            return
        is_over = self._has_ended and self._has_other_ended
        self._error = NanoError(ErrorCode.CANCELLED, "this stream was closed here", reason="stream.closed")
        if not is_over:
            self._emit("close", (encode_error(_as_nano(error)),) if error is not None else ())
        self._inbox.clear()
        self._changed.set()
        self._on_end()

    # -- the other end's words

    def feed(self, op: str, payload: Frame = b"") -> None:
        """Take one frame."""
        if self._error is not None:
            return
        if op == "data":
            self._take(payload)
        elif op == "credit":
            self._credit = min(WINDOW_BYTES, self._credit + int.from_bytes(payload[:4], "big"))
        elif op == "end":
            self._has_other_ended = True
            self._maybe_over()
        elif op == "close":
            self.fail(
                decode_error(memoryview(payload))
                if payload
                else NanoError(ErrorCode.CANCELLED, "the other side closed the stream", reason="stream.closed")
            )
            if not payload:
                self._has_other_ended = True
        self._changed.set()

    def fail(self, error: NanoError) -> None:
        """Let both calls raise ``error`` from now on."""
        if self._error is None:
            self._error = error
            self._changed.set()
            self._on_end()

    def _take(self, payload: Frame) -> None:
        size = len(payload)
        if size > self._room or size > MAX_CHUNK_BYTES or self._has_other_ended:
            text = "the other side sent more than it had credit for"
            error = NanoError(ErrorCode.INVALID_ARGUMENT, text, reason="stream.no_credit")
            self._emit("close", (encode_error(error),))
            self.fail(error)
            return
        self._room -= size
        self._inbox.append(bytes(payload))

    def _maybe_over(self) -> None:
        if self._has_ended and self._has_other_ended:
            self._on_end()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def _as_nano(error: Exception) -> NanoError:
    """Return ``error`` as the other side may see it: what isn't a ``NanoError`` stays in this node's log."""
    if isinstance(error, NanoError):
        return error
    return NanoError(ErrorCode.INTERNAL, "the other side of the stream failed")

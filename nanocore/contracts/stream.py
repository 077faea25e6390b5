"""Bidirectional byte streams beside the messages: images, disks, consoles."""

from __future__ import annotations

from typing import Protocol

MAX_CHUNK_BYTES = 256 * 1024


class Stream(Protocol):
    """One direction each way, in bounded chunks, with credit-based flow control.

    Lost links raise ``unavailable`` from both calls on both sides; neither side is left waiting.
    """

    async def send(self, chunk: bytes | memoryview) -> None:
        """Send at most ``MAX_CHUNK_BYTES``; waits for credit."""
        ...

    async def receive(self) -> bytes | None:
        """Return the next chunk, or ``None`` when the other side has ended its direction."""
        ...

    async def end(self) -> None:
        """End our direction; what the other side still sends can be received."""
        ...

    async def close(self, error: Exception | None = None) -> None:
        """End both directions; ``error`` reaches the other side. Safe to call twice."""
        ...

"""Consoles of simulated guests."""

from __future__ import annotations

import asyncio

from nanoplugins.sim.screen import Screen


class SimConsole:
    """Bytes for one viewer; ends when the guest does."""

    def __init__(self, first: bytes) -> None:
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._is_over = False
        self._chunks.put_nowait(first)

    async def read(self) -> bytes:
        """Return the next bytes; empty when the guest is gone or the console was closed."""
        if self._is_over and self._chunks.empty():
            return b""
        return await self._chunks.get()

    async def write(self, data: bytes) -> None:
        """Let the guest answer."""
        if self._is_over:
            return
        answer = self._answer(data)
        if answer:
            self._chunks.put_nowait(answer)

    async def close(self) -> None:
        """Let go."""
        self.end()

    def end(self) -> None:
        """Tell the reader that nothing more comes."""
        if not self._is_over:
            self._is_over = True
            self._chunks.put_nowait(b"")

    def _answer(self, data: bytes) -> bytes:
        raise NotImplementedError


class SimSerial(SimConsole):
    """A terminal that says whose it is and sends back what is typed."""

    def __init__(self, name: str) -> None:
        self._prompt = f"{name}:~# ".encode()
        super().__init__(
            f"Simulated guest {name}: nothing runs here, what you type comes back.\r\n".encode() + self._prompt
        )

    def _answer(self, data: bytes) -> bytes:
        return data.replace(b"\r", b"\r\n" + self._prompt)


class SimScreen(SimConsole):
    """A still picture over RFB; a viewer that talks nonsense is cut off."""

    def __init__(self, name: str) -> None:
        self._screen = Screen(name)
        super().__init__(self._screen.greet())

    def _answer(self, data: bytes) -> bytes:
        try:
            return self._screen.take(data)
        except ValueError:
            self.end()
            return b""

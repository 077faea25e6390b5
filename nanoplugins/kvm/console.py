"""Open screens and serial ports of guests, as streams of bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import libvirt

from nanocore.errors import NanoError
from nanoplugins.kvm.host import Host

CHUNK_BYTES = 64 * 1024
MOST_CHUNKS_WAITING = 64
"""A reader this far behind makes libvirt hold the guest's output back."""

_READ = libvirt.VIR_STREAM_EVENT_READABLE | libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP
_ENDED = libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP
_WOULD_BLOCK = -2


class ScreenConsole:
    """A viewer of the screen: one end of a socket whose other end QEMU serves with RFB."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(
        cls, host: Host, domain: Callable[[libvirt.virConnect], libvirt.virDomain], what: str
    ) -> ScreenConsole:
        """Let libvirt hand QEMU a new viewer."""
        flags = libvirt.VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH
        descriptor = await host.change(what, lambda connection: domain(connection).openGraphicsFD(0, flags))
        end = socket.socket(fileno=descriptor)
        end.setblocking(False)  # noqa: FBT003  the socket's own interface
        return cls(*await asyncio.open_connection(sock=end))

    async def read(self) -> bytes:
        """Return the next bytes; empty when the guest is gone or the console was closed."""
        try:
            return await self._reader.read(CHUNK_BYTES)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        """Send bytes; dropped when the guest is gone, as its reader learns."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            return

    async def close(self) -> None:
        """Let go."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return


class SerialConsole:
    """The one user of a serial port; a newer one ends it.

    libvirt's stream calls back on the event thread, which hands chunks over to the loop.
    """

    def __init__(self, host: Host, stream: libvirt.virStream) -> None:
        self._host = host
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._is_held_back = False
        self._is_over = False
        self._is_closed = False

    @classmethod
    async def open(
        cls, host: Host, domain: Callable[[libvirt.virConnect], libvirt.virDomain], what: str
    ) -> SerialConsole:
        """Connect to the first serial port; whoever had it before is cut off."""

        def connect(connection: libvirt.virConnect) -> libvirt.virStream:
            stream = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
            domain(connection).openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
            return stream

        console = cls(host, await host.change(what, connect))
        try:
            await host.change(what, lambda _: console._stream.eventAddCallback(_READ, console._happened, None))
        except NanoError:
            await console.close()
            raise
        return console

    async def read(self) -> bytes:
        """Return the next bytes; empty when the guest is gone or the console was closed."""
        if self._is_over and self._chunks.empty():
            return b""
        chunk = await self._chunks.get()
        if self._is_held_back and self._chunks.qsize() < MOST_CHUNKS_WAITING // 2 and not self._is_over:
            self._is_held_back = False
            await self._watch(_READ)
        return chunk

    async def write(self, data: bytes) -> None:
        """Send bytes; dropped when the guest is gone, as its reader learns."""
        view = data
        while view and not self._is_over:
            try:
                sent = await self._send(view)
            except NanoError:
                return
            if sent == _WOULD_BLOCK:
                await asyncio.sleep(0.01)
                continue
            view = view[sent:]

    async def close(self) -> None:
        """Let go."""
        if self._is_closed:
            return
        self._is_closed = True
        self._end()
        try:
            await self._host.change("serial port", lambda _: self._abort())
        except NanoError:
            return

    async def _send(self, data: bytes) -> int:
        return await self._host.change("serial port", lambda _: self._stream.send(data))

    def _abort(self) -> None:
        for call in (self._stream.eventRemoveCallback, self._stream.abort):
            try:
                call()
            except libvirt.libvirtError:
                continue

    async def _watch(self, events: int) -> None:
        try:
            await self._host.change("serial port", lambda _: self._stream.eventUpdateCallback(events))
        except NanoError:
            self._end()

    def _happened(self, stream: Any, events: int, _opaque: Any) -> None:  # noqa: ANN401  on libvirt's event thread
        chunk: bytes | int = b""
        try:
            chunk = stream.recv(CHUNK_BYTES)
            if chunk == _WOULD_BLOCK and not events & _ENDED:
                return
            if isinstance(chunk, bytes) and chunk and self._chunks.qsize() >= MOST_CHUNKS_WAITING:
                self._is_held_back = True
                stream.eventUpdateCallback(_ENDED)
            if not isinstance(chunk, bytes) or not chunk:
                stream.eventRemoveCallback()
        except libvirt.libvirtError:
            chunk = b""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take, chunk if isinstance(chunk, bytes) else b"")

    def _take(self, chunk: bytes) -> None:
        if chunk:
            self._chunks.put_nowait(chunk)
        else:
            self._end()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._chunks.put_nowait(b"")

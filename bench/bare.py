"""The raw limits: the same work with pyzmq alone, by the recipe that Nano's transport follows as well.

Sockets are plain, read on the loop's ``add_reader`` until EAGAIN; who may connect is a look-up in a dictionary.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import zmq
from zmq.utils import z85

DOMAIN = "bench"
TURN = 128
BACKLOG = 4096
SILENT_BYTES = 160
NOBLOCK = int(zmq.NOBLOCK)
NOBLOCK_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
EVENTS = int(zmq.EVENTS)
POLLIN = int(zmq.POLLIN)
"""As plain numbers: arithmetic with pyzmq's enumerations costs more than the calls."""
Socket = zmq.Socket[bytes]


def send(socket: Socket, *frames: bytes) -> None:
    for frame in frames[:-1]:
        socket.send(frame, NOBLOCK_MORE)
    socket.send(frames[-1], NOBLOCK)


def raise_open_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Drain:
    """Calls ``receive`` until it raises EAGAIN; ``kick`` after a send from outside, which may eat a wake-up."""

    def __init__(self, socket: Socket, receive: Callable[[], None]) -> None:
        self._socket = socket
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._fd = int(socket.get(zmq.FD))
        self._loop.add_reader(self._fd, self._drain)
        self._drain()

    def _drain(self) -> None:
        try:
            for _ in range(TURN):
                self._receive()
        except zmq.Again:
            return
        self._loop.call_soon(self._drain)

    def kick(self) -> None:
        if int(self._socket.get(EVENTS)) & POLLIN:
            self._loop.call_soon(self._drain)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)


class Router:
    """A bound ROUTER with CURVE and ZAP that echoes; shorter messages (beats) are only counted."""

    def __init__(self, secret: str, keys: set[bytes]) -> None:
        raise_open_files()
        self._keys = keys
        self.received = 0
        self._context: zmq.Context[Socket] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 65_535)
        self._zap: Socket = self._context.socket(zmq.ROUTER)
        self._zap.bind("inproc://zeromq.zap.01")
        self._router: Socket = self._context.socket(zmq.ROUTER)
        self._router.set(zmq.BACKLOG, BACKLOG)
        self._router.set(zmq.HANDSHAKE_IVL, 120_000)
        self._router.curve_server = True
        self._router.curve_secretkey = secret.encode()
        self._router.curve_publickey = zmq.curve_public(secret.encode())
        self._router.setsockopt_string(zmq.ZAP_DOMAIN, DOMAIN)
        self._router.bind("tcp://127.0.0.1:0")
        self._drains = [Drain(self._zap, self._authenticate), Drain(self._router, self._receive)]

    @property
    def port(self) -> int:
        return int(self._router.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])

    def _authenticate(self) -> None:
        frames = self._zap.recv_multipart(NOBLOCK)
        key = frames[8]
        status = [b"200", b"OK", b"node"] if key in self._keys else [b"400", b"", b""]
        send(self._zap, *frames[:2], b"1.0", frames[3], *status, b"")

    def _receive(self) -> None:
        frames = self._router.recv_multipart(NOBLOCK)
        self.received += 1
        if len(frames[1]) > SILENT_BYTES:
            send(self._router, *frames)

    def close(self) -> None:
        for drain in self._drains:
            drain.close()
        self._router.close(0)
        self._zap.close(0)
        self._context.term()


@asynccontextmanager
async def router(secret: str) -> AsyncIterator[dict[str, Callable[..., Awaitable[Any]]]]:
    """A child: ``open`` with the public keys that may connect, then echo."""
    made: list[Router] = []

    async def open(keys: list[str]) -> int:
        made.append(Router(secret, {z85.decode(key.encode()) for key in keys}))
        return made[0].port

    async def received() -> int:
        return made[0].received

    try:
        yield {"open": open, "received": received}
    finally:
        for one in made:
            one.close()


def dealer(context: zmq.Context[Socket], secret: str, server_key: str) -> Socket:
    """Return a DEALER that speaks CURVE to the holder of ``server_key``, not yet connected."""
    socket: Socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.set(zmq.HANDSHAKE_IVL, 120_000)
    socket.curve_serverkey = server_key.encode()
    socket.curve_secretkey = secret.encode()
    socket.curve_publickey = zmq.curve_public(secret.encode())
    return socket

"""Messages, a plugin that answers them, and accidents: what the cluster tests play with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar

import pytest

from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.node import (
    NodeRole,
)
from nanocore.contracts.stream import Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.kernel.messenger import Messenger
from nanocore.testing.cluster import Cluster
from nanocore.wire import Command, Event, Query

ANY = frozenset({NodeRole.CORE, NodeRole.CELL, NodeRole.FRONTEND})


class Echo(Query[str], frozen=True, kw_only=True):
    op: ClassVar[str] = "test.echo"

    text: str = ""


class Change(Command[int], frozen=True, kw_only=True):
    op: ClassVar[str] = "test.change"

    by: int = 1


class UserThing(Query[str], frozen=True, kw_only=True):
    op: ClassVar[str] = "test.user_thing"
    permission: ClassVar[str | None] = "thing.read"


class Pipe(Command[None], frozen=True, kw_only=True):
    op: ClassVar[str] = "test.pipe"

    mode: str = "echo"


class Ticked(Event, frozen=True, kw_only=True):
    op: ClassVar[str] = "test.ticked"

    number: int


class Whispered(Event, frozen=True, kw_only=True):
    op: ClassVar[str] = "test.whispered"
    is_forwarded: ClassVar[bool] = False


class Plugin:
    """Handlers for the tests; ``gate`` holds them up."""

    def __init__(self, node: Messenger, *, allow: frozenset[NodeRole] = ANY) -> None:
        self.node = node
        self.calls: list[Call] = []
        self.total = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled = 0
        self.streams: list[Stream] = []
        handlers = (
            Handler(Echo, self._echo, allow=allow),
            Handler(Change, self._change, allow=allow),
            Handler(UserThing, self._user_thing, allow=allow),
            Handler(Pipe, self._pipe, allow=allow, is_stream=True),
        )
        node.register({handler.op: handler for handler in handlers})

    async def _hold(self, call: Call) -> None:
        self.calls.append(call)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def _echo(self, message: Echo, call: Call) -> Reply[str]:
        await self._hold(call)
        return Reply(message.text, call.blobs)

    async def _change(self, message: Change, call: Call) -> int:
        await self._hold(call)
        self.total += message.by
        return self.total

    async def _user_thing(self, _message: UserThing, call: Call) -> str:
        self.calls.append(call)
        return call.actor.username if call.actor else "nobody"

    async def _pipe(self, message: Pipe, call: Call) -> None:
        stream = call.stream
        assert stream is not None
        self.streams.append(stream)
        if message.mode == "refuse":
            raise NanoError(ErrorCode.NOT_FOUND, "no such image")
        if message.mode == "give":
            for word in (b"all", b" of", b" it"):
                await stream.send(word)
            await stream.end()
            await stream.close()
            return
        if message.mode == "hang":
            await asyncio.Event().wait()
        while (chunk := await stream.receive()) is not None:
            if message.mode == "fail":
                raise NanoError(ErrorCode.NO_CAPACITY, "the disk is full")
            if message.mode == "crash":
                raise RuntimeError("password hunter2")
            await stream.send(chunk)
        await stream.end()


Body = Callable[[Cluster], Awaitable[None]]


async def refusal(work: Awaitable[object]) -> NanoError:
    with pytest.raises(NanoError) as caught:
        await work
    return caught.value


async def crash(node: Messenger) -> None:
    """End a node's connections as ``kill -9`` would: without a good-bye."""
    assert node._presence._timer is not None
    node._presence._timer.cancel()
    await node._exchange.transport.stop()
    await node._streams._transport.stop()

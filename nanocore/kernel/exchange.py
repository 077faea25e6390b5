"""Frames to requests, replies and events: proves who sent them, passes on what is for others, matches replies.

Nothing is taken from a peer whose key is not registered *now*, and nothing that it says in another's name, unless
it is a core or relay, which pass messages on.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

import structlog

from nanocore.clock import Clock
from nanocore.contracts.handler import Reply
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.errors import ErrorCode, NanoError
from nanocore.kernel.requests import Deadlines, Pending, PendingRequests
from nanocore.kernel.routing import Routes, forwarded
from nanocore.kernel.trust import Registry
from nanocore.transport.base import Frame, Transport
from nanocore.wire import decode, encode, structs
from nanocore.wire.envelope import ErrorBody, Header, Kind, pack, unpack

PASSING_ON = frozenset({NodeRole.CORE, NodeRole.RELAY})
"""Roles that listen, and whose messages may carry another node's ``src``."""
_NEIGHBOURS_ONLY = frozenset({Kind.BEAT, Kind.STREAM})
"""What is about the link itself: passed on, it would count as the word of who passed it on."""
_LOGGED_REFUSALS = 4096


class Listener(Protocol):
    """Takes what is meant for this node; ``peer`` is the proven neighbour that handed it over."""

    def on_request(self, header: Header, body: memoryview, blobs: Sequence[Frame], peer: NodeInfo) -> None:
        """Take a request."""
        ...

    def on_event(self, header: Header, body: memoryview, peer: NodeInfo) -> None:
        """Take an event."""
        ...

    def on_cancel(self, header: Header) -> None:
        """Take word that nobody waits for a request any more."""
        ...

    def on_beat(self, header: Header, peer: NodeInfo) -> None:
        """Take a beat or a good-bye."""
        ...

    def on_stream_wanted(self, peer: NodeInfo) -> None:
        """Dial ``peer`` for streams: it has one to open and can't dial us."""
        ...

    def on_link(self, peer: str, reason: str | None) -> None:
        """Take word of a link: up, or down for ``reason``."""
        ...


class Exchange:
    """The message transport of one node and the requests that wait on it. A ``transport.Receiver``."""

    def __init__(
        self,
        me: NodeInfo,
        transport: Transport,
        *,
        registry: Registry,
        uplink: str | None,
        deadlines: Deadlines,
        clock: Clock,
        log: structlog.stdlib.BoundLogger,
        listener: Listener,
    ) -> None:
        self.transport = transport
        self.routes = Routes(uplink)
        self.dropped: Counter[str] = Counter()
        self._me = me
        self._registry = registry
        self._deadlines = deadlines
        self._clock = clock
        self._log = log
        self._listener = listener
        self._is_hub = not PASSING_ON.isdisjoint(me.roles)
        self._pending = PendingRequests()
        self._refused: OrderedDict[tuple[str, str], None] = OrderedDict()

    # -- sending

    async def ask(self, header: Header, body: bytes, blobs: Sequence[Frame], *, is_idempotent: bool) -> Reply[Any]:
        """Send a request and return the reply, its body still encoded; raise what came instead."""
        hop = self.routes.next_hop(header.dst)
        future: asyncio.Future[Reply[Any]] = asyncio.get_running_loop().create_future()
        pending = Pending(header.id, header.op, header.dst, hop, is_idempotent, future)
        self._pending.add(pending)
        self._deadlines.add(pending, self._clock.monotonic() + header.ttl_ms / 1000)
        try:
            self.transport.send(hop, [pack(header, body), *blobs])
            return await future
        except asyncio.CancelledError:
            self.tell(structs.replace(header, kind=Kind.CANCEL))
            raise
        finally:
            self._deadlines.discard(pending)
            self._pending.discard(pending)

    def tell(self, header: Header, body: bytes = b"", *, hop: str | None = None) -> bool:
        """Send something that gets no reply; return whether it could be handed over."""
        try:
            self.transport.send(hop or self.routes.next_hop(header.dst), [pack(header, body)])
        except NanoError as error:
            self.dropped[error.reason or error.code] += 1
            return False
        return True

    def reply(self, request: Header, hop: str, outcome: Reply[Any] | NanoError) -> None:
        """Answer ``request``, which ``hop`` handed over. What can't be sent becomes an error, or is dropped."""
        header = Header(
            kind=Kind.REPLY, id=request.id, op=request.op, src=self._me.id, dst=request.src, trace=request.trace
        )
        if isinstance(outcome, Reply):
            try:
                self.transport.send(hop, [pack(header, encode(outcome.body)), *outcome.blobs])
            except NanoError as error:
                outcome = error
            except (TypeError, ValueError, OverflowError, RecursionError):
                self._log.exception("a handler's result can't be encoded", op=request.op)
                outcome = NanoError(ErrorCode.INTERNAL, f"{request.op} gave a result that can't be sent")
            else:
                return
            if outcome.code in {ErrorCode.UNAVAILABLE, ErrorCode.BUSY}:
                self.dropped[outcome.reason or outcome.code] += 1
                return
        self.tell(structs.replace(header, kind=Kind.ERROR), encode_error(outcome), hop=hop)

    # -- the transport's words

    def on_frames(self, peer: str, frames: list[Frame]) -> None:
        """Take one message: for this node, or to pass on."""
        proven = self.prove(peer, frames[0], self.transport)
        if proven is None:
            return
        header, body, info = proven
        if header.dst != self._me.id:
            self._pass_on(header, body, frames, info)
        else:
            self._take(header, body, frames[1:], info)

    def prove(self, peer: str, frame: Frame, transport: Transport) -> tuple[Header, memoryview, NodeInfo] | None:
        """Return header, body and sender of a frame that ``peer`` may send, else refuse it and return ``None``."""
        try:
            header, body = unpack(frame)
        except NanoError as error:
            self._refuse(peer, error.reason or "wire", error.message)
            return None
        info = self._registry.find(peer)
        if info is None:
            self._refuse(peer, "unknown", "its key is not registered any more")
            self._answer(peer, header, NanoError(ErrorCode.UNAUTHENTICATED, "this node's key was revoked"))
            transport.hang_up(peer)
            return None
        if header.src != peer and not self._may_pass_on(info, header.src):
            self._refuse(peer, "src", f"claims to be node {header.src[:80]!r}")
            text = f"node {info.name} may not speak for another node"
            self._answer(peer, header, NanoError(ErrorCode.UNAUTHENTICATED, text, reason="trust.spoofed_source"))
            return None
        return header, body, info

    def _may_pass_on(self, peer: NodeInfo, src: str) -> bool:
        if PASSING_ON.isdisjoint(peer.roles) or src == self._me.id:
            return False
        if NodeRole.RELAY in peer.roles:
            self.routes.learn(src, peer.id)
        return not self._registry.is_authority or self._registry.find(src) is not None

    def _take(self, header: Header, body: memoryview, blobs: Sequence[Frame], peer: NodeInfo) -> None:
        kind = header.kind
        if kind is Kind.BEAT:
            self._listener.on_beat(header, peer)
        elif kind is Kind.REQUEST:
            self._listener.on_request(header, body, blobs, peer)
        elif kind is Kind.REPLY or kind is Kind.ERROR:
            self._settle(header, body, blobs, peer)
        elif kind is Kind.EVENT:
            self._listener.on_event(header, body, peer)
        elif kind is Kind.CANCEL:
            self._listener.on_cancel(header)
        elif kind is Kind.STREAM:
            self._listener.on_stream_wanted(peer)

    def _settle(self, header: Header, body: memoryview, blobs: Sequence[Frame], peer: NodeInfo) -> None:
        pending = self._pending.settle(header.id, peer.id)
        if pending is None or pending.future.done():
            self.dropped["late_reply"] += 1
        elif header.kind is Kind.REPLY:
            pending.future.set_result(Reply(body, blobs))
        else:
            pending.fail(decode_error(body))

    def _pass_on(self, header: Header, body: memoryview, frames: list[Frame], peer: NodeInfo) -> None:
        if header.kind in _NEIGHBOURS_ONLY:
            self._refuse(
                peer.id, "neighbours", f"sends a {header.kind.name} to node {header.dst[:80]!r} through this one"
            )
            return
        try:
            hop, onward = self.way_on(header, peer)
            self.transport.send(hop, [pack(onward, body), *frames[1:]])
        except NanoError as error:
            self.dropped[error.reason or error.code] += 1
            self._answer(peer.id, header, error)

    def way_on(self, header: Header, peer: NodeInfo) -> tuple[str, Header]:
        """Return next hop and header of what ``peer`` sends to another node; raise if it can't get there."""
        if not self._is_hub or NodeRole.JOINING in peer.roles:
            text = f"this is node {self._me.name}, and it passes nothing on to {header.dst[:80]!r}"
            raise NanoError(ErrorCode.NOT_FOUND, text, reason="routing.no_hub")
        onward = forwarded(header)
        if header.src == peer.id:
            onward = structs.replace(onward, vouched=",".join(peer.roles))
        return self.routes.next_hop(header.dst), onward

    def _answer(self, peer: str, header: Header, error: NanoError) -> None:
        if header.kind is Kind.REQUEST:
            self.reply(header, peer, error)

    def on_link_up(self, peer: str) -> None:
        """Note the link."""
        self.routes.link_up(peer)
        self._listener.on_link(peer, None)

    def on_link_down(self, peer: str, reason: str) -> None:
        """Fail at once what waited for replies over the link."""
        if self.routes.link_down(peer):
            info = self._registry.find(peer)
            self._log.info("link ended", peer=peer, name=info.name if info else None, reason=reason)
        for pending in self._pending.take_lost(peer):
            pending.lose(reason)
        self._listener.on_link(peer, reason)

    def on_violation(self, peer: str, reason: str) -> None:
        """Name in the log who sent what no honest node sends."""
        self._refuse(peer, reason.split("of", maxsplit=1)[0], reason)

    def fail_all(self, reason: str) -> None:
        """Fail every request that waits."""
        for hop in self._pending.hops():
            for pending in self._pending.take_lost(hop):
                pending.lose(reason)

    def cut(self, peer: str, reason: str) -> None:
        """End the link with ``peer`` and everything that waits on it."""
        self.transport.hang_up(peer)
        self.on_link_down(peer, reason)

    def _refuse(self, peer: str, kind: str, text: str) -> None:
        """Count a refusal; log it once for each peer and kind, so that a flood does not fill the log."""
        self.dropped[kind] += 1
        if (peer, kind) in self._refused:
            return
        self._refused[peer, kind] = None
        if len(self._refused) > _LOGGED_REFUSALS:
            self._refused.popitem(last=False)
        info = self._registry.find(peer)
        self._log.warning("refused a message", peer=peer, name=info.name if info else None, reason=text)


def encode_error(error: NanoError) -> bytes:
    """Return the body of an ``ERROR`` frame; details that can't be encoded are left out."""
    try:
        return encode(ErrorBody.from_error(error))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return encode(ErrorBody(code=error.code, message=error.message, reason=error.reason))


def decode_error(body: memoryview) -> NanoError:
    """Return the error in the body of an ``ERROR`` frame."""
    try:
        return decode(body, ErrorBody).to_error()
    except NanoError as error:
        return NanoError(ErrorCode.INTERNAL, f"the answer was an error that can't be read: {error.message}")

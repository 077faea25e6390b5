"""Byte streams beside the messages, on sockets of their own: an upload never delays a beat.

A stream is opened by a typed request (the frame ``REQUEST``; its ``REPLY`` says that the handler took it) and then
carries ``data``, ``credit``, ``end`` and ``close`` frames under the request's id. Each side may have ``WINDOW_BYTES``
on the way; the receiver gives credit back as its reader consumes. Cells dial out: a core that wants a stream to a
cell asks for the link by a ``STREAM`` message first.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nanocore.contracts.node import NodeInfo
from nanocore.errors import ErrorCode, NanoError
from nanocore.kernel.exchange import Exchange, decode_error, encode_error
from nanocore.kernel.stream_end import WINDOW_BYTES, Frames, StreamEnd, lost_link
from nanocore.kernel.trust import CoreAddress
from nanocore.transport.base import Fabric, Frame, TransportLimits
from nanocore.wire.envelope import Header, Kind, pack

STREAMS_PER_PEER = 256
LIMITS = TransportLimits(
    max_frame_bytes=512 * 1024, max_frames=3, max_message_bytes=1024 * 1024, queue_length=1000, high_water_mark=100
)
BUSY_RETRY_SECONDS = 0.02
HELD_FRAMES = 1024
"""Of one direction of a stream that passes through; credit bounds its bytes, and this its smallest chunks."""
LATE_PER_PEER = 1000
"""Answers and the like that wait for a peer to take something; one that takes nothing at all is hung up on."""

OnOpen = Callable[[Header, memoryview, NodeInfo, StreamEnd], asyncio.Future[Any]]


@dataclass(eq=False, slots=True)
class _Held:
    """Frames on their way through this node. An honest sender never has more on the way than the receiver's credit."""

    frames: deque[list[Frame]] = field(default_factory=deque)
    size: int = 0

    @property
    def is_too_much(self) -> bool:
        return self.size > WINDOW_BYTES or len(self.frames) > HELD_FRAMES


@dataclass(eq=False, slots=True)
class _Passing:
    """A stream between two other nodes: the neighbours on both sides, and those that have sent their end."""

    opener: str
    target: str
    ended: set[str] = field(default_factory=set)
    held: dict[str, _Held] = field(default_factory=dict)
    """By the neighbour that sent them, frames that the other one can't take yet, in their order."""


@dataclass(eq=False, slots=True)
class _Entry:
    """A stream with one end here. ``hop`` is the neighbour that carries it, ``remote`` the node at its other end."""

    id: str
    hop: str
    remote: str
    end: StreamEnd
    accepted: asyncio.Future[None] | None = None


class Streams:
    """The streams of one node and those that pass through it. A ``transport.Receiver``.

    ``on_open`` dispatches the request of a stream that a peer opens; its future says that the handler took it.
    """

    def __init__(
        self,
        me: NodeInfo,
        exchange: Exchange,
        fabric: Fabric,
        *,
        bind: str | None,
        core: CoreAddress | None,
        on_open: OnOpen,
    ) -> None:
        self._me = me
        self._exchange = exchange
        self._transport = fabric.transport("streams", bind=bind, limits=LIMITS)
        self._core = core
        self._on_open = on_open
        self._entries: dict[str, _Entry] = {}
        self._passing: dict[str, _Passing] = {}
        self._count: Counter[str] = Counter()
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._late: Counter[str] = Counter()

    @property
    def port(self) -> int | None:
        """The bound port."""
        return self._transport.port

    async def start(self) -> None:
        """Listen, on a core or relay."""
        await self._transport.start(self)

    async def stop(self) -> None:
        """End every stream; both sides are told."""
        for entry in list(self._entries.values()):
            await entry.end.close(NanoError(ErrorCode.UNAVAILABLE, f"node {self._me.name} is stopping"))
        await self._transport.stop()

    def pair(self) -> tuple[StreamEnd, StreamEnd]:
        """Return both ends of a stream that stays on this node."""
        return StreamEnd.pair()

    def dial(self) -> None:
        """Connect to the core for streams, for good; a second call changes nothing."""
        if self._core is not None:
            self._transport.dial(self._core.id, f"{self._core.host}:{self._core.stream_port}", self._core.public_key)

    # -- opening

    async def open(self, header: Header, body: bytes) -> StreamEnd:
        """Open a stream by the request in ``header`` and ``body``; return our end once the other side took it.

        Raises what the handler raises before it uses the stream, ``unavailable`` without a way there and
        ``deadline_exceeded``.
        """
        hop = self._exchange.routes.next_hop(header.dst)
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = self._add(header.id, hop, header.dst, accepted)
        try:
            async with asyncio.timeout(header.ttl_ms / 1000):
                await self._link(hop)
                self._transport.send(hop, [pack(header, body)])
                await accepted
        except TimeoutError as error:
            late = NanoError(
                ErrorCode.DEADLINE_EXCEEDED, f"node {header.dst} did not take the stream {header.op} in time"
            )
            await entry.end.close(late)
            raise late from error
        except BaseException:
            await entry.end.close(NanoError(ErrorCode.CANCELLED, "the stream was given up before it began"))
            raise
        return entry.end

    async def _link(self, hop: str) -> None:
        """Return when there is a link to ``hop``: dial it if it is our core, else ask it to dial."""
        if self._transport.is_linked(hop):
            return
        if self._core is not None and hop == self._core.id:
            self.dial()
        else:
            self._exchange.tell(Header(kind=Kind.STREAM, id="", src=self._me.id, dst=hop), hop=hop)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(hop, []).append(future)
        try:
            await future
        finally:
            # Whoever let us go took the whole list; only one who gives up is still in it.
            if future in self._waiting.get(hop, ()):
                self._waiting[hop].remove(future)

    def _add(self, id: str, hop: str, remote: str, accepted: asyncio.Future[None] | None) -> _Entry:
        if id in self._entries:
            raise NanoError(ErrorCode.CONFLICT, f"stream {id} exists; use a new id")
        if self._count[remote] >= STREAMS_PER_PEER:
            text = f"{STREAMS_PER_PEER} streams with node {remote} are open; close some"
            raise NanoError(ErrorCode.BUSY, text, reason="stream.too_many", retry_after_seconds=1)
        end = StreamEnd(lambda op, frames: self._emit(entry, op, frames), lambda: self._remove(entry))
        entry = _Entry(id, hop, remote, end, accepted)
        self._entries[id] = entry
        self._count[remote] += 1
        return entry

    def _remove(self, entry: _Entry) -> None:
        if self._entries.get(entry.id) is entry:
            del self._entries[entry.id]
            self._count[entry.remote] -= 1
            if not self._count[entry.remote]:
                del self._count[entry.remote]

    def _emit(self, entry: _Entry, op: str, frames: Frames) -> None:
        """Send one frame of a stream; raises ``busy`` for data only, as nothing else may be lost."""
        header = Header(kind=Kind.STREAM, id=entry.id, op=op, src=self._me.id, dst=entry.remote)
        try:
            self._transport.send(entry.hop, [pack(header), *frames])
        except NanoError as error:
            if error.code is ErrorCode.BUSY and op != "data":
                asyncio.get_running_loop().call_later(BUSY_RETRY_SECONDS, self._emit, entry, op, frames)
            elif error.code is ErrorCode.BUSY:
                raise
            elif op != "close":
                entry.end.fail(lost_link(entry.hop))

    # -- the transport's words

    def on_frames(self, peer: str, frames: list[Frame]) -> None:
        """Take one frame of a stream."""
        proven = self._exchange.prove(peer, frames[0], self._transport)
        if proven is None:
            return
        header, body, info = proven
        if header.dst != self._me.id:
            self._pass_on(header, body, frames, info)
        elif header.kind is Kind.REQUEST:
            self._opened(header, body, info)
        elif header.kind is not Kind.BEAT:
            self._feed(header, body, frames, info)

    def _opened(self, header: Header, body: memoryview, peer: NodeInfo) -> None:
        try:
            entry = self._add(header.id, peer.id, header.src, None)
        except NanoError as error:
            self._answer(header, peer.id, error)
            return
        try:
            future = self._on_open(header, body, peer, entry.end)
        except NanoError as error:
            self._remove(entry)
            self._answer(header, peer.id, error)
            return
        future.add_done_callback(lambda done: self._taken(header, entry, done.exception()))

    def _taken(self, header: Header, entry: _Entry, error: BaseException | None) -> None:
        if isinstance(error, NanoError):
            self._remove(entry)
        self._answer(header, entry.hop, error if isinstance(error, NanoError) else None)

    def _answer(self, request: Header, hop: str, error: NanoError | None) -> None:
        kind = Kind.REPLY if error is None else Kind.ERROR
        header = Header(kind=kind, id=request.id, op=request.op, src=self._me.id, dst=request.src, trace=request.trace)
        self._send(hop, [pack(header, b"" if error is None else encode_error(error))])

    def _send(self, hop: str, frames: list[Frame]) -> None:
        """Send what may be late but not be lost while the link lasts."""
        try:
            self._transport.send(hop, frames)
        except NanoError as error:
            if error.code is ErrorCode.BUSY:
                self._later(hop, lambda: self._send(hop, frames))

    def _later(self, hop: str, act: Callable[[], None]) -> None:
        """Try again in a moment; hang up on a peer for which too much waits already."""
        if self._late[hop] >= LATE_PER_PEER:
            self._exchange.on_violation(hop, "takes nothing of its streams; hung up")
            self.cut(hop, "it takes nothing that is sent to it")
            return
        self._late[hop] += 1

        def again() -> None:
            self._late[hop] -= 1
            if not self._late[hop]:
                del self._late[hop]
            act()

        asyncio.get_running_loop().call_later(BUSY_RETRY_SECONDS, again)

    def _feed(self, header: Header, body: memoryview, frames: list[Frame], peer: NodeInfo) -> None:
        entry = self._entries.get(header.id)
        # Only the stream's own way and its own other end are heard: ids alone open nothing.
        if entry is None or entry.hop != peer.id or header.src not in {entry.remote, peer.id}:
            self._exchange.dropped["stream"] += 1
            return
        if header.kind is Kind.STREAM:
            is_refusal = header.op == "close" and len(frames) > 1
            entry.end.feed(header.op, frames[1] if len(frames) > 1 else b"")
            if entry.accepted is not None and not entry.accepted.done():
                # A quick handler's bytes, and even its end, come before the word that it took the stream.
                if is_refusal and entry.end.error is not None:
                    entry.accepted.set_exception(entry.end.error)
                else:
                    entry.accepted.set_result(None)
        elif entry.accepted is not None and not entry.accepted.done():
            if header.kind is Kind.REPLY:
                entry.accepted.set_result(None)
            else:
                entry.accepted.set_exception(decode_error(body))

    def _pass_on(self, header: Header, body: memoryview, frames: list[Frame], peer: NodeInfo) -> None:
        """Carry a frame of two other nodes' stream; remember both, to tell one when the other is lost."""
        known = self._passing.get(header.id)
        try:
            if header.kind is Kind.REQUEST:
                self._check_new(header.id, peer)
            elif known is None or peer.id not in {known.opener, known.target}:
                self._exchange.dropped["stream"] += 1
                return
            hop, onward = self._exchange.way_on(header, peer)
            packed = [pack(onward, body), *frames[1:]]
            if known is not None and peer.id in known.held:
                self._hold(header, known, peer, hop, packed)
                return
            if header.kind is Kind.REQUEST and not self._transport.is_linked(hop):
                self._when_linked(hop, header, body, frames, peer)
                return
            self._transport.send(hop, packed)
        except NanoError as error:
            if error.code is ErrorCode.BUSY and known is not None:
                self._hold(header, known, peer, hop, packed)
            elif error.code is ErrorCode.BUSY:
                self._later(peer.id, lambda: self._pass_on(header, body, frames, peer))
            elif header.kind is Kind.REQUEST:
                self._answer(header, peer.id, error)
            return
        if known is None:
            self._passing[header.id] = _Passing(peer.id, hop)
            return
        self._note_passed(header, known, peer)

    def _note_passed(self, header: Header, known: _Passing, peer: NodeInfo) -> None:
        if header.op == "end" and header.kind is Kind.STREAM:
            known.ended.add(peer.id)
        if header.kind is Kind.ERROR or header.op == "close" or len(known.ended) > 1:
            self._passing.pop(header.id, None)

    def _hold(self, header: Header, known: _Passing, peer: NodeInfo, hop: str, packed: list[Frame]) -> None:
        """Keep a frame until ``hop`` takes it, behind those before it; end a stream that sends without credit."""
        held = known.held.get(peer.id)
        if held is None:
            held = known.held[peer.id] = _Held()
            asyncio.get_running_loop().call_later(BUSY_RETRY_SECONDS, self._release, header.id, known, peer.id, hop)
        held.frames.append(packed)
        held.size += sum(len(frame) for frame in packed[1:])
        if not held.is_too_much:
            self._note_passed(header, known, peer)
            return
        self._passing.pop(header.id, None)
        error = NanoError(
            ErrorCode.BUSY, f"node {peer.name} sent more than the stream may have on the way", reason="stream.no_credit"
        )
        self._exchange.on_violation(peer.id, "sends more on a stream than it has credit for")
        for end in (known.opener, known.target):
            close = Header(kind=Kind.STREAM, id=header.id, op="close", src=self._me.id, dst=end)
            self._send(end, [pack(close), encode_error(error)])
        known.held.clear()

    def _release(self, id: str, known: _Passing, sender: str, hop: str) -> None:
        """Pass on what is held, as far as ``hop`` takes it."""
        held = known.held.get(sender)
        while held is not None and held.frames:
            try:
                self._transport.send(hop, held.frames[0])
            except NanoError as error:
                if error.code is not ErrorCode.BUSY:
                    break
                asyncio.get_running_loop().call_later(BUSY_RETRY_SECONDS, self._release, id, known, sender, hop)
                return
            held.size -= sum(len(frame) for frame in held.frames.popleft()[1:])
        known.held.pop(sender, None)

    def _check_new(self, id: str, opener: NodeInfo) -> None:
        """Return if ``opener`` may open one more stream to another node."""
        if id in self._passing:
            raise NanoError(ErrorCode.CONFLICT, f"stream {id} exists; use a new id")
        if sum(passing.opener == opener.id for passing in self._passing.values()) >= STREAMS_PER_PEER:
            text = f"{STREAMS_PER_PEER} streams of node {opener.name} pass through here; close some"
            raise NanoError(ErrorCode.QUOTA_EXCEEDED, text, reason="stream.too_many")

    def _when_linked(self, hop: str, header: Header, body: memoryview, frames: list[Frame], peer: NodeInfo) -> None:
        """Ask ``hop`` to dial, and pass the request on when it has."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(hop, []).append(future)
        future.add_done_callback(lambda _: self._pass_on(header, body, frames, peer))
        self._exchange.tell(Header(kind=Kind.STREAM, id="", src=self._me.id, dst=hop), hop=hop)

    def on_link_up(self, peer: str) -> None:
        """Let those go on who waited for the link; a core learns of a dialled link by a first frame."""
        if self._core is not None and peer == self._core.id:
            self._send(peer, [pack(Header(kind=Kind.BEAT, id="", src=self._me.id, dst=peer))])
        for future in self._waiting.pop(peer, []):
            if not future.done():
                future.set_result(None)

    def on_link_down(self, peer: str, reason: str) -> None:
        """Fail every stream over the link, here and at the other end of those that passed through."""
        for entry in [entry for entry in self._entries.values() if peer in {entry.hop, entry.remote}]:
            error = lost_link(peer, reason)
            if entry.accepted is not None and not entry.accepted.done():
                entry.accepted.set_exception(error)
            entry.end.fail(error)
        for id, lost in [(id, one) for id, one in self._passing.items() if peer in {one.opener, one.target}]:
            del self._passing[id]
            other = lost.opener if lost.target == peer else lost.target
            header = Header(kind=Kind.STREAM, id=id, op="close", src=self._me.id, dst=other)
            self._send(other, [pack(header), encode_error(lost_link(peer, reason))])

    def on_violation(self, peer: str, reason: str) -> None:
        """Name in the log who sent what no honest node sends."""
        self._exchange.on_violation(peer, reason)

    def cut(self, peer: str, reason: str) -> None:
        """End the link with ``peer`` and every stream over it."""
        self._transport.hang_up(peer)
        self.on_link_down(peer, reason)

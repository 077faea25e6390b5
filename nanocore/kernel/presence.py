"""Saying hello, beating, and telling this node's plugins who came and who went."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Protocol

import structlog

from nanocore.clock import Clock
from nanocore.contracts.handler import ANY_NODE, CORE_ONLY, Call, Handler
from nanocore.contracts.node import Hello, ListPeers, NodeInfo, NodeJoined, NodeLost, Peer
from nanocore.errors import ErrorCode, NanoError
from nanocore.kernel.exchange import Exchange
from nanocore.kernel.membership import CHECK_SECONDS, Membership
from nanocore.kernel.trust import Registry
from nanocore.wire import Event, structs
from nanocore.wire.envelope import Header, Kind

GREETING_SECONDS = 5.0
GREETING_RETRY_SECONDS = 1.0
GOOD_BYE = "good-bye"


class PeerCallback(Protocol):
    """Told of a peer; ``reason`` says why it was lost, and is ``None`` when it joined."""

    def __call__(self, peer: NodeInfo, reason: str | None) -> Awaitable[None]:
        """Tell."""
        ...


class Presence:
    """Membership with its timer, its handlers and its frames.

    ``greet`` sends a ``Hello`` to a node; ``deliver`` gives an event to this node's subscribers; ``spawn`` runs a task.
    """

    def __init__(
        self,
        me: NodeInfo,
        exchange: Exchange,
        *,
        registry: Registry,
        clock: Clock,
        log: structlog.stdlib.BoundLogger,
        beat_seconds: float,
        greet: Callable[[str, Hello, float], Awaitable[NodeInfo]],
        deliver: Callable[[Event], None],
        spawn: Callable[[Coroutine[None, None, None]], None],
        tell: PeerCallback,
    ) -> None:
        self.membership = Membership(beat_seconds)
        self._me = me
        self._exchange = exchange
        self._registry = registry
        self._clock = clock
        self._log = log
        self._greet = greet
        self._deliver = deliver
        self._spawn = spawn
        self._tell = tell
        self._beat_seconds = beat_seconds
        self._told_beat_seconds = beat_seconds
        self._next_beat = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handlers by op."""
        handlers = (Handler(Hello, self._hello, allow=ANY_NODE), Handler(ListPeers, self._list_peers, allow=CORE_ONLY))
        return {handler.op: handler for handler in handlers}

    def start(self) -> None:
        """Begin to beat and to count missed beats."""
        self._tick()

    def stop(self) -> None:
        """Say good-bye to everybody who would otherwise count missed beats."""
        if self._timer is not None:
            self._timer.cancel()
        for peer in self.membership.reachable():
            self._exchange.tell(self._header(peer.id, op=GOOD_BYE), hop=peer.id)

    def _header(self, dst: str, *, op: str = "", ttl_ms: int = 0) -> Header:
        return Header(kind=Kind.BEAT, id="", op=op, src=self._me.id, dst=dst, ttl_ms=ttl_ms)

    # -- the timer

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(CHECK_SECONDS, self._tick)
        now = self._clock.monotonic()
        uplink = self._exchange.routes.uplink
        if uplink is not None and now >= self._next_beat:
            # From the last due time, not from now, so that the check's grain does not stretch the interval.
            self._next_beat = max(self._next_beat + self._beat_seconds, now)
            if self._exchange.transport.is_linked(uplink):
                self._exchange.tell(self._header(uplink), hop=uplink)
        for info in self.membership.check(now=now, at=self._clock.now()):
            self._exchange.cut(info.id, "missed two beats")
            self._lost(info, "missed two beats")
        self._stretch()

    def _stretch(self) -> None:
        """Tell every peer when the interval of beats changes with their number."""
        wanted = self.membership.beat_seconds
        if wanted != self._told_beat_seconds:
            self._told_beat_seconds = wanted
            for peer in self.membership.reachable():
                self._exchange.tell(self._header(peer.id, ttl_ms=int(wanted * 1000)), hop=peer.id)

    # -- what peers say

    def on_beat(self, header: Header, peer: NodeInfo) -> None:
        """Take a sign of life, a good-bye, or a core's word how often to beat."""
        if header.op == GOOD_BYE:
            self._gone(peer.id, "said good-bye")
        elif peer.id == self._exchange.routes.uplink:
            if header.ttl_ms > 0:
                self._beat_seconds = header.ttl_ms / 1000
        else:
            back = self.membership.heard(peer.id, now=self._clock.monotonic(), at=self._clock.now())
            if back is not None:
                self._joined(back)

    def on_link(self, peer: str, reason: str | None) -> None:
        """Greet a core that can be reached again; one whose link ended is not there."""
        if peer != self._exchange.routes.uplink:
            return
        if reason is None:
            self._spawn(self._say_hello(peer))
        else:
            self._gone(peer, reason)

    def revoked(self, info: NodeInfo) -> None:
        """Drop a node that was shut out."""
        self._exchange.cut(info.id, "revoked")
        self._gone(info.id, "revoked")

    async def _say_hello(self, peer: str) -> None:
        """Introduce this node until the core has answered or the link has ended."""
        while self._exchange.transport.is_linked(peer):
            try:
                answer = await self._greet(peer, Hello(node=self._me), GREETING_SECONDS)
            except NanoError as error:
                self._log.warning("the core refuses this node's hello", peer=peer, error=str(error))
                await asyncio.sleep(GREETING_RETRY_SECONDS)
                continue
            self._next_beat = 0.0
            self.membership.hello(answer, now=self._clock.monotonic(), at=self._clock.now(), is_watched=False)
            self._joined(answer)
            return

    async def _hello(self, message: Hello, call: Call) -> NodeInfo:
        """Answer a node's first message; what it says of itself must be what it was registered as."""
        said, known = message.node, call.source
        wrong = [
            f"{field} {getattr(said, field)!r}, registered {getattr(known, field)!r}"
            for field in ("id", "name")
            if getattr(said, field) != getattr(known, field)
        ]
        if not set(said.roles) <= set(known.roles):
            wrong.append(f"roles {list(map(str, said.roles))}, registered {list(map(str, known.roles))}")
        if wrong:
            self._exchange.on_violation(known.id, f"introduces itself wrongly: {'; '.join(wrong)}")
            text = f"this node says {'; '.join(wrong)}; correct [kernel] in its configuration, or join again"
            raise NanoError(ErrorCode.PERMISSION_DENIED, text, reason="membership.hello")
        info = structs.replace(known, roles=said.roles, version=said.version[:64], features=said.features[:64])
        now, at = self._clock.monotonic(), self._clock.now()
        # Also one that counted as there: a node that was restarted within two beats lost everything it had in memory.
        self.membership.hello(info, now=now, at=at, is_watched=True)
        if self._told_beat_seconds != self._beat_seconds:
            self._exchange.tell(self._header(info.id, ttl_ms=int(self._told_beat_seconds * 1000)), hop=info.id)
        self._joined(info)
        return self._me

    async def _list_peers(self, _message: ListPeers, _: Call) -> list[Peer]:
        peers = []
        for record in self._registry.records():
            peer = self.membership.peer(record.id) or Peer(info=record.info(), is_reachable=record.id == self._me.id)
            if record.id == self._me.id:
                peer = Peer(info=self._me, is_reachable=True)
            peers.append(structs.replace(peer, is_revoked=record.is_revoked, registered_at=record.registered_at))
        return peers

    # -- telling

    def _gone(self, id: str, reason: str) -> None:
        info = self.membership.leave(id, at=self._clock.now())
        if info is not None:
            self._lost(info, reason)

    def _joined(self, info: NodeInfo) -> None:
        self._log.info("peer joined", peer=info.id, name=info.name, roles=list(map(str, info.roles)))
        self._deliver(NodeJoined(node=info))
        self._spawn(self._told(info, None))

    def _lost(self, info: NodeInfo, reason: str) -> None:
        self._log.warning("peer lost", peer=info.id, name=info.name, reason=reason)
        self._deliver(NodeLost(node=info, reason=reason))
        self._spawn(self._told(info, reason))

    async def _told(self, info: NodeInfo, reason: str | None) -> None:
        await self._tell(info, reason)

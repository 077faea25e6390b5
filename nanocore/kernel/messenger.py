"""The facade of everything that carries messages: calls, events and streams between this node and its peers.

Made by ``kernel.node``; plugins reach it through their context. It puts the parts together: who a peer is says
``trust``, who is there ``presence``, which way ``routing``, what happens here ``dispatch``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import structlog

from nanocore.clock import Clock, Deadline
from nanocore.contracts.authorizer import SYSTEM, Authorizer
from nanocore.contracts.handler import Handler, Reply, Subscription
from nanocore.contracts.node import Hello, NodeInfo, NodeRole
from nanocore.contracts.stream import Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NodeId, new_id
from nanocore.kernel.dispatch import Dispatcher, HandlerStream, Incoming
from nanocore.kernel.enrolment import Enrolment, Listening, default_host
from nanocore.kernel.events import EventBus
from nanocore.kernel.exchange import PASSING_ON, Exchange
from nanocore.kernel.membership import BEAT_SECONDS
from nanocore.kernel.presence import Presence
from nanocore.kernel.requests import Deadlines
from nanocore.kernel.streams import Streams
from nanocore.kernel.trust import Identity, Registry
from nanocore.transport.base import Fabric, Frame, TransportLimits
from nanocore.transport.zeromq import ZeroMqFabric
from nanocore.wire import Event, Request, decode, encode, result_type, structs
from nanocore.wire.envelope import Header, Kind
from nanocore.wire.version import FEATURES

R = TypeVar("R")

MAX_ID_LENGTH = 200
_VOUCHED = frozenset({NodeRole.CELL, NodeRole.FRONTEND, NodeRole.RELAY})
"""Roles that a passed-on message may have: a core speaks for itself."""


@dataclass(frozen=True, slots=True)
class MessengerSettings:
    """Where a messenger listens and dials. Port 0 takes a free one; ``core_address`` overrides the one joined."""

    bind_host: str = "0.0.0.0"  # noqa: S104  CURVE with an enforced registry of keys on every socket
    message_port: int = 5860
    stream_port: int = 5861
    advertise_hosts: tuple[str, ...] = ()
    """Addresses that go into invites; by default the bound one, or that of the default route."""
    core_address: str | None = None
    is_strict: bool = False
    beat_seconds: float = BEAT_SECONDS
    limits: TransportLimits = field(default_factory=TransportLimits)


async def _tell_nobody(*_: object) -> None:
    """Stand in for a callback that nobody gave."""


class Messenger:
    """One node's messages.

    ``authorizer`` is set on a core. ``on_peer_joined`` (peer) and ``on_peer_lost`` (peer, reason) run as tasks of
    their own, beside the events ``node.joined`` and ``node.lost``. ``fabric`` replaces CURVE over TCP in tests.
    """

    def __init__(
        self,
        info: NodeInfo,
        identity: Identity,
        settings: MessengerSettings,
        *,
        registry: Registry,
        clock: Clock,
        log: structlog.stdlib.BoundLogger,
        authorizer: Authorizer | None = None,
        on_peer_joined: Callable[[NodeInfo], Awaitable[None]] = _tell_nobody,
        on_peer_lost: Callable[[NodeInfo, str], Awaitable[None]] = _tell_nobody,
        fabric: Fabric | None = None,
    ) -> None:
        self.info = structs.replace(info, public_key=identity.keys.public, features=list(FEATURES))
        self._settings = settings
        self._registry = registry
        self._clock = clock
        self._log = log
        self._on_peer_joined = on_peer_joined
        self._on_peer_lost = on_peer_lost
        core = identity.core if NodeRole.CORE not in info.roles else None
        self._core = core.with_address(settings.core_address) if core and settings.core_address else core
        self._results: dict[type[Any], Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._deadlines = Deadlines(clock)
        self._bus = EventBus(log)
        self._dispatcher = Dispatcher(
            clock=clock, log=log, deadlines=self._deadlines, authorizer=authorizer, is_strict=settings.is_strict
        )
        self._fabric = fabric or ZeroMqFabric(identity.keys, registry.authenticate, clock, log)
        is_hub = not PASSING_ON.isdisjoint(info.roles)
        self._exchange = self._make_exchange(is_hub=is_hub)
        self._presence = self._make_presence()
        bind = f"{settings.bind_host}:{settings.stream_port}" if is_hub else None
        self._streams = Streams(
            self.info, self._exchange, self._fabric, bind=bind, core=self._core, on_open=self._on_stream
        )
        self.register(self._presence.handlers())
        if registry.is_authority:
            enrolment = Enrolment(
                self.info, registry, listening=self._listening, deliver=self._deliver_here, cut=self._cut
            )
            self.register(enrolment.handlers())

    def _make_exchange(self, *, is_hub: bool) -> Exchange:
        settings = self._settings
        bind = f"{settings.bind_host}:{settings.message_port}" if is_hub else None
        return Exchange(
            self.info,
            self._fabric.transport("messages", bind=bind, limits=settings.limits),
            registry=self._registry,
            uplink=self._core.id if self._core else None,
            deadlines=self._deadlines,
            clock=self._clock,
            log=self._log,
            listener=self,
        )

    def _make_presence(self) -> Presence:
        return Presence(
            self.info,
            self._exchange,
            registry=self._registry,
            clock=self._clock,
            log=self._log,
            beat_seconds=self._settings.beat_seconds,
            greet=self._greet,
            deliver=self._deliver_here,
            spawn=self._spawn,
            tell=self._tell,
        )

    # -- life

    async def start(self) -> None:
        """Load the registry, listen, dial the core. Raises ``unavailable`` when an address can't be had."""
        await self._registry.open(self.info, self._core)
        await self._fabric.open()
        await self._exchange.transport.start(self._exchange)
        await self._streams.start()
        if self._core is not None:
            address = f"{self._core.host}:{self._core.message_port}"
            self._exchange.transport.dial(self._core.id, address, self._core.public_key)
        self._presence.start()

    async def stop(self) -> None:
        """Say good-bye, end what runs, close every socket. Safe after a failed start, and twice."""
        self._presence.stop()
        await self._dispatcher.stop()
        await self._streams.stop()
        await self._bus.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._exchange.transport.stop()
        self._exchange.fail_all("this node is stopping")
        self._deadlines.stop()
        await self._fabric.close()

    @property
    def message_port(self) -> int | None:
        """The port for messages, on a node that listens."""
        return self._exchange.transport.port

    @property
    def stream_port(self) -> int | None:
        """The port for streams, on a node that listens."""
        return self._streams.port

    def register(self, handlers: Mapping[str, Handler]) -> None:
        """Answer these requests from now on; raises ``already_exists`` for an op that is taken."""
        self._dispatcher.register(handlers)

    def subscribe(self, subscription: Subscription) -> Callable[[], None]:
        """Deliver these events from now on; return the function that ends it."""
        return self._bus.subscribe(subscription)

    def handles(self, op: str) -> bool:
        """Return whether this node answers ``op`` itself."""
        return self._dispatcher.handles(op)

    def reachable_peers(self) -> list[NodeInfo]:
        """Return the peers that answer now."""
        return self._presence.membership.reachable()

    def is_reachable(self, node_id: str) -> bool:
        """Return whether ``node_id`` is this node or a peer that answers."""
        return node_id == self.info.id or self._presence.membership.is_reachable(node_id)

    # -- what plugins do

    async def call_reply(
        self,
        message: Request[R],
        *,
        dst: NodeId | None = None,
        timeout_seconds: float | None = None,
        blobs: Sequence[Frame] = (),
        credential: str | None = None,
        request_id: str | None = None,
    ) -> Reply[R]:
        """Send ``message`` and return its reply; the semantics are ``PluginContext.call_reply``'s."""
        header = self._header(message, dst, timeout_seconds, credential, request_id)
        if header.dst == self.info.id:
            return await self._call_here(message, header, tuple(blobs))
        kind = type(message)
        reply = await self._exchange.ask(header, encode(message), blobs, is_idempotent=kind.is_idempotent)
        try:
            return Reply(decode(reply.body, self._result_type(kind)), reply.blobs)
        except NanoError as error:
            text = f"node {header.dst} answered {header.op} with something else: {error.message}"
            raise NanoError(ErrorCode.INTERNAL, text, reason="request.bad_reply") from error

    async def open_stream(
        self,
        message: Request[Any],
        *,
        dst: NodeId | None = None,
        timeout_seconds: float | None = None,
        credential: str | None = None,
    ) -> Stream:
        """Send ``message`` to a handler with ``is_stream`` and return our end of the stream."""
        header = self._header(message, dst, timeout_seconds, credential, None)
        if header.dst != self.info.id:
            return await self._streams.open(header, encode(message))
        ours, theirs = self._streams.pair()
        await self._call_here(message, header, (), theirs)
        return ours

    async def publish(self, event: Event) -> None:
        """Deliver ``event`` here and, if it says so, on the core; a core also tells its frontends."""
        self._bus.deliver(event, self.info)
        if not event.is_forwarded:
            return
        if self._core is not None:
            targets = [str(self._core.id)]
        else:
            targets = [peer.id for peer in self.reachable_peers() if NodeRole.FRONTEND in peer.roles]
        body = encode(event) if targets else b""
        for target in targets:
            header = Header(
                kind=Kind.EVENT, id="", op=event.op, schema=event.schema, src=self.info.id, dst=target, trace=_trace("")
            )
            self._exchange.tell(header, body)

    def _header(
        self,
        message: Request[Any],
        dst: NodeId | None,
        timeout_seconds: float | None,
        credential: str | None,
        request_id: str | None,
    ) -> Header:
        if request_id is not None and not 0 < len(request_id) <= MAX_ID_LENGTH:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"a request id has 1 to {MAX_ID_LENGTH} characters")
        target = dst or (self.info.id if self._core is None or self.handles(message.op) else self._core.id)
        id = request_id or new_id()
        seconds = message.timeout_seconds if timeout_seconds is None else timeout_seconds
        return Header(
            kind=Kind.REQUEST,
            id=id,
            op=message.op,
            schema=message.schema,
            src=self.info.id,
            dst=target,
            ttl_ms=max(0, int(seconds * 1000)),
            actor=SYSTEM if credential is None else credential,
            trace=_trace(id),
        )

    async def _call_here(
        self, message: Request[Any], header: Header, blobs: tuple[Frame, ...], stream: HandlerStream | None = None
    ) -> Reply[Any]:
        deadline = Deadline.after(header.ttl_ms / 1000, self._clock)
        incoming = Incoming(header, self.info, True, message, deadline, blobs, stream)  # noqa: FBT003
        future = self._dispatcher.submit(incoming)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._dispatcher.cancel(self.info.id, header.actor, header.id)
            raise

    def _result_type(self, kind: type[Request[Any]]) -> Any:  # noqa: ANN401  a type expression
        known = self._results.get(kind)
        if known is None:
            known = self._results[kind] = result_type(kind)
        return known

    # -- what peers send (``exchange.Listener``)

    def on_request(self, header: Header, body: memoryview, blobs: Sequence[Frame], peer: NodeInfo) -> None:
        """Dispatch; the reply goes back the way the request came."""
        deadline = Deadline.after(header.ttl_ms / 1000, self._clock)
        incoming = Incoming(header, self._source(header, peer), False, body, deadline, tuple(blobs))  # noqa: FBT003
        try:
            self._dispatcher.answer(incoming, partial(self._exchange.reply, header, peer.id))
        except NanoError as error:
            self._exchange.reply(header, peer.id, error)

    def _source(self, header: Header, peer: NodeInfo) -> NodeInfo:
        """Return who a message is from; one that was passed on has the roles that the core vouches for."""
        if header.src == peer.id:
            return self._presence.membership.find(peer.id) or peer
        roles = [NodeRole(role) for role in header.vouched.split(",") if role in _VOUCHED]
        return self._registry.find(header.src) or NodeInfo(id=NodeId(header.src), name=header.src, roles=roles)

    def on_event(self, header: Header, body: memoryview, peer: NodeInfo) -> None:
        """Deliver an event that its type lets travel and somebody here wants."""
        kind = self._bus.type_of(header.op)
        if kind is None or not kind.is_forwarded or NodeRole.JOINING in peer.roles:
            self._exchange.dropped["event"] += 1
            return
        source = self._source(header, peer)
        if not self._bus.takes(header.op, source):
            self._exchange.on_violation(peer.id, f"sent an event {header.op}, which its roles do not allow")
            return
        try:
            event = decode(body, kind)
        except NanoError as error:
            self._exchange.on_violation(peer.id, f"sent an event {header.op} that can't be read: {error.message}")
            return
        self._bus.deliver(event, source, is_own=False)

    def on_cancel(self, header: Header) -> None:
        """Stop a query that nobody waits for."""
        self._dispatcher.cancel(header.src, header.actor, header.id)

    def on_beat(self, header: Header, peer: NodeInfo) -> None:
        """Pass a sign of life on."""
        self._presence.on_beat(header, peer)

    def on_stream_wanted(self, peer: NodeInfo) -> None:
        """Dial our core for streams."""
        if self._core is not None and peer.id == self._core.id:
            self._streams.dial()

    def on_link(self, peer: str, reason: str | None) -> None:
        """Pass word of a link on."""
        self._presence.on_link(peer, reason)

    def _on_stream(
        self, header: Header, body: memoryview, peer: NodeInfo, stream: HandlerStream
    ) -> asyncio.Future[Any]:
        deadline = Deadline.after(header.ttl_ms / 1000, self._clock)
        source = self._source(header, peer)
        return self._dispatcher.submit(Incoming(header, source, False, body, deadline, (), stream))  # noqa: FBT003

    # -- what the parts ask for

    async def _greet(self, peer: str, hello: Hello, seconds: float) -> NodeInfo:
        return (await self.call_reply(hello, dst=NodeId(peer), timeout_seconds=seconds)).body

    async def _tell(self, peer: NodeInfo, reason: str | None) -> None:
        if reason is None:
            await self._on_peer_joined(peer)
        else:
            self._streams.on_link_down(peer.id, reason)
            await self._on_peer_lost(peer, reason)

    def _cut(self, info: NodeInfo) -> None:
        self._log.warning("node revoked", peer=info.id, name=info.name)
        self._presence.revoked(info)
        self._streams.cut(info.id, "revoked")

    def _deliver_here(self, event: Event) -> None:
        self._bus.deliver(event, self.info)

    def _listening(self) -> Listening:
        bound = self._settings.bind_host
        hosts = self._settings.advertise_hosts or (bound if bound != "0.0.0.0" else default_host(),)  # noqa: S104
        return Listening(hosts, self.message_port or 0, self.stream_port or 0)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._log.error("a kernel task failed", exc_info=task.exception())


def _trace(default: str) -> str:
    """Return the trace id of the work that calls, as the logs' context has it."""
    return str(structlog.contextvars.get_contextvars().get("trace") or default)

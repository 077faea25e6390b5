"""CURVE over TCP with plain ZeroMQ sockets on the loop: a ROUTER where peers dial in, a DEALER for each one we dial.

The rules, each measured: drain until EAGAIN, at most 128 messages a turn; look at EVENTS once a turn after sends from
outside a drain, as they may have eaten the wake-up; a handler that raises does not end a drain; a watchdog looks at
every socket once a second, whatever was signalled.

Who a peer is comes from its key alone (``User-Id``, set by the authenticator). Routing ids are not trusted: those
that a client chose itself are refused, the router's own serve as the link's name only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket as sockets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
import zmq
import zmq.backend
from zmq.utils.monitor import parse_monitor_message

from nanocore.clock import Clock
from nanocore.errors import ErrorCode, NanoError
from nanocore.transport.base import Authenticate, Frame, Receiver, TransportLimits, check_size
from nanocore.transport.curve import Authenticator, KeyPair, descriptor

TURN = 128
BURST = 64
"""Messages for one peer that wait for the end of a turn; more are handed over at once."""
# As plain numbers: arithmetic with pyzmq's enumerations costs more than the call that it is for.
_NOBLOCK = int(zmq.NOBLOCK)
_NOBLOCK_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_FLUSH_SECONDS = 0.005
_WATCHDOG_SECONDS = 1.0
_LINGER_MS = 200
_COPY_BELOW_BYTES = 64 * 1024
_AUTO_ID_LENGTH = 5
"""A routing id made by the router: a zero byte and 32 bits."""

Socket = zmq.Socket[bytes]

_base_send = zmq.backend.Socket.send
"""Without the arguments that the wrapper looks at, which take two thirds of a send."""


class ZeroMqFabric:
    """One ZeroMQ context with its authenticator; each node has its own. Nothing exists before ``open``."""

    def __init__(
        self, keys: KeyPair, authenticate: Authenticate, clock: Clock, log: structlog.stdlib.BoundLogger
    ) -> None:
        self.keys = keys
        self._authenticate = authenticate
        self._clock = clock
        self._log = log
        self._domains: list[str] = []
        self._context: zmq.Context[Socket] | None = None
        self._authenticator: Authenticator | None = None

    async def open(self) -> None:
        """Make the context and start the authenticator."""
        self._context = zmq.Context(io_threads=1)
        # The default of 1,023 sockets is for all of a node's dials; connections to a ROUTER do not count.
        self._context.set(zmq.MAX_SOCKETS, 65_535)
        self._authenticator = Authenticator(self._context, self._clock, self._log)
        for domain in self._domains:
            self._authenticator.allow(domain, self._authenticate)
        self._authenticator.start()

    def transport(self, name: str, *, bind: str | None, limits: TransportLimits) -> ZeroMqTransport:
        """Return a transport whose ZAP domain is ``nano.<name>``; make it before ``open``."""
        domain = f"nano.{name}"
        self._domains.append(domain)
        return ZeroMqTransport(self, domain, bind, limits, self._log.bind(transport=name))

    def socket(self, kind: int) -> Socket:
        """Return a new socket; raises ``unavailable`` before ``open``."""
        if self._context is None:
            raise NanoError(ErrorCode.UNAVAILABLE, "the node's sockets are not open", reason="transport.closed")
        return self._context.socket(kind)

    async def close(self) -> None:
        """End the context; blocks for what still lingers, 200 ms at most."""
        if self._authenticator is not None:
            self._authenticator.stop()
        if self._context is not None:
            self._context.term()
        self._authenticator = self._context = None


class _Reader:
    """Drains one socket on the loop."""

    def __init__(self, socket: Socket, receive: Callable[[], None], log: structlog.stdlib.BoundLogger) -> None:
        self._socket = socket
        self._receive = receive
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._is_scheduled = False
        self._is_draining = False
        self._is_closed = False
        self._fd = descriptor(socket)
        self._loop.add_reader(self._fd, self.drain)
        # libzmq signals only after a read that failed, so one must have failed first.
        self._go_on()

    def drain(self) -> None:
        """Receive until the socket is dry, or go on in the next turn."""
        self._is_scheduled = False
        self._is_draining = True
        try:
            for _ in range(TURN):
                if self._is_closed:
                    return
                self._receive()
        except zmq.Again:
            return
        except zmq.ZMQError:
            self._log.exception("socket can't be read")
            return
        finally:
            self._is_draining = False
        self._go_on()

    def kick(self) -> None:
        """Look once, in the loop's next turn, whether sends have eaten a wake-up; call after each of them."""
        if not self._is_scheduled and not self._is_draining:
            self._is_scheduled = True
            self._loop.call_soon(self.look)

    def look(self) -> None:
        """Drain in the next turn if there is something to read."""
        self._is_scheduled = False
        if not self._is_closed and int(self._socket.get(_EVENTS)) & _POLLIN:
            self._go_on()

    def _go_on(self) -> None:
        self._is_scheduled = True
        self._loop.call_soon(self.drain)

    def close(self) -> None:
        self._is_closed = True
        self._loop.remove_reader(self._fd)


@dataclass(slots=True)
class _Peer:
    """The one link to a peer: a ROUTER's route, or a DEALER of its own."""

    name: str
    route: bytes | None
    socket: Socket
    reader: _Reader
    descriptor: int = -1
    address: str = ""
    redial: asyncio.TimerHandle | None = None
    is_up: bool = False
    queue: deque[Sequence[Frame]] = field(default_factory=deque)
    monitor: Socket | None = None
    monitor_reader: _Reader | None = None


class ZeroMqTransport:
    """Made by ``ZeroMqFabric``."""

    def __init__(
        self,
        fabric: ZeroMqFabric,
        domain: str,
        bind: str | None,
        limits: TransportLimits,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._fabric = fabric
        self._domain = domain
        self._bind = bind
        self._limits = limits
        self._log = log
        self._receiver: Receiver | None = None
        self._router: Socket | None = None
        self._router_reader: _Reader | None = None
        self._monitor: Socket | None = None
        self._monitor_reader: _Reader | None = None
        self._peers: dict[str, _Peer] = {}
        self._owners: dict[bytes, str] = {}
        self._descriptors: dict[int, bytes] = {}
        self._waiting: set[str] = set()
        self._is_flushing_soon = False
        self._flush_timer: asyncio.TimerHandle | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._port: int | None = None

    # -- life

    @property
    def port(self) -> int | None:
        """The bound port."""
        return self._port

    async def start(self, receiver: Receiver) -> None:
        """Bind, if there is an address."""
        self._receiver = receiver
        if self._bind is not None:
            self._listen(self._bind)
        self._watch()

    def _listen(self, address: str) -> None:
        router = self._socket(zmq.ROUTER)
        router.set(zmq.ROUTER_MANDATORY, 1)
        router.set(zmq.BACKLOG, self._limits.backlog)
        router.curve_server = True
        # Without an enforced domain a missing authenticator would let every stranger in.
        router.setsockopt_string(zmq.ZAP_DOMAIN, self._domain)
        router.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
        monitor = router.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            router.bind(f"tcp://{address}")
        except zmq.ZMQError as error:
            router.disable_monitor()
            monitor.close(0)
            router.close(0)
            message = f"can't listen on {address}: {error.strerror}; choose another address or end what uses it"
            raise NanoError(ErrorCode.UNAVAILABLE, message, reason="transport.bind") from error
        self._port = int(router.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        self._router = router
        self._monitor = monitor
        self._monitor_reader = _Reader(monitor, self._receive_router_event, self._log)
        self._router_reader = _Reader(router, self._receive_routed, self._log)

    async def stop(self) -> None:
        """Close every socket; what was handed to libzmq lingers for 200 ms where the link is up."""
        for timer in (self._watchdog, self._flush_timer):
            if timer is not None:
                timer.cancel()
        self._watchdog = self._flush_timer = None
        self._flush()
        for peer in list(self._peers.values()):
            if peer.route is None:
                self._close_dialled(peer, linger=_LINGER_MS if peer.is_up else 0)
        self._peers.clear()
        for reader in (self._router_reader, self._monitor_reader):
            if reader is not None:
                reader.close()
        if self._router is not None and self._monitor is not None:
            self._router.disable_monitor()
            self._monitor.close(0)
            self._router.close(_LINGER_MS)
        self._router = self._router_reader = self._monitor = self._monitor_reader = None

    def _socket(self, kind: int) -> Socket:
        limits = self._limits
        socket = self._fabric.socket(kind)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.MAXMSGSIZE, 2 * limits.max_frame_bytes)
        socket.set(zmq.HANDSHAKE_IVL, int(limits.handshake_seconds * 1000))
        socket.set(zmq.SNDHWM, limits.high_water_mark)
        socket.set(zmq.RCVHWM, limits.high_water_mark)
        socket.set(zmq.IPV6, 0)
        socket.curve_publickey = self._fabric.keys.public.encode()
        socket.curve_secretkey = self._fabric.keys.secret.encode()
        return socket

    def _watch(self) -> None:
        readers = [self._router_reader, self._monitor_reader]
        for peer in self._peers.values():
            if peer.route is None:
                readers += [peer.reader, peer.monitor_reader]
        for reader in readers:
            if reader is not None:
                reader.drain()
        self._watchdog = asyncio.get_running_loop().call_later(_WATCHDOG_SECONDS, self._watch)

    # -- links

    def dial(self, peer: str, address: str, public_key: str) -> None:
        """Connect with a DEALER; ZeroMQ reconnects it for good."""
        if peer in self._peers:
            return
        limits = self._limits
        dealer = self._socket(zmq.DEALER)
        dealer.curve_serverkey = public_key.encode()
        # Nothing is queued for a link that is not up: it would be sent before the new connection's hello.
        dealer.set(zmq.IMMEDIATE, 1)
        dealer.set(zmq.RECONNECT_IVL, int(limits.reconnect_seconds * 1000))
        dealer.set(zmq.RECONNECT_IVL_MAX, int(limits.reconnect_max_seconds * 1000))
        dealer.set(zmq.CONNECT_TIMEOUT, int(limits.reconnect_max_seconds * 1000))
        dealer.set(zmq.HEARTBEAT_IVL, int(limits.heartbeat_seconds * 1000))
        dealer.set(zmq.HEARTBEAT_TIMEOUT, int(limits.heartbeat_timeout_seconds * 1000))
        dealer.set(zmq.HEARTBEAT_TTL, int(limits.heartbeat_timeout_seconds * 2000))
        monitor = dealer.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED
            | zmq.EVENT_DISCONNECTED
            | zmq.EVENT_HANDSHAKE_FAILED_AUTH
            | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        )
        entry = _Peer(peer, None, dealer, _Reader(dealer, lambda: self._receive_dialled(entry), self._log))
        entry.address = f"tcp://{address}"
        entry.monitor = monitor
        entry.monitor_reader = _Reader(monitor, lambda: self._receive_dialled_event(entry), self._log)
        self._peers[peer] = entry
        dealer.connect(entry.address)

    def hang_up(self, peer: str) -> None:
        """Cut the link: close our DEALER, or shut the TCP connection under the ROUTER."""
        entry = self._peers.get(peer)
        if entry is None:
            return
        if entry.route is None:
            del self._peers[peer]
            self._close_dialled(entry, linger=0)
        else:
            self._cut(entry.descriptor)
            self._forget(entry.route)

    def _cut(self, descriptor: int) -> None:
        """Shut one accepted connection; libzmq owns the descriptor and closes it when it reads the end."""
        with contextlib.suppress(OSError):
            duplicate = sockets.socket(fileno=os.dup(descriptor))
            with duplicate:
                duplicate.shutdown(sockets.SHUT_RDWR)

    def is_linked(self, peer: str) -> bool:
        """Return whether frames can be sent to ``peer``."""
        entry = self._peers.get(peer)
        return entry is not None and entry.is_up

    def _close_dialled(self, peer: _Peer, *, linger: int) -> None:
        peer.is_up = False
        if peer.redial is not None:
            peer.redial.cancel()
        peer.reader.close()
        if peer.monitor_reader is not None and peer.monitor is not None:
            peer.monitor_reader.close()
            peer.socket.disable_monitor()
            peer.monitor.close(0)
        peer.socket.close(linger)

    def _adopt(self, name: str, route: bytes, descriptor: int) -> None:
        """Make ``route`` the link to ``name``: the newest connection wins, an older one's late frames do not."""
        # The monitor first: a descriptor may be used again by the time its old connection's end is read.
        if self._monitor_reader is not None:
            self._monitor_reader.drain()
        assert self._router is not None  # noqa: S101  only called while draining it
        assert self._router_reader is not None  # noqa: S101
        self._owners[route] = name
        self._descriptors[descriptor] = route
        old = self._peers.get(name)
        if old is not None and old.route is None:
            return
        self._peers[name] = _Peer(name, route, self._router, self._router_reader, descriptor, is_up=True)
        if old is not None:
            self._log.info("peer connected again; its older connection is cut", peer=name)
            self._cut(old.descriptor)
            self._tell_down(name, "replaced by a newer connection")
        if self._receiver is not None:
            self._receiver.on_link_up(name)

    def _forget(self, route: bytes) -> bool:
        """Drop a route; return whether it was its peer's link."""
        name = self._owners.pop(route, None)
        entry = self._peers.get(name) if name is not None else None
        if entry is None or entry.route != route:
            return False
        del self._peers[entry.name]
        self._descriptors.pop(entry.descriptor, None)
        return True

    def _tell_down(self, peer: str, reason: str) -> None:
        self._waiting.discard(peer)
        if self._receiver is not None:
            self._receiver.on_link_down(peer, reason)

    # -- receiving

    def _receive_routed(self) -> None:
        router = self._router
        if router is None:
            raise zmq.Again
        first: zmq.Frame = router.recv(_NOBLOCK, copy=False)
        route = first.bytes
        frames, fault = self._receive_rest(router, first)
        try:
            name = str(first.get("User-Id"))
        except zmq.ZMQError:
            name = ""
        # Only the proven name counts, also when a client took over another's routing id.
        if not name or len(route) != _AUTO_ID_LENGTH or route[0] != 0:
            self._violation(name, f"claims the routing id {route[:32]!r}")
            return
        if self._owners.get(route) != name:
            self._forget(route)
            self._adopt(name, route, first.get(zmq.SRCFD))
        if fault is not None:
            self._violation(name, fault)
            self.hang_up(name)
            self._tell_down(name, fault)
            return
        self._deliver(name, frames)

    def _receive_dialled(self, peer: _Peer) -> None:
        first: zmq.Frame = peer.socket.recv(_NOBLOCK, copy=False)
        frames, fault = self._receive_rest(peer.socket, first)
        if fault is not None or len(first) > self._limits.max_frame_bytes:
            self._violation(peer.name, fault or f"sent a frame of {len(first)} bytes")
            return
        frames.insert(0, _content(first))
        self._deliver(peer.name, frames)

    def _receive_rest(self, socket: Socket, frame: zmq.Frame) -> tuple[list[Frame], str | None]:
        """Take the frames after ``frame``, always all of them: a message must not be left half-read."""
        frames: list[Frame] = []
        fault: str | None = None
        total = 0
        while frame.more:
            frame = socket.recv(_NOBLOCK, copy=False)
            size = len(frame)
            total += size
            if size > self._limits.max_frame_bytes:
                fault = f"sent a frame of {size} bytes; {self._limits.max_frame_bytes} are allowed"
            elif total > self._limits.max_message_bytes:
                fault = f"sent a message of more than {self._limits.max_message_bytes} bytes"
            elif len(frames) >= self._limits.max_frames:
                fault = f"sent more than {self._limits.max_frames} frames"
            if fault is not None:
                frames.clear()
            else:
                frames.append(_content(frame))
        return frames, fault

    def _deliver(self, name: str, frames: list[Frame]) -> None:
        if self._receiver is None:
            return
        try:
            self._receiver.on_frames(name, frames)
        except Exception:  # noqa: BLE001  a handler that raises must not end the drain
            self._log.exception("a message could not be taken", peer=name)

    def _violation(self, name: str, reason: str) -> None:
        if self._receiver is not None:
            self._receiver.on_violation(name, reason)

    def _receive_router_event(self) -> None:
        if self._monitor is None:
            raise zmq.Again
        event = parse_monitor_message(self._monitor.recv_multipart(_NOBLOCK))
        if event["event"] != zmq.EVENT_DISCONNECTED:
            return
        route = self._descriptors.pop(int(event["value"]), None)
        if route is None:
            return
        name = self._owners.get(route, "")
        if self._forget(route):
            self._tell_down(name, "its connection ended")

    def _receive_dialled_event(self, peer: _Peer) -> None:
        if peer.monitor is None:
            raise zmq.Again
        event = parse_monitor_message(peer.monitor.recv_multipart(_NOBLOCK))["event"]
        if self._peers.get(peer.name) is not peer:
            return
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED and not peer.is_up:
            # Reading EVENTS makes the socket notice its new pipe, so that the first send finds it.
            peer.socket.get(zmq.EVENTS)
            peer.is_up = True
            if self._receiver is not None:
                self._receiver.on_link_up(peer.name)
        elif event == zmq.EVENT_DISCONNECTED and peer.is_up:
            peer.is_up = False
            peer.queue.clear()
            self._tell_down(peer.name, "the connection ended")
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._log.warning("the peer refuses this node's key: not registered there, or revoked", peer=peer.name)
            self._redial_later(peer)
            self._tell_down(peer.name, "it refuses this node's key")
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self._log.warning(
                "what answers there is not the peer that was dialled", peer=peer.name, address=peer.address
            )
            self._redial_later(peer)
        peer.reader.kick()

    def _redial_later(self, peer: _Peer) -> None:
        """Try again by ourselves: after a refusal ZeroMQ gives the address up for good."""
        if peer.redial is None:
            seconds = self._limits.reconnect_max_seconds * random.uniform(0.5, 1.0)  # noqa: S311  spreads load only
            peer.redial = asyncio.get_running_loop().call_later(seconds, self._redial, peer)

    def _redial(self, peer: _Peer) -> None:
        peer.redial = None
        with contextlib.suppress(zmq.ZMQError):
            peer.socket.disconnect(peer.address)
        peer.socket.connect(peer.address)
        peer.reader.kick()

    # -- sending

    def send(self, peer: str, frames: Sequence[Frame]) -> None:
        """Queue, and hand over in the loop's next turn: many sends in a row wake libzmq's thread once."""
        entry = self._peers.get(peer)
        if entry is None or not entry.is_up:
            raise NanoError(ErrorCode.UNAVAILABLE, f"there is no connection to node {peer}", reason="transport.no_link")
        check_size(frames, self._limits)
        queue = entry.queue
        if len(queue) >= min(BURST, self._limits.queue_length):
            self._flush_peer(entry)
            entry.reader.kick()
            if len(queue) >= self._limits.queue_length:
                message = f"node {peer} is not reading: {len(queue)} messages wait for it"
                raise NanoError(ErrorCode.BUSY, message, reason="transport.queue_full", retry_after_seconds=1)
        queue.append(frames)
        self._waiting.add(peer)
        if not self._is_flushing_soon:
            self._is_flushing_soon = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _try(self, peer: _Peer, frames: Sequence[Frame]) -> bool:
        """Send without blocking; return False when libzmq's own queue for the peer is full."""
        try:
            socket = peer.socket
            if peer.route is not None:
                _base_send(socket, peer.route, _NOBLOCK_MORE)
            for frame in frames[:-1]:
                _base_send(socket, frame, _NOBLOCK_MORE)
            _base_send(socket, frames[-1], _NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if peer.route is not None and self._forget(peer.route):
                asyncio.get_running_loop().call_soon(self._tell_down, peer.name, "its connection ended")
            message = f"the connection to node {peer.name} ended"
            raise NanoError(ErrorCode.UNAVAILABLE, message, reason="transport.no_link") from error
        return True

    def _flush_peer(self, peer: _Peer) -> None:
        """Hand over what waits for one peer, until libzmq has no more room for it or the link turns out to be gone."""
        queue = peer.queue
        try:
            while queue and self._try(peer, queue[0]):
                queue.popleft()
        except NanoError:
            queue.clear()

    def _flush(self) -> None:
        """Hand over what waits; once more in 5 ms for whom libzmq still has no room."""
        self._is_flushing_soon = False
        waiting, self._waiting = self._waiting, set()
        readers = set()
        for name in waiting:
            entry = self._peers.get(name)
            if entry is not None:
                self._flush_peer(entry)
                readers.add(entry.reader)
                if entry.queue:
                    self._waiting.add(name)
        for reader in readers:
            reader.look()
        if self._waiting and self._flush_timer is None and self._watchdog is not None:
            self._flush_timer = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._flush_again)

    def _flush_again(self) -> None:
        self._flush_timer = None
        self._flush()


def _content(frame: zmq.Frame) -> Frame:
    """Return small frames as bytes, large ones as a view that keeps libzmq's buffer."""
    return frame.bytes if len(frame) < _COPY_BELOW_BYTES else frame.buffer

"""The transport's promises kept inside one process: for tests and demos, with faults on request."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from nanocore.errors import ErrorCode, NanoError
from nanocore.transport.base import Authenticate, Frame, Receiver, TransportLimits, check_size
from nanocore.transport.curve import KeyPair


@dataclass
class LinkFaults:
    """What goes wrong on every link of a network; ``random`` is seeded by the test."""

    drop: float = 0.0
    double: float = 0.0
    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    """Each message waits its own time up to this, so that messages overtake each other."""
    random: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311  faults, not secrets


class MemoryNetwork:
    """Where memory transports meet: the addresses that listen, and the faults between them."""

    def __init__(self) -> None:
        self.faults = LinkFaults()
        self._listeners: dict[str, MemoryTransport] = {}
        self._next_port = 40_000
        self._cut: set[str] = set()

    def cut(self, address: str) -> None:
        """Make everything to and from ``address`` vanish without a sign: a half-open link."""
        self._cut.add(address)

    def heal(self, address: str) -> None:
        """Let messages to and from ``address`` pass again."""
        self._cut.discard(address)

    def is_cut(self, *addresses: str) -> bool:
        """Return whether one of ``addresses`` is cut off."""
        return not self._cut.isdisjoint(addresses)

    def listen(self, address: str, transport: MemoryTransport) -> int:
        """Register a listener; port 0 takes a free one. Raises ``unavailable``."""
        host, _, port = address.rpartition(":")
        if port == "0":
            self._next_port += 1
            port = str(self._next_port)
        address = f"{host}:{port}"
        if address in self._listeners:
            raise NanoError(ErrorCode.UNAVAILABLE, f"can't listen on {address}: in use", reason="transport.bind")
        self._listeners[address] = transport
        return int(port)

    def close(self, transport: MemoryTransport) -> None:
        """Remove a listener."""
        self._listeners = {key: value for key, value in self._listeners.items() if value is not transport}

    def find(self, address: str) -> MemoryTransport | None:
        """Return who listens on ``address``."""
        return None if address in self._cut else self._listeners.get(address)


class MemoryFabric:
    """Makes memory transports for one node."""

    def __init__(
        self, network: MemoryNetwork, keys: KeyPair, authenticate: Authenticate, log: structlog.stdlib.BoundLogger
    ) -> None:
        self._network = network
        self._keys = keys
        self._authenticate = authenticate
        self._log = log
        self.is_open = False

    async def open(self) -> None:
        """Begin to let peers in."""
        self.is_open = True

    def transport(self, name: str, *, bind: str | None, limits: TransportLimits) -> MemoryTransport:
        """Return a transport, not started."""
        return MemoryTransport(self, self._network, self._keys, bind, limits, self._log.bind(transport=name))

    def authenticate(self, public_key: str) -> str | None:
        """Return whose key it is; nobody's while authentication is not running."""
        user = self._authenticate(public_key) if self.is_open else None
        if user is None:
            self._log.warning(
                "refused a connection: its key is not registered here, or was revoked", public_key=public_key
            )
        return user

    async def close(self) -> None:
        """Let nobody in any more."""
        self.is_open = False


@dataclass(eq=False, slots=True)
class _Link:
    """One connection, as its dialling side made it; ``dialler`` calls the other end ``name``."""

    dialler: MemoryTransport
    name: str
    listener: MemoryTransport
    user: str
    address: str
    is_up: bool = True


@dataclass(slots=True)
class _Dialled:
    address: str
    public_key: str
    timer: asyncio.TimerHandle | None = None


class MemoryTransport:
    """Made by ``MemoryFabric``."""

    def __init__(  # noqa: PLR0917  called once, by the fabric
        self,
        fabric: MemoryFabric,
        network: MemoryNetwork,
        keys: KeyPair,
        bind: str | None,
        limits: TransportLimits,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.fabric = fabric
        self.keys = keys
        self._network = network
        self._bind = bind
        self._limits = limits
        self._log = log
        self._receiver: Receiver | None = None
        self._links: dict[str, _Link] = {}
        self._accepted: list[_Link] = []
        self._silent: list[_Link] = []
        self._dialled: dict[str, _Dialled] = {}
        self._in_flight: dict[str, int] = {}
        self._port: int | None = None
        self._is_running = False

    @property
    def port(self) -> int | None:
        """The port that was taken."""
        return self._port

    async def start(self, receiver: Receiver) -> None:
        """Listen, if there is an address."""
        self._receiver = receiver
        self._is_running = True
        if self._bind is not None:
            self._port = self._network.listen(self._bind, self)

    async def stop(self) -> None:
        """End every link; messages on the way still arrive."""
        self._is_running = False
        self._network.close(self)
        for dialled in self._dialled.values():
            if dialled.timer is not None:
                dialled.timer.cancel()
        self._dialled.clear()
        for link in {*self._links.values(), *self._accepted, *self._silent}:
            asyncio.get_running_loop().call_soon(_end, link)

    def dial(self, peer: str, address: str, public_key: str) -> None:
        """Connect, and again until it works."""
        if peer not in self._dialled:
            self._dialled[peer] = _Dialled(address, public_key)
            self._connect(peer, 0)

    def _connect(self, peer: str, delay: float) -> None:
        dialled = self._dialled.get(peer)
        if dialled is not None and self._is_running:
            dialled.timer = asyncio.get_running_loop().call_later(delay, self._try_connect, peer)

    def _try_connect(self, peer: str) -> None:
        dialled = self._dialled.get(peer)
        if dialled is None or peer in self._links:
            return
        other = self._network.find(dialled.address)
        user = (
            other.fabric.authenticate(self.keys.public) if other and other.keys.public == dialled.public_key else None
        )
        if other is None or user is None:
            if other is not None and self._receiver is not None:
                self._receiver.on_link_down(peer, "it refuses this node's key")
            self._connect(peer, self._limits.reconnect_seconds)
            return
        link = _Link(self, peer, other, user, dialled.address)
        self._links[peer] = link
        other.accept(link)
        if self._receiver is not None:
            self._receiver.on_link_up(peer)

    def hang_up(self, peer: str) -> None:
        """Cut the link and dial no more."""
        dialled = self._dialled.pop(peer, None)
        if dialled is not None and dialled.timer is not None:
            dialled.timer.cancel()
        link = self._links.pop(peer, None)
        if link is not None:
            asyncio.get_running_loop().call_soon(_end, link)

    def is_linked(self, peer: str) -> bool:
        """Return whether there is a link."""
        return peer in self._links

    def send(self, peer: str, frames: Sequence[Frame]) -> None:
        """Deliver in a later turn of the loop; faults apply."""
        link = self._links.get(peer)
        if link is None or not link.is_up:
            raise NanoError(ErrorCode.UNAVAILABLE, f"there is no connection to node {peer}", reason="transport.no_link")
        check_size(frames, self._limits)
        if self._in_flight.get(peer, 0) >= self._limits.queue_length + self._limits.high_water_mark:
            message = f"node {peer} is not reading: its queue is full"
            raise NanoError(ErrorCode.BUSY, message, reason="transport.queue_full", retry_after_seconds=1)
        self._post(link, peer, [bytes(frame) for frame in frames])

    def _post(self, link: _Link, peer: str, frames: list[bytes]) -> None:
        faults = self._network.faults
        copies = 0 if faults.random.random() < faults.drop else 1 + (faults.random.random() < faults.double)
        for _ in range(copies):
            delay = faults.delay_seconds + faults.jitter_seconds * faults.random.random()
            self._in_flight[peer] = self._in_flight.get(peer, 0) + 1
            loop = asyncio.get_running_loop()
            if delay:
                loop.call_later(delay, self._arrive, link, peer, frames)
            else:
                loop.call_soon(self._arrive, link, peer, frames)

    def _arrive(self, link: _Link, peer: str, frames: list[bytes]) -> None:
        self._in_flight[peer] -= 1
        if self._network.is_cut(link.address):
            return
        if link.dialler is self:
            if link.is_up:
                link.listener.take(link, list(frames))
        elif link.dialler.is_linked(link.name):
            link.dialler.deliver(link.name, list(frames))

    def accept(self, link: _Link) -> None:
        """Hold a connection over which nothing has come yet."""
        self._silent.append(link)

    def take(self, link: _Link, frames: list[Frame]) -> None:
        """Accept a message from a dialling peer; its first one makes the link known here."""
        if self._links.get(link.user) is not link and link not in self._accepted:
            self._silent.remove(link)
            self._accepted.append(link)
            old = self._links.get(link.user)
            self._links[link.user] = link
            if old is not None and old.listener is self:
                _end(old)
            if self._receiver is not None:
                self._receiver.on_link_up(link.user)
        self.deliver(link.user, frames)

    def deliver(self, peer: str, frames: list[Frame]) -> None:
        """Hand a message to the kernel."""
        if self._receiver is None or not self._is_running:
            return
        try:
            self._receiver.on_frames(peer, frames)
        except Exception:  # noqa: BLE001  one bad message must not end the transport
            self._log.exception("a message could not be taken", peer=peer)

    def drop(self, link: _Link, peer: str) -> None:
        """Notice that ``link`` ended; a dialling side tries again."""
        for held in (self._silent, self._accepted):
            if link in held:
                held.remove(link)
        if self._links.get(peer) is not link:
            return
        del self._links[peer]
        if self._is_running and self._receiver is not None:
            self._receiver.on_link_down(peer, "the connection ended")
        self._connect(peer, self._limits.reconnect_seconds)


def _end(link: _Link) -> None:
    if link.is_up:
        link.is_up = False
        link.listener.drop(link, link.user)
        link.dialler.drop(link, link.name)

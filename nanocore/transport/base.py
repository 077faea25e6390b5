"""What the kernel asks of anything that carries frames: proven peers, bounded queues, no silent loss.

Two implementations keep the same promises and pass the same tests: ``zeromq`` (CURVE over TCP) and ``memory``
(in this process, for tests).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from nanocore.errors import ErrorCode, NanoError

Frame: TypeAlias = bytes | memoryview

Authenticate: TypeAlias = Callable[[str], str | None]
"""Public key (Z85 text) to the peer's name, ``None`` for a stranger. Called for every new connection; a look-up."""


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """Bounds of one transport; sizes in bytes, times in seconds.

    A frame above ``max_frame_bytes`` is refused and its sender named; one above twice that never reaches memory: the
    connection is cut while it arrives.
    """

    max_frame_bytes: int = 4 * 1024 * 1024
    max_frames: int = 1100
    max_message_bytes: int = 32 * 1024 * 1024
    queue_length: int = 1000
    """Messages that wait for a peer that reads slowly; beyond it sending is ``busy``."""
    high_water_mark: int = 1000
    backlog: int = 4096
    handshake_seconds: float = 120.0
    heartbeat_seconds: float = 0.5
    heartbeat_timeout_seconds: float = 1.5
    reconnect_seconds: float = 0.5
    reconnect_max_seconds: float = 8.0


def check_size(frames: Sequence[Frame], limits: TransportLimits) -> None:
    """Raise ``invalid_argument`` for a message beyond ``limits``: it would be refused on arrival.

    Raises ``TypeError`` for what is no frame, before half a message is on its way.
    """
    sizes = [memoryview(frame).nbytes for frame in frames]
    if max(sizes) > limits.max_frame_bytes or sum(sizes) > limits.max_message_bytes or len(sizes) > limits.max_frames:
        message = (
            f"message of {len(sizes)} frames and {sum(sizes)} bytes is beyond the transport's limits "
            f"({limits.max_frames} frames of {limits.max_frame_bytes} bytes); use a stream"
        )
        raise NanoError(ErrorCode.INVALID_ARGUMENT, message, reason="transport.too_large")


class Receiver(Protocol):
    """The kernel's side of a transport; called on the loop, never concurrently; must not block."""

    def on_frames(self, peer: str, frames: list[Frame]) -> None:
        """Take one message; ``peer`` is proven by its key, whatever the frames say."""
        ...

    def on_link_up(self, peer: str) -> None:
        """Learn that frames can be sent to ``peer``: it was dialled, or it dialled and sent its first message."""
        ...

    def on_link_down(self, peer: str, reason: str) -> None:
        """Learn that the only link to ``peer`` ended. A half-open one is not noticed here: beats tell."""
        ...

    def on_violation(self, peer: str, reason: str) -> None:
        """Learn that ``peer`` sent something that no honest node sends; it was dropped."""
        ...


class Transport(Protocol):
    """Carries messages (lists of frames) to and from peers."""

    @property
    def port(self) -> int | None:
        """The bound port, ``None`` for one that only dials."""
        ...

    async def start(self, receiver: Receiver) -> None:
        """Bind, if it has an address; raises ``unavailable`` when the address can't be had."""
        ...

    async def stop(self) -> None:
        """Send what was queued, within 200 ms, and close everything. Safe to call twice."""
        ...

    def dial(self, peer: str, address: str, public_key: str) -> None:
        """Connect to ``address`` (``host:port``) and stay connected; only the holder of ``public_key`` is accepted."""
        ...

    def hang_up(self, peer: str) -> None:
        """Cut every link with ``peer`` now. A dialling peer may come back if its key is still accepted."""
        ...

    def is_linked(self, peer: str) -> bool:
        """Return whether there is a link to ``peer``."""
        ...

    def send(self, peer: str, frames: Sequence[Frame]) -> None:
        """Hand over one message; never blocks.

        Raises ``unavailable`` without a link, ``busy`` when the peer's queue is full and ``invalid_argument``
        for a message beyond the limits. A message handed over may still be lost with its link.
        """
        ...


class Fabric(Protocol):
    """Makes the transports of one node and holds what they share: keys, authenticator, threads."""

    async def open(self) -> None:
        """Begin to authenticate; before any transport is started."""
        ...

    def transport(self, name: str, *, bind: str | None, limits: TransportLimits) -> Transport:
        """Return a transport, not started. ``bind`` is ``host:port``; port 0 takes a free one."""
        ...

    async def close(self) -> None:
        """End authentication; after every transport was stopped."""
        ...

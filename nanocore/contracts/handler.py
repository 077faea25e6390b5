"""Message handlers, event subscriptions and what a handler is told about its call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from nanocore.clock import Deadline
from nanocore.contracts.authorizer import Principal, ResourceRef
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.stream import Stream
from nanocore.wire import Event, Request

R = TypeVar("R")

CORE_ONLY = frozenset({NodeRole.CORE})
CELL_ONLY = frozenset({NodeRole.CELL})
USERS = frozenset({NodeRole.CORE, NodeRole.FRONTEND})
"""Who passes on what a user asked for: cores and frontends."""
ANY_NODE = frozenset({NodeRole.CORE, NodeRole.CELL, NodeRole.FRONTEND, NodeRole.RELAY})


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler knows about the request it runs for.

    ``actor`` is ``None`` for requests between nodes. ``stream`` is set for requests sent by ``open_stream``
    only: the handler then owns it and closes it.
    """

    id: str
    source: NodeInfo
    deadline: Deadline
    trace: str
    actor: Principal | None = None
    blobs: Sequence[bytes | memoryview] = ()
    stream: Stream | None = None
    credential: str = ""


@dataclass(frozen=True, slots=True)
class Reply(Generic[R]):
    """A result with blobs behind it; a handler without blobs returns the bare result."""

    body: R
    blobs: Sequence[bytes | memoryview] = ()


@dataclass(frozen=True, slots=True)
class Handler:
    """Says that ``call`` answers ``message``, for nodes in one of the roles ``allow``.

    ``resource`` tells the authorizer which object a message is about. A node may always send to itself.
    """

    message: type[Request[Any]]
    call: Callable[[Any, Call], Awaitable[Any]]
    allow: frozenset[NodeRole] = USERS
    resource: Callable[[Any], ResourceRef | None] | None = None
    is_stream: bool = False

    @property
    def op(self) -> str:
        """The key under which two declarations would collide."""
        return self.message.op


@dataclass(frozen=True, slots=True)
class Subscription:
    """Says that ``call`` wants every ``event`` delivered on this node; ``source`` is the node that published it.

    Events of other nodes are taken from nodes in one of the roles ``allow`` only.
    """

    event: type[Event]
    call: Callable[[Any, NodeInfo], Awaitable[None]]
    name: str
    allow: frozenset[NodeRole] = ANY_NODE

    @property
    def key(self) -> str:
        """Event and subscriber: one plugin subscribes once."""
        return f"{self.event.op}:{self.name}"

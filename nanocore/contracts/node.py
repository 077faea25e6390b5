"""Nodes and their membership: who is there, in which role, and how a new one joins."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from nanocore.ids import NodeId
from nanocore.wire import Command, Event, Meta, Query, Result, field


class NodeRole(StrEnum):
    """What a node does, by configuration; one node can have several."""

    CORE = "core"
    CELL = "cell"
    FRONTEND = "frontend"
    RELAY = "relay"
    JOINING = "joining"
    """Holder of a one-time invite key; may send ``membership.join`` and nothing else."""


class NodeInfo(Result, frozen=True, kw_only=True):
    """What a node says of itself in ``hello``."""

    id: NodeId
    name: str
    roles: list[NodeRole]
    zone: str = "default"
    version: str = ""
    features: list[str] = field(default_factory=list)
    public_key: str = ""


class Peer(Result, frozen=True, kw_only=True):
    """Another node, seen from this one."""

    info: NodeInfo
    is_reachable: bool
    is_revoked: bool = False
    since: datetime | None = None
    """When ``is_reachable`` last changed."""
    registered_at: datetime | None = None


class Invite(Result, frozen=True, kw_only=True):
    """A one-time permission to join."""

    id: str
    roles: list[NodeRole]
    name: str | None = None
    expires_at: datetime
    token: str | None = None
    """What the joining node needs (address, core's key, one-time key), shown once at creation."""
    command: str | None = None
    """The command to run on the other host, shown once at creation."""


class JoinAccepted(Result, frozen=True, kw_only=True):
    """The core's answer to ``Join``."""

    core: NodeInfo
    zone: str


class Join(Command[JoinAccepted], frozen=True, kw_only=True):
    """Sent with an invite's one-time key; registers the sender's own key."""

    op: ClassVar[str] = "membership.join"
    is_idempotent: ClassVar[bool] = True

    id: NodeId
    name: str
    public_key: str


class Hello(Command[NodeInfo], frozen=True, kw_only=True):
    """First message on every connection; the reply is the receiver's own description."""

    op: ClassVar[str] = "membership.hello"
    is_idempotent: ClassVar[bool] = True

    node: NodeInfo


class ListPeers(Query[list[Peer]], frozen=True, kw_only=True):
    """All registered nodes, this one included; answered by the node's own kernel."""

    op: ClassVar[str] = "membership.list_peers"


class CreateInvite(Command[Invite], frozen=True, kw_only=True):
    """Make a one-time invite for a new node."""

    op: ClassVar[str] = "membership.create_invite"
    permission: ClassVar[str | None] = "node.invite"

    roles: Annotated[list[NodeRole], Meta(description="Node roles of the new node", min_length=1)] = field(
        default_factory=lambda: [NodeRole.CELL]
    )
    name: Annotated[str | None, Meta(description="Name of the new node; default: its host name")] = None
    expires_in_seconds: Annotated[float, Meta(description="Life of the invite in seconds", gt=0, le=604800)] = 3600


class ListInvites(Query[list[Invite]], frozen=True, kw_only=True):
    """Invites that can still be used, without their secrets."""

    op: ClassVar[str] = "membership.list_invites"
    permission: ClassVar[str | None] = "node.invite"


class DeleteInvite(Command[None], frozen=True, kw_only=True):
    """Withdraw an invite."""

    op: ClassVar[str] = "membership.delete_invite"
    permission: ClassVar[str | None] = "node.invite"

    id: str


class RevokeNode(Command[None], frozen=True, kw_only=True):
    """Cut a node off everywhere at once; its key never works again."""

    op: ClassVar[str] = "membership.revoke_node"
    permission: ClassVar[str | None] = "node.delete"

    id: NodeId


class StopKernel(Command[None], frozen=True, kw_only=True):
    """Core to node: end the kernel, to be brought back at once or to stay down; guests run on."""

    op: ClassVar[str] = "membership.stop_kernel"
    is_idempotent: ClassVar[bool] = True

    is_restart: bool


class NodeRegistered(Event, frozen=True, kw_only=True):
    """A node used an invite: its key is known from now on, whether it ever says hello or not."""

    op: ClassVar[str] = "node.registered"
    is_forwarded: ClassVar[bool] = False

    node: NodeInfo


class NodeJoined(Event, frozen=True, kw_only=True):
    """A peer became reachable (joined or came back)."""

    op: ClassVar[str] = "node.joined"
    is_forwarded: ClassVar[bool] = False

    node: NodeInfo


class NodeLost(Event, frozen=True, kw_only=True):
    """A peer stopped answering, said good-bye, or was revoked."""

    op: ClassVar[str] = "node.lost"
    is_forwarded: ClassVar[bool] = False

    node: NodeInfo
    reason: str

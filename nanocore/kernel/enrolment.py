"""How nodes come and go for good: invites, joining, revocation; the core's handlers and the newcomer's ``join``."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from nanocore.clock import Clock
from nanocore.contracts.handler import USERS, Call, Handler
from nanocore.contracts.node import (
    CreateInvite,
    DeleteInvite,
    Invite,
    Join,
    JoinAccepted,
    ListInvites,
    NodeInfo,
    NodeRegistered,
    NodeRole,
    RevokeNode,
)
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import new_id
from nanocore.kernel.trust import JOINING_PREFIX, CoreAddress, Identity, JoinToken, Registry
from nanocore.transport.base import Fabric, Frame, Transport, TransportLimits
from nanocore.transport.curve import KeyPair
from nanocore.transport.zeromq import ZeroMqFabric
from nanocore.wire import Event, decode, encode
from nanocore.wire.envelope import ErrorBody, Header, Kind, pack, unpack

JOINING_ONLY = frozenset({NodeRole.JOINING})
_PROBE_ADDRESS = ("192.0.2.1", 9)
"""TEST-NET-1: a datagram socket "connected" there sends nothing, but shows which address the default route has."""


def default_host() -> str:
    """Return this machine's address on its default route, or loopback if it has none."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(_PROBE_ADDRESS)
        return str(probe.getsockname()[0])
    return "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a core can be reached, as its invites say."""

    hosts: tuple[str, ...]
    message_port: int
    stream_port: int


class Enrolment:
    """Answers what a core is asked about its nodes."""

    def __init__(
        self,
        me: NodeInfo,
        registry: Registry,
        *,
        listening: Callable[[], Listening],
        deliver: Callable[[Event], None],
        cut: Callable[[NodeInfo], None],
    ) -> None:
        self._me = me
        self._registry = registry
        self._listening = listening
        self._deliver = deliver
        self._cut = cut

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handlers by op."""
        handlers = (
            Handler(Join, self._join, allow=JOINING_ONLY),
            Handler(CreateInvite, self._create_invite, allow=USERS),
            Handler(ListInvites, self._list_invites, allow=USERS),
            Handler(DeleteInvite, self._delete_invite, allow=USERS),
            Handler(RevokeNode, self._revoke_node, allow=USERS),
        )
        return {handler.op: handler for handler in handlers}

    async def _join(self, message: Join, call: Call) -> JoinAccepted:
        record = await self._registry.join(call.source.id, message, self._me.zone)
        # Also one that never says hello has a key that works: it must be seen to be revoked.
        self._deliver(NodeRegistered(node=record.info()))
        return JoinAccepted(core=self._me, zone=self._me.zone)

    async def _create_invite(self, message: CreateInvite, _: Call) -> Invite:
        invite, keys = await self._registry.invite(message)
        listening = self._listening()
        token = JoinToken(
            invite_id=invite.id,
            core_id=self._me.id,
            core_name=self._me.name,
            core_key=self._me.public_key,
            hosts=list(listening.hosts),
            message_port=listening.message_port,
            stream_port=listening.stream_port,
            secret_key=keys.secret,
            roles=invite.roles,
            name=invite.name,
            zone=self._me.zone,
            expires_at=invite.expires_at,
        ).encode()
        return Invite(
            id=invite.id,
            roles=invite.roles,
            name=invite.name,
            expires_at=invite.expires_at,
            token=token,
            command=f"./quickstart --role {','.join(message.roles)} --join {token}",
        )

    async def _list_invites(self, _message: ListInvites, _: Call) -> list[Invite]:
        return [invite.info() for invite in self._registry.invites()]

    async def _delete_invite(self, message: DeleteInvite, _: Call) -> None:
        await self._registry.delete_invite(message.id)

    async def _revoke_node(self, message: RevokeNode, _: Call) -> None:
        if message.id == self._me.id:
            raise NanoError(ErrorCode.WRONG_STATE, "this is the core that answers; it can't shut itself out")
        self._cut(await self._registry.revoke(message.id))


class _JoinCall:
    """The one request of a joining node, as a transport's receiver."""

    def __init__(self, token: JoinToken, request: Join, seconds: float) -> None:
        self._request = request
        self._token = token
        self.transport: Transport | None = None
        self.answer: asyncio.Future[JoinAccepted] = asyncio.get_running_loop().create_future()
        name = JOINING_PREFIX + token.invite_id
        self._header = Header(
            kind=Kind.REQUEST, id=new_id(), op=Join.op, src=name, dst=token.core_id, ttl_ms=int(seconds * 1000)
        )

    def on_link_up(self, peer: str) -> None:
        """Send the request, once more after a lost link: the core knows its id."""
        if self.transport is not None and not self.answer.done():
            self.transport.send(peer, [pack(self._header, encode(self._request))])

    def on_frames(self, peer: str, frames: list[Frame]) -> None:
        """Take the core's answer."""
        header, body = unpack(frames[0])
        if self.answer.done() or header.id != self._header.id or peer != self._token.core_id:
            return
        if header.kind is Kind.ERROR:
            self.answer.set_exception(decode(body, ErrorBody).to_error())
        elif header.kind is Kind.REPLY:
            self.answer.set_result(decode(body, JoinAccepted))

    def on_link_down(self, _peer: str, reason: str) -> None:
        """Fail if the core refuses the one-time key; wait for the next connection otherwise."""
        if "refuses" in reason and not self.answer.done():
            text = f"core {self._token.core_name} does not know this invite: it was used, withdrawn or has expired"
            self.answer.set_exception(NanoError(ErrorCode.PERMISSION_DENIED, text, reason="join.refused"))

    def on_violation(self, peer: str, reason: str) -> None:
        """Ignore it: the request's deadline ends the wait."""


async def join(
    token_text: str,
    identity: Identity,
    *,
    name: str,
    clock: Clock,
    log: structlog.stdlib.BoundLogger,
    timeout_seconds: float = 15.0,
    fabric: Callable[[KeyPair], Fabric] | None = None,
) -> tuple[JoinAccepted, CoreAddress]:
    """Register this node's own key with the core that made the token; return its answer and how it was reached.

    The caller keeps the address with ``Identity.joined`` and starts with the token's roles. ``name`` gives way to the
    name in the invite. Raises ``permission_denied`` for an invite that can't be used any more and ``unavailable`` when
    the core can't be reached at any of the token's addresses.
    """
    token = JoinToken.parse(token_text)
    keys = KeyPair.from_secret(token.secret_key)
    request = Join(id=identity.node_id, name=token.name or name, public_key=identity.keys.public)
    last: NanoError | None = None
    for host in token.hosts:
        core = token.core_at(host)
        made = fabric(keys) if fabric is not None else ZeroMqFabric(keys, lambda _: None, clock, log)
        try:
            return await _ask(made, _JoinCall(token, request, timeout_seconds), core, timeout_seconds), core
        except NanoError as error:
            if error.code is not ErrorCode.UNAVAILABLE:
                raise
            last = error
    raise last or NanoError(ErrorCode.INVALID_ARGUMENT, "the token names no address of the core", field="token")


async def _ask(fabric: Fabric, call: _JoinCall, core: CoreAddress, seconds: float) -> JoinAccepted:
    transport = fabric.transport("messages", bind=None, limits=TransportLimits())
    address = f"{core.host}:{core.message_port}"
    call.transport = transport
    await fabric.open()
    try:
        await transport.start(call)
        transport.dial(core.id, address, core.public_key)
        async with asyncio.timeout(seconds):
            return await call.answer
    except TimeoutError as error:
        text = f"core {core.name} does not answer at {address}; check that it runs and that the port is open from here"
        raise NanoError(ErrorCode.UNAVAILABLE, text, reason="join.no_answer") from error
    finally:
        await transport.stop()
        await fabric.close()

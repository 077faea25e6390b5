"""Keys and who holds them: this node's identity on disk, the registry of nodes, invites, revocations.

A core keeps the registry in its state store. Any other node knows two keys: its own and its core's.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from nanocore.clock import Clock
from nanocore.contracts.node import CreateInvite, Invite, Join, NodeInfo, NodeRole
from nanocore.contracts.state_store import Collection, Delete, Put, StateStore
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NodeId, new_id, parse_id, parse_name
from nanocore.transport.curve import KeyPair, parse_public_key, read_private, write_private
from nanocore.wire import Struct, decode, decode_json, encode, encode_json, structs

JOINING_PREFIX = "joining:"
TOKEN_PREFIX = "nano_"  # noqa: S105  a label, by which logs recognise and hide tokens
USED_INVITE_SECONDS = 60.0
"""How long the node that used an invite may repeat its join, should the reply have been lost."""
MAX_INVITES = 1000
MAX_TOKEN_LENGTH = 4096


class CoreAddress(Struct, frozen=True, kw_only=True):
    """How a node reaches its core and knows it: kept in ``core.json`` beside the node's own key."""

    id: NodeId
    name: str
    public_key: str
    host: str
    message_port: int
    stream_port: int
    zone: str = "default"

    def with_address(self, address: str) -> CoreAddress:
        """Return this core at ``host`` or ``host:port``, as configuration may say; raises ``invalid_argument``."""
        host, _, port = address.rpartition(":") if ":" in address else (address, "", "")
        if not host or (port and not port.isdecimal()):
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT, f'the core\'s address must be "host" or "host:port", got {address!r}'
            )
        kept = self.message_port, self.stream_port
        ports = (int(port), int(port) + 1) if port and int(port) != self.message_port else kept
        return structs.replace(self, host=host, message_port=ports[0], stream_port=ports[1])


class JoinToken(Struct, frozen=True, kw_only=True):
    """What an invite's token carries. ``hosts`` are tried in order."""

    invite_id: str
    core_id: NodeId
    core_name: str
    core_key: str
    hosts: list[str]
    message_port: int
    stream_port: int
    secret_key: str
    roles: list[NodeRole]
    name: str | None
    zone: str
    expires_at: datetime

    def encode(self) -> str:
        """Return the token as people copy it."""
        return TOKEN_PREFIX + base64.urlsafe_b64encode(encode(self)).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> JoinToken:
        """Return the token that ``text`` is; raises ``invalid_argument``."""
        # The last word, so that the whole command that an invite printed will do.
        words = text.split()
        body = (words[-1] if words else "")[:MAX_TOKEN_LENGTH].removeprefix(TOKEN_PREFIX)
        try:
            return decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), cls)
        except (ValueError, binascii.Error, NanoError) as error:
            message = (
                "this is not an invite's token; copy what stands after --join in the line that `nano invite` printed"
            )
            raise NanoError(ErrorCode.INVALID_ARGUMENT, message, field="token") from error

    def core_at(self, host: str) -> CoreAddress:
        """Return the core's address if it is reached by ``host``."""
        return CoreAddress(
            id=self.core_id,
            name=self.core_name,
            public_key=self.core_key,
            host=host,
            message_port=self.message_port,
            stream_port=self.stream_port,
            zone=self.zone,
        )


class _KeyFile(Struct, frozen=True, kw_only=True):
    node_id: NodeId
    secret_key: str


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's id and key, made at its first start, and the core that it joined, if it is none itself."""

    node_id: NodeId
    keys: KeyPair
    core: CoreAddress | None = None

    @classmethod
    def new(cls) -> Identity:
        """Return an identity that is kept nowhere; for tests and for joining."""
        return cls(NodeId(new_id()), KeyPair.generate())

    @classmethod
    def load(cls, folder: Path) -> Identity:
        """Return the identity in ``folder``, made now if there is none.

        Raises ``permission_denied`` for a key file that others may read and ``invalid_argument`` for a broken one.
        """
        path = folder / "node.key"
        if not path.exists():
            fresh = cls.new()
            body = _KeyFile(node_id=fresh.node_id, secret_key=fresh.keys.secret)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, encode_json(body))
        core = folder / "core.json"
        try:
            held = decode_json(read_private(path), _KeyFile)
            keys = KeyPair.from_secret(held.secret_key)
            known = decode_json(read_private(core), CoreAddress) if core.exists() else None
        except NanoError as error:
            if error.code is not ErrorCode.INVALID_ARGUMENT:
                raise
            text = f"{folder} holds a broken key file ({error.message}); restore it, or remove it and join again"
            raise NanoError(ErrorCode.INVALID_ARGUMENT, text, reason="trust.key_file") from error
        return cls(NodeId(parse_id(held.node_id, field=str(path))), keys, known)

    def joined(self, folder: Path, core: CoreAddress) -> Identity:
        """Remember ``core`` in ``folder`` and return this identity with it."""
        path = folder / "core.json"
        path.unlink(missing_ok=True)
        write_private(path, encode_json(core))
        return replace(self, core=core)


class NodeRecord(Struct, frozen=True, kw_only=True):
    """A node that may connect, or never again."""

    id: NodeId
    name: str
    roles: list[NodeRole]
    zone: str
    public_key: str
    registered_at: datetime
    is_revoked: bool = False

    def info(self) -> NodeInfo:
        """Return the node as peers see it: roles and name are the registry's, whatever it says of itself."""
        return NodeInfo(id=self.id, name=self.name, roles=self.roles, zone=self.zone, public_key=self.public_key)


class InviteRecord(Struct, frozen=True, kw_only=True):
    """An invite without its secret: only the one-time key's public half, which opens nothing by itself."""

    id: str
    public_key: str
    roles: list[NodeRole]
    name: str | None
    expires_at: datetime
    used_by: str | None = None
    """Public key of the node that joined with it."""

    def info(self) -> Invite:
        """Return the invite as lists show it."""
        return Invite(id=self.id, roles=self.roles, name=self.name, expires_at=self.expires_at)


NODES = Collection("kernel.nodes", NodeRecord)
INVITES = Collection("kernel.invites", InviteRecord)
TRUST_COLLECTIONS = (NODES, INVITES)
"""To be named when a core's store is opened."""


class Registry:
    """Which key is whom. Look-ups are dictionary accesses; changes are durable before they count."""

    def __init__(self, clock: Clock, store: StateStore | None = None) -> None:
        self._clock = clock
        self._store = store
        self._nodes: dict[str, NodeRecord] = {}
        self._by_key: dict[str, NodeRecord] = {}
        self._infos: dict[str, NodeInfo] = {}
        self._invites: dict[str, InviteRecord] = {}

    @property
    def is_authority(self) -> bool:
        """Whether nodes are registered here: on a core."""
        return self._store is not None

    async def open(self, me: NodeInfo, core: CoreAddress | None = None) -> None:
        """Load what the store holds and add this node, and its core on a node that has one."""
        if self._store is not None:
            for node in self._store.list(NODES):
                self._index(node.value)
            for invite in self._store.list(INVITES):
                self._invites[invite.value.id] = invite.value
        mine = self._record(me)
        if self._nodes.get(me.id) != mine:
            await self._put(mine)
        if core is not None:
            known = NodeInfo(
                id=core.id, name=core.name, roles=[NodeRole.CORE], zone=core.zone, public_key=core.public_key
            )
            self._index(self._record(known))

    def _record(self, info: NodeInfo) -> NodeRecord:
        known = self._nodes.get(info.id)
        return NodeRecord(
            id=info.id,
            name=info.name,
            roles=info.roles,
            zone=info.zone,
            public_key=info.public_key,
            registered_at=known.registered_at if known else self._clock.now(),
        )

    # -- look-ups

    def authenticate(self, public_key: str) -> str | None:
        """Return the id of the node that holds the key, or an invite's name; ``None`` for a stranger. For ZAP."""
        node = self._by_key.get(public_key)
        if node is not None:
            return None if node.is_revoked else node.id
        for invite in self._invites.values():
            if invite.public_key == public_key and self._is_open(invite):
                return JOINING_PREFIX + invite.id
        return None

    def find(self, name: str) -> NodeInfo | None:
        """Return who ``name`` (a node id, or an invite's name) is *now*; ``None`` if unknown, revoked or expired."""
        info = self._infos.get(name)
        if info is None and name.startswith(JOINING_PREFIX):
            invite = self._invites.get(name.removeprefix(JOINING_PREFIX))
            if invite is not None and self._is_open(invite):
                return NodeInfo(id=NodeId(name), name=name, roles=[NodeRole.JOINING])
        return info

    def records(self) -> list[NodeRecord]:
        """Return every registered node, revoked ones too."""
        return list(self._nodes.values())

    def _is_open(self, invite: InviteRecord) -> bool:
        return self._clock.now() < invite.expires_at

    # -- changes

    async def invite(self, request: CreateInvite) -> tuple[InviteRecord, KeyPair]:
        """Make an invite; the pair's secret half is kept by nobody but the token."""
        await self._put_away_expired()
        if len(self._invites) >= MAX_INVITES:
            raise NanoError(ErrorCode.BUSY, f"{MAX_INVITES} invites are open; delete some", retry_after_seconds=60)
        if NodeRole.JOINING in request.roles or len(set(request.roles)) != len(request.roles):
            text = "roles may be core, cell, frontend and relay, each once"
            raise NanoError(ErrorCode.INVALID_ARGUMENT, text, field="roles")
        if request.name is not None:
            self._check_name(parse_name(request.name), None)
        keys = KeyPair.generate()
        expires_at = self._clock.now() + timedelta(seconds=request.expires_in_seconds)
        invite = InviteRecord(
            id=new_id(), public_key=keys.public, roles=request.roles, name=request.name, expires_at=expires_at
        )
        await self._put_invite(invite)
        return invite, keys

    def invites(self) -> list[InviteRecord]:
        """Return the invites that can still be used."""
        return [invite for invite in self._invites.values() if invite.used_by is None and self._is_open(invite)]

    async def delete_invite(self, id: str) -> None:
        """Withdraw an invite; raises ``not_found``."""
        if self._invites.pop(id, None) is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"there is no invite with id {id[:80]}")
        await self._authority().commit(Delete(INVITES, id))

    async def join(self, invite_name: str, request: Join, zone: str) -> NodeRecord:
        """Register the node that came with an invite; the invite is used up. Raises what speaks against it."""
        invite = self._invites.get(invite_name.removeprefix(JOINING_PREFIX))
        if invite is None or not self._is_open(invite) or invite.used_by not in {None, request.public_key}:
            raise NanoError(ErrorCode.PERMISSION_DENIED, "this invite was used or has expired; ask for a new one")
        parse_id(request.id)
        parse_public_key(request.public_key)
        name = parse_name(request.name)
        if invite.name not in {None, name}:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"this invite is for a node named {invite.name}", field="name")
        self._check_name(name, request.id)
        known, holder = self._nodes.get(request.id), self._by_key.get(request.public_key)
        if (known or holder) is not None and known != holder:
            raise NanoError(
                ErrorCode.ALREADY_EXISTS, "another node has this id or key; remove keys/node.key and join again"
            )
        if known is not None and known.is_revoked:
            raise NanoError(
                ErrorCode.PERMISSION_DENIED, "this node's key was revoked; remove keys/node.key and join again"
            )
        node = NodeRecord(
            id=request.id,
            name=name,
            roles=invite.roles,
            zone=zone,
            public_key=request.public_key,
            registered_at=known.registered_at if known else self._clock.now(),
        )
        last = min(invite.expires_at, self._clock.now() + timedelta(seconds=USED_INVITE_SECONDS))
        used = structs.replace(
            invite, used_by=request.public_key, expires_at=last if invite.used_by is None else invite.expires_at
        )
        # Before the first await: a second join with the same invite must find it used.
        self._invites[invite.id] = used
        await self._authority().commit(Put(NODES, node.id, node), Put(INVITES, invite.id, used))
        self._index(node)
        return node

    async def revoke(self, id: str) -> NodeInfo:
        """Shut a node out for good and return what it was; raises ``not_found``."""
        node = self._nodes.get(id)
        if node is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"there is no node with id {id[:80]}")
        await self._put(structs.replace(node, is_revoked=True))
        return node.info()

    def _check_name(self, name: str, id: str | None) -> None:
        for node in self._nodes.values():
            if node.name == name and node.id != id and not node.is_revoked:
                text = f"a node named {name} exists; give this one another name, or revoke that one"
                raise NanoError(ErrorCode.ALREADY_EXISTS, text, field="name")

    def _index(self, node: NodeRecord) -> None:
        self._nodes[node.id] = node
        self._by_key[node.public_key] = node
        if node.is_revoked:
            self._infos.pop(node.id, None)
        else:
            self._infos[node.id] = node.info()

    async def _put(self, node: NodeRecord) -> None:
        self._index(node)
        if self._store is not None:
            await self._store.commit(Put(NODES, node.id, node))

    async def _put_invite(self, invite: InviteRecord) -> None:
        await self._authority().commit(Put(INVITES, invite.id, invite))
        self._invites[invite.id] = invite

    async def _put_away_expired(self) -> None:
        expired = [id for id, invite in self._invites.items() if not self._is_open(invite)]
        for id in expired:
            del self._invites[id]
        if expired:
            await self._authority().commit(*(Delete(INVITES, id) for id in expired))

    def _authority(self) -> StateStore:
        if self._store is None:
            raise NanoError(ErrorCode.UNSUPPORTED, "only a core registers nodes; ask there")
        return self._store

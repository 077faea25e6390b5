"""Several nodes' messengers in one process, joined by real invites, over memory or CURVE on loopback.

::

    async with cluster(cells=2, over="curve") as nodes:
        nodes.core.register({...})
        await nodes.cells[0].call_reply(SomeQuery())
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import structlog

from nanocore.clock import Clock, SystemClock
from nanocore.contracts.authorizer import ANONYMOUS, LOCAL, SYSTEM, Authorizer, Principal, ResourceRef
from nanocore.contracts.node import CreateInvite, NodeInfo, NodeRole
from nanocore.errors import ErrorCode, NanoError
from nanocore.kernel.enrolment import join
from nanocore.kernel.messenger import Messenger, MessengerSettings
from nanocore.kernel.trust import TRUST_COLLECTIONS, Identity, JoinToken, Registry
from nanocore.testing.memory_store import MemoryStore
from nanocore.transport.base import Fabric, TransportLimits
from nanocore.transport.curve import KeyPair
from nanocore.transport.memory import MemoryFabric, MemoryNetwork

WAIT_SECONDS = 10.0
QUICK = TransportLimits(
    reconnect_seconds=0.05, reconnect_max_seconds=0.2, heartbeat_seconds=0.2, heartbeat_timeout_seconds=0.6
)
"""Reconnects at once, so that tests are quick; real nodes wait 0.5 to 8 s so that thousands don't come together."""

Over = Literal["memory", "curve"]


async def wait_for(condition: Callable[[], object], what: str, *, seconds: float = WAIT_SECONDS) -> None:
    """Return as soon as ``condition()`` holds; fail naming ``what`` if it never does."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            message = f"after {seconds} s still not: {what}"
            raise AssertionError(message)
        await asyncio.sleep(0.005)


def recording_log(lines: list[dict[str, Any]]) -> structlog.stdlib.BoundLogger:
    """Return a logger that appends every line to ``lines``."""

    def record(_logger: object, level: str, event: Any) -> Any:  # noqa: ANN401  structlog's signature
        lines.append({**event, "level": level})
        raise structlog.DropEvent

    logger = structlog.wrap_logger(
        None, processors=[structlog.contextvars.merge_contextvars, structlog.processors.format_exc_info, record]
    )
    return cast("structlog.stdlib.BoundLogger", logger.bind())


class TokenAuthorizer:
    """An authorizer with fixed credentials: each may use the permissions named; the node itself may everything."""

    name = "token"

    def __init__(self, permissions: dict[str, frozenset[str]] | None = None) -> None:
        self.permissions = permissions or {}

    async def resolve(self, credential: str, *, is_local: bool) -> Principal | None:
        """Return who it is."""
        if credential == ANONYMOUS:
            return None
        if credential not in self.permissions and not (is_local and credential in {LOCAL, SYSTEM}):
            raise NanoError(ErrorCode.UNAUTHENTICATED, "the token is unknown; log in again")
        return Principal(user_id=credential, username=credential)

    async def authorize(self, principal: Principal | None, permission: str, resource: ResourceRef | None) -> None:
        """Look the permission up; a permission on one object reads ``<permission>:<id>``."""
        if principal is None:
            raise NanoError(ErrorCode.UNAUTHENTICATED, f"log in to use {permission}")
        if principal.username in {LOCAL, SYSTEM}:
            return
        granted = self.permissions[principal.username]
        if permission not in granted and (resource is None or f"{permission}:{resource.id}" not in granted):
            raise NanoError(ErrorCode.PERMISSION_DENIED, f"{principal.username} may not {permission}")


@dataclass
class Cluster:
    """The nodes; ``log`` holds what all of them logged, ``network`` the faults of a cluster over memory."""

    over: Over
    clock: Clock
    settings: MessengerSettings
    network: MemoryNetwork = field(default_factory=MemoryNetwork)
    store: MemoryStore = field(default_factory=MemoryStore)
    authorizer: Authorizer = field(default_factory=TokenAuthorizer)
    log: list[dict[str, Any]] = field(default_factory=list)
    core_identity: Identity = field(default_factory=Identity.new)
    cells: list[Messenger] = field(default_factory=list)
    identities: dict[str, Identity] = field(default_factory=dict)
    lost: list[tuple[str, str]] = field(default_factory=list)
    """Name and reason of every peer that the core lost, as ``on_peer_lost`` told."""
    _core: Messenger | None = None
    _all: list[Messenger] = field(default_factory=list)

    @property
    def core(self) -> Messenger:
        """The core's messenger."""
        assert self._core is not None  # noqa: S101  set before the cluster is given out
        return self._core

    def logged(self, text: str) -> list[dict[str, Any]]:
        """Return the lines of the log whose event or reason contains ``text``."""
        return [line for line in self.log if text in str(line.get("event")) or text in str(line.get("reason"))]

    def fabric(self, keys: KeyPair, registry: Registry | None, name: str) -> Fabric | None:
        """Return a fabric over memory, or ``None`` for CURVE."""
        if self.over == "curve":
            return None
        authenticate = registry.authenticate if registry is not None else lambda _: None
        return MemoryFabric(self.network, keys, authenticate, recording_log(self.log).bind(node=name))

    async def start_core(self, *, message_port: int = 0, stream_port: int = 0) -> Messenger:
        """Start the core, with the key and the store that it had before, if any."""
        await self.store.open(TRUST_COLLECTIONS)
        registry = Registry(self.clock, self.store)
        info = NodeInfo(id=self.core_identity.node_id, name="core", roles=[NodeRole.CORE, NodeRole.FRONTEND])
        self._core = Messenger(
            info,
            self.core_identity,
            replace(self.settings, message_port=message_port, stream_port=stream_port),
            registry=registry,
            clock=self.clock,
            log=recording_log(self.log).bind(node="core"),
            authorizer=self.authorizer,
            on_peer_lost=self._note_lost,
            fabric=self.fabric(self.core_identity.keys, registry, "core"),
        )
        self._all.append(self._core)
        await self._core.start()
        return self._core

    async def _note_lost(self, peer: NodeInfo, reason: str) -> None:
        self.lost.append((peer.name, reason))

    async def invite(self, *roles: NodeRole, name: str | None = None) -> str:
        """Return a fresh token."""
        reply = await self.core.call_reply(CreateInvite(roles=list(roles) or [NodeRole.CELL], name=name))
        assert reply.body.token is not None  # noqa: S101  a new invite always shows its token
        return reply.body.token

    async def join(self, name: str, *roles: NodeRole, address: str | None = None) -> Messenger:
        """Invite, join and start a node; return it once the core knows it. ``address`` leads through a proxy."""
        token = await self.invite(*roles, name=name)
        identity = Identity.new()
        made = self._fabric_of(name)
        log = recording_log(self.log).bind(node=name)
        _, core = await join(token, identity, name=name, clock=self.clock, log=log, fabric=made)
        identity = replace(identity, core=core)
        return await self.start(name, identity, JoinToken.parse(token).roles, address=address)

    def _fabric_of(self, name: str) -> Callable[[KeyPair], Fabric] | None:
        def make(keys: KeyPair) -> Fabric:
            made = self.fabric(keys, None, name)
            assert made is not None  # noqa: S101  only called over memory
            return made

        return make if self.over == "memory" else None

    async def start(
        self, name: str, identity: Identity, roles: Sequence[NodeRole], *, address: str | None = None
    ) -> Messenger:
        """Start a node that has joined; return it once both sides know each other."""
        node = self.make(name, identity, roles, address=address)
        await node.start()
        core_id = self.core.info.id
        await wait_for(lambda: node.is_reachable(core_id) and self.core.is_reachable(node.info.id), f"{name} is there")
        return node

    def make(
        self, name: str, identity: Identity, roles: Sequence[NodeRole], *, address: str | None = None
    ) -> Messenger:
        """Return a node's messenger, not started; the cluster stops it in the end."""
        registry = Registry(self.clock)
        node = Messenger(
            NodeInfo(id=identity.node_id, name=name, roles=list(roles)),
            identity,
            replace(self.settings, core_address=address),
            registry=registry,
            clock=self.clock,
            log=recording_log(self.log).bind(node=name),
            fabric=self.fabric(identity.keys, registry, name),
        )
        self.identities[name] = identity
        self._all.append(node)
        return node

    async def stop(self) -> None:
        """Stop every node."""
        for node in reversed(self._all):
            await node.stop()
        await self.store.close()


@asynccontextmanager
async def cluster(
    cells: int = 1,
    *,
    over: Over = "memory",
    settings: MessengerSettings | None = None,
    authorizer: Authorizer | None = None,
) -> AsyncIterator[Cluster]:
    """Give a core and ``cells`` cells named ``cell-1`` and so on, all joined and reachable."""
    chosen = settings or MessengerSettings(bind_host="127.0.0.1", is_strict=True, limits=QUICK)
    nodes = Cluster(over, SystemClock(), chosen, authorizer=authorizer or TokenAuthorizer())
    try:
        await nodes.start_core()
        for number in range(1, cells + 1):
            nodes.cells.append(await nodes.join(f"cell-{number}"))
        yield nodes
    finally:
        await nodes.stop()

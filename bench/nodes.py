"""A core that the rows drive: the kernel's own messenger with registered nodes, and what these nodes send."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar

from bench.bare import raise_open_files
from nanocore.clock import SystemClock
from nanocore.contracts.handler import CELL_ONLY, Call, Handler
from nanocore.contracts.node import Hello, NodeInfo, NodeRole
from nanocore.contracts.state_store import Put
from nanocore.ids import NodeId, new_id
from nanocore.kernel.messenger import Messenger, MessengerSettings
from nanocore.kernel.trust import NODES, TRUST_COLLECTIONS, CoreAddress, Identity, NodeRecord, Registry
from nanocore.logs import make_logger
from nanocore.testing.cluster import TokenAuthorizer
from nanocore.testing.memory_store import MemoryStore
from nanocore.transport.curve import KeyPair
from nanocore.wire import Query, Result, encode
from nanocore.wire.envelope import Header, Kind, pack

FRAME_BYTES = 4096


class Echoed(Result, frozen=True, kw_only=True):
    """What was asked, back."""

    id: str
    name: str
    pool: str
    state: str
    vcpus: int
    memory_bytes: int
    disk_bytes: int
    cpu_percent: float
    is_running: bool
    tags: list[str]
    address: str
    mac: str
    image: str
    revision: int
    payload: bytes


class Echo(Query[Echoed], frozen=True, kw_only=True):
    """Fifteen typed fields, 4 KB with header and payload."""

    op: ClassVar[str] = "bench.echo"

    id: str
    name: str
    pool: str
    state: str
    vcpus: int
    memory_bytes: int
    disk_bytes: int
    cpu_percent: float
    is_running: bool
    tags: list[str]
    address: str
    mac: str
    image: str
    revision: int
    payload: bytes


def echo(payload_bytes: int) -> Echo:
    return Echo(
        id="6a1e5a1c-3f0a-4a80-9d3f-6c1b6f1f0a11",
        name="web-1",
        pool="default",
        state="running",
        vcpus=2,
        memory_bytes=2**31,
        disk_bytes=2**35,
        cpu_percent=12.5,
        is_running=True,
        tags=["blue", "rack-7"],
        address="10.127.0.17",
        mac="52:54:00:12:34:56",
        image="debian-12",
        revision=42,
        payload=bytes(payload_bytes),
    )


def four_kilobytes(header: Header) -> Echo:
    """Return the message whose frame with ``header`` has 4,096 bytes."""
    return echo(FRAME_BYTES - len(pack(header, encode(echo(300)))) + 300)


async def answer(message: Echo, _: Call) -> Echoed:
    return Echoed(
        id=message.id,
        name=message.name,
        pool=message.pool,
        state=message.state,
        vcpus=message.vcpus,
        memory_bytes=message.memory_bytes,
        disk_bytes=message.disk_bytes,
        cpu_percent=message.cpu_percent,
        is_running=message.is_running,
        tags=message.tags,
        address=message.address,
        mac=message.mac,
        image=message.image,
        revision=message.revision,
        payload=message.payload,
    )


def fresh_nodes(count: int) -> list[dict[str, str]]:
    """Return id, name and keys of ``count`` nodes, as JSON."""
    made = []
    for number in range(count):
        keys = KeyPair.generate()
        made.append({"id": new_id(), "name": f"cell-{number}", "public": keys.public, "secret": keys.secret})
    return made


def hello_frame(node: dict[str, str], core_id: str) -> bytes:
    """Return the first message that a node sends."""
    info = NodeInfo(id=NodeId(node["id"]), name=node["name"], roles=[NodeRole.CELL], version="0", features=["beats"])
    header = Header(kind=Kind.REQUEST, id=new_id(), op=Hello.op, src=node["id"], dst=core_id, ttl_ms=60_000)
    return pack(header, encode(Hello(node=info)))


def beat_frame(node: dict[str, str], core_id: str) -> bytes:
    return pack(Header(kind=Kind.BEAT, id="", src=node["id"], dst=core_id, ttl_ms=0))


def request_header(node: dict[str, str], core_id: str, id: str) -> Header:
    return Header(kind=Kind.REQUEST, id=id, op=Echo.op, src=node["id"], dst=core_id, trace=id)


@asynccontextmanager
async def core(id: str, secret: str) -> AsyncIterator[dict[str, Callable[..., Awaitable[Any]]]]:
    """A child: ``open`` with the nodes to register, then answer. Logs as a node does, to nowhere."""
    raise_open_files()
    store = MemoryStore()
    made: list[Messenger] = []

    async def open(nodes: list[dict[str, str]]) -> int:
        await store.open(TRUST_COLLECTIONS)
        clock, now = SystemClock(), datetime.now(UTC)
        for node in nodes:
            record = NodeRecord(
                id=NodeId(node["id"]),
                name=node["name"],
                roles=[NodeRole.CELL],
                zone="default",
                public_key=node["public"],
                registered_at=now,
            )
            await store.commit(Put(NODES, record.id, record))
        log = make_logger(open_null(), "info")
        core = Messenger(
            NodeInfo(id=NodeId(id), name="core-1", roles=[NodeRole.CORE]),
            Identity(NodeId(id), KeyPair.from_secret(secret)),
            MessengerSettings(bind_host="127.0.0.1", message_port=0, stream_port=0),
            registry=Registry(clock, store),
            clock=clock,
            log=log,
            authorizer=TokenAuthorizer(),
        )
        core.register({Echo.op: Handler(Echo, answer, allow=CELL_ONLY)})
        await core.start()
        made.append(core)
        return core.message_port or 0

    async def reachable() -> int:
        return len(made[0].reachable_peers())

    try:
        yield {"open": open, "reachable": reachable}
    finally:
        for messenger in made:
            await messenger.stop()
        await store.close()


def open_null() -> Any:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  for the life of the process


def cell(node: dict[str, str], core_id: str, core_key: str, port: int) -> Messenger:
    """Return a cell's messenger, not started, that joined the core before."""
    address = CoreAddress(
        id=NodeId(core_id), name="core-1", public_key=core_key, host="127.0.0.1", message_port=port, stream_port=1
    )
    clock = SystemClock()
    return Messenger(
        NodeInfo(id=NodeId(node["id"]), name=node["name"], roles=[NodeRole.CELL]),
        Identity(NodeId(node["id"]), KeyPair(node["public"], node["secret"]), address),
        MessengerSettings(bind_host="127.0.0.1"),
        registry=Registry(clock),
        clock=clock,
        log=make_logger(open_null(), "info"),
    )

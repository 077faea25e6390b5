"""Those who mean harm: refused, named in the log, and everybody else goes on. CURVE on loopback, raw sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import zmq

from nanocore.contracts.node import CreateInvite, Hello, Join, ListPeers, NodeInfo, NodeRole, RevokeNode
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NodeId, new_id
from nanocore.kernel.trust import JOINING_PREFIX, Identity, JoinToken
from nanocore.testing.cluster import QUICK, Cluster, cluster, wait_for
from nanocore.transport.curve import KeyPair
from nanocore.wire import Event, Request, decode, encode
from nanocore.wire.envelope import ErrorBody, Header, Kind, pack, unpack
from tests.cluster.cast import Change, Echo, Pipe, Plugin, Ticked, refusal

pytestmark = pytest.mark.cluster


class Attacker:
    """A raw DEALER with some key, and whatever frames the test makes."""

    def __init__(
        self, context: zmq.Context[Any], nodes: Cluster, keys: KeyPair, name: str, port: int | None = None
    ) -> None:
        self.name = name
        self.core = nodes.core.info
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.curve_publickey, self.socket.curve_secretkey = keys.public.encode(), keys.secret.encode()
        self.socket.curve_serverkey = self.core.public_key.encode()
        self.socket.connect(f"tcp://127.0.0.1:{port or nodes.core.message_port}")

    async def send(self, *frames: bytes) -> None:
        await asyncio.to_thread(self.socket.send_multipart, list(frames))

    async def say(self, message: Request[Any] | Event, **header: Any) -> None:
        kind = Kind.REQUEST if isinstance(message, Request) else Kind.EVENT
        fields: dict[str, Any] = {"id": new_id(), "src": self.name, "dst": self.core.id, "op": message.op, **header}
        await self.send(pack(Header(kind=kind, **fields), encode(message)))

    async def hear(self, seconds: float = 3.0) -> tuple[Header, memoryview] | None:
        if not await asyncio.to_thread(self.socket.poll, int(seconds * 1000)):
            return None
        return unpack(self.socket.recv_multipart()[0])

    async def refused(self) -> NanoError:
        heard = await self.hear()
        assert heard is not None
        assert heard[0].kind is Kind.ERROR
        return decode(heard[1], ErrorBody).to_error()


Attack = Callable[[Cluster, Callable[..., Attacker]], Awaitable[None]]


@asynccontextmanager
async def besieged() -> AsyncIterator[tuple[Cluster, Callable[..., Attacker]]]:
    """Give a core with an honest cell that is served before and after, and a maker of attackers."""
    context: zmq.Context[Any] = zmq.Context()
    made: list[Attacker] = []
    async with asyncio.timeout(40), cluster(1, over="curve") as nodes:
        Plugin(nodes.core)

        def attacker(keys: KeyPair, name: str, port: int | None = None) -> Attacker:
            made.append(Attacker(context, nodes, keys, name, port))
            return made[-1]

        try:
            assert (await nodes.cells[0].call_reply(Echo(text="before"))).body == "before"
            yield nodes, attacker
            assert (await nodes.cells[0].call_reply(Echo(text="after"))).body == "after"
            assert nodes.core.is_reachable(nodes.cells[0].info.id)
        finally:
            for one in made:
                one.socket.close(0)
            context.term()


def run(attack: Attack) -> None:
    async def main() -> None:
        async with besieged() as (nodes, attacker):
            await attack(nodes, attacker)

    asyncio.run(main())


async def turned(nodes: Cluster, name: str = "turned") -> Identity:
    """Join a node and return its identity: a valid key in bad hands."""
    node = await nodes.join(name)
    await node.stop()
    await wait_for(lambda: not nodes.core.is_reachable(node.info.id), "it left")
    return nodes.identities[name]


def test_a_strangers_key_is_refused_on_both_ports_and_named() -> None:
    async def attack(nodes: Cluster, attacker: Callable[..., Attacker]) -> None:
        for port in (nodes.core.message_port, nodes.core.stream_port):
            keys = KeyPair.generate()
            stranger = attacker(keys, new_id(), port)
            await stranger.say(Echo(text="let me in"))
            await wait_for(lambda keys=keys: [x for x in nodes.log if x.get("public_key") == keys.public], "named")  # type: ignore[misc]
            assert await stranger.hear(0.2) is None

    run(attack)


def test_a_message_in_another_nodes_name_is_refused_and_its_sender_named() -> None:
    async def attack(nodes: Cluster, attacker: Callable[..., Attacker]) -> None:
        bad = await turned(nodes)
        mallory = attacker(bad.keys, bad.node_id)
        for src in (nodes.cells[0].info.id, nodes.core.info.id, "", "../etc"):
            await mallory.say(CreateInvite(), src=src)
            error = await mallory.refused()
            assert error.code is ErrorCode.UNAUTHENTICATED
        lines = nodes.logged("claims to be node")
        assert [(line["peer"], line["name"]) for line in lines] == [(bad.node_id, "turned")]

    run(attack)


def test_a_reply_or_event_in_another_nodes_name_reaches_nobody() -> None:
    async def attack(nodes: Cluster, attacker: Callable[..., Attacker]) -> None:
        bad = await turned(nodes)
        mallory = attacker(bad.keys, bad.node_id)
        plugin = Plugin(nodes.cells[0])
        plugin.gate.clear()
        waiting = asyncio.create_task(
            nodes.core.call_reply(Echo(text="true"), dst=nodes.cells[0].info.id, request_id="r1")
        )
        await wait_for(lambda: plugin.calls, "running")
        for src in (bad.node_id, nodes.cells[0].info.id):
            header = Header(kind=Kind.REPLY, id="r1", op=Echo.op, src=src, dst=nodes.core.info.id)
            await mallory.send(pack(header, encode("false")))
        await wait_for(lambda: nodes.core._exchange.dropped["late_reply"] == 1, "the false reply was dropped")
        await wait_for(lambda: nodes.logged("claims to be node"), "and the false name seen")
        plugin.gate.set()
        assert (await waiting).body == "true"

    run(attack)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": "core"}, "name 'core', registered 'turned'"),
        ({"roles": [NodeRole.CORE]}, "roles ['core'], registered ['cell']"),
        ({"id": NodeId(new_id())}, "id '"),
    ],
)
def test_a_hello_with_another_name_or_role_is_refused_and_named(changes: dict[str, Any], text: str) -> None:
    async def attack(nodes: Cluster, attacker: Callable[..., Attacker]) -> None:
        bad = await turned(nodes)
        mallory = attacker(bad.keys, bad.node_id)
        fields = {"id": bad.node_id, "name": "turned", "roles": [NodeRole.CELL], **changes}
        await mallory.say(Hello(node=NodeInfo(**fields)))
        error = await mallory.refused()
        assert error.code is ErrorCode.PERMISSION_DENIED
        assert text in error.message
        assert nodes.logged(text)[0]["peer"] == bad.node_id
        assert not nodes.core.is_reachable(bad.node_id)

    run(attack)


def test_a_revoked_node_is_cut_off_at_once_and_does_not_come_back() -> None:
    async def attack(nodes: Cluster, attacker: Callable[..., Attacker]) -> None:
        bad = await nodes.join("bad")
        stream = await bad.open_stream(Pipe())
        await stream.send(b"x")
        assert await stream.receive() == b"x"
        await nodes.core.call_reply(RevokeNode(id=bad.info.id))
        assert (await refusal(stream.receive())).code is ErrorCode.UNAVAILABLE
        await wait_for(lambda: not bad.is_reachable(nodes.core.info.id), "its link is cut")
        assert not nodes.core.is_reachable(bad.info.id)
        assert ("bad", "revoked") in nodes.lost
        assert nodes.logged("node revoked")[0]["name"] == "bad"
        await wait_for(
            lambda: any(line.get("public_key") == bad.info.public_key for line in nodes.log), "refused when it dials"
        )
        assert (await refusal(bad.call_reply(Echo()))).code is ErrorCode.UNAVAILABLE
        peers = (await nodes.core.call_reply(ListPeers())).body
        assert [(p.info.name, p.is_reachable) for p in peers if p.is_revoked] == [("bad", False)]
        assert (await refusal(nodes.core.call_reply(Echo(), dst=bad.info.id))).code is ErrorCode.UNAVAILABLE

    run(attack)


def test_a_frame_of_a_revoked_key_that_is_still_on_its_way_is_refused() -> None:
    """The registry is asked at every message: ZAP speaks at the handshake only."""

    async def attack(nodes: Cluster, attacker: Callable[..., Attacker]) -> None:
        bad = await turned(nodes)
        mallory = attacker(bad.keys, bad.node_id)
        await mallory.say(Echo(text="one"))
        assert await mallory.hear() is not None
        # Behind the messenger's back, so that the link lives on.
        await nodes.core._registry.revoke(bad.node_id)
        await mallory.say(Echo(text="two"))
        await wait_for(lambda: nodes.logged("not registered any more"), "refused")
        assert nodes.logged("not registered any more")[0]["peer"] == bad.node_id
        await wait_for(lambda: not nodes.core._exchange.transport.is_linked(bad.node_id), "and cut")

    run(attack)


def test_the_core_does_not_shut_itself_out() -> None:
    async def attack(nodes: Cluster, _: Callable[..., Attacker]) -> None:
        error = await refusal(nodes.core.call_reply(RevokeNode(id=nodes.core.info.id)))
        assert error.code is ErrorCode.WRONG_STATE
        error = await refusal(nodes.core.call_reply(RevokeNode(id=NodeId(new_id()))))
        assert error.code is ErrorCode.NOT_FOUND

    run(attack)


@pytest.mark.parametrize("frames", [[b"x" * (QUICK.max_frame_bytes + 1)], [b"x"] * 2000, [b"x" * 64 * 1024 * 1024]])
def test_an_oversized_message_is_refused_and_its_sender_named(frames: list[bytes]) -> None:
    async def attack(nodes: Cluster, attacker: Callable[..., Attacker]) -> None:
        bad = await turned(nodes)
        mallory = attacker(bad.keys, bad.node_id)
        await mallory.say(Hello(node=NodeInfo(id=bad.node_id, name="turned", roles=[NodeRole.CELL])))
        assert await mallory.hear() is not None
        assert nodes.core.is_reachable(bad.node_id)
        await mallory.send(*frames)
        await wait_for(lambda: not nodes.core._exchange.transport.is_linked(bad.node_id), "its link is cut", seconds=5)
        if len(frames) > 1 or len(frames[0]) < 2 * QUICK.max_frame_bytes:
            line = nodes.logged("sent ")[0]
            assert (line["peer"], line["name"]) == (bad.node_id, "turned")
        else:
            line = next(line for line in nodes.log if line["event"] == "link ended" and line["peer"] == bad.node_id)
            assert (line["node"], line["name"]) == ("core", "turned")

    run(attack)


def test_rubbish_gets_no_answer_and_is_named_once() -> None:
    async def attack(nodes: Cluster, attacker: Callable[..., Attacker]) -> None:
        bad = await turned(nodes)
        mallory = attacker(bad.keys, bad.node_id)
        rubbish = [
            b"",
            b"GET / HTTP/1.1",
            b"NANO\x01\xff\xff",
            b"NANO\x02\x00\x00",
            b"NANO\x01\x00\x01\xc1",
            b"\x00" * 100,
        ]
        for frame in rubbish:
            await mallory.send(frame)
        exchange = nodes.core._exchange
        await wait_for(lambda: exchange.dropped["wire.magic"] + exchange.dropped["wire.header"] == len(rubbish), "all")
        assert await mallory.hear(0.2) is None
        assert 1 <= len(nodes.logged("frame")) <= 2
        assert all(line["name"] == "turned" for line in nodes.logged("frame"))

    run(attack)


def test_message_types_beyond_the_role_are_refused() -> None:
    async def attack(nodes: Cluster, attacker: Callable[..., Attacker]) -> None:
        bad = await turned(nodes)
        mallory = attacker(bad.keys, bad.node_id)
        forbidden: list[Request[Any]] = [
            CreateInvite(),
            RevokeNode(id=nodes.core.info.id),
            ListPeers(),
            Join(id=NodeId(new_id()), name="x", public_key=KeyPair.generate().public),
        ]
        for message in forbidden:
            for actor in ("", "system", "local"):
                await mallory.say(message, actor=actor)
                assert (await mallory.refused()).code is ErrorCode.PERMISSION_DENIED

    run(attack)


def test_a_cell_does_not_vouch_for_itself() -> None:
    async def attack(nodes: Cluster, attacker: Callable[..., Attacker]) -> None:
        bad = await turned(nodes)
        plugin = Plugin(nodes.cells[0], allow=frozenset({NodeRole.FRONTEND, NodeRole.CORE}))
        mallory = attacker(bad.keys, bad.node_id)
        for vouched in ("frontend", "core", "core,frontend"):
            await mallory.say(Echo(), dst=nodes.cells[0].info.id, vouched=vouched)
            assert (await mallory.refused()).code is ErrorCode.PERMISSION_DENIED
        assert plugin.calls == []

    run(attack)


def test_an_invites_key_joins_and_does_nothing_else() -> None:
    async def attack(nodes: Cluster, attacker: Callable[..., Attacker]) -> None:
        token = JoinToken.parse(await nodes.invite())
        keys = KeyPair.from_secret(token.secret_key)
        guest = attacker(keys, JOINING_PREFIX + token.invite_id)
        for message in (Echo(), Change(), CreateInvite(), ListPeers()):
            await guest.say(message)
            assert (await guest.refused()).code is ErrorCode.PERMISSION_DENIED
        await guest.say(Hello(node=NodeInfo(id=NodeId(guest.name), name=guest.name, roles=[NodeRole.JOINING])))
        assert (await guest.refused()).code is ErrorCode.PERMISSION_DENIED
        await guest.say(Echo(), dst=nodes.cells[0].info.id)
        assert (await guest.refused()).code is ErrorCode.NOT_FOUND
        before = nodes.core._exchange.dropped["event"]
        await guest.say(Ticked(number=1))
        await wait_for(lambda: nodes.core._exchange.dropped["event"] == before + 1, "no events either")
        assert [p.name for p in nodes.core.reachable_peers()] == ["cell-1"]

    run(attack)


def test_a_replayed_command_is_not_done_again() -> None:
    async def attack(nodes: Cluster, attacker: Callable[..., Attacker]) -> None:
        bad = await turned(nodes)
        mallory = attacker(bad.keys, bad.node_id)
        answers = []
        for _ in range(3):
            await mallory.say(Change(), id="again")
            heard = await mallory.hear()
            assert heard is not None
            answers.append(decode(heard[1], int))
        assert answers == [1, 1, 1]
        assert (await nodes.cells[0].call_reply(Change(), request_id="again")).body == 2

    run(attack)


def test_a_message_that_goes_in_circles_ends() -> None:
    async def attack(nodes: Cluster, attacker: Callable[..., Attacker]) -> None:
        bad = await turned(nodes)
        mallory = attacker(bad.keys, bad.node_id)
        for hops in (1, 0, -5):
            await mallory.say(Echo(), dst=nodes.cells[0].info.id, hops=hops)
            error = await mallory.refused()
            assert (error.code, error.reason) == (ErrorCode.UNAVAILABLE, "routing.loop")

    run(attack)


def test_streams_of_others_can_not_be_spoken_into() -> None:
    async def attack(nodes: Cluster, attacker: Callable[..., Attacker]) -> None:
        bad = await turned(nodes)
        stream = await nodes.cells[0].open_stream(Pipe())
        await stream.send(b"mine")
        assert await stream.receive() == b"mine"
        (id,) = nodes.core._streams._entries
        mallory = attacker(bad.keys, bad.node_id, nodes.core.stream_port)
        for src in (bad.node_id, nodes.cells[0].info.id):
            for op in ("data", "end", "close"):
                await mallory.send(
                    pack(Header(kind=Kind.STREAM, id=id, op=op, src=src, dst=nodes.core.info.id)), b"evil"
                )
        await wait_for(lambda: nodes.core._exchange.dropped["stream"] >= 3, "dropped")
        await stream.send(b"still mine")
        assert await stream.receive() == b"still mine"
        await stream.close()

    run(attack)


def test_a_flood_of_requests_is_bounded_and_answered_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanocore.kernel.dispatch.RUNNING_PER_PEER", 5)

    async def attack(nodes: Cluster, attacker: Callable[..., Attacker]) -> None:
        flood = await nodes.join("flood")
        plugin = Plugin(nodes.cells[0])
        plugin.gate.clear()
        waiting = [asyncio.create_task(flood.call_reply(Echo(), dst=nodes.cells[0].info.id)) for _ in range(8)]
        await wait_for(lambda: sum(task.done() for task in waiting) == 3, "the rest is refused")
        plugin.gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [error.code for error in results if isinstance(error, NanoError)] == [ErrorCode.BUSY] * 3

    run(attack)


def test_an_identity_in_two_hands_is_one_node() -> None:
    """The newest connection of a key wins; the older one is cut, not split."""

    async def attack(nodes: Cluster, _: Callable[..., Attacker]) -> None:
        twin = await nodes.join("twin")
        other = nodes.make("twin", replace(nodes.identities["twin"]), [NodeRole.CELL])
        await other.start()
        await wait_for(lambda: nodes.logged("its older connection is cut"), "noticed and logged")
        await twin.stop()
        await wait_for(lambda: other.is_reachable(nodes.core.info.id), "one of them is linked")

    run(attack)
